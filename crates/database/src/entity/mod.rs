//! The tables as SeaORM knows them, one file each. They stay inside this crate; a test holds them and the migrated schema to
//! each other.
#![allow(
    unreachable_pub,
    dead_code,
    clippy::wildcard_imports,
    reason = "what SeaORM's macros make is public and not all of it is used; they expect its prelude"
)]

pub mod api_key;
pub mod audit_log;
pub mod dead_letter;
pub mod history_gap;
pub mod idempotency_key;
pub mod journal_mark;
pub mod lease;
pub mod mail_message;
pub mod one_time_token;
pub mod operation;
pub mod outbox;
pub mod refresh_token;
pub mod schedule;
pub mod schedule_edition;
pub mod schedule_removed;
pub mod schedule_tick;
pub mod task_event;
pub mod task_run;
pub mod user;
pub mod worker;

#[cfg(test)]
mod tests;
