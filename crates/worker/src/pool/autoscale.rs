//! Grows and shrinks a pool with its load (`celery/worker/autoscale.py`).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::Pool;

/// How often the load is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Between how many and how many tasks at once; `min` is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Autoscale {
    /// The most.
    pub max: usize,
    /// The fewest.
    pub min: usize,
}

impl Autoscale {
    /// `min` is put between 1 and `max`.
    pub fn new(max: usize, min: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            min: min.clamp(1, max),
        }
    }
}

/// The size to have now, if another than `slots`. `wanted` are the messages held, which either run or wait; `unneeded` is
/// how long fewer slots would have done.
fn decide(
    wanted: usize,
    slots: usize,
    bounds: Autoscale,
    unneeded: Duration,
    keepalive: Duration,
) -> Option<usize> {
    let more = wanted.min(bounds.max);
    if more > slots {
        return Some(more);
    }
    if slots > bounds.max {
        return Some(bounds.max);
    }
    let fewer = wanted.max(bounds.min);
    if slots < bounds.min {
        return Some(bounds.min);
    }
    (fewer < slots && unneeded > keepalive).then_some(fewer)
}

/// Looks at the load until the worker stops. Does nothing while no bounds are set.
pub(crate) async fn run(pool: Arc<Pool>, keepalive: Duration, stopped: CancellationToken) {
    let mut needed = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stopped.cancelled() => return,
        }
        let Some(bounds) = pool.autoscale() else {
            // Bounds may be set later, by remote control; then it does not have to be at once.
            continue;
        };
        let (wanted, slots) = (pool.size.held(), pool.size.slots());
        if wanted >= slots {
            needed = Instant::now();
        }
        let Some(size) = decide(wanted, slots, bounds, needed.elapsed(), keepalive) else {
            continue;
        };
        if size > slots {
            needed = Instant::now();
            info!("Scaling up {} processes.", size - slots);
        } else {
            info!("Scaling down {} processes.", slots - size);
        }
        if let Err(refused) = pool.resize(size) {
            debug!(%refused, "the pool keeps its size");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_at_once_and_shrinks_after_a_while() {
        let (bounds, keepalive) = (Autoscale::new(8, 2), Duration::from_secs(30));
        let check = |wanted, slots, idle, expected| {
            let idle = Duration::from_secs(idle);
            assert_eq!(
                decide(wanted, slots, bounds, idle, keepalive),
                expected,
                "{wanted} wanted, {slots} slots, {idle:?}"
            );
        };
        check(0, 2, 99, None);
        check(5, 2, 0, Some(5));
        check(50, 2, 0, Some(8));
        check(50, 8, 0, None);
        check(0, 8, 29, None);
        check(0, 8, 31, Some(2));
        check(4, 8, 31, Some(4));
        check(0, 1, 0, Some(2));
        check(0, 12, 0, Some(8));
    }

    #[test]
    fn bounds_are_put_right() {
        assert_eq!(Autoscale::new(3, 9), Autoscale { max: 3, min: 3 });
        assert_eq!(Autoscale::new(0, 0), Autoscale { max: 1, min: 1 });
    }
}
