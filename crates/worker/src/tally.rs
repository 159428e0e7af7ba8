//! How many tasks came, began and ended, and how long they ran: for whoever reads a worker's numbers, under celery-exporter's names.
//!
//! A task at work passes only relaxed atomics; a failure takes a lock of its own task's, for the name of its exception. There is no
//! tally unless numbers are served.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use lovage_broker::{Finish, Settle};
use lovage_protocol::{Message, State};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
};

use crate::{catalogue::Catalogue, handle::WorkerHandle, layer, policy::Record};

/// So many queues are told apart for one task; what comes from others is counted together.
const QUEUES: usize = 8;
/// The label of those.
const OTHERS: &str = "(others)";
/// So many exceptions are told apart for one task and queue.
const EXCEPTIONS: usize = 50;
/// Upper bounds in microseconds: the default of Python's Prometheus client, which dashboards know.
const BOUNDS: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];

/// The numbers of a worker's tasks.
pub(crate) struct Tally {
    tasks: HashMap<String, ByQueue>,
    /// Messages that this worker gave up, by their reason.
    buried: Mutex<BTreeMap<String, u64>>,
}

#[derive(Default)]
struct ByQueue([OnceLock<Box<Numbers>>; QUEUES]);

/// The numbers of one task from one queue.
#[derive(Default)]
struct Numbers {
    queue: String,
    received: AtomicU64,
    redelivered: AtomicU64,
    started: AtomicU64,
    succeeded: AtomicU64,
    retried: AtomicU64,
    revoked: AtomicU64,
    rejected: AtomicU64,
    failed: Mutex<BTreeMap<String, u64>>,
    runtime: Runtime,
}

#[derive(Default)]
struct Runtime {
    /// The last is what took longer than all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally").finish_non_exhaustive()
    }
}

impl Tally {
    pub(crate) fn new(catalogue: &Catalogue) -> Self {
        let names = catalogue.all_names();
        Self {
            tasks: names.map(|name| (name, ByQueue::default())).collect(),
            buried: Mutex::default(),
        }
    }

    fn of(&self, message: &Message, queue: &str) -> Option<&Numbers> {
        // A name that nobody registered is not counted: anybody may make up any number of them.
        let task = self.tasks.get(message.headers.task.as_str())?;
        Some(task.from(queue))
    }

    /// A message came whose task is going to run.
    pub(crate) fn received(&self, message: &Message, queue: &str) {
        if let Some(numbers) = self.of(message, queue) {
            numbers.received.fetch_add(1, Relaxed);
            if message.redelivered() {
                numbers.redelivered.fetch_add(1, Relaxed);
            }
        }
    }

    /// Its task begins.
    pub(crate) fn started(&self, message: &Message, queue: &str) {
        if let Some(numbers) = self.of(message, queue) {
            numbers.started.fetch_add(1, Relaxed);
        }
    }

    /// It was not run.
    pub(crate) fn not_run(&self, message: &Message, queue: &str) {
        if let Some(numbers) = self.of(message, queue) {
            numbers.revoked.fetch_add(1, Relaxed);
        }
    }

    /// Its attempt ended.
    pub(crate) fn ended(
        &self,
        message: &Message,
        queue: &str,
        record: Option<&Record>,
        rejected: Option<bool>,
        ran: Option<Duration>,
    ) {
        let Some(numbers) = self.of(message, queue) else {
            return;
        };
        if rejected.is_some() {
            numbers.rejected.fetch_add(1, Relaxed);
        }
        let Some(record) = record else {
            return;
        };
        match record.state {
            State::Success => {
                numbers.succeeded.fetch_add(1, Relaxed);
                if let Some(ran) = ran {
                    numbers.runtime.observe(ran);
                }
            }
            State::Retry => {
                numbers.retried.fetch_add(1, Relaxed);
            }
            State::Revoked => {
                numbers.revoked.fetch_add(1, Relaxed);
            }
            _ => {
                let mut failed = numbers
                    .failed
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                count(&mut failed, &layer::exception(&record.result).exc_type);
            }
        }
    }

    /// How a message left this worker.
    pub(crate) fn left(&self, finish: &Finish) {
        if let Some(Settle::DeadLetter(reason)) = &finish.settle {
            let mut buried = self.buried.lock().unwrap_or_else(PoisonError::into_inner);
            count(&mut buried, &reason.code);
        }
    }

    fn each(&self) -> impl Iterator<Item = (&str, &Numbers)> {
        self.tasks.iter().flat_map(|(name, task)| {
            let known = task.0.iter().filter_map(OnceLock::get);
            known.map(move |numbers| (name.as_str(), &**numbers))
        })
    }
}

/// Counts under a word; words beyond the bound are counted together.
fn count(counts: &mut BTreeMap<String, u64>, word: &str) {
    let word = match counts.contains_key(word) || counts.len() < EXCEPTIONS {
        true => word,
        false => OTHERS,
    };
    *counts.entry(word.to_owned()).or_default() += 1;
}

impl ByQueue {
    fn from(&self, queue: &str) -> &Numbers {
        let Some((last, first)) = self.0.split_last() else {
            unreachable!("there is room for a queue")
        };
        let named = |queue: &str| {
            Box::new(Numbers {
                queue: queue.to_owned(),
                ..Numbers::default()
            })
        };
        for place in first {
            let numbers = place.get_or_init(|| named(queue));
            if numbers.queue == queue {
                return numbers;
            }
        }
        last.get_or_init(|| named(OTHERS))
    }
}

impl Runtime {
    fn observe(&self, ran: Duration) {
        let micros = u64::try_from(ran.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS.partition_point(|bound| *bound < micros);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.fetch_add(1, Relaxed);
        }
        self.micros.fetch_add(micros, Relaxed);
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    name: String,
    hostname: String,
    queue_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailedLabels {
    name: String,
    hostname: String,
    queue_name: String,
    exception: String,
}

/// What a worker counted of its tasks, for a registry
/// ([`register_collector`](prometheus_client::registry::Registry::register_collector)). The names and labels are those of
/// danihodovic/celery-exporter. Counted only while `LOVAGE_MONITOR_BIND` is set.
///
/// | name | labels |
/// |---|---|
/// | `celery_task_received_total`, `_started_`, `_succeeded_`, `_retried_`, `_revoked_`, `_rejected_` | name, hostname, queue_name |
/// | `celery_task_failed_total` | and exception |
/// | `celery_task_runtime`, a histogram of seconds | name, hostname, queue_name |
/// | `celery_worker_tasks_active` | hostname |
/// | `lovage_task_redelivered_total` | name, hostname, queue_name |
/// | `lovage_messages_buried_total` | hostname, reason |
/// | `lovage_lease_age_seconds`, `lovage_pool_load` | hostname |
#[derive(Debug, Clone)]
pub struct TaskMetrics {
    handle: WorkerHandle,
    hostname: String,
}

impl TaskMetrics {
    /// Those of the worker with this handle.
    pub fn new(handle: WorkerHandle) -> Self {
        let hostname = handle.hostname().to_owned();
        Self { handle, hostname }
    }

    fn labels(&self, name: &str, numbers: &Numbers) -> Labels {
        Labels {
            name: name.to_owned(),
            hostname: self.hostname.clone(),
            queue_name: numbers.queue.clone(),
        }
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
        type Field = fn(&Numbers) -> &AtomicU64;
        let counters: [(&str, &str, Field); 7] = [
            ("celery_task_received", "Tasks that came", |n| &n.received),
            ("celery_task_started", "Tasks that began", |n| &n.started),
            ("celery_task_succeeded", "Tasks that succeeded", |n| {
                &n.succeeded
            }),
            (
                "celery_task_retried",
                "Attempts that are made once more",
                |n| &n.retried,
            ),
            ("celery_task_revoked", "Tasks that were not to run", |n| {
                &n.revoked
            }),
            (
                "celery_task_rejected",
                "Messages that their tasks refused",
                |n| &n.rejected,
            ),
            (
                "lovage_task_redelivered",
                "Tasks that came once more",
                |n| &n.redelivered,
            ),
        ];
        for (name, help, field) in counters {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (task, numbers) in tally.each() {
                let labels = self.labels(task, numbers);
                let counter = ConstCounter::new(field(numbers).load(Relaxed));
                counter.encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    fn failures(&self, encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
        let help = "Tasks that failed";
        let mut metric =
            encoder.encode_descriptor("celery_task_failed", help, None, MetricType::Counter)?;
        for (task, numbers) in tally.each() {
            let failed = numbers
                .failed
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let failed = failed.clone();
            for (exception, times) in failed {
                let Labels {
                    name,
                    hostname,
                    queue_name,
                } = self.labels(task, numbers);
                let labels = FailedLabels {
                    name,
                    hostname,
                    queue_name,
                    exception,
                };
                ConstCounter::new(times).encode(metric.encode_family(&labels)?)?;
            }
        }
        let help = "Messages that this worker gave up";
        let mut metric =
            encoder.encode_descriptor("lovage_messages_buried", help, None, MetricType::Counter)?;
        let buried = tally.buried.lock().unwrap_or_else(PoisonError::into_inner);
        let buried = buried.clone();
        for (reason, times) in buried {
            let labels = [("hostname", self.hostname.clone()), ("reason", reason)];
            ConstCounter::new(times).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn runtimes(&self, encoder: &mut DescriptorEncoder<'_>, tally: &Tally) -> fmt::Result {
        let help = "Seconds that tasks ran";
        let mut metric =
            encoder.encode_descriptor("celery_task_runtime", help, None, MetricType::Histogram)?;
        for (task, numbers) in tally.each() {
            let counts = numbers
                .runtime
                .buckets
                .each_ref()
                .map(|one| one.load(Relaxed));
            let bounds = BOUNDS
                .iter()
                .map(|bound| Duration::from_micros(*bound).as_secs_f64());
            let buckets: Vec<(f64, u64)> = bounds.chain([f64::INFINITY]).zip(counts).collect();
            let total = Duration::from_micros(numbers.runtime.micros.load(Relaxed));
            let labels = self.labels(task, numbers);
            metric
                .encode_family(&labels)?
                .encode_histogram::<Vec<(String, String)>>(
                    total.as_secs_f64(),
                    counts.iter().sum(),
                    &buckets,
                    None,
                )?;
        }
        Ok(())
    }

    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.handle.state();
        let whole = |count: usize| u32::try_from(count).map_or(f64::MAX, f64::from);
        let age = self.handle.lease_age();
        let gauges = [
            (
                "celery_worker_tasks_active",
                "Tasks that run",
                Some(whole(state.running)),
            ),
            (
                "lovage_pool_load",
                "The share of its slots that are in use",
                Some(whole(state.running) / whole(state.slots.max(1))),
            ),
            (
                "lovage_lease_age_seconds",
                "How long ago the worker's lease was renewed",
                age.map(|age| age.as_secs_f64()),
            ),
        ];
        let labels = [("hostname", self.hostname.clone())];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }
}

impl Collector for TaskMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        if let Some(tally) = self.handle.tally() {
            self.counters(&mut encoder, tally)?;
            self.failures(&mut encoder, tally)?;
            self.runtimes(&mut encoder, tally)?;
        }
        self.gauges(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::{BOUNDS, ByQueue, EXCEPTIONS, OTHERS, QUEUES, Relaxed, Runtime, count};

    #[test]
    fn queues_beyond_the_bound_are_counted_together() {
        let task = ByQueue::default();
        for number in 0..QUEUES + 5 {
            let numbers = task.from(&format!("q{number}"));
            numbers.received.fetch_add(1, Relaxed);
        }
        let counted = |queue: &str| task.from(queue).received.load(Relaxed);
        assert_eq!(counted("q0"), 1);
        assert_eq!(counted("any other"), 6);
        assert_eq!(task.from("any other").queue, OTHERS);
    }

    #[test]
    fn exceptions_beyond_the_bound_are_counted_together() {
        let mut counts = BTreeMap::new();
        for number in 0..EXCEPTIONS + 10 {
            count(&mut counts, &format!("Error{number}"));
        }
        assert_eq!((counts["Error0"], counts[OTHERS]), (1, 10));
    }

    #[test]
    fn a_time_is_counted_below_its_bound() {
        let runtime = Runtime::default();
        for time in [
            Duration::from_millis(5),
            Duration::from_millis(6),
            Duration::from_secs(60),
        ] {
            runtime.observe(time);
        }
        let counted = |place: usize| runtime.buckets[place].load(Relaxed);
        assert_eq!((counted(0), counted(1), counted(BOUNDS.len())), (1, 1, 1));
    }
}
