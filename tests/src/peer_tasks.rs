//! Tasks that a Lovage worker and a Python one both have, beside the demo tasks, for `test-tasks`: see
//! `interop/python/peers.py`.

use std::time::Duration;

use celery::task::TaskResult;
use lovage::{Module, context, signal};

/// Gives its message back the first time.
#[lovage::task(name = "test.requeue_once")]
async fn requeue_once() -> TaskResult<String> {
    let again = context::current().is_some_and(|running| running.message().redelivered());
    if again {
        return Ok("done".to_owned());
    }
    Err(signal::reject("not yet", true))
}

/// Ends when there is such a file.
#[lovage::task(name = "test.until")]
async fn until(path: String) -> TaskResult<()> {
    while !std::path::Path::new(&path).exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// Sends an event of its own.
#[lovage::task(name = "test.checkpoint")]
async fn checkpoint(step: i64, note: String) -> TaskResult<i64> {
    if let Some(running) = context::current() {
        let fields = serde_json::json!({"step": step, "note": note});
        running
            .send_event("task-checkpoint", fields)
            .map_err(|error| signal::raise("ValueError", error.to_string()))?;
    }
    Ok(step)
}

/// The tasks, for `lovage::main`.
pub fn module() -> Module {
    Module::new("peers")
        .task::<requeue_once>()
        .task::<until>()
        .task::<checkpoint>()
}
