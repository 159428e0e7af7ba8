//! Runs of tasks.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lovage_database::store::{
    task_event::Recorded,
    task_run::{Filter, TaskRun},
};
use lovage_protocol::{State, TaskId};
use poem_openapi::Object;
use serde_json::Value;

use crate::live::Happening;

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct TaskEvent {
    /// What happened: `sent`, `received`, `started`, `succeeded`, `failed`, `retried`, `revoked`, `rejected`; `gap` when events
    /// are missing that are no longer kept.
    pub(crate) kind: String,
    /// The Celery id of the task.
    pub(crate) task_id: String,
    /// The task's name, when that is known.
    pub(crate) task: Option<String>,
    /// The first task of its workflow, when that is known.
    pub(crate) root_id: Option<String>,
    /// The worker.
    pub(crate) worker: String,
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// What else Celery's event says.
    pub(crate) fields: Value,
}

impl TaskEvent {
    pub(crate) fn of(happening: &Happening) -> Self {
        Self {
            kind: happening.kind.clone(),
            task_id: happening.task_id.clone(),
            task: happening.task.clone(),
            root_id: happening.root_id.clone(),
            worker: happening.worker.clone(),
            at: happening.at,
            fields: happening.fields.clone(),
        }
    }

    /// Some events are missing here.
    pub(crate) fn gap() -> Self {
        Self {
            kind: "gap".to_owned(),
            task_id: String::new(),
            task: None,
            root_id: None,
            worker: String::new(),
            at: Utc::now(),
            fields: Value::Null,
        }
    }
}

/// Lets a browser open one stream.
#[derive(Clone, Object)]
pub(crate) struct Ticket {
    /// Give it as the parameter `ticket`; it is good for one use.
    pub(crate) ticket: String,
    /// The seconds for which it is good.
    pub(crate) expires_in: u64,
}

/// How tasks are to be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Revoke {
    /// End it too if it runs already.
    #[oai(default)]
    pub(crate) terminate: bool,
    /// With this signal, where tasks run in processes; `SIGTERM` when nobody says.
    #[oai(validator(pattern = "^(SIG)?(TERM|KILL|INT|QUIT|USR1|USR2|HUP)$"))]
    pub(crate) signal: Option<String>,
}

/// Several tasks to be revoked.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct RevokeMany {
    /// Their Celery ids. These or `stamps`, or both.
    #[oai(validator(min_items = 1, max_items = 1000))]
    pub(crate) task_ids: Option<Vec<String>>,
    /// Every task that carries a stamp of this name with one of these values, those that are sent later too.
    pub(crate) stamps: Option<BTreeMap<String, Vec<String>>>,
    /// End those too that run already.
    #[oai(default)]
    pub(crate) terminate: bool,
    /// With this signal, where tasks run in processes; `SIGTERM` when nobody says.
    #[oai(validator(pattern = "^(SIG)?(TERM|KILL|INT|QUIT|USR1|USR2|HUP)$"))]
    pub(crate) signal: Option<String>,
}

/// A task as its history knows it.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Run {
    /// The Celery id of the task.
    pub(crate) task_id: String,
    /// The task's name.
    pub(crate) task: Option<String>,
    /// Celery's state, the latest that is known.
    pub(crate) state: String,
    /// Since when.
    pub(crate) state_at: DateTime<Utc>,
    /// How often it was retried.
    pub(crate) retries: Option<i32>,
    /// Its queue.
    pub(crate) queue: Option<String>,
    /// Its priority.
    pub(crate) priority: Option<i16>,
    /// The worker.
    pub(crate) worker: Option<String>,
    /// Its arguments as text, for people.
    pub(crate) args: Option<String>,
    /// Its keyword arguments as text.
    pub(crate) kwargs: Option<String>,
    /// What it returned, as text.
    pub(crate) result: Option<String>,
    /// What it failed with, as text.
    pub(crate) exception: Option<String>,
    /// Where it failed.
    pub(crate) traceback: Option<String>,
    /// The first task of its workflow.
    pub(crate) root_id: Option<String>,
    /// The task that sent it.
    pub(crate) parent_id: Option<String>,
    /// The group that it belongs to.
    pub(crate) group_id: Option<String>,
    /// Not to be run before.
    pub(crate) eta: Option<DateTime<Utc>>,
    /// Not to be run after.
    pub(crate) expires: Option<DateTime<Utc>>,
    /// When it was sent.
    pub(crate) sent_at: Option<DateTime<Utc>>,
    /// When a worker got it.
    pub(crate) received_at: Option<DateTime<Utc>>,
    /// When it began to run.
    pub(crate) started_at: Option<DateTime<Utc>>,
    /// When it ended for good.
    pub(crate) finished_at: Option<DateTime<Utc>>,
    /// For how many seconds it ran.
    pub(crate) runtime: Option<f64>,
    /// When it was first heard of; pages are in this order, the newest first.
    pub(crate) seen_at: DateTime<Utc>,
}

impl From<TaskRun> for Run {
    fn from(run: TaskRun) -> Self {
        let text = |id: Option<TaskId>| id.map(|id| id.as_str().to_owned());
        Self {
            task_id: run.task_id.as_str().to_owned(),
            task: run.name,
            state: run.state.as_str().to_owned(),
            state_at: run.state_at,
            retries: run.retries,
            queue: run.queue,
            priority: run.priority,
            worker: run.worker,
            args: run.args,
            kwargs: run.kwargs,
            result: run.result,
            exception: run.exception,
            traceback: run.traceback,
            root_id: text(run.root_id),
            parent_id: text(run.parent_id),
            group_id: run.group_id,
            eta: run.eta,
            expires: run.expires,
            sent_at: run.sent_at,
            received_at: run.received_at,
            started_at: run.started_at,
            finished_at: run.finished_at,
            runtime: run.runtime,
            seen_at: run.seen_at,
        }
    }
}

/// Task runs, the newest first.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct RunPage {
    /// This page's.
    pub(crate) runs: Vec<Run>,
    /// Gets the next page; null on the last.
    pub(crate) next: Option<String>,
}

/// A task and what belongs to it.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct RunWhole {
    /// The task.
    pub(crate) run: Run,
    /// Its workflow: the task that began it and all that came of it, the oldest first, a thousand at most. `parent_id` says how
    /// they hang together.
    pub(crate) tree: Vec<Run>,
    /// What happened to it, in the order of time.
    pub(crate) events: Vec<RunEvent>,
}

/// Something that happened to a task, as it was recorded.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct RunEvent {
    /// Celery's type of event, such as `task-received`.
    pub(crate) kind: String,
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// The worker that told it.
    pub(crate) worker: Option<String>,
    /// The whole event.
    pub(crate) body: Value,
}

impl From<Recorded> for RunEvent {
    fn from(recorded: Recorded) -> Self {
        let event = recorded.event;
        Self {
            kind: event.kind,
            at: event.at,
            worker: event.worker,
            body: serde_json::from_str(&event.body).unwrap_or(Value::String(event.body)),
        }
    }
}

/// Which task runs. Everything given must hold; of a list, one of it.
#[derive(Debug, Clone, Default, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct RunFilter {
    /// Their states.
    pub(crate) states: Option<Vec<String>>,
    /// Their names.
    pub(crate) tasks: Option<Vec<String>>,
    /// Their queues.
    pub(crate) queues: Option<Vec<String>>,
    /// The workers that ran them.
    pub(crate) workers: Option<Vec<String>>,
    /// The first task of their workflow.
    pub(crate) root_id: Option<String>,
    /// First heard of then or later.
    pub(crate) since: Option<DateTime<Utc>>,
    /// First heard of before.
    pub(crate) until: Option<DateTime<Utc>>,
    /// A part of id, name, arguments, result or exception.
    pub(crate) text: Option<String>,
}

impl From<RunFilter> for Filter {
    fn from(filter: RunFilter) -> Self {
        let states = filter.states.unwrap_or_default();
        Self {
            states: states
                .iter()
                .map(|state| State::from(state.as_str()))
                .collect(),
            names: filter.tasks.unwrap_or_default(),
            queues: filter.queues.unwrap_or_default(),
            workers: filter.workers.unwrap_or_default(),
            root: filter.root_id.map(TaskId::from),
            since: filter.since,
            until: filter.until,
            text: filter.text,
            ..Self::default()
        }
    }
}
