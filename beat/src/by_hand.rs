//! What people do with a schedule beside changing it: run it now, make up for a time that has passed, pause it.

use chrono::{DateTime, Utc};
use lovage_client::{Client, Error as ClientError};
use uuid::Uuid;

use crate::{
    check::{Defaults, DraftFaults},
    due::task_id,
    message::{self, MessageError},
    store::{Cause, Save, Store, StoreError, Stored, TickRecord},
};

/// The most runs of one backfill.
const MOST_RUNS: usize = 10_000;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ByHandError {
    /// There is no such schedule.
    #[error("there is no schedule {0:?}")]
    Unknown(String),
    /// Somebody else changed it at the same time.
    #[error(
        "the schedule {0:?} was changed by somebody else meanwhile; look at it, then try again"
    )]
    Changed(String),
    /// The range has too many runs.
    #[error("there are more than {most} runs of {name:?} in that range; right would be a smaller one", most = MOST_RUNS)]
    TooMany {
        /// The schedule.
        name: String,
    },
    /// What is kept cannot run.
    #[error(transparent)]
    Draft(#[from] DraftFaults),
    /// A message cannot be written.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// A message cannot be sent.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

async fn find(store: &dyn Store, name: &str) -> Result<Stored, ByHandError> {
    let stored = store.stored(name).await?;
    stored.ok_or_else(|| ByHandError::Unknown(name.to_owned()))
}

/// Sends a schedule's task at once, due or not, paused or not. Its own runs go on as before.
///
/// # Errors
/// There is no such schedule, or its message cannot be sent.
pub async fn run_now(
    store: &dyn Store,
    client: &Client,
    name: &str,
) -> Result<TickRecord, ByHandError> {
    let stored = find(store, name).await?;
    let now = client.clock().now();
    let id = Uuid::new_v4();
    let prepared = message::prepare(client, &stored.definition.draft, id, now)?;
    client.publish(vec![prepared]).await?;
    let record = TickRecord {
        due: now,
        sent: now,
        task_id: id,
        cause: Cause::Now,
        left_out: 0,
    };
    store.remember(name, std::slice::from_ref(&record)).await?;
    Ok(record)
}

/// Sends the runs that were due after `from` and up to `until`, in their order, with the ids that they had or would have had:
/// a run that was sent in its time is the same task once more.
///
/// # Errors
/// There is no such schedule, there are too many runs, or a message cannot be sent.
pub async fn backfill(
    store: &dyn Store,
    client: &Client,
    name: &str,
    (from, until): (DateTime<Utc>, DateTime<Utc>),
    defaults: &Defaults,
) -> Result<Vec<TickRecord>, ByHandError> {
    let stored = find(store, name).await?;
    let definition = &stored.definition;
    let timing = definition.draft.timing(defaults)?;
    let now = client.clock().now();
    let mut prepared = Vec::new();
    let mut records = Vec::new();
    for run in timing.upcoming(from).take_while(|run| run.at <= until) {
        if records.len() == MOST_RUNS {
            return Err(ByHandError::TooMany {
                name: name.to_owned(),
            });
        }
        let task_id = task_id(definition.id, run.at);
        prepared.push(message::prepare(
            client,
            &definition.draft,
            task_id,
            run.at,
        )?);
        records.push(TickRecord {
            due: run.at,
            sent: now,
            task_id,
            cause: Cause::Backfill,
            left_out: 0,
        });
    }
    client.publish(prepared).await?;
    store.remember(name, &records).await?;
    Ok(records)
}

/// Pauses a schedule, or lets it run again. What is due while it is paused is not made up for. False: it was so already.
///
/// # Errors
/// There is no such schedule, or somebody else changes it.
pub async fn set_paused(
    store: &dyn Store,
    name: &str,
    paused: bool,
    defaults: &Defaults,
    now: DateTime<Utc>,
) -> Result<bool, ByHandError> {
    let stored = find(store, name).await?;
    if stored.definition.paused == paused {
        return Ok(false);
    }
    let mut definition = stored.definition.clone();
    definition.paused = paused;
    let timing = definition.draft.timing(defaults)?;
    let progress = (!paused).then(|| stored.progress.resumed(&timing.schedule, now));
    let save = Save {
        definition,
        version: Some(stored.version),
        progress,
    };
    match store.save(&save).await? {
        Some(_) => Ok(true),
        None => Err(ByHandError::Changed(name.to_owned())),
    }
}
