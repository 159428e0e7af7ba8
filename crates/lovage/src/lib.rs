//! The face of Lovage: the one binary with its commands, and what a user's own crate imports.
//!
//! Call [`main`] with your modules and you have the `lovage` binary with your tasks in it. This crate wires the others
//! together and is the only one that reads the environment; it defines no task and moves no message itself.
//!
//! | module | knows |
//! |---|---|
//! | `cli` | the command line as a whole |
//! | `command` | one file per command |
//! | `connect` | from settings to broker, results and client |
//! | `effective` | settings written back as variables |
//! | `signals` | what TERM, INT and QUIT mean |
//! | `banner` | what a worker says at its start |
//! | `nodename` | node names and their `%` signs |
//! | `pidfile` | one process per pid file |
//! | `redis_child`, `flower_child`, `history_child` | the Redis, the Flower and the keeper that `lovage up` starts |
//! | `api_beside` | the HTTP API that `lovage up` serves |
//! | `platform` | which of the platform's own tasks there are |
//! | `redis_child`, `flower_child` | the Redis and the Flower that `lovage up` starts |
//! | `guard` | that what was started ends, too |
//! | `stubs` | the tasks as a typed Python package |
//! | `output`, `table` | everything that is printed |
//! | `failure` | the exit codes |
//! | `told` | failures of tasks, told to Sentry |
//!
//! ```no_run
//! use lovage::{Module, RawTask};
//!
//! fn main() -> std::process::ExitCode {
//!     let echo = RawTask::new("echo", |call| async move {
//!         Ok(lovage::protocol::Value::List(call.args))
//!     });
//!     lovage::main(vec![Module::new("mine").raw(echo)])
//! }
//! ```

mod api_beside;
mod banner;
mod cli;
mod command;
mod conf;
mod connect;
mod effective;
mod failure;
mod flower_child;
mod guard;
mod history_child;
mod monitor;
mod nodename;
mod output;
mod pidfile;
mod platform;
mod redis_child;
mod signals;
mod stubs;
mod table;
mod told;

use std::process::ExitCode;

pub use connect::{ConnectError, connect};
pub use lovage_client::{self as client, AsyncResult, Client, GroupResult, ResultNode};
pub use lovage_macros::task;
pub use lovage_protocol::{self as protocol, canvas, chain, group};
#[doc(hidden)]
pub use lovage_registry::__macro;
pub use lovage_registry::{
    By, Debounce, Described, Limit, Periodic, RateLimit, State, Unique, schemars,
};
pub use lovage_settings as settings;
pub use lovage_telemetry as telemetry;
#[cfg(feature = "testing")]
pub use lovage_testing as testing;
pub use lovage_worker::{
    AddError, Context, Failed, FailedTask, KillSignal, Layer, Module, Outcome, PoolState,
    RateLimits, RawCall, RawTask, RetryChanges, SoftLimit, Started, TaskOptions, Terminated,
    WorkerHandle, context, layer, signal,
};

/// Runs the command line with the tasks of `modules`; the whole of a binary's `main`.
///
/// It reads the process's arguments and environment, starts what it needs, and returns when the command has ended.
pub fn main(modules: Vec<Module>) -> ExitCode {
    cli::run(modules)
}

/// The README's example must compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
