//! Tasks that are unique or limited, and that end when the test opens a door: a file that begins to exist.

use std::path::Path;
use std::time::Duration;

use celery::task::TaskResult;
use lovage::{Module, context, signal};

/// Waits until the file exists; what it holds is what the task says. One that holds `fail` is a failure.
async fn behind(door: &str) -> TaskResult<String> {
    while !Path::new(door).exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let said = std::fs::read_to_string(door).unwrap_or_default();
    match said.as_str() {
        "fail" => Err(signal::raise("ValueError", "as the door says")),
        _ => Ok(said),
    }
}

/// One per account.
#[lovage::task(name = "test.unique", unique = "account")]
async fn unique(account: i64, door: String, #[default = 0] note: i64) -> TaskResult<String> {
    let _ = (account, note);
    behind(&door).await
}

/// One at a time; the others get its result.
#[lovage::task(name = "test.joined", unique, join)]
async fn joined(door: String) -> TaskResult<String> {
    behind(&door).await
}

/// One at a time, and its errors are worth another attempt.
#[lovage::task(name = "test.joined_retried", unique, join, retry_for = ["ValueError"], max_retries = 0)]
async fn joined_retried(door: String) -> TaskResult<String> {
    behind(&door).await
}

/// Unique while it waits; when it has begun the next may wait.
#[lovage::task(name = "test.unique_waiting", unique, unique_until = "start")]
async fn unique_waiting(door: String) -> TaskResult<String> {
    behind(&door).await
}

/// Two at once of each queue.
#[lovage::task(name = "test.per_queue", limit = "2 per queue")]
async fn per_queue(door: String) -> TaskResult<String> {
    behind(&door).await
}

/// Two a second for each account.
#[lovage::task(name = "test.paced_account", limit = "2/s per account")]
async fn paced_account(account: i64) -> TaskResult<()> {
    let _ = account;
    Ok(())
}

/// Once an hour in each worker.
#[lovage::task(name = "test.hourly", rate_limit = "1/h")]
async fn hourly() -> TaskResult<()> {
    Ok(())
}

/// Runs again once.
#[lovage::task(name = "test.unique_retry", unique, max_retries = 1)]
async fn unique_retry() -> TaskResult<u32> {
    match context::current().map_or(1, |running| running.retries()) {
        0 => Err(signal::retry(Some(Duration::from_millis(600)))),
        retries => Ok(retries),
    }
}

/// The last of several calls.
#[lovage::task(name = "test.debounced", debounce = 1, debounce_by = "account")]
async fn debounced(account: i64, note: i64) -> TaskResult<i64> {
    let _ = account;
    Ok(note)
}

/// The last of several calls, after a time that no test waits for.
#[lovage::task(name = "test.debounced_long", debounce = 600, debounce_by = "account")]
async fn debounced_long(account: i64, note: i64) -> TaskResult<i64> {
    let _ = account;
    Ok(note)
}

/// Two at once over all workers.
#[lovage::task(name = "test.narrow", limit = "2")]
async fn narrow(door: String) -> TaskResult<String> {
    behind(&door).await
}

/// One at once for each account.
#[lovage::task(name = "test.per_account", limit = "1 per account")]
async fn per_account(account: i64, door: String) -> TaskResult<String> {
    let _ = account;
    behind(&door).await
}

/// Five a second over all workers.
#[lovage::task(name = "test.paced", limit = "5/s")]
async fn paced() -> TaskResult<()> {
    Ok(())
}

/// Ten a second in each worker, as Celery counts.
#[lovage::task(name = "test.rated", rate_limit = "10/s")]
async fn rated() -> TaskResult<()> {
    Ok(())
}

/// All of them.
pub fn module() -> Module {
    Module::new("gated")
        .task::<unique>()
        .task::<joined>()
        .task::<joined_retried>()
        .task::<unique_waiting>()
        .task::<per_queue>()
        .task::<paced_account>()
        .task::<hourly>()
        .task::<unique_retry>()
        .task::<debounced>()
        .task::<debounced_long>()
        .task::<narrow>()
        .task::<per_account>()
        .task::<paced>()
        .task::<rated>()
}
