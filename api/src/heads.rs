//! For how long the message at the head of a queue has been there, as far as this process has seen.
//!
//! Messages carry no time of sending, on Celery's wire as on ours. What can be said is since when the same message has been
//! next; the true age is that or more.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
    time::Instant,
};

use bytes::Bytes;

/// So many queues are remembered.
const MOST: usize = 10_000;

/// What was seen at the heads of queues.
#[derive(Debug, Default)]
pub(crate) struct Heads(Mutex<HashMap<String, (u64, Instant)>>);

impl Heads {
    /// Takes in what is next in a queue now, and tells for how many seconds it has been; `None` when nothing waits.
    pub(crate) fn seen(&self, queue: &str, head: Option<&Bytes>) -> Option<f64> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(head) = head else {
            seen.remove(queue);
            return None;
        };
        let mut hasher = DefaultHasher::new();
        head.hash(&mut hasher);
        let now = (hasher.finish(), Instant::now());
        if seen.len() >= MOST {
            seen.clear();
        }
        let known = seen.entry(queue.to_owned()).or_insert(now);
        if known.0 != now.0 {
            *known = now;
        }
        Some(now.1.saturating_duration_since(known.1).as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_timed_from_when_it_was_first_seen() {
        let heads = Heads::default();
        let (one, other) = (Bytes::from_static(b"1"), Bytes::from_static(b"2"));
        assert_eq!(heads.seen("q", None), None);
        assert_eq!(heads.seen("q", Some(&one)), Some(0.0));
        assert!(heads.seen("q", Some(&one)).is_some_and(|waits| waits > 0.0));
        assert_eq!(heads.seen("q", Some(&other)), Some(0.0));
    }
}
