//! A schedule that is declared beside its task, as data; what it means is beat's to say.

use serde::Serialize;
use serde_json::{Map, Value};

/// When a task of this program is sent by beat: the fields of a schedule as `schedule.toml` has them.
///
/// ```
/// use lovage_registry::Periodic;
///
/// let nightly = Periodic::crontab("nightly report", "30 2 * * mon-fri")
///     .timezone("Europe/Zurich")
///     .kwargs(serde_json::json!({"kind": "daily"}))
///     .set("missed", "all")
///     .set("expires", "6h");
/// assert_eq!(nightly.fields()["crontab"], "30 2 * * mon-fri");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Periodic {
    fields: Map<String, Value>,
}

impl Periodic {
    /// By the clock on the wall: `minute hour day_of_month month_of_year day_of_week`, with Celery's meaning.
    pub fn crontab(name: &str, crontab: &str) -> Self {
        Self::named(name).set("crontab", crontab)
    }

    /// Every so long, a duration with its unit: `"5m"`.
    pub fn every(name: &str, every: &str) -> Self {
        Self::named(name).set("every", every)
    }

    /// By the sun: one of Celery's events, seen from a place in degrees north and east.
    pub fn solar(name: &str, event: &str, latitude: f64, longitude: f64) -> Self {
        Self::named(name).seen_from(event, latitude, longitude)
    }

    /// One that does not say yet when it runs.
    pub fn named(name: &str) -> Self {
        Self::default().set("name", name)
    }

    /// By the sun, as [`Periodic::solar`].
    #[must_use]
    pub fn seen_from(self, event: &str, latitude: f64, longitude: f64) -> Self {
        let solar = serde_json::json!({
            "event": event,
            "latitude": latitude,
            "longitude": longitude,
        });
        self.set("solar", solar)
    }

    /// The IANA zone on whose clocks it runs; by default that of the settings.
    #[must_use]
    pub fn timezone(self, zone: &str) -> Self {
        self.set("timezone", zone)
    }

    /// The positional arguments: a tuple, a list.
    ///
    /// # Panics
    /// They cannot be written as JSON. It happens when the schedule is registered, at start.
    #[must_use]
    pub fn args(self, args: impl Serialize) -> Self {
        self.set("args", args)
    }

    /// The keyword arguments: a map, a struct.
    ///
    /// # Panics
    /// They cannot be written as JSON. It happens when the schedule is registered, at start.
    #[must_use]
    pub fn kwargs(self, kwargs: impl Serialize) -> Self {
        self.set("kwargs", kwargs)
    }

    /// One positional argument more.
    ///
    /// # Panics
    /// It cannot be written as JSON. It happens when the schedule is registered, at start.
    #[must_use]
    pub fn arg(mut self, value: impl Serialize) -> Self {
        let value = json("args", value);
        match self.fields.get_mut("args") {
            Some(Value::Array(args)) => args.push(value),
            _ => {
                self.fields.insert("args".to_owned(), vec![value].into());
            }
        }
        self
    }

    /// One keyword argument more.
    ///
    /// # Panics
    /// It cannot be written as JSON. It happens when the schedule is registered, at start.
    #[must_use]
    pub fn kwarg(mut self, name: &str, value: impl Serialize) -> Self {
        let value = json("kwargs", value);
        match self.fields.get_mut("kwargs") {
            Some(Value::Object(kwargs)) => {
                kwargs.insert(name.to_owned(), value);
            }
            _ => {
                let kwargs: Map<String, Value> = [(name.to_owned(), value)].into_iter().collect();
                self.fields.insert("kwargs".to_owned(), kwargs.into());
            }
        }
        self
    }

    /// Any other field of `schedule.toml`: `queue`, `priority`, `expires`, `jitter`, `missed`, `max_runs` …
    ///
    /// # Panics
    /// The value cannot be written as JSON. It happens when the schedule is registered, at start.
    #[must_use]
    pub fn set(mut self, field: &str, value: impl Serialize) -> Self {
        self.fields.insert(field.to_owned(), json(field, value));
        self
    }

    /// The fields.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }
}

fn json(field: &str, value: impl Serialize) -> Value {
    match serde_json::to_value(value) {
        Ok(value) => value,
        Err(fault) => panic!("the field `{field}` of a schedule is no JSON: {fault}"),
    }
}
