//! Queues and workers.

use std::collections::BTreeMap;

use lovage_protocol::{Message, control::Reply};
use poem_openapi::{Enum, Object};
use serde_json::Value;

use crate::plain;

/// A queue.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Queue {
    /// Its name.
    pub(crate) name: String,
    /// How many messages wait in it.
    pub(crate) messages: u64,
    /// The same by priority.
    pub(crate) by_priority: Vec<PriorityDepth>,
    /// The workers that consume it.
    pub(crate) consumers: Vec<String>,
    /// Nobody is to take from it until it is resumed.
    pub(crate) paused: bool,
    /// Tasks are sent to it when nobody says otherwise.
    pub(crate) routed: bool,
    /// For how many seconds the message that is next has been next, as far as this process has seen: messages carry no time of
    /// sending. Null when the queue is empty.
    pub(crate) head_waits_seconds: Option<f64>,
}

/// Messages of a priority.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct PriorityDepth {
    /// The priority; the lowest number is served first.
    pub(crate) priority: u8,
    /// How many wait.
    pub(crate) messages: u64,
}

/// Queues by name.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct QueueList {
    /// Those that tasks are routed to, and those that workers consume.
    pub(crate) queues: Vec<Queue>,
}

/// Messages that are served next.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Peeked {
    /// The next one first.
    pub(crate) messages: Vec<QueuedMessage>,
}

/// A message in a queue.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct QueuedMessage {
    /// The Celery id of its task; null when it cannot be read.
    pub(crate) task_id: Option<String>,
    /// Its task.
    pub(crate) task: Option<String>,
    /// Its arguments as text, as its sender wrote them for people.
    pub(crate) args: Option<String>,
    /// Its keyword arguments as text.
    pub(crate) kwargs: Option<String>,
    /// Not to be run before.
    pub(crate) eta: Option<String>,
    /// Not to be run after.
    pub(crate) expires: Option<String>,
    /// How often it was retried.
    pub(crate) retries: u32,
    /// How many bytes it has.
    pub(crate) bytes: u64,
}

impl QueuedMessage {
    pub(crate) fn of(raw: &[u8]) -> Self {
        let bytes = u64::try_from(raw.len()).unwrap_or(u64::MAX);
        let Ok(message) = Message::parse(raw) else {
            return Self {
                task_id: None,
                task: None,
                args: None,
                kwargs: None,
                eta: None,
                expires: None,
                retries: 0,
                bytes,
            };
        };
        let headers = message.headers;
        Self {
            task_id: Some(headers.id.as_str().to_owned()),
            task: Some(headers.task.as_str().to_owned()),
            args: headers.argsrepr,
            kwargs: headers.kwargsrepr,
            eta: headers.eta,
            expires: headers.expires,
            retries: headers.retries,
            bytes,
        }
    }
}

/// How many messages were dropped.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct Purged {
    /// So many.
    pub(crate) purged: u64,
}

/// Whether a queue is paused.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Paused {
    /// Nobody is to take from it.
    pub(crate) paused: bool,
    /// The workers that cannot look for themselves, with what they replied when they were told.
    pub(crate) told: BTreeMap<String, WorkerReply>,
}

/// A worker.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Worker {
    /// Its name, such as `celery@host`.
    pub(crate) name: String,
    /// The queues that it consumes.
    pub(crate) queues: Vec<String>,
    /// The tasks that it has registered.
    pub(crate) tasks: Vec<String>,
}

/// Workers by name.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct WorkerList {
    /// Those that answered within a second, a few seconds ago at most.
    pub(crate) workers: Vec<Worker>,
}

/// What workers can be asked, as `celery inspect` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum Inspection {
    /// Are you there?
    Ping,
    /// Numbers of all kinds.
    Stats,
    /// Tasks that run.
    Active,
    /// Tasks that were taken and wait.
    Reserved,
    /// Tasks that wait for their time.
    Scheduled,
    /// Ids of revoked tasks.
    Revoked,
    /// Registered tasks.
    Registered,
    /// Consumed queues.
    ActiveQueues,
    /// Settings, without secrets.
    Conf,
    /// Settings as a text for people.
    Report,
    /// The logical clock.
    Clock,
    /// What is known of tasks; needs `ids`.
    QueryTask,
    /// How much memory is used.
    Memsample,
}

impl Inspection {
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Stats => "stats",
            Self::Active => "active",
            Self::Reserved => "reserved",
            Self::Scheduled => "scheduled",
            Self::Revoked => "revoked",
            Self::Registered => "registered",
            Self::ActiveQueues => "active_queues",
            Self::Conf => "conf",
            Self::Report => "report",
            Self::Clock => "clock",
            Self::QueryTask => "query_task",
            Self::Memsample => "memsample",
        }
    }
}

/// What workers can be told, as `celery control` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Consume a queue too: `queue`.
    AddConsumer,
    /// Consume a queue no longer: `queue`.
    CancelConsumer,
    /// Start a task so often: `task_name`, `rate_limit`.
    RateLimit,
    /// End a task after so long: `task_name`, `hard`, `soft`.
    TimeLimit,
    /// Run more tasks at once: `n`.
    PoolGrow,
    /// Run fewer tasks at once: `n`.
    PoolShrink,
    /// Replace the child processes.
    PoolRestart,
    /// Grow and shrink between: `max`, `min`.
    Autoscale,
    /// Send task events.
    EnableEvents,
    /// Send task events no longer.
    DisableEvents,
    /// Give a sign of life.
    Heartbeat,
    /// Stop: running tasks end, the others go back to their queues.
    Shutdown,
}

impl Order {
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::AddConsumer => "add_consumer",
            Self::CancelConsumer => "cancel_consumer",
            Self::RateLimit => "rate_limit",
            Self::TimeLimit => "time_limit",
            Self::PoolGrow => "pool_grow",
            Self::PoolShrink => "pool_shrink",
            Self::PoolRestart => "pool_restart",
            Self::Autoscale => "autoscale",
            Self::EnableEvents => "enable_events",
            Self::DisableEvents => "disable_events",
            Self::Heartbeat => "heartbeat",
            Self::Shutdown => "shutdown",
        }
    }
}

/// An order to workers.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct OrderBody {
    /// What to do.
    pub(crate) command: Order,
    /// With what, by the names that Celery has.
    pub(crate) arguments: Option<BTreeMap<String, Value>>,
    /// The workers that are meant; null: all.
    pub(crate) workers: Option<Vec<String>>,
    /// How many seconds to wait for replies; 1 when nobody says.
    #[oai(validator(minimum(value = "0"), maximum(value = "30")))]
    pub(crate) timeout: Option<f64>,
}

/// What workers replied.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct Replies {
    /// By the worker's name.
    pub(crate) replies: BTreeMap<String, WorkerReply>,
}

/// What one worker replied.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct WorkerReply {
    /// It went well.
    pub(crate) ok: bool,
    /// What it said; when it did not go well, why.
    pub(crate) value: Value,
}

impl Replies {
    pub(crate) fn of(replies: Vec<Reply>) -> Self {
        let replies = replies.into_iter().map(|reply| {
            let value = match (reply.value.get("ok"), reply.value.get("error")) {
                (None, Some(error)) => WorkerReply {
                    ok: false,
                    value: plain::json(error),
                },
                (Some(ok), _) => WorkerReply {
                    ok: true,
                    value: plain::json(ok),
                },
                (None, None) => WorkerReply {
                    ok: true,
                    value: plain::json(&reply.value),
                },
            };
            (reply.node, value)
        });
        Self {
            replies: replies.collect(),
        }
    }
}

/// How a worker is to be drained.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Drain {
    /// Stop it as well, once what runs has ended.
    #[oai(default)]
    pub(crate) shutdown: bool,
}
