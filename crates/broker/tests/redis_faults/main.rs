//! What only a real server can do: stand still, die, refuse, run full, and be shared with Python workers.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod absence;
mod failover;
mod large;
mod refusal;
mod sharing;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use lovage_broker::{
    Broker, Consumer, ConsumerOptions, Delivery, Destination, Finish, Finished, Publish,
    RedisBroker, Settle, Want, redis_server::RedisServer,
};
use lovage_protocol::{NodeName, QueueName};

pub(crate) const LEASE: Duration = Duration::from_millis(600);
pub(crate) const DONE: Finished = Finished::Done { chord: None };

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::parse(name).unwrap()
}

pub(crate) fn envelope(id: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"task\": \"t\", \"id\": \"{id}\"}}, \"properties\": {{\"correlation_id\": \"{id}\", \
         \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"q\"}}, \"priority\": 0, \"body_encoding\": \
         \"base64\", \"delivery_tag\": \"{id}\"}}}}"
    ))
}

pub(crate) fn message(to: &str, id: &str) -> Publish {
    Publish {
        destination: Destination::Queue(queue(to)),
        priority: 0,
        payload: envelope(id),
    }
}

pub(crate) fn id(raw: &[u8]) -> String {
    lovage_protocol::Message::parse(raw)
        .unwrap()
        .headers
        .id
        .to_string()
}

pub(crate) fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries
        .iter()
        .map(|delivery| id(&delivery.raw))
        .collect()
}

pub(crate) fn end(delivery: &Delivery, settle: Settle) -> Finish {
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

pub(crate) async fn consumer(
    broker: &RedisBroker,
    name: &str,
    queues: &[&str],
    lease: Duration,
) -> Arc<dyn Consumer> {
    let node = NodeName::parse(&format!("{name}@test")).unwrap();
    let mut options = ConsumerOptions::new(node, queues.iter().map(|name| queue(name)).collect());
    options.lease = lease;
    broker.consumer(options).await.unwrap()
}

pub(crate) async fn fetch(consumer: &dyn Consumer, max: usize, start: usize) -> Vec<Delivery> {
    tokio::time::timeout(Duration::from_secs(15), consumer.fetch(Want { max, start }))
        .await
        .unwrap()
        .unwrap()
}

pub(crate) fn ask<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut cmd = redis::cmd(words[0]);
    cmd.arg(&words[1..]);
    cmd.query(&mut server.connection(0).unwrap()).unwrap()
}
