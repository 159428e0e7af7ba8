//! The tasks of Celery's own integration suite, for `scripts/conformance`: what they do is told in that suite's terms, with
//! Python's meaning of `+` restated.

mod arithmetic;
mod canvas;
mod failing;
mod parameters;
mod replacing;
mod request;
mod retrying;
mod side_effects;
mod signatures;

use lovage::Module;

/// The name that the suite gives a task.
fn named(task: &str) -> String {
    format!("t.integration.tasks.{task}")
}

/// All of them.
pub fn module() -> Module {
    let module = Module::new("conformance");
    [
        arithmetic::tasks(),
        canvas::tasks(),
        failing::tasks(),
        replacing::tasks(),
        request::tasks(),
        retrying::tasks(),
        side_effects::tasks(),
        signatures::tasks(),
    ]
    .into_iter()
    .flatten()
    .fold(module, Module::raw)
}
