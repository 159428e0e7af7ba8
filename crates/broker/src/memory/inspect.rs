//! A look inside, and a hand on the tap: what test kits need of a broker in memory.

use bytes::Bytes;
use lovage_protocol::QueueName;

use super::{MemoryBroker, state::State};
use crate::Publish;

/// Everything that is in a memory broker at one moment.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// Messages in queues, those next in line first.
    pub waiting: Vec<(QueueName, Bytes)>,
    /// Messages in the hands of workers.
    pub held: Vec<Held>,
    /// Messages that are not due, with their unix time in seconds, the first due first.
    pub delayed: Vec<(f64, QueueName, Bytes)>,
}

/// A message in a worker's hands.
#[derive(Debug, Clone)]
pub struct Held {
    /// The queue it was taken from.
    pub queue: QueueName,
    /// The envelope.
    pub raw: Bytes,
    /// Its task has begun.
    pub started: bool,
}

impl MemoryBroker {
    /// Stops handing out messages: a fetch waits until [`MemoryBroker::go_on`]. What was handed out goes on.
    pub fn hold_up(&self) {
        self.inner.lock().held_up = true;
    }

    /// Hands out messages again.
    pub fn go_on(&self) {
        self.inner.lock().held_up = false;
        self.inner.arrived.notify_waiters();
    }

    /// Tells those who wait that the clock was moved: what is due by now goes to its queue.
    pub fn clock_moved(&self) {
        drop(self.inner.lock());
        self.inner.arrived.notify_waiters();
    }

    /// Waits until no worker holds a message and no queue that a worker consumes has one. What is delayed may stay.
    ///
    /// # Cancel safety
    /// Safe: nothing is changed.
    pub async fn quiet(&self) {
        loop {
            // Made before the look, so that what ends after the look wakes it.
            let mut changed = std::pin::pin!(self.inner.arrived.notified());
            changed.as_mut().enable();
            if is_quiet(&self.inner.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// What is in it now.
    pub fn contents(&self) -> Contents {
        let state = self.inner.lock();
        let hands = state.workers.values();
        let held = hands.flat_map(|worker| worker.held.values().chain(worker.early.values()));
        Contents {
            waiting: state.lists.all(),
            held: held
                .map(|holding| Held {
                    queue: holding.queue.clone(),
                    raw: holding.raw.clone(),
                    started: holding.started,
                })
                .collect(),
            delayed: state
                .delayed()
                .iter()
                .map(|delayed| {
                    (
                        delayed.until,
                        delayed.queue.clone(),
                        delayed.payload.clone(),
                    )
                })
                .collect(),
        }
    }

    /// Notes everything that is published from now on, by clients and by workers.
    pub fn note_publishes(&self) {
        self.inner.lock().published.get_or_insert_default();
    }

    /// What was published since that is noted, in order.
    pub fn published(&self) -> Vec<Publish> {
        self.inner.lock().published.clone().unwrap_or_default()
    }
}

fn is_quiet(state: &State) -> bool {
    state.workers.values().all(|worker| {
        worker.held.is_empty()
            && worker.early.is_empty()
            && worker
                .queues
                .iter()
                .all(|queue| state.lists.depth(queue) == 0)
    })
}
