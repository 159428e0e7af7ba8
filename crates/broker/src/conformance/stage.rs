//! What a test of the suite acts on.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::{NodeName, QueueName};

use crate::{
    Broker, Consumer, ConsumerOptions, Delivery, Destination, Finish, MemoryBroker, Publish,
    RedisBroker, ResultPlace, ResultWrite, Settle, Want, redis_server::RedisServer,
};

/// So short that tests of dead workers need not wait long, and long enough for a busy machine.
const LEASE: Duration = Duration::from_millis(600);
/// Nothing that is to happen takes longer.
const LIMIT: Duration = Duration::from_secs(15);

/// A fresh, empty broker.
#[async_trait]
pub trait Stage: Send + Sync {
    /// The broker.
    fn broker(&self) -> Arc<dyn Broker>;
    /// Where results live that can be written in one step with a delivery.
    fn place(&self) -> ResultPlace;
    /// The result under a key.
    async fn result(&self, key: &str) -> Option<Bytes>;
    /// Makes the worker's lease run out while it lives on.
    async fn expire(&self, node: &str);

    /// Opens a consumer named `<name>@test`.
    async fn consumer(&self, name: &str, queues: &[&str]) -> Arc<dyn Consumer> {
        self.broker()
            .consumer(self.options(name, queues))
            .await
            .expect("the broker answers")
    }

    /// The options that [`Self::consumer`] uses.
    fn options(&self, name: &str, queues: &[&str]) -> ConsumerOptions {
        let node = NodeName::parse(&format!("{name}@test")).expect("a test's name is valid");
        let mut options =
            ConsumerOptions::new(node, queues.iter().map(|name| queue(name)).collect());
        options.lease = LEASE;
        options
    }

    /// Publishes one message per id to a queue with priority 0.
    async fn publish(&self, queue: &str, ids: &[&str]) {
        let batch: Vec<Publish> = ids.iter().map(|id| message(queue, id, 0)).collect();
        self.broker()
            .publish(&batch)
            .await
            .expect("the broker answers");
    }

    /// Drops the consumer without closing it, and lets its lease run out.
    async fn kill(&self, consumer: Arc<dyn Consumer>, name: &str) {
        drop(consumer);
        self.expire(&format!("{name}@test")).await;
    }

    /// A result that says `status`.
    fn write(&self, key: &str, status: &str) -> ResultWrite {
        let value = Bytes::from(format!(
            "{{\"status\": \"{status}\", \"task_id\": \"{key}\"}}"
        ));
        ResultWrite {
            key: key.to_owned(),
            value,
            expires: Some(Duration::from_secs(60)),
            place: self.place(),
        }
    }
}

/// The stage of [`MemoryBroker`].
#[derive(Debug, Default)]
pub struct MemoryStage(MemoryBroker);

impl MemoryStage {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait]
impl Stage for MemoryStage {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.0.clone())
    }

    fn place(&self) -> ResultPlace {
        ResultPlace::Memory
    }

    async fn result(&self, key: &str) -> Option<Bytes> {
        self.0.results().get(key)
    }

    async fn expire(&self, node: &str) {
        for worker in self.0.workers_named(node) {
            self.0.expire_lease(&worker);
        }
    }
}

/// The stage of [`RedisBroker`], with a server of its own. Results live in another logical database.
#[derive(Debug)]
pub struct RedisStage {
    server: RedisServer,
    broker: RedisBroker,
}

impl RedisStage {
    /// Starts a server.
    ///
    /// # Panics
    /// When there is no `redis-server` in the `PATH`.
    pub async fn new() -> Self {
        let server = RedisServer::start().expect("redis-server is in the PATH");
        let broker = RedisBroker::connect(&server.settings())
            .await
            .expect("the server answers");
        Self { server, broker }
    }

    /// The server.
    pub fn server(&mut self) -> &mut RedisServer {
        &mut self.server
    }
}

#[async_trait]
impl Stage for RedisStage {
    fn broker(&self) -> Arc<dyn Broker> {
        Arc::new(self.broker.clone())
    }

    fn place(&self) -> ResultPlace {
        self.server.place(1)
    }

    async fn result(&self, key: &str) -> Option<Bytes> {
        let mut connection = self.server.connection(1).expect("the server answers");
        let value: Option<Vec<u8>> = redis::cmd("GET")
            .arg(key)
            .query(&mut connection)
            .expect("a string");
        value.map(Bytes::from)
    }

    async fn expire(&self, node: &str) {
        let peers = self.broker.peers().await.expect("the broker answers");
        let mut connection = self.server.connection(0).expect("the server answers");
        for peer in peers.iter().filter(|peer| peer.node == node) {
            let key = format!("lovage:lease:{}", peer.id);
            redis::cmd("DEL")
                .arg(key)
                .exec(&mut connection)
                .expect("the server answers");
        }
    }
}

/// A queue name.
pub(super) fn queue(name: &str) -> QueueName {
    QueueName::parse(name).expect("a test's name is valid")
}

/// An envelope as Python writes it.
pub(super) fn envelope(id: &str, priority: i64) -> Bytes {
    let text = format!(
        "{{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"lang\": \"py\", \"task\": \"t\", \"id\": \"{id}\"}}, \"properties\": {{\"correlation_id\": \
         \"{id}\", \"delivery_mode\": 2, \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"q\"}}, \
         \"priority\": {priority}, \"body_encoding\": \"base64\", \"delivery_tag\": \"{id}\"}}}}"
    );
    Bytes::from(text)
}

/// A message to publish.
pub(super) fn message(to: &str, id: &str, priority: i64) -> Publish {
    Publish {
        destination: Destination::Queue(queue(to)),
        priority,
        payload: envelope(id, priority),
    }
}

/// The id in an envelope.
pub(super) fn id(delivery: &Delivery) -> String {
    let message =
        lovage_protocol::Message::parse(&delivery.raw).expect("a test's envelope is valid");
    message.headers.id.to_string()
}

/// The ids of deliveries.
pub(super) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(id).collect()
}

/// Fetches within the time that anything may take.
pub(super) async fn fetch(consumer: &dyn Consumer, max: usize, start: usize) -> Vec<Delivery> {
    let fetched = tokio::time::timeout(LIMIT, consumer.fetch(Want { max, start })).await;
    fetched
        .expect("something to fetch")
        .expect("the broker answers")
}

/// Whether a fetch finds nothing for a while.
pub(super) async fn finds_nothing(consumer: &dyn Consumer) -> bool {
    let fetch = consumer.fetch(Want { max: 10, start: 0 });
    tokio::time::timeout(Duration::from_millis(150), fetch)
        .await
        .is_err()
}

/// Fetches until so many are there.
pub(super) async fn fetch_all(
    consumer: &dyn Consumer,
    count: usize,
    start: usize,
) -> Vec<Delivery> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(fetch(consumer, count - all.len(), start).await);
    }
    all
}

/// The end of a delivery, with nothing but its settlement.
pub(super) fn end(delivery: &Delivery, settle: Settle) -> Finish {
    Finish {
        delivery: delivery.clone(),
        settle: Some(settle),
        publishes: vec![],
        results: vec![],
        chord: None,
        leave: None,
        record: None,
    }
}

/// A unix time so many seconds from now.
pub(super) fn in_future(seconds: f64) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("after 1970").as_secs_f64() + seconds
}
