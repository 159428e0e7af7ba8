//! A schedule as people and programs write it: in files, requests, storage and exports. Texts and numbers, not yet checked.

use lovage_registry::Periodic;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::duration::WithUnit;

/// A schedule, written down. Exactly one of `crontab`, `every`, `solar` and `at` says when it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draft {
    /// Its name, by which it is known; unique.
    pub name: String,
    /// The name of the task that it sends.
    pub task: String,
    /// `minute hour day_of_month month_of_year day_of_week`, with Celery's meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crontab: Option<String>,
    /// So much time between two runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<WithUnit>,
    /// With `every`: runs are rounded down to its unit (Celery's `relative`).
    #[serde(default, skip_serializing_if = "is_false")]
    pub relative: bool,
    /// What the sun does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub solar: Option<SolarDraft>,
    /// An instant, RFC 3339: it runs once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The IANA zone on whose clocks it runs; by default that of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Positional arguments.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Value>,
    /// Keyword arguments.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub kwargs: Map<String, Value>,
    /// The queue; by default what the task or the routes say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// An exchange to send to instead of a queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchange: Option<String>,
    /// The routing key for the exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routing_key: Option<String>,
    /// The message's priority, 0 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// User headers of the message.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub headers: Map<String, Value>,
    /// How long after it is sent a message is still worth running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<WithUnit>,
    /// No run is due before this instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// No run is due after this instant, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Whether it runs at all; default true.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub enabled: bool,
    /// After so many runs it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u64>,
    /// Each run is sent later by up to so much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jitter: Option<WithUnit>,
    /// What becomes of runs that were due while no beat was up: `once` (default), `skip` or `all`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<String>,
    /// With `missed = "all"`: so many of them at most; default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_missed: Option<u32>,
    /// A run that is later than this is not sent any more; for crontabs by default `CELERY_BEAT_CRON_STARTING_DEADLINE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<WithUnit>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The task is not checked: only Python workers know it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unchecked: bool,
}

/// What the sun does, written down.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SolarDraft {
    /// One of Celery's events, such as `sunset`.
    pub event: String,
    /// In degrees north of the equator.
    pub latitude: f64,
    /// In degrees east of Greenwich.
    pub longitude: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

fn yes() -> bool {
    true
}

impl Draft {
    /// A schedule that is enabled, and says nothing yet of when it runs.
    pub fn new(name: impl Into<String>, task: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            task: task.into(),
            enabled: true,
            ..Self::default()
        }
    }

    /// From a declaration beside a task.
    ///
    /// # Errors
    /// A field is unknown, or has another form.
    pub fn declared(schedule: &Periodic) -> Result<Self, String> {
        let fields = schedule.fields();
        let name = fields.get("name").cloned().unwrap_or_default();
        serde_json::from_value(Value::Object(fields.clone()))
            .map_err(|error| format!("schedule {name}: {error}"))
    }

    /// Whether another draft runs at the same times; what it sends may differ.
    pub fn same_times(&self, other: &Self) -> bool {
        let times = |draft: &Self| Self {
            task: String::new(),
            args: Vec::new(),
            kwargs: Map::new(),
            queue: None,
            exchange: None,
            routing_key: None,
            priority: None,
            headers: Map::new(),
            expires: None,
            description: None,
            unchecked: false,
            ..draft.clone()
        };
        times(self) == times(other)
    }
}
