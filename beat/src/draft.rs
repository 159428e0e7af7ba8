//! A schedule as people and programs write it: in files, requests, storage and exports. Texts and numbers, not yet checked.

use lovage_database::store::chore;
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

/// What says when a schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// The clock on the wall.
    Crontab,
    /// So much time.
    Interval,
    /// The sun.
    Solar,
    /// An instant, once.
    Clocked,
}

impl Kind {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Crontab => "crontab",
            Self::Interval => "interval",
            Self::Solar => "solar",
            Self::Clocked => "clocked",
        }
    }
}

impl Draft {
    /// Whether the platform does it without a worker: its ticks have no message.
    pub fn is_silent(&self) -> bool {
        chore::ALL.contains(&self.task.as_str())
    }

    /// What says when it runs; of one that says nothing, an interval.
    pub fn kind(&self) -> Kind {
        if self.crontab.is_some() {
            Kind::Crontab
        } else if self.solar.is_some() {
            Kind::Solar
        } else if self.at.is_some() {
            Kind::Clocked
        } else {
            Kind::Interval
        }
    }

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
        self.clone().sending_as(other) == *other
    }

    /// Whether another draft sends the same; when it runs may differ.
    pub fn same_message(&self, other: &Self) -> bool {
        other.clone().sending_as(self) == *other
    }

    /// The times of this one with the name, the message and the description of another.
    #[must_use]
    pub fn sending_as(self, other: &Self) -> Self {
        let other = other.clone();
        Self {
            name: other.name,
            task: other.task,
            args: other.args,
            kwargs: other.kwargs,
            queue: other.queue,
            exchange: other.exchange,
            routing_key: other.routing_key,
            priority: other.priority,
            headers: other.headers,
            expires: other.expires,
            description: other.description,
            unchecked: other.unchecked,
            ..self
        }
    }
}
