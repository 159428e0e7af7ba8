//! The gauges of the fleet as they are written.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

use super::{heard::Heard, look::Seen};

#[derive(Debug)]
pub(super) struct Page {
    pub(super) seen: Arc<Mutex<Seen>>,
    pub(super) heard: Heard,
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let seen = self
            .seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let of_queues = |value: fn(&super::look::Queue) -> u64| {
            seen.queues
                .iter()
                .map(move |queue| (queue.name.clone(), count(value(queue))))
        };
        let workers = |queue: &super::look::Queue| u64::try_from(queue.workers).unwrap_or(u64::MAX);
        family(
            &mut encoder,
            "celery_queue_length",
            "Messages that wait in a queue",
            "queue_name",
            of_queues(|queue| queue.waiting),
        )?;
        family(
            &mut encoder,
            "celery_active_consumer_count",
            "Consumers of a queue",
            "queue_name",
            of_queues(workers),
        )?;
        family(
            &mut encoder,
            "celery_active_worker_count",
            "Workers that consume a queue",
            "queue_name",
            of_queues(workers),
        )?;
        family(
            &mut encoder,
            "celery_active_process_count",
            "Processes that run tasks of a queue",
            "queue_name",
            of_queues(|queue| queue.processes),
        )?;
        family(
            &mut encoder,
            "lovage_queue_head_age_seconds",
            "How long the message at the head of a queue has stood there, at least",
            "queue_name",
            seen.queues
                .iter()
                .map(|queue| (queue.name.clone(), queue.head_age)),
        )?;
        let (up, active) = self.heard.workers(&seen.nodes);
        family(
            &mut encoder,
            "celery_worker_up",
            "Whether a worker lives",
            "hostname",
            up,
        )?;
        family(
            &mut encoder,
            "celery_worker_tasks_active",
            "Tasks that a worker runs, by its heartbeat",
            "hostname",
            active,
        )?;
        if let Some(letters) = seen.dead_letters {
            let gauge = ConstGauge::new(count(letters));
            let metric = encoder.encode_descriptor(
                "lovage_dead_letters",
                "Messages that could not be run, at the broker",
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}

fn family<N: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &'static str,
    values: impl IntoIterator<Item = (String, N)>,
) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (of, value) in values {
        let labels = [(label, of)];
        ConstGauge::new(value).encode(metric.encode_family(&labels)?)?;
    }
    Ok(())
}
