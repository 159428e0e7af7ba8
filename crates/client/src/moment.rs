//! Points in time as senders give them.

use std::time::Duration;

use chrono::{DateTime, Datelike, TimeDelta, Utc};
use chrono_tz::Tz;
use lovage_protocol::time::{format_iso, parse_iso};

/// When a task may run, or when it is too late for it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Moment {
    /// So long after the sending.
    After(TimeDelta),
    /// Then.
    At(DateTime<Utc>),
    /// A text in ISO 8601 that is sent on as it came, as a retry does with `expires`.
    Text(String),
}

impl From<DateTime<Utc>> for Moment {
    fn from(at: DateTime<Utc>) -> Self {
        Self::At(at)
    }
}

impl From<Duration> for Moment {
    fn from(after: Duration) -> Self {
        // Longer than chrono can count is refused when the moment is resolved: it lies beyond its calendar.
        Self::After(TimeDelta::from_std(after).unwrap_or(TimeDelta::MAX))
    }
}

impl Moment {
    /// From a number of seconds; `None` when it is not a number or beyond the calendar.
    pub fn after_seconds(seconds: f64) -> Option<Self> {
        let magnitude =
            TimeDelta::from_std(Duration::try_from_secs_f64(seconds.abs()).ok()?).ok()?;
        Some(Self::After(if seconds < 0.0 {
            -magnitude
        } else {
            magnitude
        }))
    }

    pub(crate) fn is_now(&self) -> bool {
        matches!(self, Self::After(after) if after.is_zero())
    }

    /// The instant, and its text for the header. A text without offset is read in `naive_zone`.
    pub(crate) fn resolve(
        &self,
        now: DateTime<Utc>,
        naive_zone: Tz,
    ) -> Result<(DateTime<Utc>, String), String> {
        match self {
            Self::After(after) => {
                let at = now.checked_add_signed(*after);
                written(at.ok_or_else(beyond)?)
            }
            Self::At(at) => written(*at),
            Self::Text(text) => match parse_iso(text, naive_zone) {
                Ok(at) => Ok((at, text.clone())),
                Err(error) => Err(format!("{text:?} is no time in ISO 8601: {error}")),
            },
        }
    }
}

/// Python counts years from 1 to 9999, and refuses a message with any other.
fn written(at: DateTime<Utc>) -> Result<(DateTime<Utc>, String), String> {
    match (1..=9999).contains(&at.year()) {
        true => Ok((at, format_iso(at))),
        false => Err(beyond()),
    }
}

fn beyond() -> String {
    "the time lies beyond the calendar".to_owned()
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone, Utc};

    use chrono_tz::Tz;

    use super::Moment;

    #[test]
    fn resolves_every_form() {
        let now = Utc.with_ymd_and_hms(2026, 11, 23, 4, 40, 0).unwrap();
        let text = |moment: Moment| moment.resolve(now, Tz::UTC).map(|(_, text)| text);
        assert_eq!(
            text(Moment::after_seconds(1.5).unwrap()).unwrap(),
            "2026-11-23T04:40:01.500000+00:00"
        );
        assert_eq!(
            text(Moment::After(TimeDelta::seconds(-60))).unwrap(),
            "2026-11-23T04:39:00+00:00"
        );
        assert_eq!(text(now.into()).unwrap(), "2026-11-23T04:40:00+00:00");
        let with_offset = "2026-11-23T05:06:17.242887+05:30";
        assert_eq!(
            text(Moment::Text(with_offset.to_owned())).unwrap(),
            with_offset
        );
        assert!(text(Moment::Text("tomorrow".to_owned())).is_err());
        assert!(text(Moment::from(std::time::Duration::MAX)).is_err());
        let year_10000 = Utc.with_ymd_and_hms(10_000, 1, 1, 0, 0, 0).unwrap();
        assert!(text(year_10000.into()).is_err(), "Python would refuse it");
        assert_eq!(Moment::after_seconds(f64::NAN), None);
    }
}
