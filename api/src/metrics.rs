//! What Prometheus reads at `/metrics`.

use std::{sync::atomic::AtomicU64, time::Duration};

use poem::http::Method;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

/// The content type of what [`Metrics::text`] gives.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: String,
    route: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Queue {
    queue: String,
}

/// Counters and gauges of this process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    answers: Family<Answer, Counter>,
    durations: Family<Route, Histogram>,
    tasks_sent: Counter,
    waiting: Family<Queue, Gauge>,
    consumers: Family<Queue, Gauge>,
    dead_letters: Gauge,
    streams: Gauge<i64, std::sync::atomic::AtomicI64>,
    workers: Gauge<i64, std::sync::atomic::AtomicI64>,
    broker_up: Gauge<f64, AtomicU64>,
}

/// From a millisecond to a minute, the longest that a request may wait for a result.
const BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 10.0, 60.0,
];

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("lovage_api");
        let metrics = Self {
            answers: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            tasks_sent: Counter::default(),
            waiting: Family::default(),
            consumers: Family::default(),
            dead_letters: Gauge::default(),
            streams: Gauge::default(),
            workers: Gauge::default(),
            broker_up: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("requests", "Requests answered", metrics.answers.clone());
        registry.register_with_unit(
            "request_duration",
            "How long answering took",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "tasks_sent",
            "Tasks sent through this process",
            metrics.tasks_sent.clone(),
        );
        registry.register(
            "queue_messages",
            "Messages that wait in a queue",
            metrics.waiting.clone(),
        );
        registry.register(
            "queue_consumers",
            "Workers that consume a queue",
            metrics.consumers.clone(),
        );
        registry.register(
            "dead_letters",
            "Messages that could not be run",
            metrics.dead_letters.clone(),
        );
        registry.register(
            "streams",
            "Streams of events that are open",
            metrics.streams.clone(),
        );
        registry.register("workers", "Workers that answer", metrics.workers.clone());
        registry.register(
            "broker_up",
            "Whether the broker answered when this was written",
            metrics.broker_up.clone(),
        );
        Self {
            registry,
            ..metrics
        }
    }

    /// Counts an answer to a request.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: u16, took: Duration) {
        // Other methods are the caller's invention; each would be a series of its own.
        let known = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::HEAD,
            Method::OPTIONS,
        ];
        let method = if known.contains(method) {
            method.as_str()
        } else {
            "other"
        };
        let route = Route {
            method: method.to_owned(),
            route: route.to_owned(),
        };
        self.durations
            .get_or_create(&route)
            .observe(took.as_secs_f64());
        let answer = Answer {
            method: route.method,
            route: route.route,
            status,
        };
        self.answers.get_or_create(&answer).inc();
    }

    /// Counts tasks that were sent.
    pub(crate) fn sent(&self, tasks: usize) {
        self.tasks_sent
            .inc_by(u64::try_from(tasks).unwrap_or_default());
    }

    /// Notes what a queue looks like.
    pub(crate) fn queue(&self, queue: &str, waiting: u64, consumers: usize) {
        let queue = Queue {
            queue: queue.to_owned(),
        };
        self.waiting
            .get_or_create(&queue)
            .set(i64::try_from(waiting).unwrap_or(i64::MAX));
        self.consumers
            .get_or_create(&queue)
            .set(i64::try_from(consumers).unwrap_or(i64::MAX));
    }

    /// Notes what the fleet looks like.
    pub(crate) fn fleet(&self, workers: usize, dead_letters: u64) {
        self.workers.set(i64::try_from(workers).unwrap_or(i64::MAX));
        self.dead_letters
            .set(i64::try_from(dead_letters).unwrap_or(i64::MAX));
    }

    /// Notes how many listen to what happens.
    pub(crate) fn streams(&self, open: usize) {
        self.streams.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Notes whether the broker answers.
    pub(crate) fn broker(&self, up: bool) {
        self.broker_up.set(f64::from(u8::from(up)));
    }

    /// Everything, as Prometheus reads it.
    ///
    /// # Errors
    /// When it cannot be written as text.
    pub(crate) fn text(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_written() {
        let metrics = Metrics::new();
        let took = Duration::from_millis(3);
        metrics.answered(&Method::POST, "/api/v1/tasks", 202, took);
        metrics.answered(&Method::from_bytes(b"BREW").unwrap(), "x", 405, took);
        metrics.queue("celery", 7, 2);
        let text = metrics.text().unwrap();
        for line in [
            r#"lovage_api_requests_total{method="POST",route="/api/v1/tasks",status="202"} 1"#,
            r#"lovage_api_requests_total{method="other",route="x",status="405"} 1"#,
            r#"lovage_api_queue_messages{queue="celery"} 7"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
