//! Workers: whose clocks differ from ours, which have one name between them, and which tell nothing of their tasks.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use futures::{StreamExt, stream::BoxStream};
use lovage_broker::Broker;
use lovage_flower_compat::{Control, machine, receive};
use lovage_protocol::{Lamport, Value, event::Event};
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::finding::Finding;
use crate::failure::Failure;

/// Longer than workers wait between two signs of life.
const LISTEN: Duration = Duration::from_millis(2500);
/// Clocks that are further apart make tasks run early or late by so much.
pub(super) const SKEW: f64 = 2.0;
/// What to do about it.
pub(super) const SYNCHRONISE: &str =
    "synchronise the clocks (chrony, systemd-timesyncd): eta, expires and schedules go by them";
/// A worker may gather the events of its tasks for so long before it sends them.
const GATHERED: Duration = Duration::from_secs(1);

/// Listens to signs of life for a moment, and compares their times with ours.
pub(super) async fn clocks(broker: &dyn Broker) -> Result<Vec<Finding>, Failure> {
    let mut seen: BTreeMap<String, f64> = BTreeMap::new();
    let mut events = receive(broker, "worker.#", Lamport::default()).await?;
    let until = Instant::now() + LISTEN;
    while let Ok(Some(event)) = timeout_at(until, events.next()).await {
        let ahead = event.timestamp - machine::now();
        let known = seen.entry(event.hostname).or_insert(ahead);
        // The way here makes a clock look late; the quickest of its signs says the most.
        if ahead.abs() < known.abs() {
            *known = ahead;
        }
    }
    let apart = seen.into_iter().filter(|(_, ahead)| ahead.abs() > SKEW);
    let told = apart.map(|(whose, ahead)| {
        let side = side(ahead);
        Finding {
            check: "clock-skew",
            text: format!("its clock is {:.1} s {side} this machine's", ahead.abs()),
            subject: whose,
            remedy: SYNCHRONISE.to_owned(),
            facts: json!({ "ahead_seconds": ahead }),
            repair: None,
            hint: false,
        }
    });
    Ok(told.collect())
}

/// On which side of ours a clock is.
pub(super) fn side(ahead: f64) -> &'static str {
    if ahead > 0.0 { "ahead of" } else { "behind" }
}

/// Looks for workers that tell nothing of their tasks. Those of ours say whether they do; of a Python worker it is known once it
/// has begun tasks while we listened, and none was told of.
pub(super) async fn silent(
    broker: &dyn Broker,
    control: &Control,
) -> Result<Vec<Finding>, Failure> {
    let ask = || control.ask("stats").wait(GATHERED).send();
    let mut events = receive(broker, "task.#", Lamport::default()).await?;
    let before = ask().await?;
    if before.is_empty() {
        return Ok(Vec::new());
    }
    let mut heard = BTreeSet::new();
    hear(&mut events, LISTEN, &mut heard).await;
    let after = ask().await?;
    hear(&mut events, GATHERED, &mut heard).await;
    let begun: BTreeMap<String, i64> = before
        .iter()
        .map(|reply| (reply.node.clone(), total(&reply.value)))
        .collect();
    let silent = after.iter().filter(|reply| {
        let on = reply.value.get("events").and_then(|told| told.get("on"));
        match on.and_then(Value::as_bool) {
            Some(on) => !on,
            None => {
                let before = begun.get(&reply.node).copied();
                let more = before.is_some_and(|before| total(&reply.value) > before);
                more && !heard.contains(&reply.node)
            }
        }
    });
    let told = silent.map(|reply| Finding {
        check: "events-off",
        subject: reply.node.clone(),
        text: "it sends no task events: Flower, celery events and exporters show none of its tasks".to_owned(),
        remedy: format!(
            "lovage control -d {} enable_events, and start it with -E (CELERY_WORKER_SEND_TASK_EVENTS=1)",
            reply.node
        ),
        facts: json!({}),
        repair: None,
        // As Celery's default is.
        hint: true,
    });
    Ok(told.collect())
}

/// Listens for so long, and remembers who was heard.
async fn hear(
    events: &mut BoxStream<'static, Event>,
    time: Duration,
    heard: &mut BTreeSet<String>,
) {
    let until = Instant::now() + time;
    while let Ok(Some(event)) = timeout_at(until, events.next()).await {
        heard.insert(event.hostname);
    }
}

/// How many tasks a worker has begun.
fn total(stats: &Value) -> i64 {
    match stats.get("total") {
        Some(Value::Map(total)) => total.values().filter_map(Value::as_i64).sum(),
        _ => 0,
    }
}

/// Looks for workers of ours of one name.
pub(super) async fn namesakes(broker: &dyn Broker) -> Result<Vec<Finding>, Failure> {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for peer in broker.peers().await? {
        *names.entry(peer.node).or_default() += 1;
    }
    let doubled = names.into_iter().filter(|(_, count)| *count > 1);
    let told = doubled.map(|(node, count)| Finding {
        check: "duplicate-node-name",
        text: format!("{count} workers are called so: who asks for one of them gets either"),
        remedy: "give each a name of its own: lovage worker -n NAME@%h".to_owned(),
        facts: json!({ "workers": count }),
        subject: node,
        repair: None,
        hint: false,
    });
    Ok(told.collect())
}
