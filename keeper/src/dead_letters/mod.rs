//! Dead letters move from the broker into the database, where they can be searched, edited and sent again.
//!
//! Each is written to the database first and taken from the broker then; dying in between repeats the first, which is harmless. Who
//! replays a letter at the broker in just that moment, past the database, sends it while the database has it still: with a
//! database, `lovage dlq` and the API use the database.

use std::{fmt, sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use lovage_broker::{Broker, DeadLetter};
use lovage_database::{
    Database,
    store::{
        dead_letter::{self, Died},
        lease::Lease,
        task_run,
    },
};
use lovage_protocol::TaskId;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::duty::{Duty, LENGTH, Work};

/// The name of the lease of the one that moves them.
pub const LEASE: &str = "keeper:dead-letters";

/// So many letters in one step.
const BATCH: usize = 200;

/// What is needed to move letters.
#[derive(Clone)]
pub struct Parts {
    /// Where they go.
    pub database: Database,
    /// Where they come from.
    pub broker: Arc<dyn Broker>,
    /// This process, as nobody else is called.
    pub holder: String,
    /// For how long this process may be silent before another does it. Default 10 s.
    pub lease: Duration,
    /// How often it looks. Default 1 s.
    pub poll: Duration,
}

impl Parts {
    /// With the defaults of the fields' documentation.
    pub fn new(database: Database, broker: Arc<dyn Broker>, holder: String) -> Self {
        Self {
            database,
            broker,
            holder,
            lease: LENGTH,
            poll: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

/// Why letters were not moved. Trying again is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database.
    #[error("dead letters cannot be kept in the database")]
    Database(#[from] lovage_database::Error),
    /// The broker.
    #[error("dead letters cannot be taken from the broker")]
    Broker(#[from] lovage_broker::Error),
}

/// Moves letters, or waits to, until the token is cancelled. Errors are logged and tried again.
pub async fn run(parts: Parts, token: CancellationToken) {
    let duty = Duty {
        name: LEASE,
        database: parts.database.clone(),
        holder: parts.holder.clone(),
        length: parts.lease,
    };
    duty.hold(parts, token).await;
}

impl Work for Parts {
    type Error = Error;

    /// Moves letters until told to stop.
    async fn run(&self, _lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
        let moving = async {
            loop {
                collect(&self.database, &*self.broker).await?;
                sleep(self.poll).await;
            }
        };
        // Where it is dropped does not matter: what is repeated is harmless.
        stop.run_until_cancelled(moving).await.unwrap_or(Ok(()))
    }
}

/// Moves all letters there are now, the oldest first, and tells how many.
///
/// # Errors
/// [`Error`]; some may have been moved.
pub async fn collect(database: &Database, broker: &dyn Broker) -> Result<u64, Error> {
    let letters = broker.dead_letters();
    let mut moved = 0;
    loop {
        let there = usize::try_from(letters.count().await?).unwrap_or(usize::MAX);
        if there == 0 {
            return Ok(moved);
        }
        // The newest come first.
        let mut batch = letters.list(there.saturating_sub(BATCH), BATCH).await?;
        batch.reverse();
        let tracebacks = tracebacks(database, &batch).await?;
        let ids: Vec<String> = batch.iter().map(|letter| letter.id.clone()).collect();
        let died = batch.into_iter().map(|letter| {
            let traceback = letter
                .reason
                .task_id
                .as_ref()
                .and_then(|id| tracebacks.iter().find(|(of, _)| of == id))
                .map(|(_, traceback)| traceback.clone());
            died(letter, traceback)
        });
        dead_letter::keep(database.writer(), died).await?;
        let mut gone = 0;
        for id in &ids {
            gone += u64::from(letters.discard(id).await?);
        }
        moved += gone;
        if gone == 0 {
            // Somebody else takes them away.
            return Ok(moved);
        }
    }
}

/// The tracebacks of those tasks that history has.
async fn tracebacks(
    database: &Database,
    letters: &[DeadLetter],
) -> Result<Vec<(String, String)>, Error> {
    let ids: Vec<TaskId> = letters
        .iter()
        .filter_map(|letter| letter.reason.task_id.as_deref().map(TaskId::from))
        .collect();
    let runs = task_run::find_many(database.reader(), &ids).await?;
    Ok(runs
        .into_iter()
        .filter_map(|run| Some((run.task_id.into(), run.traceback?)))
        .collect())
}

fn died(letter: DeadLetter, traceback: Option<String>) -> Died {
    Died {
        source_id: letter.id,
        message: letter.raw.to_vec(),
        code: letter.reason.code,
        detail: letter.reason.detail,
        traceback,
        task: letter.reason.task,
        task_id: letter.reason.task_id,
        queue: letter.queue,
        worker: (!letter.node.is_empty()).then_some(letter.node),
        died_at: unix_time(letter.at),
    }
}

/// A time that no calendar has is now.
#[expect(
    clippy::cast_possible_truncation,
    reason = "microseconds of a sensible time fit; others are cut and then refused by the calendar"
)]
fn unix_time(seconds: f64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros((seconds * 1e6) as i64).unwrap_or_else(Utc::now)
}
