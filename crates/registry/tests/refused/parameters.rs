#![allow(unused_imports, reason = "a refused task uses nothing")]

extern crate lovage_registry as lovage;

use celery::task::TaskResult;

use lovage::State;

#[lovage::task]
fn borrowed(text: &str) -> TaskResult<usize> {
    Ok(text.len())
}

#[lovage::task]
fn stateless(mailer: State) -> TaskResult<()> {
    Ok(())
}

#[lovage::task(bind = true)]
fn bound(name: String) -> TaskResult<()> {
    Ok(())
}

#[lovage::task(bind = true)]
fn bound_to_nothing() -> TaskResult<()> {
    Ok(())
}

fn main() {}
