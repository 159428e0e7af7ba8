//! Tasks in child processes of the same binary: a time limit really ends them, and a crash costs one child.
//!
//! The parent keeps the broker, the leases and every message; a child is lent one message at a time, runs the task and
//! reports its outcome. A message is never only in a pipe: the parent holds it until the outcome has come back, and when
//! the pipe closes instead, the parent knows whose message that was (docs/adr/0012).
//!
//! | module | knows |
//! |---|---|
//! | `wire` | what goes over the pipe |
//! | `connection` | the parent's end of it |
//! | `process` | one child process: start, signals, end |
//! | `keeper` | one place in the pool: start a child, lend it out, replace it |
//! | `parent` | the pool of them |
//! | `child` | the other side: the process that runs the tasks |

pub(crate) mod child;
mod connection;
mod keeper;
mod parent;
mod process;
pub(crate) mod wire;

pub(crate) use parent::{JobEnd, Offer, Prefork};
pub use process::ChildCommand;
pub(crate) use process::Death;
