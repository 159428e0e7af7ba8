//! The queries, one file per aggregate. Each takes a connection, or a caller's transaction, and gives domain values.

pub mod account;
pub mod api_key;
pub mod audit;
pub mod chore;
pub mod dead_letter;
pub mod history_gap;
pub mod idempotency;
pub mod journal_mark;
pub mod lease;
pub mod mail;
pub mod one_time;
pub mod operation;
pub mod outbox;
mod pattern;
pub mod retention;
pub mod schedule;
pub mod schedule_tick;
pub mod session;
pub mod task_event;
pub mod task_run;
pub mod worker;
