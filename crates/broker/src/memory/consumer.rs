//! A consumer of the memory broker.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::QueueName;
use lovage_settings::QueueOrder;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Inner, settle,
    state::{Holding, State, Worker},
};
use crate::{
    Admit, Admitted, Consumer, ConsumerOptions, Delivery, DeliveryTag, Error, Finish, Finished,
    Leave, Start, Want, envelope, rotation::Rotation,
};

/// See the module of the broker.
#[derive(Debug)]
pub(super) struct MemoryConsumer {
    inner: Arc<Inner>,
    id: String,
    rotation: Mutex<Rotation>,
    closed: CancellationToken,
}

impl MemoryConsumer {
    pub(super) fn open(inner: Arc<Inner>, options: ConsumerOptions) -> Self {
        let id = Uuid::new_v4().simple().to_string();
        let mut consumed = options.queues.clone();
        consumed.extend(options.exclusive.iter().map(|own| own.queue.clone()));
        let rotation = Rotation::new(consumed, QueueOrder::RoundRobin);
        let queues = rotation.queues().to_vec();
        let worker = Worker {
            options,
            queues,
            held: BTreeMap::new(),
            early: BTreeMap::new(),
            next: 1,
            ends: None,
        };
        inner.lock().workers.insert(id.clone(), worker);
        Self {
            inner,
            id,
            rotation: Mutex::new(rotation),
            closed: CancellationToken::new(),
        }
    }

    fn take(&self, state: &mut State, want: Want) -> Vec<Delivery> {
        let (turn, fair) = {
            let mut rotation = self.rotation.lock().unwrap_or_else(PoisonError::into_inner);
            (rotation.turn(), rotation.is_fair())
        };
        if state.held_up {
            return Vec::new();
        }
        let State { lists, workers, .. } = state;
        let Some(worker) = workers.get_mut(&self.id) else {
            return Vec::new();
        };
        let taken = lists.take(&turn, fair, want.max.max(1));
        let deliveries = taken
            .into_iter()
            .enumerate()
            .map(|(position, (queue, raw))| {
                let suspect = envelope::is_suspect(&raw);
                let (tag, started) = (worker.next, position < want.start && !suspect);
                worker.next += 1;
                worker.held.insert(
                    tag,
                    Holding {
                        queue: queue.clone(),
                        raw: raw.clone(),
                        started,
                    },
                );
                Delivery {
                    tag: DeliveryTag(tag),
                    queue,
                    raw,
                    started,
                    suspect,
                }
            });
        deliveries.collect()
    }

    fn put_back(&self, state: &mut State, waiting_only: bool) -> u64 {
        let Some(worker) = state.workers.get_mut(&self.id) else {
            return 0;
        };
        let held = std::mem::take(&mut worker.held);
        let (kept, back): (BTreeMap<_, _>, BTreeMap<_, _>) = held
            .into_iter()
            .partition(|(_, holding)| waiting_only && holding.started);
        worker.held = kept;
        let mut count = 0;
        for (number, holding) in back.into_iter().rev() {
            let leave = Leave::Again {
                owner: envelope::identity(&holding.raw),
                pause: Duration::ZERO,
            };
            state.leave(&(self.id.clone(), number), &leave);
            let again = envelope::redelivered(&holding.raw);
            state.lists.restore(&holding.queue, again);
            count += 1;
        }
        count
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.closed.is_cancelled() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn fetch(&self, want: Want) -> Result<Vec<Delivery>, Error> {
        loop {
            self.check_open()?;
            // Made before the look, so that what arrives after the look wakes it.
            let mut arrived = std::pin::pin!(self.inner.arrived.notified());
            arrived.as_mut().enable();
            let next_event = {
                let mut state = self.inner.lock();
                let deliveries = self.take(&mut state, want);
                if !deliveries.is_empty() {
                    return Ok(deliveries);
                }
                state.next_event()
            };
            let event = async {
                match next_event {
                    Some(wait) => tokio::time::sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = arrived => {}
                () = event => {}
                () = self.closed.cancelled() => {}
            }
        }
    }

    fn set_queues(&self, mut queues: Vec<QueueName>) {
        let mut rotation = self.rotation.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(worker) = self.inner.lock().workers.get_mut(&self.id) {
            let own = worker.options.exclusive.iter();
            queues.extend(own.map(|own| own.queue.clone()));
            *rotation = Rotation::new(queues, rotation.order());
            worker.queues = rotation.queues().to_vec();
        }
        drop(rotation);
        self.inner.arrived.notify_waiters();
    }

    async fn start(&self, batch: Vec<Start>) -> Result<Vec<bool>, Error> {
        self.check_open()?;
        settle::start(&self.inner, &self.id, &batch)
    }

    async fn unstart(&self, batch: Vec<DeliveryTag>) -> Result<(), Error> {
        self.check_open()?;
        let mut state = self.inner.lock();
        let worker = state.workers.get_mut(&self.id).ok_or(Error::Closed)?;
        for tag in batch {
            if let Some(holding) = worker.held.get_mut(&tag.0) {
                holding.started = false;
            }
        }
        Ok(())
    }

    async fn admit(&self, batch: Vec<Admit>) -> Result<Vec<Admitted>, Error> {
        self.check_open()?;
        let mut state = self.inner.lock();
        let decided = batch.iter().map(|admit| state.admit(&self.id, admit));
        let decided = decided.collect();
        drop(state);
        // Whoever waits for messages must learn of new times.
        self.inner.arrived.notify_waiters();
        Ok(decided)
    }

    async fn finish(&self, batch: Vec<Finish>) -> Result<Vec<Finished>, Error> {
        self.check_open()?;
        settle::finish(&self.inner, &self.id, batch)
    }

    async fn died(&self, tags: Vec<DeliveryTag>) -> Result<(), Error> {
        self.check_open()?;
        let mut state = self.inner.lock();
        let Some(worker) = state.workers.get_mut(&self.id) else {
            return Err(Error::Closed);
        };
        let mut held: Vec<(u64, Holding)> = tags
            .into_iter()
            .filter_map(|tag| Some((tag.0, worker.held.remove(&tag.0)?)))
            .collect();
        held.sort_by_key(|(tag, _)| *tag);
        let options = worker.options.clone();
        // The oldest goes last, to the very head.
        for (number, holding) in held.into_iter().rev() {
            let tag = (self.id.clone(), number);
            state.after_death(&tag, holding, &options, &self.inner.results);
        }
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(())
    }

    async fn release_unstarted(&self) -> Result<u64, Error> {
        self.check_open()?;
        let count = self.put_back(&mut self.inner.lock(), true);
        self.inner.arrived.notify_waiters();
        Ok(count)
    }

    async fn close(&self) -> Result<(), Error> {
        self.closed.cancel();
        let mut state = self.inner.lock();
        self.put_back(&mut state, false);
        state.forget(&self.id);
        state.hand_back_if_last();
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(())
    }

    fn journals(&self) -> bool {
        self.inner.lock().journals()
    }

    async fn record(&self, records: Vec<Bytes>) -> Result<(), Error> {
        self.check_open()?;
        let mut state = self.inner.lock();
        let worker = state.workers.get(&self.id).ok_or(Error::Closed)?;
        let node = worker.options.node.to_string();
        state.record(&node, records);
        Ok(())
    }

    fn is_connected(&self) -> bool {
        !self.closed.is_cancelled()
    }

    fn lease_age(&self) -> Duration {
        // Nothing has to be renewed here.
        Duration::ZERO
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        let mut state = self.inner.lock();
        let now = state.now();
        if let Some(worker) = state.workers.get_mut(&self.id) {
            worker.ends = Some(now + worker.options.lease.as_secs_f64());
        }
        drop(state);
        // Whoever waits must learn that there is an end to wait for.
        self.inner.arrived.notify_waiters();
    }
}
