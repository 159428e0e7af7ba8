//! The memory form: the same promises inside one process, for tests, and for trying things out without a server.
//!
//! A consumer that is dropped without being closed counts as a dead worker; its lease runs out after the time it asked
//! for, or at once by [`MemoryBroker::expire_lease`].

mod chord;
mod consumer;
mod entry;
mod fanout;
mod gate;
mod inspect;
mod journal;
mod letters;
mod lists;
mod pause;
mod relay;
mod results;
mod revocation;
mod settle;
mod state;
mod survey;
mod timetable;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lovage_protocol::{Clock, QueueName, TaskId};
use tokio::sync::Notify;

use self::{consumer::MemoryConsumer, fanout::Fanout, state::State};
use crate::{
    Ask, Binding, Broadcast, Broker, ChordClose, Consumer, ConsumerOptions, DeadLetters, Delayed,
    Destination, Enough, Entry, Error, Journal, Line, Pauses, Peer, Publish, Reaped, Reaping,
    Relay, Relayed, ResultPlace, Revocations, Survey, Timetable, envelope,
};

pub use self::{
    inspect::{Contents, Held},
    results::MemoryResults,
};

/// A broker inside this process. Cheap to clone; clones are the same broker.
#[derive(Debug, Clone, Default)]
pub struct MemoryBroker {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    /// Told whenever there may be something to fetch.
    arrived: Notify,
    results: MemoryResults,
    fanout: Fanout,
}

impl Inner {
    /// The state as of now: what is due has moved, what belonged to the dead is back.
    fn lock(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.advance(&self.results) {
            self.arrived.notify_waiters();
        }
        state
    }

    /// A broadcast is heard also by those who only listen.
    fn tell_listeners(&self, publish: &Publish) {
        if let Destination::Fanout {
            exchange,
            routing_key,
        } = &publish.destination
        {
            self.fanout.send(exchange, routing_key, &publish.payload);
        }
    }
}

impl MemoryBroker {
    /// An empty broker.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty broker whose time is that of `clock`: delays, leases, the life of results. A clock that is moved by hand
    /// needs [`MemoryBroker::clock_moved`].
    pub fn with_clock(clock: Clock) -> Self {
        let inner = Inner {
            state: Mutex::new(State::with_clock(clock.clone())),
            results: MemoryResults::with_clock(clock),
            ..Inner::default()
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The results that live beside it.
    pub fn results(&self) -> &MemoryResults {
        &self.inner.results
    }

    /// Makes the lease of a worker run out now, as if it had been silent for too long: what it holds goes back to the
    /// queues. `id` is the one in [`Peer::id`]. False: there is no such worker.
    pub fn expire_lease(&self, id: &str) -> bool {
        let known = self.inner.lock().expire(id, &self.inner.results);
        self.inner.arrived.notify_waiters();
        known
    }
}

#[cfg(feature = "testing")]
impl MemoryBroker {
    /// The ids of the workers of a node, dead ones too.
    pub(crate) fn workers_named(&self, node: &str) -> Vec<String> {
        let state = self.inner.lock();
        let named = state
            .workers
            .iter()
            .filter(|(_, worker)| worker.options.node.as_str() == node);
        named.map(|(id, _)| id.clone()).collect()
    }
}

fn check_place(place: &ResultPlace) -> Result<(), Error> {
    match place {
        ResultPlace::Memory => Ok(()),
        other => Err(Error::ForeignPlace {
            place: other.clone(),
        }),
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, batch: &[Publish]) -> Result<(), Error> {
        let mut state = self.inner.lock();
        for publish in batch {
            state.publish(publish);
            self.inner.tell_listeners(publish);
        }
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(())
    }

    async fn relay(&self, relay: &Relay) -> Result<Relayed, Error> {
        let mut state = self.inner.lock();
        let (relayed, published) = state.relay(relay);
        for publish in published {
            self.inner.tell_listeners(publish);
        }
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(relayed)
    }

    async fn publish_gated(
        &self,
        publish: &Publish,
        entry: &Entry,
    ) -> Result<Option<String>, Error> {
        let mut state = self.inner.lock();
        match &publish.destination {
            Destination::Queue(queue) => {
                if let Some(holder) = state.enter(queue, publish, entry) {
                    return Ok(Some(holder));
                }
            }
            _ => state.publish(publish),
        }
        self.inner.tell_listeners(publish);
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(None)
    }

    async fn lines(&self) -> Result<Vec<Line>, Error> {
        Ok(self.inner.lock().lines())
    }

    async fn bind(&self, bindings: &[Binding]) -> Result<(), Error> {
        self.inner.lock().declare(bindings);
        Ok(())
    }

    async fn consumer(&self, options: ConsumerOptions) -> Result<Arc<dyn Consumer>, Error> {
        Ok(Arc::new(MemoryConsumer::open(
            Arc::clone(&self.inner),
            options,
        )))
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<u64>, Error> {
        let state = self.inner.lock();
        Ok(queues
            .iter()
            .map(|queue| state.lists.depth(queue))
            .collect())
    }

    async fn depth_by_priority(&self, queue: &QueueName) -> Result<Vec<(u8, u64)>, Error> {
        Ok(self.inner.lock().lists.depth_by_priority(queue))
    }

    async fn peek(&self, queue: &QueueName, most: usize) -> Result<Vec<Bytes>, Error> {
        Ok(self.inner.lock().lists.peek(queue, most))
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, Error> {
        Ok(self.inner.lock().lists.purge(queue))
    }

    async fn reap(&self, _reaping: &Reaping) -> Result<Reaped, Error> {
        // Here whoever looks gives back what belonged to the dead: nothing is left for anybody else.
        drop(self.inner.lock());
        Ok(Reaped::default())
    }

    async fn peers(&self) -> Result<Vec<Peer>, Error> {
        Ok(self.inner.lock().peers())
    }

    async fn broadcast(
        &self,
        exchange: &str,
        routing_key: &str,
        payload: Bytes,
    ) -> Result<(), Error> {
        self.inner.fanout.send(exchange, routing_key, &payload);
        self.inner.lock().fan_out(exchange, routing_key, &payload);
        self.inner.arrived.notify_waiters();
        Ok(())
    }

    async fn subscribe(
        &self,
        exchange: &str,
        pattern: &str,
    ) -> Result<BoxStream<'static, Broadcast>, Error> {
        Ok(self.inner.fanout.subscribe(exchange, pattern))
    }

    async fn ask(&self, request: Ask) -> Result<Vec<Bytes>, Error> {
        let Ask {
            exchange,
            payload,
            reply_exchange,
            reply_key,
            reply_queue,
            wait,
            enough,
        } = request;
        let binding = (reply_exchange, reply_key);
        self.inner.lock().bind(binding.clone(), reply_queue.clone());
        let heard = self.inner.fanout.send(&exchange, "", &payload);
        let enough = match enough {
            Enough::Never => None,
            Enough::Replies(replies) => Some(replies),
            Enough::Everybody => Some(heard),
        };
        let all_are_there = async {
            let Some(enough) = enough else {
                return std::future::pending().await;
            };
            while self.inner.lock().lists.depth(&reply_queue) < enough {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        // It may take its whole time.
        let _ = tokio::time::timeout(wait, all_are_there).await;
        Ok(self.inner.lock().unbind(&binding, &reply_queue))
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }

    fn revocations(&self) -> &dyn Revocations {
        self
    }

    fn pauses(&self) -> &dyn Pauses {
        self
    }

    fn journal(&self) -> &dyn Journal {
        self
    }

    fn survey(&self) -> &dyn Survey {
        self
    }

    fn timetable(&self) -> &dyn Timetable {
        self
    }

    async fn delayed(&self, most: usize) -> Result<Vec<Delayed>, Error> {
        let mut all = self.inner.lock().delayed_messages();
        all.truncate(most);
        Ok(all)
    }

    async fn delayed_of(&self, ids: &[TaskId]) -> Result<Vec<Delayed>, Error> {
        let mut all = self.inner.lock().delayed_messages();
        all.retain(|one| {
            let identity = envelope::identity(&one.raw);
            ids.iter().any(|id| id.as_str() == identity)
        });
        Ok(all)
    }

    async fn release_delayed(&self) -> Result<u64, Error> {
        let released = self.inner.lock().recall(|_| true);
        self.inner.arrived.notify_waiters();
        Ok(released)
    }

    fn shares_server_with(&self, place: &ResultPlace) -> bool {
        matches!(place, ResultPlace::Memory)
    }

    async fn chord_members(
        &self,
        place: &ResultPlace,
        group_key: &str,
    ) -> Result<Vec<Bytes>, Error> {
        check_place(place)?;
        Ok(self.inner.lock().chords.members(group_key))
    }

    async fn chord_close(&self, close: ChordClose) -> Result<bool, Error> {
        check_place(&close.place)?;
        for result in &close.results {
            check_place(&result.place)?;
        }
        let mut state = self.inner.lock();
        if !state.chords.close(
            &close.group_key,
            &close.token,
            close.failed,
            &self.inner.results,
        ) {
            return Ok(false);
        }
        for publish in &close.publishes {
            state.publish(publish);
            self.inner.tell_listeners(publish);
        }
        for result in &close.results {
            self.inner.results.set(result);
        }
        drop(state);
        self.inner.arrived.notify_waiters();
        Ok(true)
    }

    async fn ping(&self) -> Result<(), Error> {
        Ok(())
    }
}
