//! Intervals: real time that passes, whatever the clocks on the wall do (`celery/schedules.py`, `schedule`).

use std::time::Duration;

use chrono::{
    DateTime, MappedLocalTime, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike, Utc,
};
use chrono_tz::Tz;

use super::wall;

/// The shortest interval: beat is no timer.
pub const SHORTEST: Duration = Duration::from_millis(100);

/// Every so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval {
    every: TimeDelta,
    relative: bool,
}

/// Why a duration is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an interval of {0:?} is out of bounds; right would be from 100ms to 100 years")]
pub struct BadInterval(Duration);

impl Interval {
    /// From a duration of 100 ms to 100 years.
    ///
    /// # Errors
    /// It is shorter or longer.
    pub fn new(every: Duration) -> Result<Self, BadInterval> {
        let longest = Duration::from_secs(100 * 365 * 86_400);
        match TimeDelta::from_std(every) {
            Ok(delta) if (SHORTEST..=longest).contains(&every) => Ok(Self {
                every: delta,
                relative: false,
            }),
            _ => Err(BadInterval(every)),
        }
    }

    /// Rounds each run down to the unit of the interval, on the clocks of the schedule's zone: days to midnight, hours to
    /// the full hour, minutes to the full minute (Celery's `relative=True`).
    #[must_use]
    pub fn relative(mut self, relative: bool) -> Self {
        self.relative = relative;
        self
    }

    /// The interval.
    pub fn every(self) -> Duration {
        self.every.to_std().unwrap_or(SHORTEST)
    }

    /// Whether runs are rounded.
    pub fn is_relative(self) -> bool {
        self.relative
    }

    /// The run after one at `last`; `None` when the calendar ends before it.
    pub fn next_after(self, last: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        if !self.relative {
            return last.checked_add_signed(self.every);
        }
        let unit = if self.every >= TimeDelta::days(1) {
            Unit::Day
        } else if self.every >= TimeDelta::hours(1) {
            Unit::Hour
        } else if self.every >= TimeDelta::minutes(1) {
            Unit::Minute
        } else {
            Unit::Second
        };
        let end = last.checked_add_signed(self.every)?;
        if unit == Unit::Day {
            // Days are those of the calendar: an hour more or less in one of them moves no midnight.
            let local = last.with_timezone(&zone).naive_local();
            let midnight = local.checked_add_signed(self.every)?.date();
            let passings = passings(midnight.and_time(NaiveTime::MIN), zone);
            return passings
                .into_iter()
                .filter(|at| *at > last)
                .min()
                .or(Some(end));
        }
        let local = end.with_timezone(&zone).naive_local();
        let rounded = passings(unit.round(local)?, zone);
        let before = rounded.into_iter().filter(|at| *at <= end && *at > last);
        before.max().or(Some(end))
    }

    /// The last run of the row after `last` that is not after `now`, and how many runs there are up to it; `None` when the
    /// first is still ahead, or the runs must be counted one by one.
    pub(crate) fn leap(
        self,
        last: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<(DateTime<Utc>, u64)> {
        if self.relative {
            return None;
        }
        let passed = (now - last).num_microseconds()? / self.every.num_microseconds()?;
        let count = u64::try_from(passed).ok().filter(|count| *count > 0)?;
        let micros = self.every.num_microseconds()?.checked_mul(passed)?;
        Some((last + TimeDelta::microseconds(micros), count))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Day,
    Hour,
    Minute,
    Second,
}

impl Unit {
    fn round(self, time: NaiveDateTime) -> Option<NaiveDateTime> {
        let time = time.with_nanosecond(0)?;
        match self {
            Self::Second => Some(time),
            Self::Minute => time.with_second(0),
            Self::Hour => time.with_second(0)?.with_minute(0),
            Self::Day => Some(time.date().and_time(NaiveTime::MIN)),
        }
    }
}

/// The instants at which a clock shows this; the shifted one when it never does.
fn passings(time: NaiveDateTime, zone: Tz) -> Vec<DateTime<Utc>> {
    match zone.from_local_datetime(&time) {
        MappedLocalTime::Single(at) => vec![at.to_utc()],
        MappedLocalTime::Ambiguous(one, other) => vec![one.to_utc(), other.to_utc()],
        MappedLocalTime::None => wall::runs(time, zone, false).map(|run| run.at).collect(),
    }
}
