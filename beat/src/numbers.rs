//! How many messages a beat sent, and how late.

use chrono::TimeDelta;
use prometheus_client::{
    metrics::{counter::Counter, histogram::Histogram},
    registry::{Registry, Unit},
};

/// From a blink to the time after which a take-over should long be done.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 60.0, 600.0];

/// What a beat counts while it leads. Cloning shares it.
#[derive(Debug, Clone)]
pub struct BeatNumbers {
    sent: Counter,
    lag: Histogram,
}

impl Default for BeatNumbers {
    fn default() -> Self {
        Self {
            sent: Counter::default(),
            lag: Histogram::new(BUCKETS),
        }
    }
}

impl BeatNumbers {
    /// Registers `lovage_beat_sent_total`, runs that were sent, and `lovage_beat_tick_lag_seconds`, how long after their due time.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("lovage_beat_sent", "Runs that were sent", self.sent.clone());
        registry.register_with_unit(
            "lovage_beat_tick_lag",
            "How long after its due time a run was sent",
            Unit::Seconds,
            self.lag.clone(),
        );
    }

    pub(crate) fn sent(&self, late: TimeDelta) {
        self.sent.inc();
        // A clock that jumped back makes a run early: that is not late.
        let late = late.to_std().unwrap_or_default();
        self.lag.observe(late.as_secs_f64());
    }
}
