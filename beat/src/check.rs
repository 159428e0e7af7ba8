//! From a draft to a schedule that can run: every fault is found, each with its field.

use std::{fmt, str::FromStr, time::Duration};

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use lovage_protocol::{Map, QueueName, Value};

use crate::{
    draft::Draft,
    due::{MOST_MISSED, Missed, Timing},
    schedule::{Crontab, Interval, Schedule, Solar, SolarEvent},
};

/// The longest name, in characters.
const LONGEST_NAME: usize = 200;

/// What holds for schedules that say nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Defaults {
    /// The zone, `CELERY_TIMEZONE`.
    pub zone: Tz,
    /// The deadline of crontabs, `CELERY_BEAT_CRON_STARTING_DEADLINE`.
    pub cron_deadline: Option<Duration>,
}

/// What is wrong with one field of a draft.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// The field's name, such as `crontab` or `kwargs.customer`.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Everything that is wrong with a draft.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DraftFaults {
    /// The schedule's name, as far as it has one.
    pub name: String,
    /// The faults in the order of the fields.
    pub faults: Vec<FieldFault>,
}

impl fmt::Display for DraftFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "schedule {:?}", self.name)?;
        for (place, FieldFault { field, problem }) in self.faults.iter().enumerate() {
            let between = if place == 0 { ": " } else { "; " };
            write!(f, "{between}{field}: {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for DraftFaults {}

impl DraftFaults {
    /// Nothing yet.
    pub fn of(draft: &Draft) -> Self {
        Self {
            name: draft.name.clone(),
            faults: Vec::new(),
        }
    }

    /// One fault more.
    pub fn push(&mut self, field: impl Into<String>, problem: impl fmt::Display) {
        self.faults.push(FieldFault {
            field: field.into(),
            problem: problem.to_string(),
        });
    }

    /// The value, unless there are faults.
    ///
    /// # Errors
    /// The faults.
    pub fn unless_any<T>(self, value: T) -> Result<T, Self> {
        if self.faults.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    fn keep<T, E: fmt::Display>(&mut self, field: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|problem| self.push(field, problem)).ok()
    }
}

impl Draft {
    /// When it runs.
    ///
    /// # Errors
    /// Every field that cannot be, also among those that say what is sent.
    pub fn timing(&self, defaults: &Defaults) -> Result<Timing, DraftFaults> {
        let mut faults = DraftFaults::of(self);
        self.check_names(&mut faults);
        let schedule = self.schedule(&mut faults);
        let zone = self.timezone.as_deref().map_or(Ok(defaults.zone), zone);
        let zone = faults.keep("timezone", zone);
        let starts = self.instant(&mut faults, "start", self.start.as_deref());
        let ends = self.instant(&mut faults, "end", self.end.as_deref());
        if let (Some(starts), Some(ends)) = (starts, ends)
            && ends < starts
        {
            faults.push("end", format!("{ends} is before the start, {starts}"));
        }
        if self.max_runs == Some(0) {
            faults.push(
                "max_runs",
                "is 0; right would be 1 or more, or no max_runs at all",
            );
        }
        let missed = self.missed(&mut faults);
        let is_crontab = matches!(schedule, Some(Schedule::Crontab(_)));
        let deadline = self.deadline.map(|deadline| deadline.0);
        let timing = schedule.zip(zone).map(|(schedule, zone)| Timing {
            schedule,
            zone,
            starts,
            ends,
            max_runs: self.max_runs,
            jitter: self.jitter.unwrap_or_default().0,
            missed,
            deadline: deadline.or(defaults.cron_deadline.filter(|_| is_crontab)),
        });
        match timing {
            Some(timing) => faults.unless_any(timing),
            None => Err(faults),
        }
    }

    fn check_names(&self, faults: &mut DraftFaults) {
        if self.name.is_empty() || self.name.chars().count() > LONGEST_NAME {
            faults.push("name", format!("must have 1 to {LONGEST_NAME} characters"));
        } else if self.name.contains(char::is_control) {
            faults.push("name", "has a control character; right would be plain text");
        }
        if self.task.is_empty() {
            faults.push("task", "is empty; right would be the name of a task");
        }
        if let Some(queue) = &self.queue {
            faults.keep("queue", QueueName::parse(queue));
            if self.exchange.is_some() {
                faults.push(
                    "exchange",
                    "cannot be given with a queue; right would be one of them",
                );
            }
        }
        if self.routing_key.is_some() && self.exchange.is_none() {
            faults.push(
                "routing_key",
                "has no effect without an exchange; right would be both or none",
            );
        }
        if let Some(priority) = self.priority
            && !(0..=255).contains(&priority)
        {
            faults.push(
                "priority",
                format!("{priority} is out of bounds; right would be 0 to 255"),
            );
        }
        if self.expires.is_some_and(|expires| expires.0.is_zero()) {
            faults.push("expires", "is zero: no message would ever run");
        }
    }

    fn schedule(&self, faults: &mut DraftFaults) -> Option<Schedule> {
        let given: Vec<&str> = [
            ("crontab", self.crontab.is_some()),
            ("every", self.every.is_some()),
            ("solar", self.solar.is_some()),
            ("at", self.at.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, given)| given.then_some(name))
        .collect();
        match given[..] {
            [_] => {}
            [] => {
                faults.push(
                    "crontab",
                    "nothing says when it runs; right would be one of crontab, every, solar and at",
                );
                return None;
            }
            [first, ..] => {
                faults.push(
                    first,
                    format!(
                        "only one may say when it runs, and there are {}",
                        given.join(" and ")
                    ),
                );
                return None;
            }
        }
        if self.relative && self.every.is_none() {
            faults.push("relative", "has no effect without every");
        }
        if let Some(text) = &self.crontab {
            return faults
                .keep("crontab", Crontab::from_str(text))
                .map(Schedule::Crontab);
        }
        if let Some(every) = self.every {
            let interval = faults.keep("every", Interval::new(every.0))?;
            return Some(Schedule::Interval(interval.relative(self.relative)));
        }
        if let Some(solar) = &self.solar {
            let event = faults.keep("solar.event", SolarEvent::from_str(&solar.event))?;
            let solar = Solar::new(event, solar.latitude, solar.longitude);
            return faults.keep("solar", solar).map(Schedule::Solar);
        }
        self.instant(faults, "at", self.at.as_deref())
            .map(Schedule::Clocked)
    }

    fn instant(
        &self,
        faults: &mut DraftFaults,
        field: &str,
        text: Option<&str>,
    ) -> Option<DateTime<Utc>> {
        faults.keep(field, instant(text?))
    }

    fn missed(&self, faults: &mut DraftFaults) -> Missed {
        if self.max_missed.is_some() && self.missed.as_deref() != Some("all") {
            faults.push("max_missed", "has no effect without missed = \"all\"");
        }
        match self.missed.as_deref() {
            None | Some("once") => Missed::Once,
            Some("skip") => Missed::Skip,
            Some("all") => match self.max_missed {
                Some(0) => {
                    faults.push(
                        "max_missed",
                        "is 0; right would be 1 or more, or missed = \"skip\"",
                    );
                    Missed::Once
                }
                most => Missed::All(most.unwrap_or(MOST_MISSED)),
            },
            Some(other) => {
                faults.push(
                    "missed",
                    format!(
                        "{other:?} is no way to treat missed runs; right would be once, skip or all"
                    ),
                );
                Missed::Once
            }
        }
    }

    /// The arguments as a message has them.
    ///
    /// # Errors
    /// One of them cannot be a message's value.
    pub fn arguments(&self) -> Result<(Vec<Value>, Map), DraftFaults> {
        let mut faults = DraftFaults::of(self);
        let args = faults.keep("args", Value::from_serialize(&self.args));
        let kwargs = faults.keep("kwargs", Value::from_serialize(&self.kwargs));
        match (args, kwargs) {
            (Some(Value::List(args)), Some(Value::Map(kwargs))) => Ok((args, kwargs)),
            _ => Err(faults),
        }
    }
}

/// Reads the name of a zone.
///
/// # Errors
/// There is no such zone.
pub fn zone(text: &str) -> Result<Tz, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not a time zone; right would be an IANA name such as UTC or Europe/Zurich"
        )
    })
}

/// Reads an instant.
///
/// # Errors
/// It is none, or says no offset from UTC.
pub fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    DateTime::parse_from_rfc3339(text).map(|at| at.to_utc()).map_err(|error| {
        format!("{text:?} is no instant ({error}); right would be RFC 3339 with its offset, such as 2026-11-26T18:30:00Z")
    })
}
