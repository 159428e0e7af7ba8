//! What this process uses, under the names that every Prometheus client has for it.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

/// Memory and processor time of this process, read when asked for. Where there is no `/proc` it tells nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessMetrics;

impl Collector for ProcessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(bytes) = resident_bytes() {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(
                "process_resident_memory_bytes",
                "Memory of this process that is in use",
                None,
                gauge.metric_type(),
            )?;
            gauge.encode(metric)?;
        }
        if let Some(seconds) = cpu_seconds() {
            let counter = ConstCounter::new(seconds);
            let metric = encoder.encode_descriptor(
                "process_cpu_seconds",
                "Processor time of this process",
                None,
                counter.metric_type(),
            )?;
            counter.encode(metric)?;
        }
        Ok(())
    }
}

fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    let size = u64::try_from(rustix::param::page_size()).ok()?;
    pages.checked_mul(size)
}

fn cpu_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold anything; it ends with the last bracket.
    let (_, rest) = text.rsplit_once(')')?;
    let ticks: Vec<u32> = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|word| word.parse().ok())
        .collect();
    let a_second = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    let [user, system] = ticks.as_slice() else {
        return None;
    };
    Some((f64::from(*user) + f64::from(*system)) / f64::from(a_second.max(1)))
}

#[cfg(test)]
mod tests {
    use prometheus_client::{encoding::text::encode, registry::Registry};

    use super::ProcessMetrics;

    #[test]
    fn memory_and_time_are_told() {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(ProcessMetrics));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        let value = |name: &str| -> f64 {
            let line = page.lines().find(|line| line.starts_with(name)).unwrap();
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        assert!(value("process_resident_memory_bytes ") > 1e6, "{page}");
        assert!(value("process_cpu_seconds_total ") >= 0.0, "{page}");
    }
}
