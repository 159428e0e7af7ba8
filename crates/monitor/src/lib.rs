//! What every role tells of itself to who operates it: whether it lives, whether it can do its work, and numbers.
//!
//! A role gives a [`Probe`]; [`Listening`] serves it under `/health/live`, `/health/ready` and `/metrics` at an address of its own.
//! [`ask`] is the other side, for container health checks. [`fleet`] is what is told of all workers together, under the names that
//! dashboards for Celery use.
//!
//! It decides nothing about tasks, and nothing here runs unless an address is set.
//!
//! | module | knows |
//! |---|---|
//! | `readiness` | what can be wrong with a role, and how bad that is |
//! | `server` | answering |
//! | `client` | asking |
//! | `process` | memory and time of this process |
//! | `fleet` | queues, workers and the events of those that serve no numbers themselves |
//!
//! ```
//! use lovage_monitor::{Condition, Part, Readiness};
//!
//! let ready = Readiness::of(vec![Part::good("broker"), Part::bad("database", Condition::Failing, "no tables")]);
//! assert_eq!(ready.status, Condition::Failing);
//! ```

mod client;
pub mod fleet;
mod process;
mod readiness;
mod server;

pub use client::{AskError, ask};
pub use process::ProcessMetrics;
pub use readiness::{Condition, Part, Readiness};
pub use server::{CONTENT_TYPE, Listening, Probe};
