//! The form with a database: schedules are rows, leading is a lease, and a tick is one transaction that moves the schedule on,
//! writes down what is sent and puts it into the outbox. A relay sends it (`docs/adr/0027`).

use std::{collections::HashSet, fmt, time::Duration};

use async_trait::async_trait;
use lovage_broker::{
    Destination, Publish,
    timetable::{Candidate, Leadership, Ticked},
};
use lovage_client::{Client, Prepared};
use lovage_database::{
    Database,
    store::{
        lease::{self, Lease},
        outbox::Outgoing,
        schedule, schedule_tick,
    },
};
use lovage_protocol::TaskName;
use tokio::time::timeout;
use uuid::Uuid;

pub use lovage_database::store::schedule::LEASE;

use super::{Cause, Definition, News, Save, Store, StoreError, Stored, Tick, TickRecord, Wanted};
use crate::{check::Defaults, due::Progress};

/// So many schedules are read in one step.
const PORTION: u64 = 500;

/// Schedules in a database. Cloning shares it.
#[derive(Clone)]
pub struct DatabaseStore {
    database: Database,
    patience: Duration,
}

impl fmt::Debug for DatabaseStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseStore")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl DatabaseStore {
    /// In a database whose tables are there. What takes longer than `patience` has failed: a network that is gone answers nothing,
    /// and who leads must know in the time of the lease that it does no more.
    pub fn new(database: Database, patience: Duration) -> Self {
        Self { database, patience }
    }

    async fn in_time<T>(
        &self,
        step: impl Future<Output = Result<T, lovage_database::Error>>,
    ) -> Result<T, StoreError> {
        match timeout(self.patience, step).await {
            Ok(done) => Ok(done?),
            Err(_) => Err(StoreError::Slow {
                seconds: self.patience.as_secs(),
            }),
        }
    }
}

fn unreadable(name: &str, source: serde_json::Error) -> StoreError {
    StoreError::Unreadable {
        name: name.to_owned(),
        source,
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

fn written(definition: &Definition) -> Result<schedule::Definition, StoreError> {
    let draft = &definition.draft;
    let text = serde_json::to_string(draft).map_err(|source| unreadable(&draft.name, source))?;
    Ok(schedule::Definition {
        id: definition.id,
        name: draft.name.clone(),
        task: draft.task.clone(),
        kind: draft.kind().name().to_owned(),
        source: definition.source.name().to_owned(),
        // PostgreSQL keeps no text with a zero byte; JSON escapes it.
        draft: text,
        paused: definition.paused,
        enabled: definition.runs(),
    })
}

fn progress(kept: Progress) -> schedule::Progress {
    schedule::Progress {
        decided: kept.decided,
        last_due: kept.last_run,
        runs: number(kept.runs),
    }
}

fn stored(row: schedule::Schedule) -> Result<Stored, StoreError> {
    let schedule::Schedule {
        definition,
        progress,
        version,
    } = row;
    let name = definition.name;
    let draft = serde_json::from_str(&definition.draft);
    let source = serde_json::from_value(definition.source.into());
    Ok(Stored {
        definition: Definition {
            id: definition.id,
            source: source.map_err(|error| unreadable(&name, error))?,
            paused: definition.paused,
            draft: draft.map_err(|error| unreadable(&name, error))?,
        },
        version: count(version),
        progress: Progress {
            decided: progress.decided,
            last_run: progress.last_due,
            runs: count(progress.runs),
            // Every tick is a row here.
            gapless: None,
        },
    })
}

/// A message that is made already, as the outbox takes it.
fn outgoing(task: &str, id: Uuid, publish: &Publish) -> Outgoing {
    let mut outgoing = Outgoing::call(id.to_string().into(), TaskName::from(task));
    outgoing.message = Some(publish.payload.to_vec());
    outgoing.priority = i16::try_from(publish.priority).ok();
    match &publish.destination {
        Destination::Queue(queue) => outgoing.queue = Some(queue.to_string()),
        Destination::Exchange {
            exchange,
            routing_key,
        }
        | Destination::Fanout {
            exchange,
            routing_key,
        } => {
            outgoing.exchange = Some(exchange.clone());
            outgoing.routing_key = Some(routing_key.clone());
        }
        // The relay puts aside what has no place, and says so.
        _ => {}
    }
    outgoing
}

fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Due => "due",
        Cause::Now => "now",
        Cause::Backfill => "backfill",
    }
}

fn record(record: &TickRecord) -> schedule_tick::Record {
    schedule_tick::Record {
        due: record.due,
        fired: record.sent,
        cause: cause(record.cause).to_owned(),
        task_id: record.task_id.to_string(),
        left_out: number(record.left_out),
    }
}

fn remembered(record: &schedule_tick::Record) -> TickRecord {
    TickRecord {
        due: record.due,
        sent: record.fired,
        task_id: record.task_id.parse().unwrap_or_default(),
        cause: match record.cause.as_str() {
            "now" => Cause::Now,
            "backfill" => Cause::Backfill,
            _ => Cause::Due,
        },
        left_out: count(record.left_out),
    }
}

fn row(tick: &Tick) -> schedule_tick::Tick {
    // The keeper's own runs have no messages.
    let messages = tick.messages.iter().map(Some);
    let messages = messages.chain(std::iter::repeat(None));
    let sent = messages.zip(&tick.records).map(|(message, about)| {
        let outgoing = message.map(|message| outgoing(&tick.task, about.task_id, &message.publish));
        (outgoing, record(about))
    });
    schedule_tick::Tick {
        schedule: tick.id,
        version: number(tick.version),
        before: progress(tick.before),
        after: progress(tick.after),
        sent: sent.collect(),
    }
}

/// The lead as its holder knows it; the scope matters to nobody here.
fn held(owner: &str, fence: u64) -> Lease {
    Lease {
        name: LEASE.to_owned(),
        holder: owner.to_owned(),
        fence: number(fence),
        scope: String::new(),
    }
}

#[async_trait]
impl Store for DatabaseStore {
    async fn lead(&self, candidate: &Candidate) -> Result<Leadership, StoreError> {
        let database = &self.database;
        let Candidate {
            owner,
            about,
            lease: length,
        } = candidate;
        self.in_time(async {
            let taken = Lease::take(database, LEASE, owner, *length).await?;
            let about = match &taken {
                Some(lease) => {
                    lease.tell(database, about).await?;
                    about.clone()
                }
                None => lease::told(database, LEASE)
                    .await?
                    .map_or_else(String::new, |told| told.about),
            };
            Ok(Leadership {
                fence: taken.map(|lease| count(lease.fence)),
                about,
                edition: count(schedule::edition(database.reader()).await?),
            })
        })
        .await
    }

    async fn step_down(&self, owner: &str) -> Result<(), StoreError> {
        self.in_time(lease::give_up(&self.database, LEASE, owner))
            .await
    }

    async fn leader(&self) -> Result<Option<Leadership>, StoreError> {
        let database = &self.database;
        self.in_time(async {
            let Some(told) = lease::told(database, LEASE).await? else {
                return Ok(None);
            };
            Ok(Some(Leadership {
                fence: Some(count(told.fence)),
                about: told.about,
                edition: count(schedule::edition(database.reader()).await?),
            }))
        })
        .await
    }

    async fn news(&self, since: u64) -> Result<News, StoreError> {
        let changes = schedule::changes(&self.database, number(since), PORTION);
        let changes = self.in_time(changes).await?;
        let mut changed = Vec::with_capacity(changes.changed.len());
        for row in changes.changed {
            let name = row.definition.name.clone();
            match stored(row) {
                Ok(stored) => changed.push(stored),
                // One that cannot be read must not hold up the others.
                Err(error) => tracing::error!(
                    schedule = name,
                    error = &error as &dyn std::error::Error,
                    "a schedule cannot be read and does not run"
                ),
            }
        }
        Ok(News {
            edition: count(changes.edition),
            changed,
            removed: changes.removed,
            more: changes.more,
        })
    }

    async fn stored(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let found = schedule::find(self.database.reader(), name);
        self.in_time(found).await?.map(stored).transpose()
    }

    async fn save(&self, save: &Save) -> Result<Option<u64>, StoreError> {
        let change = schedule::Change {
            definition: written(&save.definition)?,
            version: save.version.map(number),
            progress: save.progress.map(progress),
        };
        let saved = Box::pin(self.in_time(schedule::save(&self.database, change))).await?;
        Ok(saved.map(count))
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        self.in_time(schedule::remove(&self.database, name)).await
    }

    async fn tick(
        &self,
        owner: &str,
        fence: u64,
        ticks: &[Tick],
    ) -> Result<Option<Vec<Ticked>>, StoreError> {
        let rows: Vec<schedule_tick::Tick> = ticks.iter().map(row).collect();
        let lease = held(owner, fence);
        let ticked = self.in_time(schedule_tick::tick(&self.database, &lease, &rows));
        match ticked.await {
            Ok(ticked) => Ok(Some(ticked.into_iter().map(told).collect())),
            Err(StoreError::Database(lovage_database::Error::LeaseLost { .. })) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn remember(&self, name: &str, records: &[TickRecord]) -> Result<(), StoreError> {
        let records: Vec<_> = records.iter().map(record).collect();
        self.in_time(schedule_tick::remember(&self.database, name, &records))
            .await
    }

    async fn make_up(
        &self,
        stored: &Stored,
        _client: &Client,
        runs: Vec<(Prepared, TickRecord)>,
        _defaults: &Defaults,
    ) -> Result<Option<Vec<TickRecord>>, StoreError> {
        let definition = &stored.definition;
        let task = &definition.draft.task;
        let rows = runs.iter().map(|(message, about)| {
            let outgoing = outgoing(task, about.task_id, &message.publish);
            (outgoing, record(about))
        });
        let version = number(stored.version);
        let made_up =
            schedule_tick::make_up(&self.database, definition.id, version, rows.collect());
        let Some(ids) = self.in_time(made_up).await? else {
            return Ok(None);
        };
        let ids: HashSet<String> = ids.into_iter().collect();
        let records = runs.into_iter().map(|(_, record)| record);
        Ok(Some(
            records
                .filter(|record| ids.contains(&record.task_id.to_string()))
                .collect(),
        ))
    }

    async fn page(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError> {
        let filter = schedule::Filter {
            tasks: wanted.tasks.clone(),
            sources: wanted
                .sources
                .iter()
                .map(|one| one.name().to_owned())
                .collect(),
            kinds: wanted
                .kinds
                .iter()
                .map(|one| one.name().to_owned())
                .collect(),
            enabled: wanted.runs,
            text: wanted.text.clone(),
        };
        let most = u64::try_from(wanted.most).unwrap_or(u64::MAX);
        let after = wanted.after.as_deref();
        let rows = schedule::page(self.database.reader(), &filter, after, most);
        self.in_time(rows).await?.into_iter().map(stored).collect()
    }

    async fn history(
        &self,
        name: &str,
        after: Option<Uuid>,
        most: usize,
    ) -> Result<Vec<TickRecord>, StoreError> {
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let after = after.map(|id| id.to_string());
        let records = schedule_tick::history(&self.database, name, after.as_deref(), most);
        Ok(self
            .in_time(records)
            .await?
            .iter()
            .map(remembered)
            .collect())
    }
}

fn told(ticked: schedule_tick::Ticked) -> Ticked {
    match ticked {
        schedule_tick::Ticked::Done => Ticked::Done,
        schedule_tick::Ticked::Changed => Ticked::Changed,
    }
}
