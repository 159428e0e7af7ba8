//! The ways to stop, as tokens that any part may wait for.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// Asks a worker to stop. Cloning shares it; asking twice is harmless.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    warm: CancellationToken,
    soft: CancellationToken,
    cold: CancellationToken,
    patience: Arc<OnceLock<Patience>>,
}

/// How long running tasks have after a soft shutdown was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) time: Duration,
    /// Nobody is to leave earlier, even if nothing runs.
    pub(crate) even_idle: bool,
}

impl Shutdown {
    /// Nobody has asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Warm: take nothing new, give back what has not begun, let running tasks finish.
    pub fn warm(&self) {
        self.warm.cancel();
    }

    /// Soft: as warm for `time`, then as cold (`celery/worker/worker.py`, `wait_for_soft_shutdown`). The worker ends as soon
    /// as nothing runs, unless it is to wait `even_idle`. No time at all is a cold shutdown; the first time given holds.
    pub fn soft(&self, time: Duration, even_idle: bool) {
        if time.is_zero() {
            return self.cold();
        }
        self.patience.get_or_init(|| Patience { time, even_idle });
        self.warm.cancel();
        self.soft.cancel();
    }

    /// Cold: as warm, and running tasks are dropped; their messages go back to their queues, unless they were acked early:
    /// those are lost, as with Celery.
    pub fn cold(&self) {
        self.warm.cancel();
        self.cold.cancel();
    }

    /// Whether anybody asked.
    pub fn is_asked(&self) -> bool {
        self.warm.is_cancelled()
    }

    /// Whether a cold one was asked for.
    pub(crate) fn is_cold(&self) -> bool {
        self.cold.is_cancelled()
    }

    pub(crate) async fn asked(&self) {
        self.warm.cancelled().await;
    }

    /// Waits for a soft one, and gives its terms.
    pub(crate) async fn asked_soft(&self) -> Patience {
        self.soft.cancelled().await;
        match self.patience.get() {
            Some(patience) => *patience,
            // The terms are set before the token is.
            None => std::future::pending().await,
        }
    }

    pub(crate) async fn asked_cold(&self) {
        self.cold.cancelled().await;
    }
}
