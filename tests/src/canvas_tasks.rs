//! Typed tasks of which canvases are made, in Lovage's test worker and in a Python one: see `interop/python/peers.py`.

use std::io::Write;

use celery::task::TaskResult;
use lovage::protocol::Value;
use lovage::{Module, chain, context, signal};

/// Adds.
#[lovage::task(name = "canvas.add")]
pub async fn add(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x + y)
}

/// Multiplies.
#[lovage::task(name = "canvas.mul")]
pub async fn mul(x: i64, y: i64) -> TaskResult<i64> {
    Ok(x * y)
}

/// Adds up.
#[lovage::task(name = "canvas.sum")]
pub async fn sum(numbers: Vec<i64>) -> TaskResult<i64> {
    Ok(numbers.iter().sum())
}

/// Gives back what it gets.
#[lovage::task(name = "canvas.echo")]
pub async fn echo(it: Value) -> TaskResult<Value> {
    Ok(it)
}

/// Fails.
#[lovage::task(name = "canvas.fail")]
pub async fn fail(why: String) -> TaskResult<i64> {
    Err(signal::raise("ValueError", why))
}

/// Writes what it gets into a file.
#[lovage::task(name = "canvas.note")]
pub fn note(it: Value, path: String) -> TaskResult<()> {
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);
    file.and_then(|mut file| writeln!(file, "{}", it.to_json()))
        .map_err(|error| signal::raise("OSError", error.to_string()))
}

/// Has a chain take its place.
#[lovage::task(name = "canvas.replaced")]
pub async fn replaced(x: i64) -> TaskResult<i64> {
    Err(signal::replace(chain![add::s(x, 1), mul::partial(2)]))
}

/// Adds a task to the chord that it is a member of.
#[lovage::task(name = "canvas.joins")]
pub async fn joins(x: i64) -> TaskResult<i64> {
    if let Some(running) = context::current() {
        running
            .add_to_chord(add::s(x, 100))
            .map_err(|error| signal::raise("ValueError", error.to_string()))?;
    }
    Ok(x)
}

/// Sends a chain of its own, and tells the id of its last step.
#[lovage::task(name = "canvas.sends")]
pub async fn sends(x: i64) -> TaskResult<Option<String>> {
    let Some(running) = context::current() else {
        return Ok(None);
    };
    let sent = running
        .client()
        .apply_async(chain![add::s(x, 1), mul::partial(10)])
        .await;
    let sent = sent.map_err(|error| signal::raise("OSError", error.to_string()))?;
    Ok(Some(sent.id().to_string()))
}

/// Tells its stamps.
#[lovage::task(name = "canvas.stamps")]
pub async fn stamps() -> TaskResult<Value> {
    let stamps = context::current().map(|running| running.message().headers.stamps.clone());
    Ok(Value::Map(stamps.unwrap_or_default()))
}

/// The tasks, for `lovage::main`.
pub fn module() -> Module {
    Module::new("canvas")
        .task::<add>()
        .task::<mul>()
        .task::<sum>()
        .task::<echo>()
        .task::<fail>()
        .task::<note>()
        .task::<replaced>()
        .task::<joins>()
        .task::<sends>()
        .task::<stamps>()
}
