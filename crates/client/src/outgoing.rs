//! A task about to be sent, as plain data.

use chrono::{DateTime, Utc};
use lovage_broker::Publish;
use lovage_protocol::{Embed, Map, QueueName, TaskId, TaskName, Value};
use lovage_telemetry::Publishing;

use crate::Moment;

/// Everything a task message can say. Names are those of Celery's `apply_async`; `None` means "not given".
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The task's name.
    pub task: TaskName,
    /// Its id; a new UUID when not given.
    pub id: Option<TaskId>,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map,
    /// Callbacks, error callbacks, the rest of a chain, a chord's body.
    pub embed: Embed,
    /// The queue; by default what the routes say.
    pub queue: Option<QueueName>,
    /// An exchange to send to instead of a queue; needs `routing_key`.
    pub exchange: Option<String>,
    /// The routing key for `exchange`; without one it has no effect, as in Celery with direct exchanges.
    pub routing_key: Option<String>,
    /// The task whose route it takes; by default its own.
    pub route_name: Option<TaskName>,
    /// On Redis 0 is served first; sent as it is given.
    pub priority: Option<i64>,
    /// Not to be run before.
    pub eta: Option<Moment>,
    /// Not to be run after.
    pub expires: Option<Moment>,
    /// Hard limit in seconds.
    pub time_limit: Option<f64>,
    /// Soft limit in seconds, not above the hard one.
    pub soft_time_limit: Option<f64>,
    /// Whether to store a result; by default what the task itself says.
    pub ignore_result: Option<bool>,
    /// A name for people, instead of the task's.
    pub shadow: Option<String>,
    /// The name of a serializer for the body: `json`, `msgpack` or `yaml`; by default the settings'.
    pub serializer: Option<String>,
    /// The name of a compression for the body.
    pub compression: Option<String>,
    /// User headers.
    pub headers: Map,
    /// How often it was retried.
    pub retries: u32,
    /// The group it belongs to.
    pub group: Option<String>,
    /// Its place in the group.
    pub group_index: Option<i64>,
    /// The first task of the workflow; by default itself.
    pub root_id: Option<TaskId>,
    /// The task that sends it.
    pub parent_id: Option<TaskId>,
    /// Where `rpc://` results go; by default the client's own id.
    pub reply_to: Option<String>,
    /// How often the task was replaced.
    pub replaced_task_nesting: i64,
    /// The names of its stamps.
    pub stamped_headers: Option<Vec<String>>,
    /// Its stamps.
    pub stamps: Map,
    /// The process it comes from; by default this one.
    pub origin: Option<String>,
    /// Further message properties.
    pub properties: Map,
}

impl Outgoing {
    /// A call without arguments and options.
    pub fn new(task: impl Into<TaskName>) -> Self {
        Self {
            task: task.into(),
            id: None,
            args: Vec::new(),
            kwargs: Map::new(),
            embed: Embed::default(),
            queue: None,
            exchange: None,
            routing_key: None,
            route_name: None,
            priority: None,
            eta: None,
            expires: None,
            time_limit: None,
            soft_time_limit: None,
            ignore_result: None,
            shadow: None,
            serializer: None,
            compression: None,
            headers: Map::new(),
            retries: 0,
            group: None,
            group_index: None,
            root_id: None,
            parent_id: None,
            reply_to: None,
            replaced_task_nesting: 0,
            stamped_headers: None,
            stamps: Map::new(),
            origin: None,
            properties: Map::new(),
        }
    }
}

/// A message ready to be published.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The task's id.
    pub id: TaskId,
    /// The envelope and where it goes.
    pub publish: Publish,
    /// Nothing will be stored for it.
    pub ignores_result: bool,
    /// Its eta.
    pub not_before: Option<DateTime<Utc>>,
    /// The span of its sending, which ends when this is dropped.
    pub span: Publishing,
}
