//! Dates and times as YAML 1.1 writes them, and as Python prints what it reads of them.

use chrono::{FixedOffset, NaiveDate, NaiveTime};

use crate::time::{self, isoformat};
use crate::value::Value;

/// Reads a timestamp; `None` when the text has not the form of one.
pub(crate) fn read(text: &str) -> Option<Result<Value, &'static str>> {
    let mut scan = Scan { rest: text };
    let year = scan.digits(4, 4)?;
    scan.byte(b'-')?;
    let start = scan.rest.len();
    let month = scan.digits(1, 2)?;
    scan.byte(b'-')?;
    let day = scan.digits(1, 2)?;
    let wide = start - scan.rest.len() == "12-31".len();
    let date = i32::try_from(year)
        .ok()
        .filter(|year| *year >= 1)
        .and_then(|year| NaiveDate::from_ymd_opt(year, month, day));
    let wrong = "no such date or time";
    if scan.rest.is_empty() {
        // A date alone has all its digits.
        return wide.then(|| match date {
            Some(_) => Ok(Value::Date(text.to_owned())),
            None => Err(wrong),
        });
    }
    let parts = scan.time()?;
    let time = date.zip(parts.time());
    let Some(((date, time), offset)) = time.zip(parts.offset()) else {
        return Some(Err(wrong));
    };
    Some(Ok(Value::DateTime(isoformat(
        date.and_time(time),
        offset,
        'T',
    ))))
}

/// The fields behind the date, as they are written.
struct Fields {
    hour: u32,
    minute: u32,
    second: u32,
    micros: u32,
    /// Sign, hours, minutes; `Z` is zero.
    zone: Option<(bool, u32, u32)>,
}

impl Fields {
    fn time(&self) -> Option<NaiveTime> {
        NaiveTime::from_hms_micro_opt(self.hour, self.minute, self.second, self.micros)
    }

    /// `None` when there is one that cannot be: Python's stay below a day.
    #[expect(
        clippy::option_option,
        reason = "whether there is an offset is apart from whether it can be"
    )]
    fn offset(&self) -> Option<Option<FixedOffset>> {
        let Some((negative, hours, minutes)) = self.zone else {
            return Some(None);
        };
        let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
        FixedOffset::east_opt(if negative { -seconds } else { seconds }).map(Some)
    }
}

/// Takes a text apart from left to right.
struct Scan<'a> {
    rest: &'a str,
}

impl Scan<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Option<u32> {
        let length = self
            .rest
            .bytes()
            .take(most)
            .take_while(u8::is_ascii_digit)
            .count();
        if length < least {
            return None;
        }
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        digits.parse().ok()
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        if self.rest.as_bytes().first() != Some(&wanted) {
            return None;
        }
        self.rest = &self.rest[1..];
        Some(())
    }

    fn blanks(&mut self) -> usize {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches([' ', '\t']);
        before - self.rest.len()
    }

    fn time(&mut self) -> Option<Fields> {
        if self.byte(b'T').or_else(|| self.byte(b't')).is_none() && self.blanks() == 0 {
            return None;
        }
        let hour = self.digits(1, 2)?;
        self.byte(b':')?;
        let minute = self.digits(2, 2)?;
        self.byte(b':')?;
        let second = self.digits(2, 2)?;
        let micros = match self.byte(b'.') {
            Some(()) => self.micros(),
            None => 0,
        };
        self.blanks();
        let zone = self.zone()?;
        self.rest.is_empty().then_some(Fields {
            hour,
            minute,
            second,
            micros,
            zone,
        })
    }

    /// Six digits of a fraction that may have any number of them.
    fn micros(&mut self) -> u32 {
        let length = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, rest) = self.rest.split_at(length);
        self.rest = rest;
        let padded = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
        padded.fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'))
    }

    #[expect(
        clippy::option_option,
        reason = "no zone is something else than a wrong one"
    )]
    fn zone(&mut self) -> Option<Option<(bool, u32, u32)>> {
        if self.rest.is_empty() {
            return Some(None);
        }
        if self.byte(b'Z').is_some() {
            return Some(Some((false, 0, 0)));
        }
        let negative = self.byte(b'-').is_some();
        if !negative {
            self.byte(b'+')?;
        }
        let hours = self.digits(1, 2)?;
        let minutes = match self.byte(b':') {
            Some(()) => self.digits(2, 2)?,
            None => 0,
        };
        Some(Some((negative, hours, minutes)))
    }
}

/// A time as `safe_dump` writes it; `None` for an offset with seconds, which YAML has no form for.
pub(crate) fn dumped(text: &str) -> Option<String> {
    let (local, offset) = time::parse_local(text)?;
    if offset.is_some_and(|offset| offset.local_minus_utc() % 60 != 0) {
        return None;
    }
    Some(isoformat(local, offset, ' '))
}
