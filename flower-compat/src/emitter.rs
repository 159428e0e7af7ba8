//! Task events: written as they happen, sent in lists from a task of their own, so that no task of the worker's waits for them.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lovage_broker::{Broker, Destination, Publish};
use lovage_protocol::{
    Lamport,
    event::{self, EventText, Origin},
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::buffer::{Bounds, Buffer, Letter};

/// So many letters go in one round trip.
const BATCH: usize = 8;
/// The pause before an unreachable broker is tried again.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last events of a worker that stops are tried to be sent.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What an emitter is made of.
#[derive(Debug, Clone)]
pub struct EmitterOptions {
    /// Who sends.
    pub origin: Origin,
    /// The process's logical clock.
    pub clock: Lamport,
    /// Task events are sent from the begin on, and cannot be switched off from afar (`-E`).
    pub task_events: bool,
    /// So many events are kept while the broker is away or behind.
    pub waiting: usize,
    /// So many are sent in a second at most.
    pub rate: Option<u32>,
}

/// Sends events of a worker. Cloning shares it.
#[derive(Clone)]
pub struct Emitter(Arc<Inner>);

struct Inner {
    origin: Origin,
    clock: Lamport,
    broker: Arc<dyn Broker>,
    task_events: AtomicBool,
    pinned: bool,
    buffer: Mutex<Buffer>,
    wake: Notify,
    sent: AtomicU64,
    lost: AtomicU64,
}

impl Emitter {
    /// An emitter that [`Self::run`] makes send.
    pub fn new(broker: Arc<dyn Broker>, options: EmitterOptions) -> Self {
        let EmitterOptions {
            origin,
            clock,
            task_events,
            waiting,
            rate,
        } = options;
        Self(Arc::new(Inner {
            origin,
            clock,
            broker,
            task_events: AtomicBool::new(task_events),
            pinned: task_events,
            buffer: Mutex::new(Buffer::new(Bounds { waiting, rate })),
            wake: Notify::new(),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        }))
    }

    /// Whether task events are wanted. Whoever would write one asks first; it costs nothing.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.task_events.load(Ordering::Relaxed)
    }

    /// Switches task events on or off; false when they are so already, or cannot be switched: those of a worker that was
    /// started with `-E` stay on (`celery/worker/control.py`, `enable_events`, `disable_events`).
    pub fn switch(&self, on: bool) -> bool {
        !self.0.pinned && self.0.task_events.swap(on, Ordering::Relaxed) != on
    }

    /// Writes a task event; `write` adds its fields, `at` is when it happened, in unix seconds.
    pub fn task(&self, kind: &str, at: f64, write: impl FnOnce(&mut EventText<'_>)) {
        let mut buffer = self.0.buffer();
        if !buffer.admits() {
            drop(buffer);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Under the lock, so that a list is in the order of its clock.
        let clock = self.0.clock.forward();
        let first = buffer.add(&self.0.origin, clock, |mut event| {
            write(&mut event);
            event.end(at, kind);
        });
        drop(buffer);
        if first {
            self.0.wake.notify_one();
        }
    }

    /// Writes an event that goes alone, whether task events are on or not: one of a task's own.
    pub fn alone(&self, kind: &str, at: f64, write: impl FnOnce(&mut EventText<'_>)) {
        let mut buffer = self.0.buffer();
        if !buffer.admits() {
            drop(buffer);
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let clock = self.0.clock.forward();
        let routing_key = event::routing_key(kind);
        let first = buffer.add_alone(&self.0.origin, clock, routing_key, |mut event| {
            write(&mut event);
            event.end(at, kind);
        });
        drop(buffer);
        if first {
            self.0.wake.notify_one();
        }
    }

    /// Sends an event at once, and says whether it arrived: nobody wants to hear it later.
    ///
    /// # Errors
    /// When the broker does not take it.
    pub async fn now(
        &self,
        kind: &str,
        at: f64,
        write: impl FnOnce(&mut EventText<'_>),
    ) -> Result<(), lovage_broker::Error> {
        let mut body = String::new();
        let mut event = EventText::begin(&mut body, &self.0.origin, self.0.clock.forward());
        write(&mut event);
        event.end(at, kind);
        let routing_key = event::routing_key(kind);
        let payload = event::envelope(&self.0.origin, &routing_key, &body);
        self.0
            .broker
            .broadcast(event::EXCHANGE, &routing_key, payload.into())
            .await
    }

    /// Who sends.
    pub fn origin(&self) -> &Origin {
        &self.0.origin
    }

    /// The logical clock of the events.
    pub fn clock(&self) -> &Lamport {
        &self.0.clock
    }

    /// Events sent so far.
    pub fn sent(&self) -> u64 {
        self.0.sent.load(Ordering::Relaxed)
    }

    /// Events that were not sent: there were too many for the cap, or for the broker that was away.
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// Sends what is written until told to stop, and then what is left, for as long as a moment.
    pub async fn run(self, stop: CancellationToken) {
        let inner = &self.0;
        loop {
            tokio::select! {
                () = inner.wake.notified() => {}
                () = stop.cancelled() => break,
            }
            // A moment for events that belong together: under load a list fills, alone nobody sees the difference.
            tokio::task::yield_now().await;
            tokio::select! {
                () = inner.send_all() => {}
                () = stop.cancelled() => break,
            }
        }
        if tokio::time::timeout(LAST_WORDS, inner.send_all())
            .await
            .is_err()
        {
            warn!("the last events could not be sent: the broker is away");
        }
    }
}

impl Inner {
    fn buffer(&self) -> MutexGuard<'_, Buffer> {
        self.buffer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send_all(&self) {
        let mut away = false;
        loop {
            let letters = self.buffer().take(BATCH);
            if letters.is_empty() {
                return;
            }
            let taken = Taken {
                inner: self,
                letters,
            };
            match self.broker.publish(&taken.publishes()).await {
                Ok(()) => {
                    taken.sent();
                    away = false;
                }
                Err(error) if error.is_transient() => {
                    drop(taken);
                    if !away {
                        debug!(
                            error = &error as &dyn std::error::Error,
                            "events wait for the broker"
                        );
                    }
                    away = true;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "events were refused, they are lost"
                    );
                    taken.lost();
                }
            }
        }
    }
}

/// Letters on their way: whatever becomes of who sends them, they go back if they were not sent.
struct Taken<'a> {
    inner: &'a Inner,
    letters: Vec<Letter>,
}

impl Taken<'_> {
    fn publishes(&self) -> Vec<Publish> {
        let publish = |letter: &Letter| {
            let routing_key = letter.routing_key.clone();
            let payload = event::envelope(&self.inner.origin, &routing_key, &letter.body());
            Publish {
                destination: Destination::Fanout {
                    exchange: event::EXCHANGE.to_owned(),
                    routing_key,
                },
                priority: 0,
                payload: payload.into(),
            }
        };
        self.letters.iter().map(publish).collect()
    }

    fn take(&mut self) -> u64 {
        let events: usize = self.letters.iter().map(|letter| letter.events).sum();
        self.letters.clear();
        u64::try_from(events).unwrap_or(u64::MAX)
    }

    fn sent(mut self) {
        let events = self.take();
        self.inner.sent.fetch_add(events, Ordering::Relaxed);
    }

    fn lost(mut self) {
        let events = self.take();
        self.inner.lost.fetch_add(events, Ordering::Relaxed);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let letters = std::mem::take(&mut self.letters);
        if !letters.is_empty() {
            self.inner.buffer().put_back(letters);
        }
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emitter")
            .field("origin", &self.0.origin)
            .field("task_events", &self.is_on())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use lovage_broker::MemoryBroker;
    use lovage_protocol::event::Event;

    use super::*;

    fn emitter(broker: &MemoryBroker, task_events: bool) -> Emitter {
        let options = EmitterOptions {
            origin: Origin {
                hostname: "w@h".to_owned(),
                pid: 1,
                utcoffset: 0.0,
            },
            clock: Lamport::default(),
            task_events,
            waiting: 1_000,
            rate: None,
        };
        Emitter::new(Arc::new(broker.clone()), options)
    }

    #[tokio::test]
    async fn what_is_written_is_heard_in_order_and_the_last_words_too() {
        let broker = MemoryBroker::new();
        let mut heard = broker.subscribe(event::EXCHANGE, "#").await.unwrap();
        let emitter = emitter(&broker, true);
        let stop = CancellationToken::new();
        let running = tokio::spawn(emitter.clone().run(stop.clone()));
        emitter.task("task-received", 1.0, |event| event.text("uuid", "1"));
        emitter.task("task-started", 2.0, |event| event.text("uuid", "1"));
        let first = heard.next().await.unwrap();
        assert_eq!(first.routing_key, "task.multi");
        let events = Event::parse(&first.payload).unwrap();
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].clock, events[1].clock), (Some(1), Some(2)));
        emitter.alone("task-half-way", 3.0, |event| event.text("uuid", "1"));
        stop.cancel();
        running.await.unwrap();
        let last = heard.next().await.unwrap();
        assert_eq!(last.routing_key, "task.half.way");
        assert_eq!((emitter.sent(), emitter.lost()), (3, 0));
    }

    #[test]
    fn only_what_was_not_asked_for_at_the_start_can_be_switched() {
        let broker = MemoryBroker::new();
        let switchable = emitter(&broker, false);
        assert!(!switchable.is_on() && !switchable.switch(false));
        assert!(switchable.switch(true) && switchable.is_on());
        assert!(!switchable.switch(true) && switchable.switch(false));
        let pinned = emitter(&broker, true);
        assert!(!pinned.switch(false) && !pinned.switch(true) && pinned.is_on());
    }
}
