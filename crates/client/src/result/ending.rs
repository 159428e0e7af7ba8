//! A stored record as a value, or as the error that it stands for.

use lovage_protocol::{ExceptionInfo, State, TaskMeta, Value};
use serde::de::DeserializeOwned;

use crate::Error;

/// The value of a task that has succeeded; what it failed with, for any other end.
pub(super) fn value(meta: TaskMeta) -> Result<Value, Error> {
    match meta.status {
        State::Success => Ok(meta.result),
        _ => Err(failure(meta)),
    }
}

/// The value as a Rust type.
pub(super) fn typed<R: DeserializeOwned>(
    id: &lovage_protocol::TaskId,
    value: Value,
) -> Result<R, Error> {
    value.deserialize().map_err(|source| Error::Mismatch {
        id: id.clone(),
        source,
    })
}

/// Whether a record is the end of a task that gives no value.
pub(super) fn is_failure(meta: &TaskMeta) -> bool {
    matches!(meta.status, State::Failure | State::Revoked)
}

/// What a task has failed with.
pub(super) fn failure(meta: TaskMeta) -> Error {
    let (exc_type, message) = exception(&meta.result);
    let (id, traceback) = (meta.task_id, meta.traceback);
    match meta.status {
        State::Revoked => Error::Revoked {
            id,
            reason: message,
        },
        _ => Error::Failed {
            id,
            exc_type,
            message,
            traceback,
        },
    }
}

/// Class and text of a stored exception, as `str(exception)` has it: one argument as it is, several as a tuple.
fn exception(stored: &Value) -> (String, String) {
    let Ok(info) = ExceptionInfo::from_value(stored) else {
        return ("Exception".to_owned(), lovage_protocol::saferepr(stored));
    };
    let message = match info.exc_message.as_slice() {
        [] => String::new(),
        [Value::Str(text)] => text.clone(),
        [one] => lovage_protocol::saferepr(one),
        several => lovage_protocol::args_repr(several),
    };
    (info.exc_type, message)
}
