//! Results in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};
use lovage_protocol::{Clock, is_success_record};
use tokio::sync::mpsc;

use crate::ResultWrite;

/// The table of results beside a memory broker. Cheap to clone; clones are the same table.
#[derive(Debug, Clone, Default)]
pub struct MemoryResults {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    records: HashMap<String, Record>,
    watchers: HashMap<String, Vec<mpsc::UnboundedSender<Bytes>>>,
    clock: Clock,
}

#[derive(Debug)]
struct Record {
    value: Bytes,
    until: Option<DateTime<Utc>>,
}

impl Record {
    fn is_alive(&self, clock: &Clock) -> bool {
        self.until.is_none_or(|until| clock.now() < until)
    }
}

impl MemoryResults {
    pub(super) fn with_clock(clock: Clock) -> Self {
        let table = Table {
            clock,
            ..Table::default()
        };
        Self {
            table: Arc::new(Mutex::new(table)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record under a key.
    pub fn get(&self, key: &str) -> Option<Bytes> {
        let table = self.lock();
        let record = table.records.get(key);
        record
            .filter(|record| record.is_alive(&table.clock))
            .map(|record| record.value.clone())
    }

    /// Stores a record and tells who watches the key, unless a SUCCESS stands there; tells whether it did.
    pub fn set(&self, write: &ResultWrite) -> bool {
        let mut table = self.lock();
        let stands = table
            .records
            .get(&write.key)
            .filter(|record| record.is_alive(&table.clock));
        if stands.is_some_and(|record| is_success_record(&record.value)) {
            return false;
        }
        let until = write
            .expires
            .and_then(|life| TimeDelta::from_std(life).ok())
            .and_then(|life| table.clock.now().checked_add_signed(life));
        table.records.insert(
            write.key.clone(),
            Record {
                value: write.value.clone(),
                until,
            },
        );
        if let Some(watchers) = table.watchers.get_mut(&write.key) {
            watchers.retain(|watcher| watcher.send(write.value.clone()).is_ok());
            if watchers.is_empty() {
                table.watchers.remove(&write.key);
            }
        }
        true
    }

    /// The keys between this beginning and this end, without the end.
    pub fn keys(&self, beginning: &str, end: &str) -> Vec<String> {
        let table = self.lock();
        let living = table
            .records
            .iter()
            .filter(|(key, record)| key.starts_with(beginning) && record.is_alive(&table.clock));
        let found = living.filter_map(|(key, _)| key.strip_suffix(end).map(str::to_owned));
        found.collect()
    }

    /// Deletes a record; tells whether there was one.
    pub fn remove(&self, key: &str) -> bool {
        let mut table = self.lock();
        let record = table.records.remove(key);
        record.is_some_and(|record| record.is_alive(&table.clock))
    }

    /// The record that stands under the key, if any, then every one stored from now on.
    pub fn watch(&self, key: &str) -> BoxStream<'static, Bytes> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut table = self.lock();
        let stands = table
            .records
            .get(key)
            .filter(|record| record.is_alive(&table.clock))
            .map(|record| record.value.clone());
        let watchers = table.watchers.entry(key.to_owned()).or_default();
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(sender);
        drop(table);
        stream::iter(stands).chain(received(receiver)).boxed()
    }
}

fn received(receiver: mpsc::UnboundedReceiver<Bytes>) -> impl Stream<Item = Bytes> {
    stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ResultPlace;

    fn write(value: &str, expires: Option<Duration>) -> ResultWrite {
        ResultWrite {
            key: "k".into(),
            value: Bytes::from(value.to_owned()),
            expires,
            place: ResultPlace::Memory,
        }
    }

    #[tokio::test]
    async fn a_watcher_sees_what_stands_and_what_comes_until_a_success() {
        let results = MemoryResults::default();
        assert!(results.set(&write("{\"status\": \"STARTED\"}", None)));
        let mut seen = results.watch("k");
        assert!(results.set(&write("{\"status\": \"SUCCESS\"}", None)));
        assert!(!results.set(&write("{\"status\": \"FAILURE\"}", None)));
        assert_eq!(seen.next().await.unwrap(), "{\"status\": \"STARTED\"}");
        assert_eq!(seen.next().await.unwrap(), "{\"status\": \"SUCCESS\"}");
        assert_eq!(results.get("k").unwrap(), "{\"status\": \"SUCCESS\"}");
        assert!(results.remove("k"));
        assert!(!results.remove("k"));
    }

    #[test]
    fn a_record_ends_with_its_life() {
        let results = MemoryResults::default();
        results.set(&write("{\"status\": \"SUCCESS\"}", Some(Duration::ZERO)));
        assert_eq!(results.get("k"), None);
        assert!(
            results.set(&write("{\"status\": \"FAILURE\"}", None)),
            "what has expired protects nothing"
        );
    }
}
