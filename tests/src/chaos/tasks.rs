//! The tasks of the scenarios, which write down each of their runs.

use std::path::PathBuf;
use std::time::Duration;

use celery::task::TaskResult;
use lovage::{Module, context, signal};

use serde::{Deserialize, Serialize};

use super::ledger;

/// So many of `chaos.narrow` may run at once.
pub const MOST: usize = 4;
/// And so many of each key.
pub const MOST_OF_KEY: usize = 2;

/// What a run leaves behind.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Done {
    number: u64,
    by: String,
    attempt: u32,
}

/// A run that is noted at its begin.
struct Noted {
    id: String,
    attempt: u32,
}

impl Noted {
    fn begin() -> Self {
        let context = context::current().expect("it runs in a worker");
        let (id, attempt) = (context.task_id().to_string(), context.retries());
        ledger::note('B', &id, attempt);
        Self { id, attempt }
    }

    fn end(self, number: u64, retries: u32, countdown: f64) -> TaskResult<Done> {
        ledger::note('E', &self.id, self.attempt);
        if self.attempt < retries {
            return Err(signal::retry(Some(Duration::from_secs_f64(countdown))));
        }
        Ok(Done {
            number,
            by: ledger::worker(),
            attempt: self.attempt,
        })
    }
}

/// Takes its time, and retries so many times before it succeeds.
#[lovage::task(name = "chaos.work", max_retries = 1000)]
async fn work(number: u64, seconds: f64, retries: u32, countdown: f64) -> TaskResult<Done> {
    let noted = Noted::begin();
    if seconds > 0.0 {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }
    noted.end(number, retries, countdown)
}

/// As `chaos.work`, so many a second at each worker.
#[lovage::task(name = "chaos.limited", max_retries = 1000, rate_limit = "40/s")]
async fn limited(number: u64, seconds: f64, retries: u32, countdown: f64) -> TaskResult<Done> {
    let noted = Noted::begin();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    noted.end(number, retries, countdown)
}

/// Runs until a file appears whose name ends with that of its worker: each worker has a gate of its own.
#[lovage::task(name = "chaos.gate")]
async fn gate(number: u64, path: String) -> TaskResult<Done> {
    let noted = Noted::begin();
    let gate = PathBuf::from(format!("{path}.{}", ledger::worker()));
    while !gate.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    noted.end(number, 0, 0.0)
}

/// As `chaos.work`, one of each key.
#[lovage::task(name = "chaos.unique", max_retries = 1000, unique = "key")]
async fn unique(
    number: u64,
    seconds: f64,
    retries: u32,
    countdown: f64,
    key: u64,
) -> TaskResult<Done> {
    let (noted, _) = (Noted::begin(), key);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    noted.end(number, retries, countdown)
}

/// As `chaos.work`, so many at once, see [`MOST`] and [`MOST_OF_KEY`].
#[lovage::task(name = "chaos.narrow", max_retries = 1000, limit = "4; 2 per key")]
async fn narrow(
    number: u64,
    seconds: f64,
    retries: u32,
    countdown: f64,
    key: u64,
) -> TaskResult<Done> {
    let (noted, _) = (Noted::begin(), key);
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    noted.end(number, retries, countdown)
}

/// A task that begins a chain or is a member of a chord.
#[lovage::task(name = "chaos.part")]
async fn part(number: u64, seconds: f64) -> TaskResult<Done> {
    let noted = Noted::begin();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    noted.end(number, 0, 0.0)
}

/// The next step of a chain, which is given the result of the one before.
#[lovage::task(name = "chaos.step")]
async fn step(before: Done, number: u64, seconds: f64) -> TaskResult<Done> {
    let noted = Noted::begin();
    if before.number + 1 != number {
        let text = format!("step {number} was given {before:?}");
        return Err(signal::raise("ValueError", text));
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    noted.end(number, 0, 0.0)
}

/// The body of a chord, which is given what its members returned, in their order: those from `first` up to its own number.
#[lovage::task(name = "chaos.gather")]
async fn gather(parts: Vec<Done>, number: u64, first: u64) -> TaskResult<Done> {
    let noted = Noted::begin();
    if !parts.iter().map(|part| part.number).eq(first..number) {
        let text = format!("body {number} was not given {first} and those after it in order");
        return Err(signal::raise("ValueError", text));
    }
    noted.end(number, 0, 0.0)
}

/// All of them.
pub fn module() -> Module {
    Module::new("chaos")
        .task::<part>()
        .task::<step>()
        .task::<gather>()
        .task::<work>()
        .task::<limited>()
        .task::<gate>()
        .task::<unique>()
        .task::<narrow>()
}
