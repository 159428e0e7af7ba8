//! Runs registered tasks: consume, execute, retry, time-limit, stop.
//!
//! A worker takes messages through the broker's seam, gives each a life of its own, and ends each in one step. It knows
//! no Redis and no database, and defines no tasks.
//!
//! A message's way: `engine` fetches and hands it a slot → `intake` reads it and decides → `attempt` runs it through
//! its `handler` (`bridge` for `#[celery::task]`, `raw` for the rest) → `policy` decides what its outcome means →
//! `workflow` adds what follows → `commit` ends it together with others.
//!
//! | module | knows |
//! |---|---|
//! | `worker` | the whole: parts, start, run |
//! | `engine` | when to fetch and what runs next |
//! | `intake` | what to do with a message: run, refuse, delay, expire |
//! | `gate` | what must hold before a task runs: uniqueness, limits |
//! | `rate`, `turns` | Celery's rate limits, per worker and task |
//! | `unknown` | messages whose task is not registered here |
//! | `attempt`, `beginning`, `conclude` | one message's life; how its task begins; what its outcome leads to |
//! | `announce`, `running` | what is told of tasks; which run now |
//! | `chronicle` | what the journal is told of tasks, for whoever keeps a history |
//! | `aside` | what does not run now: looked at, kept for its time, or waiting for its turn |
//! | `dedup` | redelivered tasks that have succeeded before |
//! | `pool` | where tasks run: executor, threads, child processes; limits and size |
//! | `handle` | what can be asked and told while it runs |
//! | `handler`, `bridge`, `raw`, `panics` | calling the task's code |
//! | `layer` | code around tasks: middleware, metrics |
//! | `hook` | code at a worker's start and end |
//! | `outcome`, `signal`, `context`, `soft_limit` | what a task can say, and reach |
//! | `policy` | pure decisions: ack, retry, limits, what is stored |
//! | `retrying` | pure decisions about retries: which errors, and after how long |
//! | `workflow`, `chain` | what follows a task, and what never will |
//! | `part`, `chord`, `chord_failure` | parts of chords, and their ends |
//! | `aftermath` | what an end brings about before its one step |
//! | `errback` | error callbacks that are called here |
//! | `builtin` | Celery's own tasks |
//! | `records`, `obituary` | the stored result of each state, and of a task that its workers died of |
//! | `reaping` | how messages of the dead are given back by somebody who runs no tasks |
//! | `revoked`, `revoking` | what is not to be run: the copy in memory, and how it is learnt and applied |
//! | `commit` | starts and ends in batches |
//! | `module`, `catalogue`, `rules` | which tasks there are, and what holds for each |
//! | `presence`, `control` | what others see of it, and what they can tell it |
//! | `tally` | how many tasks came, began and ended, for whoever reads numbers |
//! | `shutdown`, `drain` | how to stop: what is asked for, and what it does |

mod absence;
mod aftermath;
mod announce;
mod aside;
mod attempt;
mod beginning;
mod bridge;
mod builtin;
mod catalogue;
mod chain;
mod chord;
mod chord_failure;
mod chronicle;
mod commit;
mod conclude;
pub mod context;
mod control;
mod dedup;
mod drain;
mod engine;
mod errback;
mod error;
mod gate;
mod handle;
mod handler;
mod hook;
#[cfg(feature = "testing")]
pub mod hostile;
mod intake;
pub mod layer;
mod module;
mod obituary;
mod outcome;
mod panics;
mod part;
mod policy;
mod pool;
mod presence;
mod rate;
mod raw;
mod reaping;
mod records;
mod retrying;
mod revoked;
mod revoking;
mod rules;
mod running;
mod shutdown;
pub mod signal;
mod soft_limit;
mod tally;
mod turns;
mod unknown;
mod unlock;
mod worker;
mod workflow;

pub use catalogue::Catalogue;
pub use context::{AddError, Context};
pub use engine::Summary;
pub use errback::{Failed, FailedTask};
pub use error::{BuildError, ChildError, ControlError, Error};
pub use handle::{PoolState, WorkerHandle};
pub use hook::Started;
pub use layer::Layer;
pub use module::{Module, TaskOptions};
pub use outcome::{Failure, Outcome, Retry, RetryChanges, When};
pub use pool::{
    Autoscale, ChildCommand, ChildParts, KillSignal, Terminated, UnknownSignal, serve_child,
};
pub use presence::{Conf, Presence};
pub use rate::{RateLimits, RateRefused};
pub use raw::{RawCall, RawTask};
pub use reaping::reaping;
pub use shutdown::Shutdown;
pub use soft_limit::SoftLimit;
pub use tally::TaskMetrics;
pub use unlock::Unlocked;
pub use worker::{Worker, WorkerParts};
