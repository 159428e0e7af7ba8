//! The binary as its users meet it: words in; output and exit code out.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

mod alone;
mod database;
mod flower;
mod messages;
mod openapi;
mod program;
mod queues;
mod up;
mod worker;
