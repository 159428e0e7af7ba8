//! How one attempt at a task ended. Not an error of the runtime: each variant is a normal end with its own
//! acknowledgement and stored state, decided in [`crate::policy`].

use std::time::Duration;

use chrono::{DateTime, Utc};
use lovage_protocol::{ExceptionInfo, Map, Signature, Value};

use crate::{pool::KillSignal, records, unlock::Unlocked};

/// One attempt's end.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome {
    /// It returned a value: acked, SUCCESS.
    Success(Value),
    /// It failed for good: acked (or rejected when `acks_on_failure` is off), FAILURE.
    Failure(Failure),
    /// It wants to run again: the next attempt is sent, then acked, RETRY. Past `max_retries` it is a failure.
    Retry(Retry),
    /// Celery's `Ignore`: acked, nothing stored.
    Ignore,
    /// Another task, or a canvas, takes its place: that is sent, then acked, nothing stored.
    Replace(Box<Signature>),
    /// Celery's `Reject`: back to the end of the queue, or given up as FAILURE and dead-lettered.
    Reject {
        /// Back to the queue rather than given up.
        requeue: bool,
        /// What the task said.
        reason: String,
    },
    /// The header of a chord has ended, and the task was `celery.chord_unlock`, which has waited for that: the chord's body is
    /// sent, or fails, then acked.
    Unlock(Box<Unlocked>),
    /// It was ended from outside, by `revoke` with `terminate`: acked, REVOKED.
    Terminated(KillSignal),
}

/// A failure for good.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What a Python caller raises.
    pub exception: ExceptionInfo,
    /// Text for people; `None` where Celery stores none (time limits, revokes).
    pub traceback: Option<String>,
    /// A hard time limit ended it: `acks_on_timeout` decides about the message.
    pub timed_out: bool,
    /// Worth another attempt by its kind (`ExpectedError`), unless the task's `dont_retry_for` names it.
    pub transient: bool,
    /// Found by the worker, not raised by the task: `retry_for`, which stands around the task's code alone, does not see it.
    pub from_outside: bool,
}

/// A wish to run again.
#[derive(Debug, Clone)]
pub struct Retry {
    /// What went wrong, when the task said.
    pub cause: Option<ExceptionInfo>,
    /// Text for people.
    pub traceback: Option<String>,
    /// When; `None`: the task's own back-off.
    pub when: Option<When>,
    /// What is different in the next attempt; most change nothing.
    pub changes: Option<Box<RetryChanges>>,
}

/// What a retry changes, and how it counts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RetryChanges {
    /// Other positional arguments; a keyword argument for one of the same parameters goes.
    pub args: Option<Vec<Value>>,
    /// Other keyword arguments, instead of those there were; they win over positional ones of the same parameters.
    pub kwargs: Option<Map>,
    /// How often the task may be run again, instead of what the task says.
    pub max_retries: Option<u32>,
    /// Not to be run after so long from now.
    pub expires: Option<Duration>,
}

/// When a retry is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum When {
    /// After this long.
    Countdown(Duration),
    /// At this time.
    Eta(DateTime<Utc>),
}

impl Outcome {
    /// A failure for good with a Python exception class of `builtins`, such as `ValueError`, and its text.
    pub fn failure(class: &str, message: impl Into<String>) -> Self {
        let exception = ExceptionInfo::new("builtins", class, vec![Value::Str(message.into())]);
        Self::failed_without_traceback(exception)
    }

    /// Again after `countdown` (`None`: the task's own back-off), counted against its `max_retries`.
    pub fn retry(countdown: Option<Duration>) -> Self {
        Self::Retry(Retry {
            cause: None,
            traceback: None,
            when: countdown.map(When::Countdown),
            changes: None,
        })
    }

    /// A failure raised by the task called `task`, with a traceback in Python's form.
    pub(crate) fn raised(task: &str, exception: ExceptionInfo) -> Self {
        let traceback = Some(traceback(task, &exception));
        Self::Failure(Failure {
            exception,
            traceback,
            timed_out: false,
            transient: false,
            from_outside: false,
        })
    }

    /// The failure of a message that one process could read and another cannot.
    pub(crate) fn unreadable(text: &str) -> Self {
        let arguments = vec![Value::from(text)];
        let exception = ExceptionInfo::new("kombu.exceptions", "DecodeError", arguments);
        Self::failed_outside(exception, false)
    }

    /// A failure that Celery raises inside of the task and stores without a traceback.
    pub(crate) fn failed_without_traceback(exception: ExceptionInfo) -> Self {
        Self::Failure(Failure {
            exception,
            traceback: None,
            timed_out: false,
            transient: false,
            from_outside: false,
        })
    }

    /// A failure that the worker finds, and no code of the task.
    pub(crate) fn failed_outside(exception: ExceptionInfo, timed_out: bool) -> Self {
        Self::Failure(Failure {
            exception,
            traceback: None,
            timed_out,
            transient: false,
            from_outside: true,
        })
    }
}

/// Rust keeps no frames of a returned error; the text has the shape that Python tools expect and names the task.
pub(crate) fn traceback(task: &str, exception: &ExceptionInfo) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"<rust>\", in {task}\n{}\n",
        records::line(exception)
    )
}
