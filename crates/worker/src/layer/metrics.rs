//! The layer that counts and measures tasks, for a Prometheus registry of the user's own.

use std::fmt;

use futures::{FutureExt, future::BoxFuture};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{Ended, Layer, Next, TaskCall};
use crate::outcome::Outcome;

/// Counts tasks by name and outcome, and measures how long they run.
///
/// | metric | labels | is |
/// |---|---|---|
/// | `lovage_tasks_ended_total` | `task`, `outcome` | attempts that ended; an outcome is a word of [`End::word`](super::End::word) |
/// | `lovage_task_runtime_seconds` | `task`, `outcome` | how long they ran, a histogram from 1 ms to about 4 minutes |
/// | `lovage_tasks_running` | `task` | attempts under way in this process |
///
/// Cloning it shares the metrics, so that one of them may be given to several modules or workers.
///
/// ```
/// use lovage_worker::{Module, layer::Metrics};
/// use prometheus_client::{encoding::text::encode, registry::Registry};
///
/// let mut registry = Registry::default();
/// let module = Module::new("observed").layer_all(Metrics::register(&mut registry));
/// let mut page = String::new();
/// encode(&mut page, &registry).expect("a String takes everything");
/// # assert!(page.ends_with("# EOF\n"), "{page}");
/// # assert_eq!(module.name(), "observed");
/// ```
#[derive(Clone)]
pub struct Metrics {
    ended: Family<TaskEnd, Counter>,
    runtime: Family<TaskEnd, Histogram, fn() -> Histogram>,
    running: Family<Task, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskEnd {
    task: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Task {
    task: String,
}

impl Metrics {
    /// Makes the metrics and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            ended: Family::default(),
            runtime: Family::new_with_constructor(|| {
                Histogram::new(exponential_buckets(0.001, 4.0, 10))
            }),
            running: Family::default(),
        };
        // The encoder adds `_total` to the name of a counter.
        registry.register(
            "lovage_tasks_ended",
            "Attempts at tasks that ended",
            metrics.ended.clone(),
        );
        registry.register(
            "lovage_task_runtime_seconds",
            "How long attempts at tasks ran",
            metrics.runtime.clone(),
        );
        registry.register(
            "lovage_tasks_running",
            "Attempts at tasks under way",
            metrics.running.clone(),
        );
        metrics
    }
}

/// Counts down however the attempt ends: a time limit drops it where it stands.
struct Running(Gauge);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Layer for Metrics {
    fn call(&self, call: TaskCall, next: Next) -> BoxFuture<'static, Outcome> {
        let task = call.name().to_owned();
        let gauge = self.running.get_or_create(&Task { task }).clone();
        async move {
            gauge.inc();
            let _running = Running(gauge);
            next.run(call).await
        }
        .boxed()
    }

    fn ended(&self, ended: &Ended<'_>) {
        let labels = TaskEnd {
            task: ended.message.headers.task.as_str().to_owned(),
            outcome: ended.end.word(),
        };
        self.ended.get_or_create(&labels).inc();
        if let Some(ran) = ended.ran {
            self.runtime
                .get_or_create(&labels)
                .observe(ran.as_secs_f64());
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
