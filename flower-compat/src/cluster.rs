//! Which nodes there are, from their events (`celery/events/state.py`, `Worker`).

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lovage_protocol::event::Event;

/// A node is taken for dead after so many of its intervals without a heartbeat.
const EXPIRE_WINDOW: f64 = 2.0;
/// The interval of a node that does not say.
const USUAL_INTERVAL: f64 = 60.0;

/// The nodes that were heard of.
#[derive(Debug, Default)]
pub struct Cluster {
    nodes: BTreeMap<String, Node>,
}

/// One node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Tasks that run there.
    pub active: i64,
    /// Tasks it has accepted.
    pub processed: i64,
    /// The load of its machine.
    pub load: Option<f64>,
    /// Its process.
    pub pid: Option<i64>,
    /// What it runs, such as `py-celery 5.7.0`.
    pub software: String,
    interval: Duration,
    /// Nothing: it has said that it goes.
    heard: Option<Instant>,
}

/// What an event changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing that matters.
    None,
    /// The node was not there before.
    Joined,
    /// The node has said that it goes.
    Left,
}

impl Node {
    /// Whether it lives, as far as can be said.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.heard.is_some_and(|heard| {
            now.saturating_duration_since(heard) <= self.interval.mul_f64(EXPIRE_WINDOW)
        })
    }
}

impl Cluster {
    /// Takes in an event that was heard at `now`.
    pub fn hear(&mut self, event: &Event, now: Instant) -> Change {
        if !event.kind.starts_with("worker-") || event.hostname.is_empty() {
            return Change::None;
        }
        let known = self.nodes.get(&event.hostname);
        let was_alive = known.is_some_and(|node| node.is_alive(now));
        if event.kind == "worker-offline" {
            if let Some(node) = self.nodes.get_mut(&event.hostname) {
                node.heard = None;
            }
            return if was_alive {
                Change::Left
            } else {
                Change::None
            };
        }
        let node = self.nodes.entry(event.hostname.clone()).or_insert(Node {
            active: 0,
            processed: 0,
            load: None,
            pid: None,
            software: String::new(),
            interval: Duration::from_secs_f64(USUAL_INTERVAL),
            heard: None,
        });
        node.heard = Some(now);
        node.take(event);
        if was_alive {
            Change::None
        } else {
            Change::Joined
        }
    }

    /// Nodes that died without a word since they were last asked for; each is named once.
    pub fn lost(&mut self, now: Instant) -> Vec<String> {
        let dead = |node: &Node| node.heard.is_some() && !node.is_alive(now);
        let mut lost = Vec::new();
        for (name, node) in &mut self.nodes {
            if dead(node) {
                node.heard = None;
                lost.push(name.clone());
            }
        }
        lost
    }

    /// How many live.
    pub fn alive(&self, now: Instant) -> usize {
        self.nodes
            .values()
            .filter(|node| node.is_alive(now))
            .count()
    }

    /// All that were heard of, by name.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(name, node)| (name.as_str(), node))
    }
}

impl Node {
    fn take(&mut self, event: &Event) {
        let int = |name: &str| event.fields.get(name).and_then(|value| value.as_i64());
        if let Some(seconds) = event.fields.get("freq").and_then(|value| value.as_f64())
            && let Ok(interval) = Duration::try_from_secs_f64(seconds)
        {
            self.interval = interval;
        }
        self.active = int("active").unwrap_or(self.active);
        self.processed = int("processed").unwrap_or(self.processed);
        self.pid = int("pid").or(self.pid);
        if let Some(load) = event
            .fields
            .get("loadavg")
            .and_then(|value| value.as_list())
        {
            self.load = load.first().and_then(|load| load.as_f64());
        }
        if let Some(ident) = event.text("sw_ident") {
            let version = event.text("sw_ver").unwrap_or_default();
            self.software = format!("{ident} {version}").trim_end().to_owned();
        }
    }
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Map, Value};

    use super::*;

    fn event(kind: &str, freq: f64) -> Event {
        let fields = [("freq", Value::Float(freq)), ("active", Value::Int(3))];
        let fields: Map = fields.map(|(name, value)| (name.to_owned(), value)).into();
        Event {
            kind: kind.to_owned(),
            hostname: "w@h".to_owned(),
            timestamp: 0.0,
            clock: None,
            fields,
        }
    }

    #[test]
    fn nodes_come_go_and_are_lost() {
        let (mut cluster, start) = (Cluster::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(
            cluster.hear(&event("worker-online", 2.0), at(0)),
            Change::Joined
        );
        assert_eq!(
            cluster.hear(&event("worker-heartbeat", 2.0), at(2)),
            Change::None
        );
        assert_eq!((cluster.alive(at(6)), cluster.alive(at(7))), (1, 0));
        assert!(cluster.lost(at(6)).is_empty());
        assert_eq!(cluster.lost(at(7)), ["w@h"]);
        assert!(cluster.lost(at(8)).is_empty(), "it is named once");
        assert_eq!(
            cluster.hear(&event("worker-heartbeat", 2.0), at(9)),
            Change::Joined
        );
        assert_eq!(
            cluster.hear(&event("worker-offline", 2.0), at(10)),
            Change::Left
        );
        assert_eq!(cluster.alive(at(10)), 0);
        assert_eq!(cluster.nodes().next().map(|(_, node)| node.active), Some(3));
        assert_eq!(
            cluster.hear(&event("task-started", 2.0), at(10)),
            Change::None
        );
    }
}
