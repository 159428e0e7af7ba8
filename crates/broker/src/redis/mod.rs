//! The Redis form: kombu's layout, so that Python producers and workers share the queues, with leases of our own.
//!
//! Needs Redis 6.2 or later (`RPOP` with a count, `ZMSCORE`, `BLMOVE`). Python workers see ordinary `unacked` entries;
//! everything that is not kombu's lies under `lovage:`. Where Python needs several commands and may lose a message
//! between them, there is one script here.

mod apply;
mod ask;
mod batch;
mod bindings;
mod bystander;
mod chord;
mod consumer;
mod delayed;
mod exclusive;
mod fanout;
mod fetch;
mod finisher;
mod foreign;
mod gate;
mod held;
mod journal;
mod keys;
mod lease;
mod letters;
mod link;
mod mover;
mod orphans;
mod parked;
mod pause;
mod publish;
mod reaper;
mod relay;
mod reply;
mod restore;
mod revocation;
mod scripts;
mod sentinel;
mod server;
mod servers;
mod survey;
mod timetable;
mod upkeep;
mod waiter;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use lovage_protocol::{QueueName, TaskId};
use lovage_settings::{BrokerSettings, BrokerUrl, RedisAddress, TransportOptions};
use redis::Cmd;

use self::{
    bindings::Expiring,
    keys::Keys,
    link::{Link, Patience, Request},
};
use crate::{
    Ask, Binding, Broadcast, Broker, ChordClose, Consumer, ConsumerOptions, DeadLetters, Delayed,
    Entry, Error, Journal, Line, Pauses, Peer, Publish, Reaped, Reaping, Relay, Relayed,
    ResultPlace, Revocations, Survey, Timetable, binding::Member,
};

pub use self::servers::{Choice, Servers};

/// For the fuzz targets: whether the bytes are what a worker leaves behind.
#[cfg(feature = "testing")]
pub(crate) fn read_estate(bytes: &[u8]) -> bool {
    exclusive::Estate::parse(bytes) != exclusive::Estate::default()
}

/// For the fuzz targets: whether the bytes are an answer of the finish script.
#[cfg(feature = "testing")]
pub(crate) fn read_applied(bytes: &[u8]) -> bool {
    batch::Applied::parse(bytes).is_some()
}

/// How long an answer may take when `socket_timeout` does not say. Generous: a server may be busy with a large key.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A Redis server (or a fail-over list of them) in kombu's layout. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RedisBroker {
    core: Arc<Core>,
}

/// What a broker and its consumers share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) servers: Arc<Servers>,
    pub(crate) keys: Keys,
    pub(crate) options: TransportOptions,
    pub(crate) link: Link,
    /// Queues that are forgotten when nobody uses them.
    pub(crate) expiring: Expiring,
}

impl RedisBroker {
    /// Connects, and waits for the first answer no longer than `connect_timeout`.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no server of the list answers, [`Error::NotConfigured`] when the URL is not one of
    /// Redis, [`Error::Refused`] when the password is wrong.
    pub async fn connect(settings: &BrokerSettings) -> Result<Self, Error> {
        let broker = Self::lazy(settings)?;
        broker.core.ask(&redis::cmd("PING")).await?;
        Ok(broker)
    }

    /// As [`RedisBroker::connect`], but connects at the first use.
    ///
    /// # Errors
    /// [`Error::NotConfigured`] when the URL is not one of Redis.
    pub fn lazy(settings: &BrokerSettings) -> Result<Self, Error> {
        let Some(BrokerUrl::Redis(urls)) = &settings.url else {
            return Err(Error::NotConfigured {
                why: "the URL is not one of Redis",
            });
        };
        if urls.is_empty() {
            return Err(Error::NotConfigured {
                why: "the list of Redis servers is empty",
            });
        }
        let options = &settings.options;
        let servers = Servers::new(
            urls,
            options
                .socket_connect_timeout
                .unwrap_or(settings.connect_timeout),
            options.socket_timeout.unwrap_or(RESPONSE_TIMEOUT),
        )
        .map_err(|error| Error::Refused {
            source: error.into(),
        })?;
        let by_sentinel = matches!(urls[0].address, RedisAddress::Sentinel(_));
        let core = Core {
            keys: Keys::new(options, servers.database(), by_sentinel),
            options: settings.options.clone(),
            link: Link::new(&servers, "publish"),
            expiring: Expiring::default(),
            servers,
        };
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// The server's `maxmemory-policy` when it may evict keys at all (`maxmemory` is set), else `noeviction`; `None`
    /// when we are not allowed to ask.
    ///
    /// # Errors
    /// When the server does not answer.
    pub async fn eviction_policy(&self) -> Result<Option<String>, Error> {
        // INFO needs less permission than CONFIG GET and says the same.
        let info = match self.core.ask(redis::cmd("INFO").arg("memory")).await {
            Ok(info) => reply::text(info).unwrap_or_default(),
            Err(Error::Refused { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let field = |name: &str| {
            info.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .map(str::trim)
        };
        Ok(match (field("maxmemory"), field("maxmemory_policy")) {
            (Some("0"), Some(_)) => Some("noeviction".to_owned()),
            (_, policy) => policy.map(str::to_owned),
        })
    }
}

impl Core {
    /// Sends one command that may be repeated, within the time allowed for connecting.
    pub(crate) async fn ask(&self, cmd: &Cmd) -> Result<redis::Value, Error> {
        self.link.send(Request::One(cmd), Patience::Bounded).await
    }

    /// The queues that a routing key of an exchange reaches.
    pub(crate) async fn bound(
        &self,
        link: &Link,
        patience: Patience,
        exchange: &str,
        routing_key: &str,
    ) -> Result<Vec<QueueName>, Error> {
        let mut cmd = redis::cmd("SMEMBERS");
        cmd.arg(self.keys.binding(exchange));
        let members = reply::bytes_list(link.send(Request::One(&cmd), patience).await?);
        let bindings: Vec<Member> = members
            .iter()
            .filter_map(|member| {
                Member::parse(&String::from_utf8_lossy(member), self.keys.separator())
            })
            .collect();
        Ok(crate::binding::queues_for(&bindings, routing_key))
    }
}

#[async_trait]
impl Broker for RedisBroker {
    async fn publish(&self, batch: &[Publish]) -> Result<(), Error> {
        publish::publish(&self.core, batch).await
    }

    async fn publish_gated(
        &self,
        publish: &Publish,
        entry: &Entry,
    ) -> Result<Option<String>, Error> {
        gate::publish_gated(&self.core, publish, entry).await
    }

    async fn relay(&self, relay: &Relay) -> Result<Relayed, Error> {
        relay::relay(&self.core, relay).await
    }

    async fn lines(&self) -> Result<Vec<Line>, Error> {
        gate::lines(&self.core).await
    }

    async fn bind(&self, bindings: &[Binding]) -> Result<(), Error> {
        bindings::bind(&self.core, bindings).await
    }

    async fn consumer(&self, options: ConsumerOptions) -> Result<Arc<dyn Consumer>, Error> {
        Ok(Arc::new(
            consumer::RedisConsumer::open(Arc::clone(&self.core), options).await?,
        ))
    }

    async fn depth(&self, queues: &[QueueName]) -> Result<Vec<u64>, Error> {
        publish::depth(&self.core, queues).await
    }

    async fn depth_by_priority(&self, queue: &QueueName) -> Result<Vec<(u8, u64)>, Error> {
        publish::depth_by_priority(&self.core, queue).await
    }

    async fn peek(&self, queue: &QueueName, most: usize) -> Result<Vec<Bytes>, Error> {
        publish::peek(&self.core, queue, most).await
    }

    async fn purge(&self, queue: &QueueName) -> Result<u64, Error> {
        publish::purge(&self.core, queue).await
    }

    async fn reap(&self, reaping: &Reaping) -> Result<Reaped, Error> {
        bystander::reap(&self.core, reaping).await
    }

    async fn peers(&self) -> Result<Vec<Peer>, Error> {
        lease::peers(&self.core).await
    }

    async fn broadcast(
        &self,
        exchange: &str,
        routing_key: &str,
        payload: Bytes,
    ) -> Result<(), Error> {
        fanout::broadcast(&self.core, exchange, routing_key, &payload).await
    }

    async fn subscribe(
        &self,
        exchange: &str,
        pattern: &str,
    ) -> Result<BoxStream<'static, Broadcast>, Error> {
        fanout::subscribe(&self.core, exchange, pattern).await
    }

    async fn ask(&self, request: Ask) -> Result<Vec<Bytes>, Error> {
        ask::ask(&self.core, &request).await
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
        delayed::first(&self.core, most).await
    }

    async fn delayed_of(&self, ids: &[TaskId]) -> Result<Vec<Delayed>, Error> {
        delayed::of(&self.core, ids).await
    }

    async fn release_delayed(&self) -> Result<u64, Error> {
        mover::hand_back(&self.core).await
    }

    fn shares_server_with(&self, place: &ResultPlace) -> bool {
        matches!(place, ResultPlace::Redis { address, .. } if self.core.servers.knows(address))
    }

    async fn chord_members(
        &self,
        place: &ResultPlace,
        group_key: &str,
    ) -> Result<Vec<Bytes>, Error> {
        chord::members(&self.core, place, group_key).await
    }

    async fn chord_close(&self, close: ChordClose) -> Result<bool, Error> {
        chord::close(&self.core, close).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.core.ask(&redis::cmd("PING")).await.map(drop)
    }
}
