//! How much a worker does at once, and what it does with what it cannot run.

use std::time::Duration;

use crate::{
    lookup::Lookup,
    parse::{self, Problem},
    shutdown::ShutdownSettings,
    variable::{
        AUTOSCALE_KEEPALIVE, DEMO_TASKS, FORWARD_UNKNOWN, LEASE, MAX_DEATHS, MAX_MESSAGE_BYTES,
        UNKNOWN_GRACE, WORKER_CANCEL_ON_LOSS, WORKER_CONCURRENCY, WORKER_DEDUPLICATE,
        WORKER_DIRECT, WORKER_DISABLE_RATE_LIMITS, WORKER_MAX_MEMORY_PER_CHILD,
        WORKER_MAX_TASKS_PER_CHILD, WORKER_POOL, WORKER_PREFETCH_MULTIPLIER, WORKER_REVOKE_EXPIRES,
        WORKER_REVOKES_MAX,
    },
};

/// What one worker process does.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerSettings {
    /// `CELERY_WORKER_CONCURRENCY`; None: 100 for the async pool, as many as cores for threads and prefork.
    pub concurrency: Option<usize>,
    /// `CELERY_WORKER_PREFETCH_MULTIPLIER`; default 4, 0 takes without limit.
    pub prefetch_multiplier: usize,
    /// `CELERY_WORKER_POOL`; default [`Pool::Async`].
    pub pool: Pool,
    /// `CELERY_WORKER_MAX_TASKS_PER_CHILD`: a child of the prefork pool is replaced after so many; None: never.
    pub max_tasks_per_child: Option<u32>,
    /// `CELERY_WORKER_MAX_MEMORY_PER_CHILD`, KiB: a child that has used more is replaced after its task; None: never.
    pub max_memory_per_child: Option<u64>,
    /// `AUTOSCALE_KEEPALIVE`, seconds without need before `--autoscale` shrinks the pool; default 30.
    pub autoscale_keepalive: Duration,
    /// The names of `CELERY_TASK_QUEUES`, see [`crate::TaskSettings::queues`]: what a worker without `-Q` consumes. Empty:
    /// the default queue alone.
    pub queues: Vec<String>,
    /// `LOVAGE_MAX_DEATHS`: how many workers a message may cost before it goes to the dead letters; default 3.
    pub max_deaths: u32,
    /// `LOVAGE_LEASE`: how long a worker may be silent before its messages are given to others; default 6 s.
    pub lease: Duration,
    /// `LOVAGE_FORWARD_UNKNOWN`: the queue for tasks that this worker does not know; None: they are dead letters.
    pub forward_unknown: Option<String>,
    /// `LOVAGE_UNKNOWN_GRACE`: how long a task nobody knows waits for a worker that does; None: not at all.
    pub unknown_grace: Option<Duration>,
    /// How long revoked tasks are remembered, and how many.
    pub revokes: RevokeSettings,
    /// How it stops.
    pub shutdown: ShutdownSettings,
    /// `LOVAGE_DEMO_TASKS`: register the `demo.*` tasks; default false.
    pub demo_tasks: bool,
    /// `LOVAGE_MAX_MESSAGE_BYTES`: what a message may weigh once it is unpacked; default 64 MiB.
    pub max_message_bytes: usize,
    /// `CELERY_WORKER_DISABLE_RATE_LIMITS`: start tasks however often they come; default false.
    pub disable_rate_limits: bool,
    /// `CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS`: a redelivered task that is stored as SUCCESS is not run; default false.
    pub deduplicate: bool,
    /// `CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS`: drop running tasks once others may have been given them,
    /// because the broker was not heard of for a whole lease; default false.
    pub cancel_on_loss: bool,
    /// `CELERY_WORKER_DIRECT`: consume a queue of the worker's own, `<node name>.dq2`, too; default false.
    pub direct: bool,
}

/// How long what is revoked is remembered (`celery/worker/state.py`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RevokeSettings {
    /// `CELERY_WORKER_REVOKES_MAX`: how many; default 50,000. Beyond it the oldest are forgotten.
    pub max: usize,
    /// `CELERY_WORKER_REVOKE_EXPIRES`: how long, in seconds; default 10,800.
    pub expires: Duration,
}

impl Default for RevokeSettings {
    fn default() -> Self {
        Self {
            max: 50_000,
            expires: Duration::from_secs(10_800),
        }
    }
}

/// How tasks are run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pool {
    /// Many tasks at once in one process; for tasks that wait.
    #[default]
    Async,
    /// A thread for each task; for tasks that compute or block.
    Threads,
    /// A child process for each task: a time limit really ends it, and a crash costs one child.
    Prefork,
    /// One task at a time, in the worker's own process.
    Solo,
}

impl Default for WorkerSettings {
    fn default() -> Self {
        Self {
            concurrency: None,
            prefetch_multiplier: 4,
            pool: Pool::Async,
            max_tasks_per_child: None,
            max_memory_per_child: None,
            autoscale_keepalive: Duration::from_secs(30),
            queues: Vec::new(),
            max_deaths: 3,
            lease: Duration::from_secs(6),
            forward_unknown: None,
            unknown_grace: None,
            revokes: RevokeSettings::default(),
            shutdown: ShutdownSettings::default(),
            demo_tasks: false,
            max_message_bytes: 64 << 20,
            disable_rate_limits: false,
            deduplicate: false,
            cancel_on_loss: false,
            direct: false,
        }
    }
}

impl WorkerSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&WORKER_CONCURRENCY, &mut settings.concurrency, concurrency);
        lookup.set(
            &WORKER_PREFETCH_MULTIPLIER,
            &mut settings.prefetch_multiplier,
            parse::whole_number,
        );
        lookup.set(&WORKER_POOL, &mut settings.pool, Pool::parse);
        lookup.set(
            &WORKER_DEDUPLICATE,
            &mut settings.deduplicate,
            parse::boolean,
        );
        lookup.set(
            &WORKER_CANCEL_ON_LOSS,
            &mut settings.cancel_on_loss,
            parse::boolean,
        );
        lookup.set(&WORKER_DIRECT, &mut settings.direct, parse::boolean);
        lookup.set(
            &WORKER_MAX_TASKS_PER_CHILD,
            &mut settings.max_tasks_per_child,
            |text| parse::positive_u32(text).map(Some),
        );
        lookup.set(
            &WORKER_MAX_MEMORY_PER_CHILD,
            &mut settings.max_memory_per_child,
            kibibytes,
        );
        lookup.set(
            &AUTOSCALE_KEEPALIVE,
            &mut settings.autoscale_keepalive,
            parse::positive_seconds,
        );
        lookup.set(&MAX_DEATHS, &mut settings.max_deaths, parse::positive_u32);
        lookup.set(&LEASE, &mut settings.lease, lease);
        settings.forward_unknown = lookup.parsed(&FORWARD_UNKNOWN, parse::text);
        lookup.set(&UNKNOWN_GRACE, &mut settings.unknown_grace, grace);
        lookup.set(
            &WORKER_REVOKES_MAX,
            &mut settings.revokes.max,
            parse::positive_number,
        );
        lookup.set(
            &WORKER_REVOKE_EXPIRES,
            &mut settings.revokes.expires,
            parse::positive_seconds,
        );
        settings.shutdown = ShutdownSettings::read(lookup);
        lookup.set(&DEMO_TASKS, &mut settings.demo_tasks, parse::boolean);
        lookup.set(
            &MAX_MESSAGE_BYTES,
            &mut settings.max_message_bytes,
            parse::size,
        );
        lookup.set(
            &WORKER_DISABLE_RATE_LIMITS,
            &mut settings.disable_rate_limits,
            parse::boolean,
        );
        settings
    }
}

const POOLS: &str = "async, threads, prefork or solo";

impl Pool {
    /// Its name, as `-P` and `CELERY_WORKER_POOL` take it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Async => "async",
            Self::Threads => "threads",
            Self::Prefork => "prefork",
            Self::Solo => "solo",
        }
    }

    /// Reads a pool's name; for `CELERY_WORKER_POOL` and the `-P` flag.
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "async" | "asyncio" => Ok(Self::Async),
            "threads" | "thread" => Ok(Self::Threads),
            "prefork" | "processes" => Ok(Self::Prefork),
            "solo" => Ok(Self::Solo),
            "eventlet" | "gevent" => Err(Problem::new(
                format!("{text} is Python's; async does the same here"),
                POOLS,
            )),
            _ => Err(Problem::new("is not a pool", POOLS)),
        }
    }
}

impl std::str::FromStr for Pool {
    type Err = String;

    /// Reads a pool's name as `-P` takes it; the error is one line for people.
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
            .map_err(|Problem { problem, expected }| format!("{problem}; expected {expected}"))
    }
}

fn concurrency(text: &str) -> Result<Option<usize>, Problem> {
    if text == "auto" {
        return Ok(None);
    }
    match parse::positive_number(text) {
        Ok(number) if number <= 100_000 => Ok(Some(number)),
        _ => Err(Problem::new(
            "is not a number of tasks",
            "a whole number from 1 to 100000, or auto",
        )),
    }
}

fn kibibytes(text: &str) -> Result<Option<u64>, Problem> {
    match text.parse() {
        Ok(amount) if amount > 0 => Ok(Some(amount)),
        _ => Err(Problem::new(
            "is not an amount of memory",
            "a whole number of KiB above 0, without a unit",
        )),
    }
}

fn lease(text: &str) -> Result<Duration, Problem> {
    let length = parse::positive_duration(text)?;
    if length < Duration::from_secs(1) || length > Duration::from_secs(3600) {
        // Shorter and a busy machine loses its messages by mere delay; longer and a dead worker's wait for hours.
        return Err(Problem::new("is not a sensible lease", "from 1s to 1h"));
    }
    Ok(length)
}

fn grace(text: &str) -> Result<Option<Duration>, Problem> {
    if matches!(text, "off" | "none" | "0") {
        return Ok(None);
    }
    Ok(Some(parse::duration(text)?).filter(|length| !length.is_zero()))
}
