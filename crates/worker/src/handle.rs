//! A running worker's controls: what remote control and supervisors ask it and tell it.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use lovage_broker::Consumer;
use lovage_flower_compat::Emitter;
use lovage_protocol::TaskId;
use lovage_settings::Pool as Kind;

use crate::{
    catalogue::Catalogue,
    error::ControlError,
    pool::{Autoscale, KillSignal, Pool, Terminated, limits::Limits},
    rate::RateLimits,
    tally::Tally,
};

/// What is known of a worker once it consumes.
pub(crate) type Hold = Arc<OnceLock<Arc<dyn Consumer>>>;

/// Controls a worker, from before it runs on. Cloning shares it; nothing here takes a lock that a task waits for.
#[derive(Debug, Clone)]
pub struct WorkerHandle {
    pool: Arc<Pool>,
    catalogue: Catalogue,
    rates: RateLimits,
    emitter: Emitter,
    hostname: Arc<str>,
    hold: Hold,
    tally: Option<Arc<Tally>>,
}

/// How a worker's pool stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// How tasks are run.
    pub kind: Kind,
    /// Tasks at once at most (`max-concurrency` of `inspect stats`).
    pub slots: usize,
    /// Tasks that run.
    pub running: usize,
    /// Messages in the worker's hands, those of running tasks included.
    pub held: usize,
    /// Threads that run on though their task was given up.
    pub abandoned: usize,
    /// The ids of the processes that run tasks: the children, else the worker itself.
    pub processes: Vec<u32>,
    /// Between what sizes it scales by itself.
    pub autoscale: Option<Autoscale>,
}

impl WorkerHandle {
    pub(crate) fn new(
        pool: Arc<Pool>,
        catalogue: Catalogue,
        rates: RateLimits,
        emitter: Emitter,
        hostname: &str,
        hold: Hold,
        tally: Option<Arc<Tally>>,
    ) -> Self {
        Self {
            pool,
            catalogue,
            rates,
            emitter,
            hostname: hostname.into(),
            hold,
            tally,
        }
    }

    /// Its node name.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// How long ago it renewed its lease; `None` while it does not consume yet.
    pub fn lease_age(&self) -> Option<Duration> {
        self.hold.get().map(|consumer| consumer.lease_age())
    }

    /// Whether it consumes and has heard of the broker within its lease; `None` while it does not consume yet.
    pub fn is_connected(&self) -> Option<bool> {
        self.hold.get().map(|consumer| consumer.is_connected())
    }

    pub(crate) fn tally(&self) -> Option<&Tally> {
        self.tally.as_deref()
    }

    /// How the pool stands now.
    pub fn state(&self) -> PoolState {
        PoolState {
            kind: self.pool.kind(),
            slots: self.pool.size.slots(),
            running: self.pool.size.running(),
            held: self.pool.size.held(),
            abandoned: self.pool.abandoned().count(),
            processes: self.pool.processes(),
            autoscale: self.pool.autoscale(),
        }
    }

    /// Changes the time limits of a task for attempts that begin from now on; `None` takes one away. A message's own limits
    /// still win (`celery/worker/control.py`, `time_limit`).
    ///
    /// # Errors
    /// When no task has this name, or the soft limit is above the hard one.
    pub fn set_time_limits(
        &self,
        task: &str,
        hard: Option<Duration>,
        soft: Option<Duration>,
    ) -> Result<(), ControlError> {
        let Some(registered) = self.catalogue.get(task) else {
            return Err(ControlError::UnknownTask {
                task: task.to_owned(),
            });
        };
        if let (Some(hard), Some(soft)) = (hard, soft)
            && soft > hard
        {
            return Err(ControlError::SoftAboveHard);
        }
        registered.limits.set(Limits { hard, soft });
        Ok(())
    }

    /// The rate limits of its tasks, to be read and changed (`celery/worker/control.py`, `rate_limit`).
    pub fn rate_limits(&self) -> &RateLimits {
        &self.rates
    }

    /// Events sent so far.
    pub fn events_sent(&self) -> u64 {
        self.emitter.sent()
    }

    /// Events that were not sent: beyond `LOVAGE_EVENTS_MAX_RATE`, or beyond `LOVAGE_EVENTS_BUFFER` while the broker was away.
    pub fn events_lost(&self) -> u64 {
        self.emitter.lost()
    }

    /// Lets so many more tasks run at once, and tells how many may now.
    ///
    /// # Errors
    /// When the pool is solo.
    pub fn pool_grow(&self, more: usize) -> Result<usize, ControlError> {
        self.pool
            .change_by(isize::try_from(more).unwrap_or(isize::MAX))
    }

    /// Lets so many fewer tasks run at once, and tells how many may now. What runs ends in peace.
    ///
    /// # Errors
    /// When nothing would be left, or the pool is solo.
    pub fn pool_shrink(&self, fewer: usize) -> Result<usize, ControlError> {
        let fewer = isize::try_from(fewer).unwrap_or(isize::MAX);
        self.pool.change_by(-fewer)
    }

    /// Lets the pool scale by itself between these sizes.
    ///
    /// # Errors
    /// When the pool is solo.
    pub fn autoscale(&self, max: usize, min: usize) -> Result<(), ControlError> {
        self.pool.set_autoscale(Autoscale::new(max, min))
    }

    /// Ends a running task for good: REVOKED, its message is acknowledged. With child processes the signal goes to the
    /// child, and a signal that does not end it leaves the task running; an async task is dropped; a task on a thread cannot
    /// be ended. Waits a moment for the task's attempt to hear of it.
    pub async fn terminate(&self, id: &TaskId, signal: KillSignal) -> Terminated {
        self.pool.terminate(id, signal).await
    }
}
