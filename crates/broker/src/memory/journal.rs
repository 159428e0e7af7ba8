//! The journal in memory.

use std::collections::VecDeque;

use async_trait::async_trait;
use bytes::Bytes;

use super::{MemoryBroker, state::State};
use crate::{Budget, Error, Journal, JournalEntry, Mark, Page};

/// What an entry takes beside its text, as on Redis.
const BESIDE: u64 = 150;

/// A journal that is kept.
#[derive(Debug)]
pub(super) struct Kept {
    epoch: String,
    most_bytes: u64,
    /// Unix time in seconds at which it ends by itself.
    until: f64,
    entries: VecDeque<JournalEntry>,
    entries_ever: u64,
    records: u64,
    bytes: u64,
    /// Of the bytes, those that are gone.
    low: u64,
}

impl State {
    /// Whether a journal is kept now.
    pub(super) fn journals(&self) -> bool {
        let now = self.now();
        self.history.as_ref().is_some_and(|kept| kept.until > now)
    }

    /// Writes into it what one step tells.
    pub(super) fn record(&mut self, node: &str, records: Vec<Bytes>) {
        if records.is_empty() || !self.journals() {
            return;
        }
        let Some(kept) = &mut self.history else {
            return;
        };
        let bytes: usize = records.iter().map(Bytes::len).sum();
        kept.entries_ever += 1;
        kept.records += to_u64(records.len());
        kept.bytes += to_u64(bytes) + BESIDE;
        kept.entries.push_back(JournalEntry {
            mark: Mark {
                epoch: kept.epoch.clone(),
                id: format!("0-{}", kept.entries_ever),
                records: kept.records,
                bytes: kept.bytes,
            },
            node: node.to_owned(),
            records,
        });
        while kept.bytes - kept.low > kept.most_bytes
            && let Some(oldest) = kept.entries.pop_front()
        {
            kept.low = oldest.mark.bytes;
        }
    }
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).expect("a length fits into 64 bits")
}

fn number(id: &str) -> u64 {
    let number = id.rsplit('-').next();
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[async_trait]
impl Journal for MemoryBroker {
    async fn keep(&self, budget: Budget) -> Result<String, Error> {
        let mut state = self.inner.lock();
        if !state.journals() {
            state.history = None;
        }
        let until = state.now() + budget.life.as_secs_f64();
        let kept = state.history.get_or_insert_with(|| Kept {
            epoch: uuid::Uuid::new_v4().simple().to_string(),
            most_bytes: 0,
            until,
            entries: VecDeque::new(),
            entries_ever: 0,
            records: 0,
            bytes: 0,
            low: 0,
        });
        (kept.most_bytes, kept.until) = (budget.bytes, until);
        Ok(kept.epoch.clone())
    }

    async fn read(&self, after: Option<&str>, enough: usize) -> Result<Option<Page>, Error> {
        let state = self.inner.lock();
        if !state.journals() {
            return Ok(None);
        }
        let after = after.map_or(0, number);
        Ok(state.history.as_ref().map(|kept| {
            let mut bytes = 0;
            let later = kept.entries.iter();
            let later = later.filter(|entry| number(&entry.mark.id) > after);
            let entries = later.take_while(|entry| {
                let fits = bytes < enough;
                bytes += entry.records.iter().map(Bytes::len).sum::<usize>();
                fits
            });
            Page {
                epoch: kept.epoch.clone(),
                written: kept.records,
                entries: entries.cloned().collect(),
            }
        }))
    }

    async fn forget(&self, mark: &Mark) -> Result<(), Error> {
        let mut state = self.inner.lock();
        if let Some(kept) = &mut state.history
            && kept.epoch == mark.epoch
        {
            let last = number(&mark.id);
            kept.entries.retain(|entry| number(&entry.mark.id) > last);
            kept.low = kept.low.max(mark.bytes);
        }
        Ok(())
    }

    async fn end(&self) -> Result<(), Error> {
        self.inner.lock().history = None;
        Ok(())
    }
}
