//! Why a step of a test did not succeed.

use std::time::Duration;

use lovage_protocol::TaskId;

/// A step that did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the harness is none, or a queue's name cannot be.
    #[error("the harness cannot be set up: {0}")]
    Setup(String),
    /// The worker refuses to start.
    #[error("the worker refuses to start")]
    Build(#[from] lovage_worker::BuildError),
    /// The worker has ended.
    #[error("the worker ended with an error")]
    Worker(#[from] lovage_worker::Error),
    /// The worker has been stopped, or its engine panicked.
    #[error("the worker does not run any more")]
    Stopped,
    /// The worker did not come to rest.
    #[error("the worker is not idle after {} s: {what}", .patience.as_secs_f64())]
    Busy {
        /// For how long it was waited.
        patience: Duration,
        /// What runs and what waits, in words.
        what: String,
    },
    /// A call could not be sent, or its task did not return a value.
    #[error(transparent)]
    Task(#[from] lovage_client::Error),
    /// The task ended without a result: it ignores its result, or said `signal::ignore`.
    #[error("task {id} has ended without a result")]
    NoResult {
        /// The task.
        id: TaskId,
    },
    /// The task waits in a queue that the worker does not consume.
    #[error(
        "task {id} waits in queue `{queue}`, which is not consumed here: give the harness `.queue(\"{queue}\")`"
    )]
    NotConsumed {
        /// The task.
        id: TaskId,
        /// The queue.
        queue: String,
    },
    /// The task was run again and again.
    #[error("task {id} still wants to be run again after {attempts} attempts")]
    Endless {
        /// The task.
        id: TaskId,
        /// How often it ran.
        attempts: u32,
    },
    /// The results could not be read, or the dead letters.
    #[error("the memory could not be read")]
    Memory(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Class and text of the exception, when a task has failed: `Some(("ValueError", "boom"))`.
    pub fn failure(&self) -> Option<(&str, &str)> {
        match self {
            Self::Task(lovage_client::Error::Failed {
                exc_type, message, ..
            }) => Some((exc_type, message)),
            _ => None,
        }
    }

    /// Why, when a task was revoked: `Some("expired")`.
    pub fn revoked(&self) -> Option<&str> {
        match self {
            Self::Task(lovage_client::Error::Revoked { reason, .. }) => Some(reason),
            _ => None,
        }
    }
}
