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
use lovage_protocol::{ExceptionInfo, Value};

use crate::context;

/// The precise word of a task about its own end.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    Raise(ExceptionInfo),
    Retry {
        cause: Option<ExceptionInfo>,
        countdown: Option<Duration>,
    },
    Ignore,
    Reject {
        reason: String,
        requeue: bool,
    },
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
    });
    TaskError::Retry(None)
}

/// As [`retry`], and names the exception that is stored as the cause, and as the failure once retries are used up.
pub fn retry_because(cause: ExceptionInfo, countdown: Option<Duration>) -> TaskError {
    leave(Signal::Retry {
        cause: Some(cause),
        countdown,
    });
    TaskError::Retry(None)
}

/// Ends the task without any result or state, as Celery's `Ignore`.
pub fn ignore() -> TaskError {
    leave(Signal::Ignore);
    TaskError::UnexpectedError("ignored".to_owned())
}

/// Refuses the message as Celery's `Reject`: with `requeue` it goes to the end of its queue, without it is given up
/// (state FAILURE, and a place among the dead letters).
pub fn reject(reason: impl Into<String>, requeue: bool) -> TaskError {
    let reason = reason.into();
    leave(Signal::Reject {
        reason: reason.clone(),
        requeue,
    });
    TaskError::UnexpectedError(format!("rejected: {reason}"))
}

/// Outside a running task there is nobody to tell: the returned error then speaks alone.
fn leave(signal: Signal) {
    if let Some(context) = context::current() {
        context.leave(signal);
    }
}
