//! One PUB/SUB connection for all watches of a store.
//!
//! Announcements are heard, never asked for. After a lost connection every watched key is subscribed again and read once,
//! so that nothing that happened meanwhile is missed.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    fetch,
    link::{Link, Subscriber, unreachable},
    mailbox::Mailbox,
};
use crate::Error;

/// How long a new watch may take to stand: connecting, subscribing, reading.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the server may take to confirm a subscription or a ping.
const ANSWER: Duration = Duration::from_secs(5);
/// A connection that died in silence is noticed after so long.
const PING: Duration = Duration::from_secs(15);
/// The longest pause between two attempts to connect.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The handle: makes subscriptions. The connection is closed when it and all subscriptions are gone.
#[derive(Debug)]
pub(super) struct Watcher {
    orders: mpsc::UnboundedSender<Order>,
    trouble: Trouble,
    link: Arc<Link>,
    made: AtomicU64,
}

/// What the connection last failed with; `None` while it stands.
type Trouble = Arc<Mutex<Option<(Arc<str>, Arc<str>)>>>;

enum Order {
    Add {
        key: String,
        watch: u64,
        mailbox: Arc<Mailbox>,
        standing: oneshot::Sender<Result<(), Error>>,
    },
    Remove {
        key: String,
        watch: u64,
    },
}

/// One watched key. Dropping it takes it off the connection.
#[derive(Debug)]
pub(super) struct Subscription {
    key: String,
    watch: u64,
    mailbox: Arc<Mailbox>,
    orders: mpsc::UnboundedSender<Order>,
    trouble: Trouble,
}

impl Watcher {
    pub(super) fn start(link: Arc<Link>) -> Self {
        let (orders, inbox) = mpsc::unbounded_channel();
        let trouble = Trouble::default();
        let switchboard = Switchboard {
            link: Arc::clone(&link),
            inbox,
            trouble: Arc::clone(&trouble),
            watched: HashMap::new(),
            unconfirmed: Vec::new(),
        };
        tokio::spawn(switchboard.run());
        Self {
            orders,
            trouble,
            link,
            made: AtomicU64::default(),
        }
    }

    /// Subscribes to the key and reads it once; both are done when this returns.
    pub(super) async fn subscribe(&self, key: String) -> Result<Subscription, Error> {
        let (standing, confirmed) = oneshot::channel();
        let subscription = Subscription {
            key: key.clone(),
            watch: self.made.fetch_add(1, Ordering::Relaxed),
            mailbox: Arc::default(),
            orders: self.orders.clone(),
            trouble: Arc::clone(&self.trouble),
        };
        let order = Order::Add {
            key,
            watch: subscription.watch,
            mailbox: Arc::clone(&subscription.mailbox),
            standing,
        };
        if self.orders.send(order).is_err() {
            return Err(self.stopped());
        }
        match timeout(PATIENCE, confirmed).await {
            Ok(Ok(confirmed)) => confirmed.map(|()| subscription),
            Ok(Err(_)) => Err(self.stopped()),
            Err(elapsed) => Err(unreachable(&self.link.address(), elapsed)),
        }
    }

    /// The task behind it ended, as when the runtime it was started on is gone.
    fn stopped(&self) -> Error {
        unreachable(
            &self.link.address(),
            std::io::Error::other("the watching task was stopped"),
        )
    }
}

impl Subscription {
    pub(super) async fn next(&self) -> Option<Bytes> {
        Some(self.mailbox.take().await)
    }

    pub(super) fn outage(&self) -> impl Fn() -> Option<Error> + Send + Sync + 'static {
        let trouble = Arc::clone(&self.trouble);
        move || {
            let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
            let (address, text) = trouble.as_ref()?;
            Some(unreachable(address, std::io::Error::other(text.as_ref())))
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let key = std::mem::take(&mut self.key);
        // Fails only when the watching task is gone, and the subscription with it.
        let _ = self.orders.send(Order::Remove {
            key,
            watch: self.watch,
        });
    }
}

/// The task behind the handle.
struct Switchboard {
    link: Arc<Link>,
    inbox: mpsc::UnboundedReceiver<Order>,
    trouble: Trouble,
    watched: HashMap<String, Vec<(u64, Arc<Mailbox>)>>,
    unconfirmed: Vec<oneshot::Sender<Result<(), Error>>>,
}

impl Switchboard {
    async fn run(mut self) {
        let mut pause = Duration::ZERO;
        loop {
            // No connection is kept up for nobody.
            while self.watched.is_empty() {
                let Some(order) = self.inbox.recv().await else {
                    return;
                };
                self.take(order);
                self.take_waiting();
            }
            self.take_waiting();
            let failure = match self.link.pubsub().await {
                Ok(Subscriber {
                    pubsub,
                    server,
                    address,
                }) => {
                    let (sink, stream) = pubsub.split();
                    let failure = match self.serve(sink, stream, &address, &mut pause).await {
                        Ok(()) => return,
                        Err(failure) => failure,
                    };
                    self.link.lost(server);
                    tracing::warn!(%address, error = %failure, "lost the connection that hears of results");
                    failure
                }
                Err(failure) => failure,
            };
            self.fail(&failure);
            sleep(pause).await;
            pause = (pause * 2).clamp(Duration::from_millis(50), LONGEST_PAUSE);
        }
    }

    /// Ends with `Ok` when nobody can order anything any more.
    async fn serve(
        &mut self,
        mut sink: PubSubSink,
        mut stream: PubSubStream,
        address: &Arc<str>,
        pause: &mut Duration,
    ) -> Result<(), Error> {
        let all: Vec<String> = self.watched.keys().cloned().collect();
        self.hear(&mut sink, &all, address).await?;
        *pause = Duration::ZERO;
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let mut ping = interval(PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        loop {
            tokio::select! {
                message = stream.next() => {
                    let Some(message) = message else {
                        return Err(unreachable(address, std::io::Error::other("connection closed")));
                    };
                    self.announce(message.get_channel_name(), message.get_payload_bytes());
                }
                () = self.link.moved() => {
                    return Err(unreachable(address, std::io::Error::other("another server is in use now")));
                }
                order = self.inbox.recv() => {
                    let Some(order) = order else { return Ok(()) };
                    let mut changed = self.take(order);
                    changed.extend(self.take_waiting());
                    self.follow(&mut sink, changed, address).await?;
                }
                _ = ping.tick() => {
                    answered(address, sink.ping::<redis::Value>()).await?;
                }
            }
        }
    }

    /// Brings the connection's subscriptions in line with what is watched now.
    async fn follow(
        &mut self,
        sink: &mut PubSubSink,
        mut changed: Vec<String>,
        address: &Arc<str>,
    ) -> Result<(), Error> {
        changed.sort_unstable();
        changed.dedup();
        let (wanted, unwanted): (Vec<_>, Vec<_>) = changed
            .into_iter()
            .partition(|key| self.watched.contains_key(key));
        if !unwanted.is_empty() {
            answered(address, sink.unsubscribe(&unwanted)).await?;
        }
        self.hear(sink, &wanted, address).await
    }

    /// Subscribes, then reads: what is stored in between is announced.
    async fn hear(
        &mut self,
        sink: &mut PubSubSink,
        keys: &[String],
        address: &Arc<str>,
    ) -> Result<(), Error> {
        if !keys.is_empty() {
            answered(address, sink.subscribe(keys)).await?;
            for (key, record) in keys.iter().zip(fetch(&self.link, keys).await?) {
                if let Some(record) = record {
                    self.deliver(key, &record);
                }
            }
        }
        for standing in self.unconfirmed.drain(..) {
            // Whoever gave up waiting has removed its watch already.
            let _ = standing.send(Ok(()));
        }
        Ok(())
    }

    /// Takes an order and names the keys whose subscription may have to change.
    fn take(&mut self, order: Order) -> Vec<String> {
        match order {
            Order::Add {
                key,
                watch,
                mailbox,
                standing,
            } => {
                self.watched
                    .entry(key.clone())
                    .or_default()
                    .push((watch, mailbox));
                self.unconfirmed.push(standing);
                vec![key]
            }
            Order::Remove { key, watch } => {
                let Some(watches) = self.watched.get_mut(&key) else {
                    return Vec::new();
                };
                watches.retain(|(other, _)| *other != watch);
                if !watches.is_empty() {
                    return Vec::new();
                }
                self.watched.remove(&key);
                vec![key]
            }
        }
    }

    /// Orders that wait already go into the same round trip.
    fn take_waiting(&mut self) -> Vec<String> {
        let mut changed = Vec::new();
        while let Ok(order) = self.inbox.try_recv() {
            changed.extend(self.take(order));
        }
        changed
    }

    fn announce(&self, channel: &str, payload: &[u8]) {
        if self.watched.contains_key(channel) {
            self.deliver(channel, &Bytes::copy_from_slice(payload));
        }
    }

    fn deliver(&self, key: &str, record: &Bytes) {
        for (_, mailbox) in self.watched.get(key).into_iter().flatten() {
            mailbox.put(record);
        }
    }

    /// Tells those who wait for a watch to stand that it will not; standing watches go on.
    fn fail(&mut self, failure: &Error) {
        let address = match failure {
            Error::Unreachable { address, .. } | Error::Refused { address, .. } => {
                Arc::clone(address)
            }
            _ => self.link.address(),
        };
        let text: Arc<str> = describe(failure).into();
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Arc::clone(&address), Arc::clone(&text)));
        for standing in self.unconfirmed.drain(..) {
            let _ = standing.send(Err(unreachable(
                &address,
                std::io::Error::other(text.as_ref()),
            )));
        }
    }
}

async fn answered<T>(
    address: &Arc<str>,
    request: impl Future<Output = redis::RedisResult<T>>,
) -> Result<T, Error> {
    match timeout(ANSWER, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(unreachable(address, error)),
        Err(elapsed) => Err(unreachable(address, elapsed)),
    }
}

/// The innermost cause, which is the one that tells something new.
fn describe(failure: &Error) -> String {
    let mut cause: &dyn std::error::Error = failure;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
