//! Publishing, counting and purging.

use std::time::Duration;

use bytes::Bytes;
use lovage_protocol::{QueueName, control};
use redis::Pipeline;

use super::{
    Core, fanout,
    link::{Link, Patience, Request},
    reply,
};
use crate::{Destination, Error, Publish};

/// So many messages or bytes go into one round trip at most.
const MOST_MESSAGES: usize = 500;
const MOST_BYTES: usize = 4 << 20;

/// So long answers to a request are kept for who asked, who looks for them all the time.
const ANSWER_LIFE: Duration = Duration::from_secs(300);

/// Where a message goes: its list.
pub(crate) type Pushed = (String, Bytes);

/// Pushes every message of the batch. Like kombu's producers it tries again after a lost answer, within the time allowed
/// for connecting; a message whose answer was lost may then arrive twice.
pub(crate) async fn publish(core: &Core, batch: &[Publish]) -> Result<(), Error> {
    let mut accepted = 0;
    while accepted < batch.len() {
        let chunk = chunk(&batch[accepted..]);
        if let Err(error) = publish_chunk(core, chunk).await {
            let total = batch.len();
            return Err(if total == 1 {
                error
            } else {
                Error::Incomplete {
                    accepted,
                    total,
                    source: Box::new(error),
                }
            });
        }
        accepted += chunk.len();
    }
    Ok(())
}

fn chunk(batch: &[Publish]) -> &[Publish] {
    let mut bytes = 0;
    let fits = batch.iter().take(MOST_MESSAGES).take_while(|publish| {
        bytes += publish.payload.len();
        bytes <= MOST_BYTES
    });
    let length = fits.count().max(1);
    &batch[..length]
}

async fn publish_chunk(core: &Core, chunk: &[Publish]) -> Result<(), Error> {
    let mut pushes: Vec<Pushed> = Vec::with_capacity(chunk.len());
    let mut answered = Vec::new();
    for publish in chunk {
        if !is_broadcast(publish) {
            let resolved = resolve(core, &core.link, Patience::Bounded, publish).await?;
            if is_answer(publish) {
                answered.extend(resolved.iter().map(|(list, _)| list.clone()));
            }
            pushes.extend(resolved);
        }
    }
    fanout::send_all(core, &core.link, Patience::Bounded, chunk).await?;
    let mut pipeline = Pipeline::with_capacity(1);
    // Neighbours for the same list share a command; their order is that of the arguments.
    for same in pushes.chunk_by(|a, b| a.0 == b.0) {
        let command = pipeline.cmd("LPUSH").arg(&same[0].0);
        for (_, payload) in same {
            command.arg(&payload[..]);
        }
        core.expiring.prolong(&same[0].0, &mut pipeline);
    }
    for list in answered {
        pipeline.cmd("EXPIRE").arg(list).arg(ANSWER_LIFE.as_secs());
    }
    if !pipeline.is_empty() {
        core.link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await?;
    }
    Ok(())
}

/// Answers to a request of remote control wait for who asked, and for nobody when that one has died meanwhile.
fn is_answer(publish: &Publish) -> bool {
    matches!(&publish.destination, Destination::Exchange { exchange, .. } if exchange == control::REPLY_EXCHANGE)
}

fn is_broadcast(publish: &Publish) -> bool {
    matches!(publish.destination, Destination::Fanout { .. })
}

/// The lists that a message is pushed to; a broadcast has none, and is sent at once.
pub(crate) async fn resolve(
    core: &Core,
    link: &Link,
    patience: Patience,
    publish: &Publish,
) -> Result<Vec<Pushed>, Error> {
    let to = |queue: &QueueName| {
        (
            core.keys.list_for(queue, publish.priority),
            publish.payload.clone(),
        )
    };
    Ok(match &publish.destination {
        Destination::Queue(queue) => vec![to(queue)],
        Destination::Exchange {
            exchange,
            routing_key,
        } => {
            let queues = core.bound(link, patience, exchange, routing_key).await?;
            if queues.is_empty() {
                tracing::debug!(
                    exchange,
                    routing_key,
                    "no queue is bound, the message goes nowhere"
                );
            }
            queues.iter().map(to).collect()
        }
        Destination::Fanout { .. } => {
            fanout::send_all(core, link, patience, std::slice::from_ref(publish)).await?;
            Vec::new()
        }
    })
}

/// Counts what waits in each queue.
pub(crate) async fn depth(core: &Core, queues: &[QueueName]) -> Result<Vec<u64>, Error> {
    if queues.is_empty() {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::new();
    for list in queues.iter().flat_map(|queue| core.keys.lists(queue)) {
        pipeline.cmd("LLEN").arg(list);
    }
    let lengths = reply::list(
        core.link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await?,
    );
    let lengths: Vec<u64> = lengths.iter().filter_map(reply::integer).collect();
    Ok(lengths
        .chunks(core.keys.steps.all().len())
        .map(|steps| steps.iter().sum())
        .collect())
}

/// How many wait at each priority step.
pub(crate) async fn depth_by_priority(
    core: &Core,
    queue: &QueueName,
) -> Result<Vec<(u8, u64)>, Error> {
    let mut pipeline = Pipeline::new();
    for list in core.keys.lists(queue) {
        pipeline.cmd("LLEN").arg(list);
    }
    let answer = core.link.send(Request::Many(&pipeline), Patience::Bounded);
    let lengths = reply::list(answer.await?);
    let lengths = lengths.iter().filter_map(reply::integer);
    Ok(core.keys.steps.all().iter().copied().zip(lengths).collect())
}

/// The messages that are served next: those at the right ends of the lists.
pub(crate) async fn peek(core: &Core, queue: &QueueName, most: usize) -> Result<Vec<Bytes>, Error> {
    if most == 0 {
        return Ok(Vec::new());
    }
    let mut pipeline = Pipeline::new();
    for list in core.keys.lists(queue) {
        pipeline
            .cmd("LRANGE")
            .arg(list)
            .arg(format!("-{most}"))
            .arg(-1);
    }
    let answer = core.link.send(Request::Many(&pipeline), Patience::Bounded);
    let lists = reply::list(answer.await?).into_iter();
    let messages = lists.flat_map(|list| reply::bytes_list(list).into_iter().rev());
    Ok(messages.take(most).collect())
}

/// Deletes what waits in a queue.
pub(crate) async fn purge(core: &Core, queue: &QueueName) -> Result<u64, Error> {
    let lists: Vec<String> = core.keys.lists(queue).collect();
    let mut pipeline = Pipeline::new();
    pipeline.atomic();
    for list in &lists {
        pipeline.cmd("LLEN").arg(list);
    }
    pipeline.cmd("DEL").arg(&lists);
    let answers = reply::list(
        core.link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await?,
    );
    Ok(answers
        .iter()
        .take(lists.len())
        .filter_map(reply::integer)
        .sum())
}
