//! When a schedule runs: the pure part, from a schedule and an instant to the next one.

mod crontab;
mod field;
mod interval;
mod solar;
#[cfg(test)]
mod tests;
mod wall;

use std::fmt;

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;

pub use crontab::{BadCrontab, Crontab};
pub use interval::{BadInterval, Interval, SHORTEST};
pub use solar::{BadSolar, Solar, SolarEvent};
pub use wall::changes_between;

/// What makes a schedule run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Schedule {
    /// The clock on the wall.
    Crontab(Crontab),
    /// Time that has passed.
    Interval(Interval),
    /// The sun.
    Solar(Solar),
    /// An instant, once.
    Clocked(DateTime<Utc>),
}

/// One run of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// When it is due.
    pub at: DateTime<Utc>,
    /// What the clocks on the wall did to it; `None` on most days.
    pub remark: Option<Remark>,
}

/// What the clocks on the wall did to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remark {
    /// The clocks leave this time out: it runs later by what they leave out.
    Shifted {
        /// What matched.
        wall: NaiveDateTime,
    },
    /// The clocks show this time twice: it runs at the first.
    OnceOfTwo {
        /// What matched.
        wall: NaiveDateTime,
    },
    /// The clocks show this time twice, and it runs at both: this is the first.
    FirstPassing {
        /// What matched.
        wall: NaiveDateTime,
    },
    /// The clocks show this time twice, and it runs at both: this is the second.
    SecondPassing {
        /// What matched.
        wall: NaiveDateTime,
    },
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |wall: &NaiveDateTime| wall.format("%H:%M");
        match self {
            Self::Shifted { wall } => {
                write!(f, "the clocks skip {}: later by what they skip", time(wall))
            }
            Self::OnceOfTwo { wall } => {
                write!(
                    f,
                    "the clocks show {} twice: run at the first only",
                    time(wall)
                )
            }
            Self::FirstPassing { wall } => {
                write!(
                    f,
                    "the clocks show {} twice: run at both, this is the first",
                    time(wall)
                )
            }
            Self::SecondPassing { wall } => {
                write!(
                    f,
                    "the clocks show {} twice: run at both, this is the second",
                    time(wall)
                )
            }
        }
    }
}

impl Run {
    pub(crate) fn plain(at: DateTime<Utc>) -> Self {
        Self { at, remark: None }
    }

    pub(crate) fn new(at: DateTime<Utc>, remark: Remark) -> Self {
        Self {
            at,
            remark: Some(remark),
        }
    }
}

impl Schedule {
    /// The first run after `last`, with crontabs read on the clocks of `zone`. `None`: there is none.
    pub fn next_after(&self, last: DateTime<Utc>, zone: Tz) -> Option<Run> {
        match self {
            Self::Crontab(crontab) => crontab.next_after(last, zone),
            Self::Interval(interval) => interval.next_after(last, zone).map(Run::plain),
            Self::Solar(solar) => solar.next_after(last).map(Run::plain),
            Self::Clocked(at) => (*at > last).then(|| Run::plain(*at)),
        }
    }

    /// `crontab`, `interval`, `solar` or `clocked`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Crontab(_) => "crontab",
            Self::Interval(_) => "interval",
            Self::Solar(_) => "solar",
            Self::Clocked(_) => "clocked",
        }
    }
}
