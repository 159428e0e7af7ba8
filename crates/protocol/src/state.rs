//! Task states.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The state of a task, as Celery names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum State {
    /// Nothing is known of the task; never stored.
    Pending,
    /// A worker has it; seen in events only.
    Received,
    /// It runs.
    Started,
    /// It returned.
    Success,
    /// It failed for good.
    Failure,
    /// It will run again.
    Retry,
    /// It was cancelled, or came too late.
    Revoked,
    /// The worker refused it; seen in events only.
    Rejected,
    /// It asked that its end not be recorded.
    Ignored,
    /// A state of the task's own, such as `PROGRESS`.
    Custom(String),
}

impl State {
    /// Gives Celery's name, such as `SUCCESS`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "PENDING",
            Self::Received => "RECEIVED",
            Self::Started => "STARTED",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Retry => "RETRY",
            Self::Revoked => "REVOKED",
            Self::Rejected => "REJECTED",
            Self::Ignored => "IGNORED",
            Self::Custom(name) => name,
        }
    }

    /// Tells whether the result is final: success, failure or revoked.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }

    /// Tells whether the stored result is an exception: failure, retry or revoked.
    #[must_use]
    pub fn is_exception(&self) -> bool {
        matches!(self, Self::Failure | Self::Retry | Self::Revoked)
    }
}

impl From<&str> for State {
    fn from(name: &str) -> Self {
        match name {
            "PENDING" => Self::Pending,
            "RECEIVED" => Self::Received,
            "STARTED" => Self::Started,
            "SUCCESS" => Self::Success,
            "FAILURE" => Self::Failure,
            "RETRY" => Self::Retry,
            "REVOKED" => Self::Revoked,
            "REJECTED" => Self::Rejected,
            "IGNORED" => Self::Ignored,
            other => Self::Custom(other.to_owned()),
        }
    }
}

impl FromStr for State {
    type Err = Infallible;

    fn from_str(name: &str) -> Result<Self, Infallible> {
        Ok(Self::from(name))
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
