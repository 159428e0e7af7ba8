//! The two ways to stop, as tokens that any part may wait for.

use tokio_util::sync::CancellationToken;

/// Asks a worker to stop. Cloning shares it; asking twice is harmless.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    warm: CancellationToken,
    cold: CancellationToken,
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

    pub(crate) fn is_cold(&self) -> bool {
        self.cold.is_cancelled()
    }

    pub(crate) async fn asked(&self) {
        self.warm.cancelled().await;
    }

    pub(crate) async fn asked_cold(&self) {
        self.cold.cancelled().await;
    }
}
