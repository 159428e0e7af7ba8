//! Workers: whose clocks differ from ours, and which have one name between them.

use std::{collections::BTreeMap, time::Duration};

use futures::StreamExt;
use lovage_broker::Broker;
use lovage_flower_compat::{machine, receive};
use lovage_protocol::Lamport;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::finding::Finding;
use crate::failure::Failure;

/// Longer than workers wait between two signs of life.
const LISTEN: Duration = Duration::from_millis(2500);
/// Clocks that are further apart make tasks run early or late by so much.
const SKEW: f64 = 2.0;

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
        let side = if ahead > 0.0 { "ahead of" } else { "behind" };
        Finding {
            check: "clock-skew",
            text: format!("its clock is {:.1} s {side} this machine's", ahead.abs()),
            subject: whose,
            remedy: "synchronise the clocks (chrony, systemd-timesyncd): eta, expires and schedules go by them"
                .to_owned(),
            facts: json!({ "ahead_seconds": ahead }),
            repair: None,
        }
    });
    Ok(told.collect())
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
    });
    Ok(told.collect())
}
