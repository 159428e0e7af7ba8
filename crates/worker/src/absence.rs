//! Celery's `worker_cancel_long_running_tasks_on_connection_loss`: a worker that has not heard of its broker for a whole lease
//! may have lost its messages to others. What it runs is then dropped, so that nothing runs in two places for long.
//!
//! Without the setting a task runs on: when nobody else was given its message, which is so after an absence of the broker
//! itself, its end counts.

use std::{sync::Arc, time::Duration};

use lovage_broker::Consumer;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::pool::Pool;

/// Looks so often within a lease.
const LOOKS: u32 = 10;

/// Tells the pool, until the worker has stopped.
pub(crate) async fn watch(
    consumer: Arc<dyn Consumer>,
    pool: Arc<Pool>,
    lease: Duration,
    stopped: CancellationToken,
) {
    let mut away = false;
    loop {
        tokio::select! {
            () = stopped.cancelled() => return,
            () = tokio::time::sleep(lease / LOOKS) => {}
        }
        if away == consumer.is_connected() {
            away = !away;
            if !away {
                info!("the broker is back: tasks run again");
            }
            pool.set_away(away);
        }
    }
}
