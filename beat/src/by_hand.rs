//! What people do with a schedule beside changing it: run it now, make up for a time that has passed, pause it.

use chrono::{DateTime, Utc};
use lovage_client::{Client, Error as ClientError, Prepared};
use uuid::Uuid;

use crate::{
    check::{Defaults, DraftFaults},
    draft::Draft,
    due::task_id,
    message::{self, MessageError},
    store::{Cause, Save, Source, Store, StoreError, Stored, TickRecord},
};

/// The most runs of one backfill.
pub const MOST_RUNS: usize = 10_000;
/// So many of them are sent in one step.
const STEP: usize = 500;

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
    /// It follows a declaration, and is not to be changed elsewhere.
    #[error("the schedule {name:?} is declared in {place}: {remedy}")]
    Declared {
        /// The schedule.
        name: String,
        /// Where that is.
        place: &'static str,
        /// What can be done.
        remedy: &'static str,
    },
    /// The platform does it without a worker, and makes up for no run of it.
    #[error(
        "{0:?} is done by the platform itself, and once does for all that was missed; right would be to run it now"
    )]
    Silent(String),
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

fn declared(stored: &Stored) -> ByHandError {
    const THERE: &str =
        "change it there and start beat again (pause, resume and run work here too)";
    let (place, remedy) = match stored.definition.source {
        Source::Code => ("the program", THERE),
        Source::Builtin => (
            "the platform itself",
            "only its times can be changed (pause, resume and run work too)",
        ),
        _ => ("the schedule file", THERE),
    };
    ByHandError::Declared {
        name: stored.definition.draft.name.clone(),
        place,
        remedy,
    }
}

/// Whether people may make this of a schedule: not of one that follows a declaration. Of the platform's own the times are theirs.
///
/// # Errors
/// [`ByHandError::Declared`].
pub fn may_become(before: &Stored, after: &Draft) -> Result<(), ByHandError> {
    let definition = &before.definition;
    let may = match definition.source {
        Source::Builtin => definition.draft.same_message(after),
        source => !source.is_declared(),
    };
    if may { Ok(()) } else { Err(declared(before)) }
}

/// Whether people may remove a schedule.
///
/// # Errors
/// [`ByHandError::Declared`].
pub fn may_go(stored: &Stored) -> Result<(), ByHandError> {
    match stored.definition.source.is_declared() {
        false => Ok(()),
        true => Err(declared(stored)),
    }
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
    let draft = &stored.definition.draft;
    // Who does it looks for what is remembered below.
    if !draft.is_silent() {
        client
            .publish(vec![message::prepare(client, draft, id, now)?])
            .await?;
    }
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

/// Sends the runs that were due after `from` and up to `until`, in their order, with the ids that they have as ticks, except those
/// that were sent before: asked again it sends nothing. Gives what it sends. What is not decided yet of a schedule that runs is
/// its beat's to send.
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
    if definition.draft.is_silent() {
        return Err(ByHandError::Silent(name.to_owned()));
    }
    let timing = definition.draft.timing(defaults)?;
    let now = client.clock().now();
    let decided = match definition.runs() {
        true => stored.progress.decided.min(now),
        // Once it runs again it begins anew.
        false => now,
    };
    let until = until.min(decided);
    let due = timing.between(&stored.progress, (from, until));
    let due: Vec<DateTime<Utc>> = due.take(MOST_RUNS + 1).map(|run| run.at).collect();
    if due.len() > MOST_RUNS {
        return Err(ByHandError::TooMany {
            name: name.to_owned(),
        });
    }
    let mut sent = Vec::new();
    for some in due.chunks(STEP) {
        let runs = some
            .iter()
            .map(|due| made_up(client, &stored, *due, now))
            .collect::<Result<Vec<_>, _>>()?;
        match store.make_up(&stored, client, runs, defaults).await? {
            Some(records) => sent.extend(records),
            None => return Err(ByHandError::Changed(name.to_owned())),
        }
    }
    Ok(sent)
}

/// One run of a time that has passed.
fn made_up(
    client: &Client,
    stored: &Stored,
    due: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(Prepared, TickRecord), MessageError> {
    let definition = &stored.definition;
    let task_id = task_id(definition.id, due);
    let prepared = message::prepare(client, &definition.draft, task_id, due)?;
    let record = TickRecord {
        due,
        sent: now,
        task_id,
        cause: Cause::Backfill,
        left_out: 0,
    };
    Ok((prepared, record))
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
