//! Result records: what is stored for a task in each of its states (the fields of wire results, `celery/backends/base.py`).

use chrono::{DateTime, Utc};
use lovage_protocol::{ExceptionInfo, Message, Signature, State, TaskId, TaskMeta, Value, time};

use lovage_client::canvas::given;

use crate::pool::prefork::Death;

/// A record of now for `message`; see [`meta_at`].
pub(crate) fn meta(
    message: &Message,
    status: State,
    result: Value,
    children: Vec<Value>,
) -> TaskMeta {
    meta_at(Utc::now(), message, status, result, children)
}

/// A record for `message`; the date is set for the states that end a task, as Celery does.
pub(crate) fn meta_at(
    now: DateTime<Utc>,
    message: &Message,
    status: State,
    result: Value,
    children: Vec<Value>,
) -> TaskMeta {
    let headers = &message.headers;
    let date_done = status.is_ready().then(|| time::format_iso(now));
    TaskMeta {
        status,
        result,
        traceback: None,
        children: Some(children),
        date_done,
        group_id: headers.group.clone(),
        parent_id: headers.parent_id.as_ref().map(|id| id.as_str().to_owned()),
        traceparent: None,
        extended: None,
        task_id: headers.id.clone(),
    }
}

/// What the broker's refusal is for Celery.
pub(crate) fn operational_error(detail: &str) -> ExceptionInfo {
    ExceptionInfo::new("kombu.exceptions", "OperationalError", vec![detail.into()])
}

/// The failure of a step that will never run, with what made it so; `None` for a step whose id nobody has been told.
pub(crate) fn failed_step(
    step: &Signature,
    result: &Value,
    traceback: Option<&str>,
) -> Option<TaskMeta> {
    let text = |option| given(step, option).and_then(Value::as_str);
    Some(TaskMeta {
        status: State::Failure,
        result: result.clone(),
        traceback: traceback.map(str::to_owned),
        children: None,
        date_done: Some(time::format_iso(Utc::now())),
        group_id: text("group_id").map(str::to_owned),
        parent_id: text("parent_id").map(str::to_owned),
        traceparent: None,
        extended: None,
        task_id: TaskId::from(text("task_id")?),
    })
}

/// A result reference without parent and children: `[[id, null], null]`.
pub(crate) fn reference(id: &TaskId) -> Value {
    let own = Value::List(vec![Value::Str(id.as_str().to_owned()), Value::Null]);
    Value::List(vec![own, Value::Null])
}

/// An exception of `celery.exceptions` with one text argument.
pub(crate) fn celery_exception(class: &str, text: &str) -> ExceptionInfo {
    ExceptionInfo::new(
        "celery.exceptions",
        class,
        vec![Value::Str(text.to_owned())],
    )
}

/// An exception as the last line of a Python traceback: `ValueError: boom`.
pub(crate) fn line(exception: &ExceptionInfo) -> String {
    let class = match exception.exc_module.as_deref() {
        None | Some("builtins") => exception.exc_type.clone(),
        Some(module) => format!("{module}.{}", exception.exc_type),
    };
    match exception.exc_message.as_slice() {
        [] => class,
        [Value::Str(text)] => format!("{class}: {text}"),
        arguments => format!("{class}: {}", lovage_protocol::args_repr(arguments)),
    }
}

/// What a task raises when its soft limit is over (`billiard.exceptions.SoftTimeLimitExceeded`).
pub(crate) fn soft_limit_exceeded() -> ExceptionInfo {
    ExceptionInfo::new("billiard.exceptions", "SoftTimeLimitExceeded", Vec::new())
}

/// What Celery stores of a task that a cold shutdown cancels (`celery/worker/request.py`, `cancel`).
pub(crate) fn cancelled() -> ExceptionInfo {
    let text = "Retry(Retry(...), None, None)";
    let arguments = vec![text.into(), Value::Null, Value::Null];
    ExceptionInfo::new("celery.exceptions", "Retry", arguments)
}

/// What Celery stores when a child process dies with a task (`billiard/pool.py`, `mark_as_worker_lost`).
pub(crate) fn child_lost(death: Death, job: u64) -> ExceptionInfo {
    let text = format!("Worker exited prematurely: {death} Job: {job}.");
    ExceptionInfo::new(
        "billiard.exceptions",
        "WorkerLostError",
        vec![Value::Str(text)],
    )
}

/// What Celery stores when a worker dies with a task (`billiard.exceptions.WorkerLostError`).
pub(crate) fn worker_lost(deaths: u32) -> ExceptionInfo {
    let text = format!(
        "Worker exited prematurely: the task was started {deaths} times by workers that died."
    );
    ExceptionInfo::new(
        "billiard.exceptions",
        "WorkerLostError",
        vec![Value::Str(text)],
    )
}
