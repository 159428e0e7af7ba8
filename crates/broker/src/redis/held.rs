//! What a consumer believes to hold. The truth is in `unacked_index`; this is for refreshing and putting back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The deliveries of one consumer by sequence number. Locked once per batch.
#[derive(Debug)]
pub(crate) struct Held {
    entries: Mutex<BTreeMap<u64, Entry>>,
    /// From this number on a fetch may have taken what it has not told us yet.
    unread_from: AtomicU64,
}

impl Default for Held {
    fn default() -> Self {
        Self {
            entries: Mutex::default(),
            unread_from: AtomicU64::new(u64::MAX),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    started: bool,
    /// When its score was last moved to the time of then.
    scored: Instant,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fetch is sent that takes numbers from this one on; None: the last one was answered, and added.
    pub(crate) fn set_unread(&self, first: Option<u64>) {
        self.unread_from
            .store(first.unwrap_or(u64::MAX), Ordering::Release);
    }

    /// Those of the numbers that are not held, and were not taken by a fetch that is still on its way.
    pub(crate) fn unknown(&self, numbers: impl Iterator<Item = u64>) -> BTreeSet<u64> {
        let held = self.lock();
        let unread_from = self.unread_from.load(Ordering::Acquire);
        numbers
            .filter(|number| *number < unread_from && !held.contains_key(number))
            .collect()
    }

    /// Adds what a fetch took: number, and whether it was started.
    pub(crate) fn add(&self, taken: impl Iterator<Item = (u64, bool)>) {
        let scored = Instant::now();
        self.lock()
            .extend(taken.map(|(number, started)| (number, Entry { started, scored })));
    }

    pub(crate) fn start(&self, numbers: impl Iterator<Item = u64>) {
        let mut held = self.lock();
        for number in numbers {
            if let Some(entry) = held.get_mut(&number) {
                entry.started = true;
            }
        }
    }

    pub(crate) fn unstart(&self, numbers: impl Iterator<Item = u64>) {
        let mut held = self.lock();
        for number in numbers {
            if let Some(entry) = held.get_mut(&number) {
                entry.started = false;
            }
        }
    }

    pub(crate) fn remove(&self, numbers: impl Iterator<Item = u64>) {
        let mut held = self.lock();
        for number in numbers {
            held.remove(&number);
        }
    }

    /// All, ascending; without those that were started when `waiting_only`.
    pub(crate) fn numbers(&self, waiting_only: bool) -> Vec<u64> {
        self.lock()
            .iter()
            .filter(|(_, entry)| !(waiting_only && entry.started))
            .map(|(number, _)| *number)
            .collect()
    }

    /// Those whose score is older than `age`; they count as scored now.
    pub(crate) fn overdue(&self, age: Duration) -> Vec<u64> {
        let now = Instant::now();
        let mut overdue = Vec::new();
        for (number, entry) in self.lock().iter_mut() {
            if now.duration_since(entry.scored) > age {
                entry.scored = now;
                overdue.push(*number);
            }
        }
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_waiting_from_started() {
        let held = Held::default();
        held.add([(1, true), (2, false), (3, false), (4, false)].into_iter());
        held.start([3, 99].into_iter());
        held.remove([4].into_iter());
        assert_eq!(held.numbers(false), [1, 2, 3]);
        assert_eq!(held.numbers(true), [2]);
    }

    #[test]
    fn what_is_under_way_is_not_unknown() {
        let held = Held::default();
        held.add([(1, true), (3, false)].into_iter());
        let unknown = || held.unknown(1..=5).into_iter().collect::<Vec<_>>();
        assert_eq!(unknown(), [2, 4, 5]);
        held.set_unread(Some(4));
        assert_eq!(unknown(), [2]);
        held.set_unread(None);
        assert_eq!(unknown(), [2, 4, 5]);
    }

    #[test]
    fn an_overdue_score_is_reported_once() {
        let held = Held::default();
        held.add([(1, false)].into_iter());
        assert!(held.overdue(Duration::from_secs(60)).is_empty());
        std::thread::sleep(Duration::from_millis(2));
        assert_eq!(held.overdue(Duration::from_millis(1)), [1]);
        assert!(held.overdue(Duration::from_millis(1)).is_empty());
    }
}
