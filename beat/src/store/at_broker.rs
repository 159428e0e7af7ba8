//! The form without a database: everything at the broker, a tick and its messages in one step of it.

use std::{collections::HashSet, fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_broker::{
    Broker,
    timetable::{self, Candidate, Kept, Leadership, Put, Ticked},
};
use lovage_client::{Client, Prepared};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use super::{News, Save, Store, StoreError, Stored, Tick, TickRecord, Wanted};

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

    /// Here no more is known than the last records that are kept. They are written after the messages: whoever dies in between
    /// sends again when asked again.
    async fn make_up(
        &self,
        stored: &Stored,
        client: &Client,
        runs: Vec<(Prepared, TickRecord)>,
    ) -> Result<Option<Vec<TickRecord>>, StoreError> {
        let name = &stored.definition.draft.name;
        let now = self.stored(name).await?;
        if now.is_none_or(|now| now.version != stored.version) {
            return Ok(None);
        }
        let before = self.history(name, timetable::HISTORY).await?;
        let before: HashSet<Uuid> = before.into_iter().map(|record| record.task_id).collect();
        let fresh = runs
            .into_iter()
            .filter(|(_, record)| !before.contains(&record.task_id));
        let (messages, records): (Vec<Prepared>, Vec<TickRecord>) = fresh.unzip();
        if !records.is_empty() {
            client.publish(messages).await?;
            self.remember(name, &records).await?;
        }
        Ok(Some(records))
    }

    async fn page(&self, wanted: &Wanted) -> Result<Vec<Stored>, StoreError> {
        let mut found = super::some(self, |stored: &Stored| wanted.takes(stored)).await?;
        found.truncate(wanted.most);
        Ok(found)
    }

    async fn history(&self, name: &str, most: usize) -> Result<Vec<TickRecord>, StoreError> {
        let records = self.broker.timetable().history(name, most).await?;
        records.iter().map(|record| read(name, record)).collect()
    }
}
