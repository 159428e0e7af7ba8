//! What can go wrong with results.

use std::{sync::Arc, time::Duration};

use lovage_protocol::TaskId;

/// A failed operation on the result store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Results are asked for, but the settings switch them off.
    #[error(
        "results are disabled (CELERY_RESULT_BACKEND is disabled://), nothing was stored to read"
    )]
    Disabled,
    /// The settings cannot work together.
    #[error("{0}")]
    Settings(String),
    /// The store did not answer in time, or the connection broke and could not be mended in time.
    #[error("cannot reach the result store at {address}")]
    Unreachable {
        /// `host:port` or socket path, without password.
        address: Arc<str>,
        /// What the last attempt failed with.
        #[source]
        source: Cause,
    },
    /// The store answered with an error: wrong password, out of memory, a key of another type.
    #[error("the result store at {address} refused")]
    Refused {
        /// `host:port` or socket path, without password.
        address: Arc<str>,
        /// The answer.
        #[source]
        source: Cause,
    },
    /// The result did not come within the time given.
    #[error("task {id} has no result after {} s", .waited.as_secs_f64())]
    TimedOut {
        /// The task waited for.
        id: TaskId,
        /// For how long.
        waited: Duration,
    },
    /// What is stored under the task's key is no result record.
    #[error("the stored result of task {id} cannot be read")]
    Undecodable {
        /// The task.
        id: TaskId,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
    /// What is stored under a group's key is no record of a group.
    #[error("the saved group {key} cannot be read")]
    UndecodableGroup {
        /// Its key.
        key: String,
        /// What is wrong with it.
        #[source]
        source: Cause,
    },
}

/// The error below an [`Error`], whatever the store is made of.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Whether the same call may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. })
    }
}
