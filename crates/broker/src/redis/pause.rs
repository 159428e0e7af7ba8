//! Paused queues: a hash, from the queue to the workers of others that were told.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use lovage_protocol::{QueueName, Value};
use redis::Pipeline;

use super::{
    RedisBroker,
    link::{Patience, Request},
    reply,
};
use crate::{Error, Pauses};

#[async_trait]
impl Pauses for RedisBroker {
    async fn pause(&self, queue: &QueueName, told: &[String]) -> Result<(), Error> {
        let key = &self.core.keys.paused;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HGET").arg(key).arg(queue.as_str());
        let request = Request::Many(&pipeline);
        let answer = self.core.link.send(request, Patience::Bounded).await?;
        let known = reply::list(answer).into_iter().next();
        let mut nodes = known.and_then(reply::bytes).map(nodes).unwrap_or_default();
        nodes.extend(told.iter().cloned());
        nodes.sort_unstable();
        nodes.dedup();
        let nodes = Value::List(nodes.into_iter().map(Value::Str).collect());
        let mut pipeline = Pipeline::new();
        let set = pipeline.cmd("HSET").arg(key);
        set.arg(queue.as_str()).arg(nodes.to_json());
        let request = Request::Many(&pipeline);
        self.core.link.send(request, Patience::Bounded).await?;
        Ok(())
    }

    async fn resume(&self, queue: &QueueName) -> Result<Option<Vec<String>>, Error> {
        let key = &self.core.keys.paused;
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HGET").arg(key).arg(queue.as_str());
        pipeline.cmd("HDEL").arg(key).arg(queue.as_str());
        let request = Request::Many(&pipeline);
        let answer = self.core.link.send(request, Patience::Bounded).await?;
        let mut answers = reply::list(answer).into_iter();
        Ok(answers.next().and_then(reply::bytes).map(nodes))
    }

    async fn paused(&self) -> Result<BTreeSet<QueueName>, Error> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HKEYS").arg(&self.core.keys.paused);
        let request = Request::Many(&pipeline);
        let answer = self.core.link.send(request, Patience::Bounded).await?;
        let names = reply::list(answer).into_iter().next().map(reply::text_list);
        let names = names.unwrap_or_default().into_iter();
        Ok(names
            .filter_map(|name| QueueName::parse(&name).ok())
            .collect())
    }
}

/// The workers that were told. What another version wrote there names nobody that we could tell.
#[expect(clippy::needless_pass_by_value, reason = "it is given to map")]
fn nodes(told: Bytes) -> Vec<String> {
    let told = Value::from_json(&told).unwrap_or(Value::Null);
    let nodes = told.as_list().unwrap_or_default().iter();
    nodes
        .filter_map(|node| node.as_str().map(str::to_owned))
        .collect()
}
