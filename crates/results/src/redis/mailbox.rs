//! What one watcher has not read yet.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use tokio::sync::Notify;

/// So many records wait for a slow reader; then the oldest goes, the newest state being the one that counts.
const CAPACITY: usize = 256;

/// A queue of records with one reader. Repetitions of the newest record are left out: a record comes
/// both from the announcement and from the look at the key.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    inner: Mutex<Inner>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    unread: VecDeque<Bytes>,
    newest: Option<Bytes>,
}

impl Mailbox {
    pub(super) fn put(&self, record: &Bytes) {
        {
            let mut inner = self.lock();
            if inner.newest.as_ref() == Some(record) {
                return;
            }
            inner.newest = Some(record.clone());
            if inner.unread.len() == CAPACITY {
                inner.unread.pop_front();
            }
            inner.unread.push_back(record.clone());
        }
        self.arrived.notify_one();
    }

    pub(super) async fn take(&self) -> Bytes {
        loop {
            if let Some(record) = self.lock().unread.pop_front() {
                return record;
            }
            // A record put between the look and this line has left its permit here.
            self.arrived.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing that runs under the lock can leave the queue half changed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{CAPACITY, Mailbox};

    #[tokio::test]
    async fn keeps_order_and_leaves_out_repetitions() {
        let mailbox = Mailbox::default();
        for text in ["a", "a", "b", "b", "a"] {
            mailbox.put(&Bytes::from_static(text.as_bytes()));
        }
        for expected in ["a", "b", "a"] {
            assert_eq!(mailbox.take().await, expected);
        }
    }

    #[tokio::test]
    async fn drops_the_oldest_when_nobody_reads() {
        let mailbox = Mailbox::default();
        for number in 0..=CAPACITY {
            mailbox.put(&Bytes::from(number.to_string()));
        }
        assert_eq!(mailbox.take().await, "1");
    }
}
