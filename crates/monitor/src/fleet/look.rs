//! Looking at queues and asking workers.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use lovage_broker::{Broker, Error};
use lovage_flower_compat::Control;
use lovage_protocol::{QueueName, Value};
use tokio::time::Instant;

/// How long workers have to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What workers say of themselves.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Census {
    /// Those of ours, which hold a lease and count their tasks themselves.
    pub ours: BTreeSet<String>,
    /// All that answered or hold a lease.
    pub nodes: BTreeSet<String>,
    /// Who consumes a queue.
    pub consumers: BTreeMap<String, BTreeSet<String>>,
    /// How many processes run a worker's tasks.
    pub processes: BTreeMap<String, u64>,
}

/// One queue.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) waiting: u64,
    pub(super) workers: usize,
    pub(super) processes: u64,
    /// Seconds for which the message at the head has stood there, as far as was looked.
    pub(super) head_age: f64,
}

/// The fleet at one moment.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) queues: Vec<Queue>,
    pub nodes: BTreeSet<String>,
    pub(super) dead_letters: Option<u64>,
}

/// The message that stood at the head of a queue, and since when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    message: u64,
    since: Instant,
}

/// Asks all workers what they consume and how they run it; those that do not obey are known by their leases.
///
/// # Errors
/// When the broker does not answer.
pub async fn census(broker: &dyn Broker, control: &Control) -> Result<Census, Error> {
    let ask = |method: &str| control.ask(method).wait(PATIENCE).send();
    let (peers, queues, stats) =
        tokio::try_join!(broker.peers(), ask("active_queues"), ask("stats"))?;
    let mut census = Census::default();
    let answered: BTreeSet<&str> = queues.iter().map(|reply| reply.node.as_str()).collect();
    for peer in peers {
        // Those that do not obey remote control are known by their leases, which tell of a change only when they are renewed.
        let queues = (!answered.contains(peer.node.as_str())).then_some(peer.queues);
        for queue in queues.into_iter().flatten() {
            let consumers = census.consumers.entry(queue).or_default();
            consumers.insert(peer.node.clone());
        }
        census.nodes.insert(peer.node.clone());
        census.ours.insert(peer.node);
    }
    for reply in queues {
        for queue in reply.value.as_list().unwrap_or_default() {
            if let Some(name) = queue.get("name").and_then(Value::as_str) {
                let consumers = census.consumers.entry(name.to_owned()).or_default();
                consumers.insert(reply.node.clone());
            }
        }
        census.nodes.insert(reply.node);
    }
    for reply in stats {
        let pool = reply.value.get("pool");
        let processes = pool.and_then(|pool| pool.get("processes"));
        let count = processes.and_then(Value::as_list).map_or(1, <[Value]>::len);
        census.nodes.insert(reply.node.clone());
        census
            .processes
            .insert(reply.node, u64::try_from(count).unwrap_or(u64::MAX));
    }
    Ok(census)
}

pub(super) async fn look(
    broker: &dyn Broker,
    routed: &BTreeSet<String>,
    census: &Census,
    heads: &mut BTreeMap<String, Head>,
) -> Result<Seen, Error> {
    let names: BTreeSet<&String> = routed.iter().chain(census.consumers.keys()).collect();
    let names: Vec<QueueName> = names
        .into_iter()
        .filter_map(|name| QueueName::parse(name).ok())
        .collect();
    let depths = broker.depth(&names).await?;
    let mut queues = Vec::with_capacity(names.len());
    for (name, waiting) in names.iter().zip(depths) {
        let consumers = census.consumers.get(name.as_str());
        let processes = consumers.into_iter().flatten().map(|node| {
            let known = census.processes.get(node);
            // One that does not say runs them in itself.
            known.copied().unwrap_or(1)
        });
        let head = match waiting {
            0 => None,
            _ => broker.peek(name, 1).await?.into_iter().next(),
        };
        queues.push(Queue {
            name: name.as_str().to_owned(),
            waiting,
            workers: consumers.map_or(0, BTreeSet::len),
            processes: processes.sum(),
            head_age: age(heads, name.as_str(), head.as_deref(), Instant::now()),
        });
    }
    heads.retain(|name, _| queues.iter().any(|queue| &queue.name == name));
    Ok(Seen {
        queues,
        nodes: census.nodes.clone(),
        dead_letters: Some(broker.dead_letters().count().await?),
    })
}

/// How long this message has stood at the head. Messages do not say when they were sent, so it is at least as old.
fn age(heads: &mut BTreeMap<String, Head>, queue: &str, raw: Option<&[u8]>, now: Instant) -> f64 {
    let Some(raw) = raw else {
        heads.remove(queue);
        return 0.0;
    };
    let mut hasher = DefaultHasher::new();
    raw.hash(&mut hasher);
    let message = hasher.finish();
    let head = heads.entry(queue.to_owned()).or_insert(Head {
        message,
        since: now,
    });
    if head.message != message {
        *head = Head {
            message,
            since: now,
        };
    }
    now.duration_since(head.since).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Duration, Instant, age};

    #[test]
    fn a_head_ages_until_another_message_stands_there() {
        let (mut heads, start) = (BTreeMap::new(), Instant::now());
        let mut look = |raw: Option<&[u8]>, after: u64| {
            age(&mut heads, "q", raw, start + Duration::from_secs(after))
        };
        let close = |told: f64, expected: f64| assert!((told - expected).abs() < 1e-6, "{told}");
        close(look(Some(b"a"), 0), 0.0);
        close(look(Some(b"a"), 30), 30.0);
        close(look(Some(b"b"), 40), 0.0);
        close(look(None, 50), 0.0);
        close(look(Some(b"b"), 60), 0.0);
    }
}
