//! How an attempt ended, as layers hear it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use lovage_broker::Settle;
use lovage_protocol::{ExceptionInfo, Message, QueueName, State, Value};
use tracing::error;

use super::Layer;
use crate::{panics, policy::Record};

/// One attempt's end, after the worker has decided what its outcome means.
///
/// It is told before it is recorded: of an attempt whose message went to somebody else meanwhile (a lost lease) the end is
/// told here and never stored.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ended<'a> {
    /// The envelope: name, id, retries, headers.
    pub message: &'a Message,
    /// The queue it was taken from.
    pub queue: &'a QueueName,
    /// How it ended.
    pub end: End<'a>,
    /// How long it ran; `None` for one that never began.
    pub ran: Option<Duration>,
}

/// How it ended. Celery's signal of the same meaning stands at each.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum End<'a> {
    /// It returned this value (`task_success`).
    Success(&'a Value),
    /// It failed for good: raised, panicked, ran out of time or of retries (`task_failure`).
    Failure(ExceptionInfo),
    /// It will run again; with the cause, when it said one (`task_retry`).
    Retry(Option<ExceptionInfo>),
    /// It was not run: it came too late, or was revoked (`task_revoked`).
    Revoked(&'a str),
    /// It refused its message (`task_rejected` for messages that cannot be read is no end of a task, and not told).
    Rejected {
        /// Back to the queue rather than given up.
        requeue: bool,
    },
    /// It asked that its end not be recorded.
    Ignored,
}

impl End<'_> {
    /// One word, for labels: `success`, `failure`, `retry`, `revoked`, `rejected` or `ignored`.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Success(_) => "success",
            Self::Failure(_) => "failure",
            Self::Retry(_) => "retry",
            Self::Revoked(_) => "revoked",
            Self::Rejected { .. } => "rejected",
            Self::Ignored => "ignored",
        }
    }
}

/// Tells layers how an attempt ended. One that panics is logged: the message must reach its end.
pub(crate) fn tell(
    layers: &[Arc<dyn Layer>],
    message: &Message,
    queue: &QueueName,
    end: End<'_>,
    ran: Option<Duration>,
) {
    let ended = Ended {
        message,
        queue,
        end,
        ran,
    };
    for layer in layers {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| layer.ended(&ended))) {
            let what = panics::describe(panic.as_ref());
            error!(task.name = %message.headers.task, "a layer that was told of a task's end {what}");
        }
    }
}

/// The end that these decisions make; `rejected` says whether the task refused its message, and whether it went back.
pub(crate) fn end(record: Option<&Record>, rejected: Option<bool>) -> End<'_> {
    if let Some(requeue) = rejected {
        return End::Rejected { requeue };
    }
    let Some(record) = record else {
        return End::Ignored;
    };
    match record.state {
        State::Success => End::Success(&record.result),
        State::Retry => End::Retry(ExceptionInfo::from_value(&record.result).ok()),
        _ => End::Failure(exception(&record.result)),
    }
}

/// Whether this is the settling of a message that its task refused, and if so whether it went back. A hard time limit may
/// send a message back too; that is a failure, which its record tells.
pub(crate) fn rejected(settle: &Settle, record: Option<&Record>) -> Option<bool> {
    match settle {
        Settle::Requeue if record.is_none() => Some(true),
        Settle::DeadLetter(reason) if reason.code == "rejected" => Some(false),
        _ => None,
    }
}

pub(crate) fn exception(stored: &Value) -> ExceptionInfo {
    ExceptionInfo::from_value(stored).unwrap_or_else(|_| {
        let text = lovage_protocol::saferepr(stored);
        ExceptionInfo::new("builtins", "Exception", vec![Value::Str(text)])
    })
}
