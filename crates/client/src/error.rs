//! What can go wrong between a call and its result.

use std::time::Duration;

use lovage_protocol::{BindError, EncodeError, TaskId, canvas::CanvasError};

/// A task that could not be sent, or whose result is not a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for cannot be written as a message, or would harm the worker that reads it.
    #[error("cannot send {task}: {problem}")]
    Invalid {
        /// The task's name.
        task: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// The arguments have no JSON form.
    #[error("the arguments of {task} cannot be encoded")]
    Encode {
        /// The task's name.
        task: String,
        /// Which part, and why.
        #[source]
        source: EncodeError,
    },
    /// The broker did not take the message, after the retries of the publish policy.
    #[error("could not send to the broker")]
    Broker(#[from] lovage_broker::Error),
    /// The broker neither took the message nor failed in the time that a publish may take.
    #[error("the broker did not answer within {} s, the message may have been sent", .waited.as_secs_f64())]
    Unanswered {
        /// How long was waited.
        waited: Duration,
    },
    /// Nothing was sent: the task is unique, and another of the same key waits or runs.
    #[error("{task} was not sent: it is a duplicate of {of}")]
    Duplicate {
        /// The task's name.
        task: String,
        /// The one that waits or runs.
        of: TaskId,
    },
    /// The result store failed.
    #[error(transparent)]
    Results(lovage_results::Error),
    /// The task ended in FAILURE: it raised, ran out of time, or was given up.
    #[error("task {id} failed with {exc_type}: {message}")]
    Failed {
        /// The task.
        id: TaskId,
        /// The exception's class, as `ValueError`.
        exc_type: String,
        /// The exception's text.
        message: String,
        /// The worker's traceback, when it made one.
        traceback: Option<String>,
    },
    /// The task was revoked, or expired before it was run.
    #[error("task {id} was revoked: {reason}")]
    Revoked {
        /// The task.
        id: TaskId,
        /// `revoked`, `expired` or `terminated`.
        reason: String,
    },
    /// The result did not come in time. The task may still run.
    #[error("task {id} has no result after {} s", .waited.as_secs_f64())]
    TimedOut {
        /// The task.
        id: TaskId,
        /// How long was waited.
        waited: Duration,
    },
    /// The task was sent with `ignore_result`, so there never is one.
    #[error("task {id} was sent with ignore_result, it leaves no result")]
    Ignored {
        /// The task.
        id: TaskId,
    },
    /// The task succeeded with a value of another type than the one asked for.
    #[error("the result of task {id} is not of the expected type")]
    Mismatch {
        /// The task.
        id: TaskId,
        /// What was expected and what was there.
        #[source]
        source: BindError,
    },
    /// A graph was asked for, and part of it has not ended.
    #[error("{id} has not ended, and what it leads to is not known before")]
    Incomplete {
        /// The task or group.
        id: TaskId,
    },
    /// The bridge to rusty-celery could not be set up or used.
    #[error("the bridge to rusty-celery failed while {doing}")]
    Bridge {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl Error {
    pub(crate) fn invalid(task: impl AsRef<str>, problem: impl Into<String>) -> Self {
        Self::Invalid {
            task: task.as_ref().to_owned(),
            problem: problem.into(),
        }
    }

    /// Whether the same call may well succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Broker(error) => error.is_transient(),
            Self::Results(error) => error.is_transient(),
            Self::Unanswered { .. } | Self::TimedOut { .. } | Self::Incomplete { .. } => true,
            _ => false,
        }
    }
}

impl From<CanvasError> for Error {
    fn from(error: CanvasError) -> Self {
        match error {
            CanvasError::Encode { task, source } => Self::Encode { task, source },
            CanvasError::Invalid { task, problem } => Self::Invalid { task, problem },
            other => Self::invalid("a canvas", other.to_string()),
        }
    }
}

impl From<lovage_results::Error> for Error {
    fn from(error: lovage_results::Error) -> Self {
        match error {
            lovage_results::Error::TimedOut { id, waited } => Self::TimedOut { id, waited },
            other => Self::Results(other),
        }
    }
}
