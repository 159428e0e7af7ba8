//! The `demo.*` tasks: to try a worker with, to measure it, and to break it on purpose.

use std::time::Duration;

use celery::error::TaskError;
use celery::task::{Task, TaskResult, TaskResultExt};
use lovage_protocol::Value;
use lovage_worker::{Module, RawTask, context, signal};
use serde::Serialize;

use crate::number::Number;

/// The module of demo tasks, for development only: whoever can send `demo.crash` can end the worker.
#[must_use]
pub fn demo() -> Module {
    Module::new("demo")
        .task::<noop>()
        .task::<add>()
        .task::<mul>()
        .task::<sleep>()
        .task::<fail>()
        .task::<retry_then_succeed>()
        .task::<progress>()
        .task::<crash>()
        .raw(echo())
}

/// Does nothing, for measuring what a task costs.
#[lovage::task(name = "demo.noop")]
async fn noop() {}

/// Adds two numbers.
#[lovage::task(name = "demo.add")]
async fn add(x: Number, y: Number) -> TaskResult<Number> {
    x.plus(y).ok_or_else(too_large)
}

/// Multiplies two numbers.
#[lovage::task(name = "demo.mul")]
async fn mul(x: Number, y: Number) -> TaskResult<Number> {
    x.times(y).ok_or_else(too_large)
}

fn too_large() -> TaskError {
    signal::raise(
        "OverflowError",
        "the result is a whole number beyond 128 bits",
    )
}

/// Sleeps, then returns how long it slept.
#[lovage::task(name = "demo.sleep")]
async fn sleep(seconds: f64) -> TaskResult<f64> {
    tokio::time::sleep(length(seconds)?).await;
    Ok(seconds)
}

/// Python's `time.sleep` complains in these words.
fn length(seconds: f64) -> TaskResult<Duration> {
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| signal::raise("ValueError", "sleep length must be non-negative"))
}

/// Raises `RuntimeError(message)`.
#[lovage::task(name = "demo.fail")]
async fn fail(#[default = "demo.fail does what it says"] message: String) -> TaskResult<()> {
    Err(signal::raise("RuntimeError", message))
}

/// Asks to be retried so many times, then returns how often it was.
#[lovage::task(name = "demo.retry_then_succeed", bind = true, max_retries = 1000)]
async fn retry_then_succeed(
    task: &Self,
    times: u32,
    /// Seconds before each retry.
    #[default = 0.0]
    countdown: f64,
) -> TaskResult<u32> {
    let retries = task.request().retries;
    if retries < times {
        return Err(signal::retry(Some(length(countdown)?)));
    }
    Ok(retries)
}

#[derive(Serialize)]
struct Progress {
    current: u32,
    total: u32,
}

/// Reports the state PROGRESS before each of its steps.
#[lovage::task(name = "demo.progress")]
async fn progress(
    steps: u32,
    /// Seconds that a step takes.
    #[default = 0.1]
    pause: f64,
) -> TaskResult<u32> {
    let pause = length(pause)?;
    for current in 0..steps {
        if let Some(running) = context::current() {
            let state = Progress {
                current,
                total: steps,
            };
            running
                .update_state("PROGRESS", state)
                .await
                .with_expected_err(|| "the progress could not be stored")?;
        }
        tokio::time::sleep(pause).await;
    }
    Ok(steps)
}

/// Ends the worker's process at once, as a fault in native code would.
#[lovage::task(name = "demo.crash")]
async fn crash() -> TaskResult<()> {
    std::process::abort()
}

fn echo() -> RawTask {
    RawTask::new("demo.echo", |call| async move {
        Ok(Value::List(vec![
            Value::List(call.args),
            Value::Map(call.kwargs),
        ]))
    })
    .doc("Returns its arguments: [args, kwargs].")
}

#[cfg(test)]
mod tests {
    use lovage_worker::Catalogue;

    use super::*;

    #[test]
    fn the_module_lists_every_demo_task_with_its_signature() {
        let specs = Catalogue::specs(&[demo()]).unwrap();
        let signatures: Vec<String> = specs.iter().map(|spec| spec.signature()).collect();
        assert_eq!(
            signatures,
            [
                "demo.add(x: number, y: number)",
                "demo.crash()",
                "demo.echo(...)",
                r#"demo.fail(message: string = "demo.fail does what it says")"#,
                "demo.mul(x: number, y: number)",
                "demo.noop()",
                "demo.progress(steps: integer, pause: number = 0.1)",
                "demo.retry_then_succeed(times: integer, countdown: number = 0.0)",
                "demo.sleep(seconds: number)",
            ]
        );
        assert!(specs.iter().all(|spec| spec.doc.is_some() && spec.is_async));
    }

    #[tokio::test(start_paused = true)]
    async fn tasks_are_functions_that_can_be_called() {
        assert_eq!(
            add(Number::Int(2), Number::Float(0.5)).await.unwrap(),
            Number::Float(2.5)
        );
        assert_eq!(
            mul(Number::Int(2), Number::Int(3)).await.unwrap(),
            Number::Int(6)
        );
        assert!(mul(Number::Int(i128::MAX), Number::Int(2)).await.is_err());
        assert!((sleep(3600.0).await.unwrap() - 3600.0).abs() < f64::EPSILON);
        assert!(sleep(-1.0).await.is_err() && sleep(f64::NAN).await.is_err());
        assert_eq!(
            progress(3, 60.0).await.unwrap(),
            3,
            "outside a worker nobody is told"
        );
        let error = fail("boom".to_owned()).await.unwrap_err();
        assert!(
            error.to_string().contains("RuntimeError('boom')"),
            "{error}"
        );
    }
}
