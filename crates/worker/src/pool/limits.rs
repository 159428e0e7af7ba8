//! Time limits: how long an attempt may take, and what happens when the time is over (wire 7.6).

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tracing::{error, warn};

use crate::{context::Context, outcome::Outcome};

/// How long an attempt may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) hard: Option<Duration>,
    pub(crate) soft: Option<Duration>,
}

/// A task's own limits, which can be changed while the worker runs. Reading takes no lock.
#[derive(Debug, Default)]
pub(crate) struct TaskLimits {
    hard: AtomicU64,
    soft: AtomicU64,
}

impl TaskLimits {
    pub(crate) fn new(limits: Limits) -> Self {
        let this = Self::default();
        this.set(limits);
        this
    }

    pub(crate) fn get(&self) -> Limits {
        let read = |cell: &AtomicU64| match cell.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        };
        Limits {
            hard: read(&self.hard),
            soft: read(&self.soft),
        }
    }

    pub(crate) fn set(&self, limits: Limits) {
        let write = |cell: &AtomicU64, limit: Option<Duration>| {
            let nanoseconds = limit.map_or(0, |limit| limit.as_nanos());
            // More than 500 years is for ever.
            cell.store(u64::try_from(nanoseconds).unwrap_or(0), Ordering::Relaxed);
        };
        write(&self.hard, limits.hard);
        write(&self.soft, limits.soft);
    }
}

/// The limit that ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Soft,
    Hard,
}

/// Runs an attempt until it ends by itself or a limit is over. A task that has asked for its soft limit is told of it and
/// goes on until the hard one; any other is ended by it. `soft` and `hard` resolve when the time is over.
pub(crate) async fn bounded(
    running: impl Future<Output = Outcome>,
    context: &Context,
    soft: impl Future<Output = ()>,
    hard: impl Future<Output = ()>,
) -> Result<Outcome, Over> {
    let (mut running, mut hard) = (pin!(running), pin!(hard));
    tokio::select! {
        biased;
        outcome = &mut running => return Ok(outcome),
        () = &mut hard => return Err(Over::Hard),
        () = soft => {}
    }
    if !context.reach_soft_limit() {
        return Err(Over::Soft);
    }
    tokio::select! {
        biased;
        outcome = running => Ok(outcome),
        () = hard => Err(Over::Hard),
    }
}

/// Resolves after the time given; never without one.
pub(crate) async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Says so in Celery's words (`celery/worker/request.py`, `on_timeout`).
pub(crate) fn report(over: Over, limits: Limits, context: &Context) {
    let seconds = |limit: Option<Duration>| limit.unwrap_or_default().as_secs_f64();
    let (name, id) = (context.name(), context.task_id());
    match over {
        Over::Soft => warn!(
            "Soft time limit ({}s) exceeded for {name}[{id}]",
            seconds(limits.soft)
        ),
        Over::Hard => error!(
            "Hard time limit ({}s) exceeded for {name}[{id}]",
            seconds(limits.hard)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_changed_and_taken_away() {
        let second = Some(Duration::from_secs(1));
        let cell = TaskLimits::new(Limits {
            hard: second,
            soft: None,
        });
        assert_eq!(cell.get().hard, second);
        cell.set(Limits {
            hard: None,
            soft: second,
        });
        assert_eq!(
            cell.get(),
            Limits {
                hard: None,
                soft: second
            }
        );
        cell.set(Limits {
            hard: Some(Duration::MAX),
            soft: None,
        });
        assert_eq!(cell.get(), Limits::default(), "so long is for ever");
    }
}
