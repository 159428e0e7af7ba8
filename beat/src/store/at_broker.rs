//! The form without a database: everything at the broker, a tick and its messages in one step of it.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use lovage_broker::{
    Broker, Publish,
    timetable::{self, Candidate, Kept, Leadership, MadeUp, MakeUp, Past, Put, Span, Ticked},
};
use lovage_client::{Client, Prepared};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{
    Definition, News, Save, Store, StoreError, Stored, Tick, TickRecord, Wanted, sent::Sent,
};
use crate::{check::Defaults, due::Progress};

/// So many schedules are read in one step.
const PORTION: usize = 500;

/// Schedules at the broker. Cloning shares it.
#[derive(Clone)]
pub struct BrokerStore {
    broker: Arc<dyn Broker>,
}

impl fmt::Debug for BrokerStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerStore").finish_non_exhaustive()
    }
}

impl BrokerStore {
    /// On a broker.
    pub fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker }
    }

    /// What is known to have been sent of a schedule in a time: by its ticks and by what people made up for.
    async fn sent(
        &self,
        now: &Stored,
        past: &Past,
        time: (DateTime<Utc>, DateTime<Utc>),
        defaults: &Defaults,
    ) -> Result<Sent, StoreError> {
        let Definition { draft, .. } = &now.definition;
        let mut sent = Sent::default();
        for span in &past.spans {
            // What an older version has written says nothing.
            let (Ok(then), Ok(progress)) = (
                read::<Definition>(&draft.name, &span.definition),
                read::<Progress>(&draft.name, &span.progress),
            ) else {
                continue;
            };
            sent.add_span(&then.draft, &progress, draft, time, defaults);
        }
        sent.add_span(draft, &now.progress, draft, time, defaults);
        let records = self.history(&draft.name, None, timetable::HISTORY).await?;
        sent.add(&records);
        Ok(sent)
    }
}

/// JSON in the order of the fields: the same value is the same bytes, on which the comparison of a tick stands.
fn written(name: &str, value: &impl Serialize) -> Result<Bytes, StoreError> {
    let written = serde_json::to_vec(value);
    written
        .map(Bytes::from)
        .map_err(|source| unreadable(name, source))
}

fn read<T: DeserializeOwned>(name: &str, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| unreadable(name, source))
}

fn unreadable(name: &str, source: serde_json::Error) -> StoreError {
    StoreError::Unreadable {
        name: name.to_owned(),
        source,
    }
}

fn stored(kept: &Kept) -> Result<Stored, StoreError> {
    Ok(Stored {
        definition: read(&kept.name, &kept.definition)?,
        version: kept.version,
        progress: read(&kept.name, &kept.progress)?,
    })
}

fn written_tick(tick: &Tick) -> Result<timetable::Tick, StoreError> {
    let records = tick
        .records
        .iter()
        .map(|record| written(&tick.name, record));
    Ok(timetable::Tick {
        name: tick.name.clone(),
        version: tick.version,
        before: written(&tick.name, &tick.before)?,
        after: written(&tick.name, &tick.after)?,
        publishes: tick
            .messages
            .iter()
            .map(|one| one.publish.clone())
            .collect(),
        records: records.collect::<Result<_, _>>()?,
        breaks: tick.before.gapless.is_some() && tick.before.gapless != tick.after.gapless,
    })
}

#[async_trait]
impl Store for BrokerStore {
    async fn lead(&self, candidate: &Candidate) -> Result<Leadership, StoreError> {
        Ok(self.broker.timetable().lead(candidate).await?)
    }

    async fn step_down(&self, owner: &str) -> Result<(), StoreError> {
        Ok(self.broker.timetable().step_down(owner).await?)
    }

    async fn leader(&self) -> Result<Option<Leadership>, StoreError> {
        Ok(self.broker.timetable().leader().await?)
    }

    async fn news(&self, since: u64) -> Result<News, StoreError> {
        let changes = self.broker.timetable().changes(since, PORTION).await?;
        let mut changed = Vec::with_capacity(changes.entries.len());
        for kept in &changes.entries {
            match stored(kept) {
                Ok(stored) => changed.push(stored),
                // One that cannot be read must not hold up the others.
                Err(error) => tracing::error!(
                    schedule = kept.name,
                    error = &error as &dyn std::error::Error,
                    "a schedule cannot be read and does not run"
                ),
            }
        }
        Ok(News {
            edition: changes.edition,
            changed,
            removed: changes.removed,
            more: changes.more,
        })
    }

    async fn stored(&self, name: &str) -> Result<Option<Stored>, StoreError> {
        let kept = self.broker.timetable().kept(name).await?;
        kept.as_ref().map(stored).transpose()
    }

    async fn save(&self, save: &Save) -> Result<Option<u64>, StoreError> {
        let name = &save.definition.draft.name;
        let progress = save.progress.as_ref();
        let put = Put {
            name: name.clone(),
            version: save.version,
            definition: written(name, &save.definition)?,
            progress: progress
                .map(|progress| written(name, progress))
                .transpose()?,
        };
        Ok(self.broker.timetable().put(&put).await?)
    }

    async fn remove(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.broker.timetable().remove(name).await?)
    }

    async fn tick(
        &self,
        owner: &str,
        fence: u64,
        ticks: &[Tick],
    ) -> Result<Option<Vec<Ticked>>, StoreError> {
        let ticks = ticks.iter().map(written_tick);
        let ticks: Vec<timetable::Tick> = ticks.collect::<Result<_, _>>()?;
        Ok(self.broker.timetable().tick(owner, fence, &ticks).await?)
    }

    async fn remember(&self, name: &str, records: &[TickRecord]) -> Result<(), StoreError> {
        let records = records.iter().map(|record| written(name, record));
        let records: Vec<Bytes> = records.collect::<Result<_, _>>()?;
        Ok(self.broker.timetable().remember(name, &records).await?)
    }

    /// The messages, what is remembered of them and the span of time that they fill are one step, which is refused when anything was
    /// sent since it was looked what had been.
    async fn make_up(
        &self,
        stored: &Stored,
        client: &Client,
        runs: Vec<(Prepared, TickRecord)>,
        defaults: &Defaults,
    ) -> Result<Option<Vec<TickRecord>>, StoreError> {
        let (Some((_, first)), Some((_, last))) = (runs.first(), runs.last()) else {
            return Ok(Some(Vec::new()));
        };
        let name = &stored.definition.draft.name;
        let time = (first.due, last.due);
        let span = Span {
            definition: written(name, &stored.definition)?,
            progress: written(name, &Progress::filled(time))?,
        };
        loop {
            let now = self.stored(name).await?;
            let Some(now) = now.filter(|now| now.version == stored.version) else {
                return Ok(None);
            };
            let past = self.broker.timetable().past(name).await?;
            let sent = self.sent(&now, &past, time, defaults).await?;
            let fresh = runs.iter().filter(|(_, record)| !sent.has(record));
            let (publishes, records): (Vec<Publish>, Vec<TickRecord>) = fresh
                .map(|(message, record)| (message.publish.clone(), record.clone()))
                .unzip();
            if records.is_empty() {
                return Ok(Some(records));
            }
            client.declare(&publishes).await?;
            let noted = records.iter().map(|record| written(name, record));
            let make_up = MakeUp {
                name: name.clone(),
                version: stored.version,
                number: past.number,
                span: span.clone(),
                publishes,
                records: noted.collect::<Result<_, _>>()?,
            };
            match self.broker.timetable().make_up(&make_up).await? {
                MadeUp::Done => {
                    client.tell_sent(&make_up.publishes).await;
                    return Ok(Some(records));
                }
                MadeUp::Changed => return Ok(None),
                MadeUp::Refused => return Err(StoreError::NoQueue { name: name.clone() }),
                // Somebody makes up for something at the same time, or beat leaves runs out.
                MadeUp::Outdated => {}
            }
        }
    }

    async fn page(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError> {
        let mut found = super::some(self, |stored: &Stored| wanted.takes(stored)).await?;
        found.truncate(wanted.most);
        Ok(found)
    }

    async fn history(
        &self,
        name: &str,
        after: Option<Uuid>,
        most: usize,
    ) -> Result<Vec<TickRecord>, StoreError> {
        // They are few.
        let asked = after.map_or(most, |_| timetable::HISTORY);
        let records = self.broker.timetable().history(name, asked).await?;
        let records = records.iter().map(|record| read(name, record));
        let mut records: Vec<TickRecord> = records.collect::<Result<_, _>>()?;
        if let Some(after) = after {
            let at = records.iter().position(|record| record.task_id == after);
            // What came after one that is forgotten is forgotten too.
            records.drain(..at.map_or(records.len(), |at| at + 1));
        }
        records.truncate(most);
        Ok(records)
    }
}
