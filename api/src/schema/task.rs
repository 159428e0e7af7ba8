//! Tasks that there are, tasks to be sent, and tasks that were.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use poem_openapi::Object;
use serde_json::Value;

use crate::{
    problem::ProblemDetails,
    schema::{result::TaskResult, step::Step},
};

/// A task to be sent. Names are those of Celery's `apply_async`.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Call", deny_unknown_fields)]
pub(crate) struct CallBody {
    /// The task's name. It need not be registered here: Python's tasks are sent by name.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub(crate) task: String,
    /// Positional arguments.
    pub(crate) args: Option<Vec<Value>>,
    /// Keyword arguments.
    pub(crate) kwargs: Option<BTreeMap<String, Value>>,
    /// Its id, instead of a new UUID. A second task of the same id shares the first one's result.
    #[oai(validator(pattern = "^[A-Za-z0-9._:-]{1,155}$"))]
    pub(crate) task_id: Option<String>,
    /// The queue; by default what the routes say.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub(crate) queue: Option<String>,
    /// On Redis 0 is served first and 9 last.
    #[oai(validator(minimum(value = "0"), maximum(value = "255")))]
    pub(crate) priority: Option<i64>,
    /// Not to be run before so many seconds have gone. Not together with `eta`.
    #[oai(validator(minimum(value = "0"), maximum(value = "3155760000")))]
    pub(crate) countdown: Option<f64>,
    /// Not to be run before.
    pub(crate) eta: Option<DateTime<Utc>>,
    /// Not to be run after; it then ends as REVOKED. Not together with `expires_after`.
    pub(crate) expires: Option<DateTime<Utc>>,
    /// Not to be run after so many seconds have gone.
    #[oai(validator(minimum(value = "0"), maximum(value = "3155760000")))]
    pub(crate) expires_after: Option<f64>,
    /// It is stopped after so many seconds.
    #[oai(validator(minimum(value = "0", exclusive), maximum(value = "3155760000")))]
    pub(crate) time_limit: Option<f64>,
    /// It is told to end after so many seconds; not above `time_limit`.
    #[oai(validator(minimum(value = "0", exclusive), maximum(value = "3155760000")))]
    pub(crate) soft_time_limit: Option<f64>,
    /// Its result is not stored.
    pub(crate) ignore_result: Option<bool>,
    /// A name for people, instead of the task's.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub(crate) shadow: Option<String>,
    /// User headers.
    pub(crate) headers: Option<BTreeMap<String, Value>>,
    /// What is sent after it succeeded, with its result as first argument.
    pub(crate) link: Option<Vec<Step>>,
    /// What is sent after it failed, with its id as first argument.
    pub(crate) link_error: Option<Vec<Step>>,
    /// In a workflow: it does not take the result of the step before.
    pub(crate) immutable: Option<bool>,
}

impl CallBody {
    /// A call without arguments and options.
    pub(crate) fn of(task: String) -> Self {
        Self {
            task,
            args: None,
            kwargs: None,
            task_id: None,
            queue: None,
            priority: None,
            countdown: None,
            eta: None,
            expires: None,
            expires_after: None,
            time_limit: None,
            soft_time_limit: None,
            ignore_result: None,
            shadow: None,
            headers: None,
            link: None,
            link_error: None,
            immutable: None,
        }
    }
}

/// A task that was sent.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Sent {
    /// The Celery id of the task: what its result, its history and Flower know it by.
    pub(crate) task_id: String,
    /// The task's name.
    pub(crate) task: String,
}

/// A workflow that was sent.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct WorkflowSent {
    /// The Celery id under which the result of the whole is found: its last task's, or a group's own.
    pub(crate) task_id: String,
    /// The ids of the tasks that were sent at once. The others follow as these end.
    pub(crate) started: Vec<String>,
}

/// What became of the lines of a batch, in their order.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct BatchReport {
    /// How many were sent.
    pub(crate) sent: u64,
    /// How many were not.
    pub(crate) refused: u64,
    /// One for each line that is not empty.
    pub(crate) items: Vec<BatchItem>,
}

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(skip_serializing_if_is_none)]
pub(crate) struct BatchItem {
    /// The number of the line, the first is 1.
    pub(crate) line: u64,
    /// The Celery id of the task, when it was sent.
    pub(crate) task_id: Option<String>,
    /// Why it was not sent.
    pub(crate) problem: Option<ProblemDetails>,
}

/// The tasks that there are.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct TaskList {
    /// By name.
    pub(crate) tasks: Vec<TaskDescription>,
}

/// One task.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct TaskDescription {
    /// Its name.
    pub(crate) name: String,
    /// What it does.
    pub(crate) description: Option<String>,
    /// How it is called, for people.
    pub(crate) signature: Option<String>,
    /// The JSON Schema of its parameters by name; null when they are not known.
    pub(crate) parameters: Option<Value>,
    /// The JSON Schema of its result; null when it is not known.
    pub(crate) returns: Option<Value>,
    /// The queue that it is sent to when nobody says; null when that is an exchange or not known.
    pub(crate) queue: Option<String>,
    /// It is compiled into this program, so its parameters are checked before it is sent.
    pub(crate) registered: bool,
    /// The workers that have registered it, Python's too.
    pub(crate) workers: Vec<String>,
}

/// A task that has ended within the time that was waited.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Answered {
    /// The Celery id of the task.
    pub(crate) task_id: String,
    /// The task's name.
    pub(crate) task: String,
    /// How it ended.
    pub(crate) result: TaskResult,
}
