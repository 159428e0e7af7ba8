//! Crontabs with Celery's meaning: all five fields must match (`celery/schedules.py`, `crontab`).

use std::{fmt, str::FromStr};

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono_tz::Tz;

use super::{
    Run,
    field::{BadField, DAY_OF_MONTH, DAY_OF_WEEK, Field, HOUR, MINUTE, MONTH_OF_YEAR},
    wall,
};

/// How many years are looked through. The rarest crontab of all, a certain weekday on the 29th of February, comes within 40.
const YEARS: i32 = 60;

/// Five fields, each of which must match.
///
/// Written and read in cron's order, `minute hour day_of_month month_of_year day_of_week`, with one blank between two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crontab {
    pub(super) minute: Field,
    pub(super) hour: Field,
    day_of_month: Field,
    month_of_year: Field,
    day_of_week: Field,
}

/// Why a text is no crontab.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadCrontab {
    /// There are not five fields.
    #[error(
        "{text:?} has {found} fields between single blanks; right would be five: minute hour day_of_month month_of_year day_of_week"
    )]
    Fields {
        /// The whole text.
        text: String,
        /// How many there are.
        found: usize,
    },
    /// One of them cannot be read.
    #[error("{0}")]
    Field(String),
    /// No month has any of the days.
    #[error(
        "day_of_month {day_of_month:?} never occurs in month_of_year {month_of_year:?}; right would be a day that one of the months has"
    )]
    NoSuchDay {
        /// As it was written.
        day_of_month: String,
        /// As it was written.
        month_of_year: String,
    },
}

impl From<BadField> for BadCrontab {
    fn from(bad: BadField) -> Self {
        Self::Field(bad.to_string())
    }
}

impl FromStr for Crontab {
    type Err = BadCrontab;

    fn from_str(text: &str) -> Result<Self, BadCrontab> {
        let fields: Vec<&str> = text.split(' ').collect();
        let [minute, hour, day_of_month, month_of_year, day_of_week] = fields[..] else {
            return Err(BadCrontab::Fields {
                text: text.to_owned(),
                found: fields.len(),
            });
        };
        Self::new(minute, hour, day_of_month, month_of_year, day_of_week)
    }
}

impl fmt::Display for Crontab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [minute, hour, day, month, weekday] = self.texts();
        write!(f, "{minute} {hour} {day} {month} {weekday}")
    }
}

impl Crontab {
    /// From its fields, in cron's order.
    ///
    /// # Errors
    /// A field cannot be read, or no month has any of the days.
    pub fn new(
        minute: &str,
        hour: &str,
        day_of_month: &str,
        month_of_year: &str,
        day_of_week: &str,
    ) -> Result<Self, BadCrontab> {
        let crontab = Self {
            minute: Field::parse(MINUTE, minute)?,
            hour: Field::parse(HOUR, hour)?,
            day_of_month: Field::parse(DAY_OF_MONTH, day_of_month)?,
            month_of_year: Field::parse(MONTH_OF_YEAR, month_of_year)?,
            day_of_week: Field::parse(DAY_OF_WEEK, day_of_week)?,
        };
        let earliest = crontab.day_of_month.at_least(1).unwrap_or(u32::MAX);
        if crontab
            .month_of_year
            .numbers()
            .all(|month| earliest > longest(month))
        {
            return Err(BadCrontab::NoSuchDay {
                day_of_month: crontab.day_of_month.text().to_owned(),
                month_of_year: crontab.month_of_year.text().to_owned(),
            });
        }
        Ok(crontab)
    }

    /// The fields as they are written, in cron's order.
    pub fn texts(&self) -> [&str; 5] {
        [
            self.minute.text(),
            self.hour.text(),
            self.day_of_month.text(),
            self.month_of_year.text(),
            self.day_of_week.text(),
        ]
    }

    /// Whether it runs in every hour of the day: such a crontab runs on in an hour that the clock repeats.
    pub fn is_every_hour(&self) -> bool {
        self.hour.is_every(HOUR)
    }

    /// The first run after `last`, on the clocks of `zone`; `None` when the calendar ends before it.
    ///
    /// Pure. The runs of a crontab are a set of instants that does not depend on `last`: each time of the wall clock that
    /// matches gives one run, except that
    ///
    /// * one that the clock leaves out (spring) runs later by what was left out, as in Celery;
    /// * one that the clock repeats (autumn) runs at its first passing only, but at both if the crontab runs in every
    ///   hour: then the clock's second passing is an hour like any other.
    pub fn next_after(&self, last: DateTime<Utc>, zone: Tz) -> Option<Run> {
        // A day's runs may fall on the day after it, where a zone skipped a whole day; and around midnight the runs of two
        // days may interleave. So the search begins one day early, and looks one day further.
        let today = last.with_timezone(&zone).naive_local().date();
        let last_year = today.year().saturating_add(YEARS);
        let mut date = self.matching(today.pred_opt()?, last_year)?;
        loop {
            if let Some(found) = self.first_on(date, last, zone) {
                let tomorrow = date
                    .succ_opt()
                    .filter(|tomorrow| self.matches(*tomorrow))
                    .and_then(|tomorrow| self.first_on(tomorrow, last, zone));
                return Some(match tomorrow {
                    Some(other) if other.at < found.at => other,
                    _ => found,
                });
            }
            date = self.matching(date.succ_opt()?, last_year)?;
        }
    }

    fn matches(&self, date: NaiveDate) -> bool {
        self.month_of_year.contains(date.month())
            && self.day_of_month.contains(date.day())
            && self
                .day_of_week
                .contains(date.weekday().num_days_from_sunday())
    }

    /// The first date from `date` on whose month and days match.
    fn matching(&self, mut date: NaiveDate, last_year: i32) -> Option<NaiveDate> {
        while date.year() <= last_year {
            if self.matches(date) {
                return Some(date);
            }
            date = if self.month_of_year.contains(date.month()) {
                date.succ_opt()?
            } else {
                let month = date.month() % 12 + 1;
                let year = date.year() + i32::from(month == 1);
                NaiveDate::from_ymd_opt(year, month, 1)?
            };
        }
        None
    }

    /// The first run after `last` among those of a date that matches.
    fn first_on(&self, date: NaiveDate, last: DateTime<Utc>, zone: Tz) -> Option<Run> {
        match steady_offset(date, zone) {
            Some(offset) => {
                let at = self.time_after(date, last.naive_utc() + offset)? - offset;
                Some(Run::plain(at.and_utc()))
            }
            None => self
                .times()
                .filter_map(|(hour, minute)| date.and_hms_opt(hour, minute, 0))
                .flat_map(|time| wall::runs(time, zone, self.is_every_hour()))
                .filter(|run| run.at > last)
                .min_by_key(|run| run.at),
        }
    }

    fn times(&self) -> impl Iterator<Item = (u32, u32)> {
        self.hour
            .numbers()
            .flat_map(|hour| self.minute.numbers().map(move |minute| (hour, minute)))
    }

    /// The first time of the date after another time of the same clock.
    fn time_after(&self, date: NaiveDate, last: NaiveDateTime) -> Option<NaiveDateTime> {
        let (hour, minute) = match last.date().cmp(&date) {
            std::cmp::Ordering::Greater => return None,
            std::cmp::Ordering::Less => (self.hour.at_least(0)?, self.minute.at_least(0)?),
            std::cmp::Ordering::Equal => {
                let later = self
                    .hour
                    .contains(last.hour())
                    .then(|| self.minute.at_least(last.minute() + 1))
                    .flatten();
                match later {
                    Some(minute) => (last.hour(), minute),
                    None => (
                        self.hour.at_least(last.hour() + 1)?,
                        self.minute.at_least(0)?,
                    ),
                }
            }
        };
        date.and_hms_opt(hour, minute, 0)
    }
}

/// How many days a month has at most.
fn longest(month: u32) -> u32 {
    match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// How far the zone's clocks are ahead of UTC, if that is the same for days around the date.
fn steady_offset(date: NaiveDate, zone: Tz) -> Option<TimeDelta> {
    let before = date.checked_sub_days(Days::new(2))?;
    let after = date.checked_add_days(Days::new(3))?;
    let offset = |date: NaiveDate| wall::offset_at(date.and_time(chrono::NaiveTime::MIN), zone);
    let offset_before = offset(before);
    (offset_before == offset(after)).then_some(offset_before)
}
