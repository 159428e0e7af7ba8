//! What a task can say beside a value and the four errors of rusty-celery.
//!
//! `celery::error::TaskError` is a closed enum without exception classes, ignore or reject. These functions leave the
//! precise word with the running task's context and give back an error to return, so that `?` works as usual:
//!
//! ```no_run
//! # use lovage_worker::signal;
//! # use celery::task::TaskResult;
//! fn check(amount: i64) -> TaskResult<i64> {
//!     if amount < 0 {
//!         return Err(signal::raise("ValueError", format!("{amount} is negative")));
//!     }
//!     Ok(amount)
//! }
//! ```

use std::time::Duration;

use celery::error::TaskError;
use lovage_client::canvas;
use lovage_protocol::{
    ExceptionInfo, Signature, Value,
    canvas::{IntoCanvas, Starts},
};

use crate::{context, outcome::RetryChanges};

/// The precise word of a task about its own end.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    Raise(ExceptionInfo),
    Retry {
        cause: Option<ExceptionInfo>,
        countdown: Option<Duration>,
        changes: Option<Box<RetryChanges>>,
    },
    Replace(Box<Signature>),
    Ignore,
    Reject {
        reason: String,
        requeue: bool,
    },
}

const IGNORED: &str = "ignored";
const REPLACED: &str = "replaced by another task";

impl Signal {
    /// Whether this is about the error that the task returned: one that was handled says nothing about a later one. Text
    /// may have been added around it on its way.
    pub(crate) fn fits(&self, returned: &TaskError) -> bool {
        let said = match self {
            Self::Retry { .. } => return matches!(returned, TaskError::Retry(_)),
            Self::Raise(exception) => exception.repr(),
            Self::Ignore => IGNORED.to_owned(),
            Self::Replace(_) => REPLACED.to_owned(),
            Self::Reject { reason, .. } => rejected(reason),
        };
        match returned {
            TaskError::UnexpectedError(text) | TaskError::ExpectedError(text) => {
                text.contains(&said)
            }
            _ => false,
        }
    }
}

fn rejected(reason: &str) -> String {
    format!("rejected: {reason}")
}

/// Ends the task as FAILURE with a Python exception class of `builtins`, such as `ValueError`; a Python caller catches
/// it as that class. A name that `builtins` does not have becomes a class of its own on the caller's side.
pub fn raise(class: &str, message: impl Into<String>) -> TaskError {
    raise_exception(ExceptionInfo::new(
        "builtins",
        class,
        vec![Value::Str(message.into())],
    ))
}

/// Ends the task as FAILURE with exactly this exception: class, module and constructor arguments.
pub fn raise_exception(exception: ExceptionInfo) -> TaskError {
    let text = exception.repr();
    leave(Signal::Raise(exception));
    TaskError::UnexpectedError(text)
}

/// Runs the task again after `countdown` (`None`: the task's own back-off), counted against its `max_retries`.
pub fn retry(countdown: Option<Duration>) -> TaskError {
    leave(Signal::Retry {
        cause: None,
        countdown,
        changes: None,
    });
    TaskError::Retry(None)
}

/// As [`retry_because`], with other arguments, another number of retries or another expiry.
pub fn retry_with(
    cause: Option<ExceptionInfo>,
    countdown: Option<Duration>,
    changes: RetryChanges,
) -> TaskError {
    leave(Signal::Retry {
        cause,
        countdown,
        changes: Some(Box::new(changes)),
    });
    TaskError::Retry(None)
}

/// Ends the task by having another one, or a canvas, take its place: its id, its place in a group, chord and chain, its
/// callbacks. Nothing is stored for the task itself, and what replaces it is sent in the step that ends it. The result of a
/// group is the list of its members' results.
///
/// It takes a typed canvas, `signal::replace(chain![add::s(1, 2), double::partial()])`, or a signature of the wire. Whether the
/// canvas gives what the task was to return is not checked.
pub fn replace<C>(by: C) -> TaskError
where
    C: IntoCanvas,
    C::Takes: Starts,
{
    match by.into_canvas().into_signature() {
        Ok(by) => replace_by(by),
        Err(error) => raise("ValueError", told(&error)),
    }
}

/// An error and what caused it, in one line.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

fn replace_by(by: Signature) -> TaskError {
    let refused = |text: &str| {
        let arguments = vec![Value::Str(text.to_owned())];
        let class = "ImproperlyConfigured";
        raise_exception(ExceptionInfo::new("celery.exceptions", class, arguments))
    };
    if canvas::given(&by, "chord").is_some() {
        return refused("A signature replacing a task must not be part of a chord");
    }
    let steps = canvas::subtasks(&by).unwrap_or_default();
    if by.subtask_type.as_deref() == Some("chain") && steps.is_empty() {
        return refused("Cannot replace with an empty chain");
    }
    leave(Signal::Replace(Box::new(by)));
    TaskError::UnexpectedError(REPLACED.to_owned())
}

/// As [`retry`], and names the exception that is stored as the cause, and as the failure once retries are used up.
pub fn retry_because(cause: ExceptionInfo, countdown: Option<Duration>) -> TaskError {
    leave(Signal::Retry {
        cause: Some(cause),
        countdown,
        changes: None,
    });
    TaskError::Retry(None)
}

/// Ends the task without any result or state, as Celery's `Ignore`.
pub fn ignore() -> TaskError {
    leave(Signal::Ignore);
    TaskError::UnexpectedError(IGNORED.to_owned())
}

/// Refuses the message as Celery's `Reject`: with `requeue` it goes to the end of its queue, without it is given up
/// (state FAILURE, and a place among the dead letters).
pub fn reject(reason: impl Into<String>, requeue: bool) -> TaskError {
    let reason = reason.into();
    let text = rejected(&reason);
    leave(Signal::Reject { reason, requeue });
    TaskError::UnexpectedError(text)
}

/// Ends the task as Celery's `SoftTimeLimitExceeded`, for one that has cleaned up after its [soft
/// limit](crate::Context::soft_limit).
pub fn soft_limit_exceeded() -> TaskError {
    raise_exception(crate::records::soft_limit_exceeded())
}

/// Outside a running task there is nobody to tell: the returned error then speaks alone.
fn leave(signal: Signal) {
    if let Some(context) = context::current() {
        context.leave(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_was_handled_says_nothing_about_a_later_one() {
        let raised = Signal::Raise(ExceptionInfo::new(
            "builtins",
            "ValueError",
            vec!["boom".into()],
        ));
        let error = |text: &str| TaskError::UnexpectedError(text.to_owned());
        assert!(raised.fits(&error("ValueError('boom')")));
        assert!(raised.fits(&TaskError::ExpectedError(
            "no luck: ValueError('boom')".to_owned()
        )));
        assert!(!raised.fits(&error("the disk is full")));
        assert!(!raised.fits(&TaskError::TimeoutError));
        let retry = Signal::Retry {
            cause: None,
            countdown: None,
            changes: None,
        };
        assert!(retry.fits(&TaskError::Retry(None)));
        assert!(!retry.fits(&error("the disk is full")));
    }
}
