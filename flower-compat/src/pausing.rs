//! Pausing queues for all workers: kept at the broker for ours, which look by themselves; the others are told.

use std::{collections::BTreeSet, time::Duration};

use lovage_broker::{Broker, Error};
use lovage_protocol::{QueueName, Value, control::Reply};

use crate::Control;

/// How long workers have to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Has nobody take from a queue until it is [resumed](resume_queue). Workers of ours follow within a second, those that start later
/// too; those of others that consume it are told to stop, and their replies given. Of those one that starts later knows nothing of it.
///
/// # Errors
/// When the broker does not answer. Once it has kept the pause, the pause holds, whoever could not be told.
pub async fn pause_queue(
    broker: &dyn Broker,
    control: &Control,
    queue: &QueueName,
) -> Result<Vec<Reply>, Error> {
    let (peers, consumers) = tokio::try_join!(broker.peers(), consumers(control, queue))?;
    let ours: BTreeSet<&str> = peers.iter().map(|peer| peer.node.as_str()).collect();
    let others: Vec<String> = consumers
        .into_iter()
        .filter(|node| !ours.contains(node.as_str()))
        .collect();
    // First it is kept: workers of ours follow by themselves.
    broker.pauses().pause(queue, &others).await?;
    tell(control, "cancel_consumer", queue, others).await
}

/// Has workers take from a queue again, and tells those that were told to stop; `None`: it was not paused.
///
/// # Errors
/// When the broker does not answer.
pub async fn resume_queue(
    broker: &dyn Broker,
    control: &Control,
    queue: &QueueName,
) -> Result<Option<Vec<Reply>>, Error> {
    let Some(told) = broker.pauses().resume(queue).await? else {
        return Ok(None);
    };
    tell(control, "add_consumer", queue, told).await.map(Some)
}

/// Who says that it consumes the queue.
async fn consumers(control: &Control, queue: &QueueName) -> Result<BTreeSet<String>, Error> {
    let replies = control.ask("active_queues").wait(PATIENCE).send().await?;
    let consumes = |reply: &Reply| {
        let queues = reply.value.as_list().unwrap_or_default().iter();
        let mut names = queues.filter_map(|queue| queue.get("name").and_then(Value::as_str));
        names.any(|name| name == queue.as_str())
    };
    let consuming = replies.into_iter().filter(consumes);
    Ok(consuming.map(|reply| reply.node).collect())
}

async fn tell(
    control: &Control,
    method: &str,
    queue: &QueueName,
    nodes: Vec<String>,
) -> Result<Vec<Reply>, Error> {
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let question = control.ask(method).to(nodes);
    let question = question.argument("queue", queue.as_str());
    question.wait(PATIENCE).send().await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lovage_broker::MemoryBroker;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_kept_when_nobody_is_there_to_be_told() {
        let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
        let control = Control::new(Arc::clone(&broker));
        let queue = QueueName::parse("hot").unwrap();
        assert_eq!(
            resume_queue(&*broker, &control, &queue).await.unwrap(),
            None
        );
        let told = pause_queue(&*broker, &control, &queue).await.unwrap();
        assert!(told.is_empty());
        let paused = broker.pauses().paused().await.unwrap();
        assert_eq!(paused, BTreeSet::from([queue.clone()]));
        assert_eq!(
            resume_queue(&*broker, &control, &queue).await.unwrap(),
            Some(Vec::new())
        );
        assert!(broker.pauses().paused().await.unwrap().is_empty());
    }
}
