//! Stored results, as Celery's backends read them.

mod exception;
mod guard;
mod meta;

pub use exception::{ExceptionInfo, ExceptionInfoError};
pub use guard::is_success_record;
pub use meta::{
    Extended, MetaError, TaskMeta, compress_result, parse_group, parse_stored, parse_stored_as,
};

/// Gives the key, and channel, of a task's result: `<prefix>celery-task-meta-<id>`.
#[must_use]
pub fn result_key(prefix: &str, id: &str) -> String {
    format!("{prefix}celery-task-meta-{id}")
}

/// Gives the key of a saved group, and the stem of its chord's keys: `<prefix>celery-taskset-meta-<id>`.
#[must_use]
pub fn group_key(prefix: &str, id: &str) -> String {
    format!("{prefix}celery-taskset-meta-{id}")
}
