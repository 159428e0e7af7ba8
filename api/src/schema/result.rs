//! Results as the result store has them.

use lovage_protocol::{ExceptionInfo, State, TaskMeta, args_repr, saferepr};
use poem_openapi::Object;
use serde_json::Value;

use crate::plain;

/// The result of a task as it stands.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "TaskResult")]
pub(crate) struct TaskResult {
    /// The Celery id of the task.
    pub(crate) task_id: String,
    /// Celery's state: PENDING (nothing is known of it), RECEIVED, STARTED, RETRY, SUCCESS, FAILURE, REVOKED, or one of the
    /// task's own.
    pub(crate) state: String,
    /// Nothing more will come.
    pub(crate) ready: bool,
    /// What it returned, or what it says of its progress. Times, decimals and UUIDs are text, bytes are base64.
    pub(crate) value: Value,
    /// What it raised, when it failed, is retried or was revoked.
    pub(crate) error: Option<TaskError>,
    /// When it ended, as the worker wrote it.
    pub(crate) date_done: Option<String>,
}

/// What a task raised.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct TaskError {
    /// The exception's class, such as `ValueError`.
    pub(crate) r#type: String,
    /// The exception's text.
    pub(crate) message: String,
    /// The worker's traceback, when there is one.
    pub(crate) traceback: Option<String>,
}

impl TaskResult {
    /// Of a task that nothing is known of.
    pub(crate) fn pending(task_id: &str) -> Self {
        Self {
            task_id: task_id.to_owned(),
            state: State::Pending.as_str().to_owned(),
            ready: false,
            value: Value::Null,
            error: None,
            date_done: None,
        }
    }

    /// From the stored record.
    pub(crate) fn of(meta: &TaskMeta) -> Self {
        let error = meta.status.is_exception().then(|| error(meta));
        Self {
            task_id: meta.task_id.as_str().to_owned(),
            state: meta.status.as_str().to_owned(),
            ready: meta.status.is_ready(),
            value: match error {
                Some(_) => Value::Null,
                None => plain::json(&meta.result),
            },
            error,
            date_done: meta.date_done.clone(),
        }
    }
}

/// The text is that of Python's `str(exception)`: one argument as it is, several as a tuple.
fn error(meta: &TaskMeta) -> TaskError {
    let (r#type, message) = match ExceptionInfo::from_value(&meta.result) {
        Ok(info) => {
            let message = match info.exc_message.as_slice() {
                [] => String::new(),
                [lovage_protocol::Value::Str(text)] => text.clone(),
                [one] => saferepr(one),
                several => args_repr(several),
            };
            (info.exc_type, message)
        }
        Err(_) => ("Exception".to_owned(), saferepr(&meta.result)),
    };
    TaskError {
        r#type,
        message,
        traceback: meta.traceback.clone(),
    }
}
