//! The `lovage` binary with tasks that misbehave in every way a task can, for the tests.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use celery::task::TaskResult;
use lovage::protocol::{ExceptionInfo, Value};
use lovage::{Module, context, signal};

/// Panics on the way.
#[lovage::task(name = "test.panic")]
async fn panics(message: String) -> TaskResult<()> {
    panic!("{message}")
}

/// Panics in code that blocks.
#[lovage::task(name = "test.panic_blocking")]
fn panics_blocking(message: String) -> TaskResult<()> {
    panic!("{message}")
}

/// Blocks its thread.
#[lovage::task(name = "test.block")]
fn block(seconds: f64) -> TaskResult<f64> {
    std::thread::sleep(Duration::from_secs_f64(seconds));
    Ok(seconds)
}

/// Raises an exception class that the Python application has.
#[lovage::task(name = "test.refuse")]
async fn refuse(code: i64, why: String) -> TaskResult<()> {
    let arguments = vec![Value::Int(code), Value::Str(why)];
    Err(signal::raise_exception(ExceptionInfo::new(
        "app", "Refused", arguments,
    )))
}

/// Ends without a result.
#[lovage::task(name = "test.ignore")]
async fn ignore() -> TaskResult<()> {
    Err(signal::ignore())
}

/// Refuses its message for good.
#[lovage::task(name = "test.reject")]
async fn reject() -> TaskResult<()> {
    Err(signal::reject("no thanks", false))
}

/// Sends another task and tells its id.
#[lovage::task(name = "test.parent")]
async fn parent(queue: String) -> TaskResult<String> {
    let running = context::current().expect("it runs in a worker");
    let child = running.client().send_task("py.request").queue(queue).await;
    let child = child.map_err(|error| signal::raise("OSError", error.to_string()))?;
    Ok(child.id().to_string())
}

/// Retries with a cause until it has none left.
#[lovage::task(name = "test.always_retries", max_retries = 2)]
async fn always_retries() -> TaskResult<()> {
    let cause = ExceptionInfo::new("builtins", "KeyError", vec![Value::from("lost")]);
    Err(signal::retry_because(
        cause,
        Some(Duration::from_millis(400)),
    ))
}

/// Tells which run of this task in this process it is, from 0 on.
#[lovage::task(name = "test.turn")]
async fn turn() -> TaskResult<u64> {
    static TURNS: AtomicU64 = AtomicU64::new(0);
    Ok(TURNS.fetch_add(1, Ordering::SeqCst))
}

fn main() -> ExitCode {
    let tests = Module::new("test")
        .task::<panics>()
        .task::<panics_blocking>()
        .task::<block>()
        .task::<refuse>()
        .task::<ignore>()
        .task::<reject>()
        .task::<parent>()
        .task::<always_retries>()
        .task::<turn>();
    lovage::main(vec![tests, lovage_integration_tests::gated_tasks::module()])
}
