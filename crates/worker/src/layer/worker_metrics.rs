//! Prometheus figures of a worker as a whole, read when they are asked for.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::handle::WorkerHandle;

/// What a worker holds and tells, to be given to a registry with
/// [`register_collector`](prometheus_client::registry::Registry::register_collector):
///
/// | name | kind | meaning |
/// |---|---|---|
/// | `lovage_events_sent_total` | counter | events sent |
/// | `lovage_events_lost_total` | counter | events beyond `LOVAGE_EVENTS_MAX_RATE` or `LOVAGE_EVENTS_BUFFER` |
/// | `lovage_slots` | gauge | tasks at once at most |
/// | `lovage_messages_held` | gauge | messages in the worker's hands, those of running tasks included |
/// | `lovage_threads_abandoned` | gauge | threads that run on though their task was given up |
///
/// ```
/// use lovage_worker::{Module, layer::WorkerMetrics};
/// use prometheus_client::registry::Registry;
///
/// let module = Module::new("metrics").on_start(|started| async move {
///     let mut registry = Registry::default();
///     registry.register_collector(Box::new(WorkerMetrics::new(started.handle().clone())));
///     // Serve the registry from here.
///     Ok(())
/// });
/// ```
#[derive(Debug, Clone)]
pub struct WorkerMetrics {
    handle: WorkerHandle,
}

impl WorkerMetrics {
    /// The figures of the worker with this handle.
    pub fn new(handle: WorkerHandle) -> Self {
        Self { handle }
    }
}

impl Collector for WorkerMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let state = self.handle.state();
        for (name, help, value) in [
            (
                "lovage_events_sent",
                "Events sent",
                self.handle.events_sent(),
            ),
            (
                "lovage_events_lost",
                "Events that were too many, or waited too long for the broker",
                self.handle.events_lost(),
            ),
        ] {
            let counter = ConstCounter::new(value);
            let metric = encoder.encode_descriptor(name, help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        for (name, help, value) in [
            ("lovage_slots", "Tasks at once at most", state.slots),
            (
                "lovage_messages_held",
                "Messages in the worker's hands, those of running tasks included",
                state.held,
            ),
            (
                "lovage_threads_abandoned",
                "Threads that run on though their task was given up",
                state.abandoned,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
