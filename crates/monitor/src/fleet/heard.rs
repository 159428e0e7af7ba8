//! The events of workers that count nothing themselves: Celery's own. A worker of ours serves its own numbers, so its events are not
//! counted here once more.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use lovage_broker::Broker;
use lovage_flower_compat::{Cluster, receive};
use lovage_protocol::{Lamport, Value, event::Event};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::Registry,
};
use tokio::time::Instant;
use tracing::debug;

use super::look::Census;

/// So many tasks are remembered from their first event to their last, the newest.
const MOST_TASKS: usize = 100_000;
/// So many nodes are told apart until they are looked for anew.
const MOST_NODES: usize = 10_000;
/// So many combinations of labels at most: names and queues come from outside.
const MOST_SERIES: usize = 20_000;
/// The pause before the broker is listened to anew.
const PAUSE: Duration = Duration::from_secs(1);
/// The default of Python's Prometheus client, which dashboards know.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Task {
    name: String,
    hostname: String,
    queue_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedTask {
    name: String,
    hostname: String,
    queue_name: String,
    exception: String,
}

type Durations = Family<Task, Histogram, fn() -> Histogram>;
/// A number for each node.
type Numbered = Vec<(String, i64)>;

/// What was heard. Cloning shares it.
#[derive(Clone)]
pub(super) struct Heard {
    counters: Arc<BTreeMap<&'static str, Family<Task, Counter>>>,
    failed: Family<FailedTask, Counter>,
    runtime: Durations,
    wait: Durations,
    lost: Counter,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Debug, Default)]
struct Memory {
    cluster: Cluster,
    ours: BTreeSet<String>,
    /// The nodes of which it is known whether they are ours.
    known: BTreeSet<String>,
    /// The queue of a worker that consumes one alone.
    only_queue: BTreeMap<String, String>,
    tasks: HashMap<String, Known>,
    order: VecDeque<String>,
    series: HashSet<FailedTask>,
}

/// What is known of a task under way.
#[derive(Debug, Default, Clone)]
struct Known {
    name: String,
    queue: Option<String>,
    sent: Option<f64>,
    /// It has a time of its own to wait for, which is no fault of the queue.
    has_eta: bool,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").finish_non_exhaustive()
    }
}

const KINDS: [&str; 7] = [
    "sent",
    "received",
    "started",
    "succeeded",
    "rejected",
    "revoked",
    "retried",
];

impl Default for Heard {
    fn default() -> Self {
        let durations = || Durations::new_with_constructor(|| Histogram::new(BUCKETS));
        Self {
            counters: Arc::new(KINDS.map(|kind| (kind, Family::default())).into()),
            failed: Family::default(),
            runtime: durations(),
            wait: durations(),
            lost: Counter::default(),
            memory: Arc::default(),
        }
    }
}

impl Heard {
    pub(super) fn register(&self, registry: &mut Registry) {
        for (kind, family) in &*self.counters {
            let name = format!("celery_task_{kind}");
            registry.register(name, format!("Tasks that were {kind}"), family.clone());
        }
        registry.register(
            "celery_task_failed",
            "Tasks that failed",
            self.failed.clone(),
        );
        registry.register(
            "celery_task_runtime",
            "Seconds that tasks ran",
            self.runtime.clone(),
        );
        registry.register(
            "celery_task_queue_wait_time",
            "Seconds from a task's sending to its start, those with an eta left out",
            self.wait.clone(),
        );
        registry.register(
            "lovage_exporter_events_uncounted",
            "Events left out because there were too many combinations of labels",
            self.lost.clone(),
        );
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns who counts for themselves, and what they consume.
    pub(super) fn know(&self, census: &Census) {
        let mut queues: BTreeMap<String, Vec<&String>> = BTreeMap::new();
        for (queue, nodes) in &census.consumers {
            for node in nodes {
                queues.entry(node.clone()).or_default().push(queue);
            }
        }
        let mut memory = self.memory();
        memory.only_queue = queues
            .into_iter()
            .filter_map(|(node, queues)| match queues.as_slice() {
                [queue] => Some((node, (*queue).clone())),
                _ => None,
            })
            .collect();
        memory.hold_leases(census.ours.iter().cloned());
    }

    /// Begins anew: another process has told meanwhile.
    pub(super) fn forget(&self) {
        for family in self.counters.values() {
            family.clear();
        }
        self.failed.clear();
        self.runtime.clear();
        self.wait.clear();
        *self.memory() = Memory::default();
    }

    /// Which workers live, and how many tasks those run that do not count for themselves.
    pub(super) fn workers(&self, answered: &BTreeSet<String>) -> (Numbered, Numbered) {
        let (memory, now) = (self.memory(), Instant::now().into_std());
        let mut up: BTreeMap<String, i64> = BTreeMap::new();
        let mut active = Vec::new();
        for (name, node) in memory.cluster.nodes() {
            up.insert(name.to_owned(), i64::from(node.is_alive(now)));
            if !memory.ours.contains(name) {
                active.push((name.to_owned(), node.active));
            }
        }
        for name in answered {
            up.insert(name.clone(), 1);
        }
        (up.into_iter().collect(), active)
    }

    /// Listens for ever; a broker that is away is listened to again.
    pub(super) async fn listen(&self, broker: &Arc<dyn Broker>) {
        loop {
            match receive(&**broker, "#", Lamport::default()).await {
                Ok(mut events) => {
                    while let Some(event) = events.next().await {
                        // A client is no node, and each has another name.
                        if event.kind != "task-sent" {
                            self.get_to_know(broker, &event.hostname).await;
                        }
                        self.hear(&event, Instant::now().into_std());
                    }
                }
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        "events cannot be listened to yet"
                    );
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Looks among the leases for a node that was never heard of: ours have one before they run anything.
    async fn get_to_know(&self, broker: &Arc<dyn Broker>, node: &str) {
        if self.memory().known.contains(node) {
            return;
        }
        // When the broker does not answer, the next event asks once more.
        if let Ok(peers) = broker.peers().await {
            let mut memory = self.memory();
            memory.hold_leases(peers.into_iter().map(|peer| peer.node));
            if memory.known.len() >= MOST_NODES {
                memory.known.clear();
            }
            memory.known.insert(node.to_owned());
        }
    }

    fn hear(&self, event: &Event, now: std::time::Instant) {
        let mut memory = self.memory();
        let Some(kind) = event.kind.strip_prefix("task-") else {
            memory.cluster.hear(event, now);
            return;
        };
        let Some(known) = memory.learn(event, kind) else {
            return;
        };
        // What a client sends nobody else counts, and how long a task waited nobody else can know.
        let counts_itself = kind != "sent" && memory.ours.contains(&event.hostname);
        let queue = known
            .queue
            .or_else(|| memory.only_queue.get(&event.hostname).cloned());
        let task = Task {
            name: known.name,
            hostname: event.hostname.clone(),
            queue_name: queue.unwrap_or_else(|| "celery".to_owned()),
        };
        let exception = match kind {
            "failed" => exception(event),
            _ => String::new(),
        };
        let series = FailedTask {
            name: task.name.clone(),
            hostname: task.hostname.clone(),
            queue_name: task.queue_name.clone(),
            exception,
        };
        if !memory.has_room_for(&series) {
            drop(memory);
            self.lost.inc();
            return;
        }
        drop(memory);
        if let (Some(sent), "started", false) = (known.sent, kind, known.has_eta) {
            let waited = (event.timestamp - sent).max(0.0);
            self.wait.get_or_create(&task).observe(waited);
        }
        if counts_itself {
            return;
        }
        if kind == "failed" {
            self.failed.get_or_create(&series).inc();
        } else if let Some(family) = self.counters.get(kind) {
            family.get_or_create(&task).inc();
        }
        let runtime = event.fields.get("runtime").and_then(Value::as_f64);
        if let (Some(runtime), "succeeded") = (runtime, kind) {
            self.runtime.get_or_create(&task).observe(runtime);
        }
    }
}

impl Memory {
    fn hold_leases(&mut self, nodes: impl Iterator<Item = String>) {
        for node in nodes {
            self.known.insert(node.clone());
            self.ours.insert(node);
        }
    }

    /// Takes in what an event says of its task.
    fn learn(&mut self, event: &Event, kind: &str) -> Option<Known> {
        let text = |name: &str| event.fields.get(name).and_then(Value::as_str);
        let id = text("uuid")?;
        let mut known = self.tasks.get(id).cloned().unwrap_or_default();
        if let Some(name) = text("name") {
            name.clone_into(&mut known.name);
        }
        if known.name.is_empty() {
            // It began before we listened.
            return None;
        }
        if let Some(queue) = text("queue") {
            known.queue = Some(queue.to_owned());
        }
        known.has_eta |= text("eta").is_some();
        if kind == "sent" {
            known.sent = Some(event.timestamp);
        }
        if matches!(kind, "succeeded" | "failed" | "revoked" | "rejected") {
            self.tasks.remove(id);
        } else if self.tasks.insert(id.to_owned(), known.clone()).is_none() {
            self.order.push_back(id.to_owned());
            while self.order.len() > MOST_TASKS {
                if let Some(oldest) = self.order.pop_front() {
                    self.tasks.remove(&oldest);
                }
            }
        }
        Some(known)
    }

    fn has_room_for(&mut self, series: &FailedTask) -> bool {
        if self.series.contains(series) {
            return true;
        }
        let room = self.series.len() < MOST_SERIES;
        if room {
            self.series.insert(series.clone());
        }
        room
    }
}

/// The class of `ValueError('text')`.
fn exception(event: &Event) -> String {
    let text = event.fields.get("exception").and_then(Value::as_str);
    let class = text
        .unwrap_or_default()
        .split('(')
        .next()
        .unwrap_or_default();
    class.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn event(kind: &str, host: &str, at: f64, fields: &str) -> Event {
        let text = format!(
            r#"{{"type": "task-{kind}", "hostname": "{host}", "timestamp": {at}, "uuid": "u", {fields}}}"#
        );
        Event::from_json(text.as_bytes()).unwrap()
    }

    fn page(heard: &Heard) -> String {
        let mut registry = Registry::default();
        heard.register(&mut registry);
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    }

    #[test]
    fn the_events_of_a_python_worker_become_what_an_exporter_tells() {
        let (heard, now) = (Heard::default(), Instant::now().into_std());
        heard.hear(
            &event("sent", "gen@a", 10.0, r#""name": "t.add", "queue": "hot""#),
            now,
        );
        heard.hear(
            &event("received", "py@a", 10.5, r#""name": "t.add", "eta": null"#),
            now,
        );
        heard.hear(&event("started", "py@a", 12.0, r#""x": 1"#), now);
        heard.hear(
            &event("failed", "py@a", 13.0, r#""exception": "KeyError('x')""#),
            now,
        );
        let page = page(&heard);
        for line in [
            r#"celery_task_sent_total{name="t.add",hostname="gen@a",queue_name="hot"} 1"#,
            r#"celery_task_started_total{name="t.add",hostname="py@a",queue_name="hot"} 1"#,
            r#"celery_task_failed_total{name="t.add",hostname="py@a",queue_name="hot",exception="KeyError"} 1"#,
            r#"celery_task_queue_wait_time_sum{name="t.add",hostname="py@a",queue_name="hot"} 2.0"#,
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
    }

    #[test]
    fn who_counts_for_itself_is_not_counted_again() {
        let (heard, now) = (Heard::default(), Instant::now().into_std());
        let mut census = Census::default();
        census.ours.insert("rust@a".to_owned());
        heard.know(&census);
        heard.hear(&event("received", "rust@a", 1.0, r#""name": "t.add""#), now);
        assert!(!page(&heard).contains("t.add"));
    }
}
