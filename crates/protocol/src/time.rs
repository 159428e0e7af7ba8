//! Celery's date and time texts.
//!
//! Celery reads `eta` and `expires` with `dateutil.parser.isoparse` (celery/utils/time.py), which takes more of ISO
//! 8601 than the usual form: dates without a time, ordinal days, weeks, basic format, and hour 24.

use std::fmt::Write;

use chrono::{
    DateTime, Datelike, Duration, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime, TimeZone,
    Timelike, Utc,
};
use chrono_tz::Tz;

/// Says that a text is no date and time that Celery would read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an ISO 8601 date and time, such as 2026-01-31T12:00:00+00:00")]
pub struct TimeError {
    text: String,
}

/// Reads an ISO 8601 text; without an offset it is taken to be in `naive_zone`.
///
/// A local time that occurs twice is the earlier one; one that a clock change skips is moved on by the gap, both as
/// Python's `zoneinfo` does.
///
/// # Errors
///
/// When `dateutil.parser.isoparse` would refuse the text.
pub fn parse_iso(text: &str, naive_zone: Tz) -> Result<DateTime<Utc>, TimeError> {
    let refuse = || TimeError {
        text: text.chars().take(64).collect(),
    };
    let (local, offset) = parse(text.as_bytes()).ok_or_else(refuse)?;
    let utc = match offset {
        Some(offset) => local.checked_sub_offset(offset),
        None => to_utc(local, naive_zone),
    };
    // An offset can lead out of the years that Python knows.
    utc.filter(|utc| (1..=9999).contains(&utc.year()))
        .map(|utc| utc.and_utc())
        .ok_or_else(refuse)
}

fn to_utc(local: NaiveDateTime, zone: Tz) -> Option<NaiveDateTime> {
    if let Some(found) = zone.from_local_datetime(&local).earliest() {
        return Some(found.naive_utc());
    }
    // In the gap: the offset in force before the change still counts.
    let before = zone
        .from_local_datetime(&local.checked_sub_signed(Duration::hours(3))?)
        .latest()?;
    local.checked_sub_offset(chrono::Offset::fix(before.offset()))
}

/// Writes a time as Python's `isoformat`: six digits of fraction, or none when it is zero.
#[must_use]
pub fn format_iso(time: DateTime<Utc>) -> String {
    let mut out = String::with_capacity(32);
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    // Writing to a String cannot fail. chrono's own formatter takes ten times as long, once per stored result.
    let _ = write!(
        out,
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"
    );
    let micros = time.timestamp_subsec_micros() % 1_000_000;
    if micros != 0 {
        let _ = write!(out, ".{micros:06}");
    }
    out.push_str("+00:00");
    out
}

/// Python's `isoformat` of a local time and its offset.
pub(crate) fn isoformat(
    local: NaiveDateTime,
    offset: Option<FixedOffset>,
    between: char,
) -> String {
    let mut text = local.format("%Y-%m-%d").to_string();
    text.push(between);
    text.push_str(&local.format("%H:%M:%S").to_string());
    let micros = local.nanosecond() / 1000;
    if micros != 0 {
        text.push_str(&format!(".{micros:06}"));
    }
    if let Some(offset) = offset {
        let seconds = offset.local_minus_utc();
        let (sign, size) = (if seconds < 0 { '-' } else { '+' }, seconds.abs());
        text.push_str(&format!("{sign}{:02}:{:02}", size / 3600, size / 60 % 60));
        if size % 60 != 0 {
            text.push_str(&format!(":{:02}", size % 60));
        }
    }
    text
}

/// Tells whether the text is a time of day as `time.isoformat` writes it, perhaps with an offset.
pub(crate) fn is_time_of_day(text: &str) -> bool {
    parse_time(text.as_bytes()).is_some()
}

/// Reads the text as it stands: the local time, and the offset if there is one.
pub(crate) fn parse_local(text: &str) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    parse(text.as_bytes())
}

fn parse(text: &[u8]) -> Option<(NaiveDateTime, Option<FixedOffset>)> {
    if !text.is_ascii() {
        return None;
    }
    let (date, used) = common_date(text).or_else(|| uncommon_date(text))?;
    if used >= text.len() {
        return Some((date.and_time(NaiveTime::MIN), None));
    }
    // Any single character separates date and time.
    let time = parse_time(&text[used + 1..])?;
    let date = if time.next_day {
        date.succ_opt()?
    } else {
        date
    };
    Some((date.and_time(time.time), time.offset))
}

fn number(text: &[u8], from: usize, length: usize) -> Option<u32> {
    let digits = text.get(from..from + length)?;
    digits.iter().try_fold(0, |sum: u32, byte| {
        byte.is_ascii_digit()
            .then(|| sum * 10 + u32::from(byte - b'0'))
    })
}

fn year(text: &[u8]) -> Option<i32> {
    let year = i32::try_from(number(text, 0, 4)?).ok()?;
    (year >= 1).then_some(year)
}

/// `YYYY`, `YYYY-MM`, `YYYY-MM-DD`, `YYYYMMDD`.
fn common_date(text: &[u8]) -> Option<(NaiveDate, usize)> {
    let year = year(text)?;
    let mut at = 4;
    if at == text.len() {
        return Some((NaiveDate::from_ymd_opt(year, 1, 1)?, at));
    }
    let dashed = text[at] == b'-';
    at += usize::from(dashed);
    let month = number(text, at, 2)?;
    at += 2;
    if at >= text.len() {
        return if dashed {
            Some((NaiveDate::from_ymd_opt(year, month, 1)?, at))
        } else {
            None
        };
    }
    if dashed {
        if text[at] != b'-' {
            return None;
        }
        at += 1;
    }
    Some((
        NaiveDate::from_ymd_opt(year, month, number(text, at, 2)?)?,
        at + 2,
    ))
}

/// `YYYY-Www`, `YYYY-Www-D`, `YYYY-DDD` and the same without dashes.
fn uncommon_date(text: &[u8]) -> Option<(NaiveDate, usize)> {
    let year = year(text)?;
    let dashed = text.get(4) == Some(&b'-');
    let mut at = 4 + usize::from(dashed);
    if text.get(at) != Some(&b'W') {
        return Some((NaiveDate::from_yo_opt(year, number(text, at, 3)?)?, at + 3));
    }
    let week = number(text, at + 1, 2)?;
    at += 3;
    let mut day = 1;
    if at < text.len() {
        if (text[at] == b'-') != dashed {
            return None;
        }
        at += usize::from(dashed);
        day = number(text, at, 1)?;
        at += 1;
    }
    if !(1..54).contains(&week) || !(1..8).contains(&day) {
        return None;
    }
    // The 4th of January is always in week 1.
    let fourth = NaiveDate::from_ymd_opt(year, 1, 4)?;
    let monday = fourth - Duration::days(i64::from(fourth.weekday().num_days_from_monday()));
    let date = monday.checked_add_signed(Duration::days(i64::from((week - 1) * 7 + day - 1)))?;
    Some((date, at))
}

/// A time of day as read.
#[derive(Debug, Clone, Copy)]
struct ReadTime {
    time: NaiveTime,
    /// The hour was 24.
    next_day: bool,
    offset: Option<FixedOffset>,
}

/// `HH`, `HH:MM`, `HH:MM:SS`, with a fraction, basic forms, and an offset.
fn parse_time(text: &[u8]) -> Option<ReadTime> {
    let zone = text
        .iter()
        .position(|byte| matches!(byte, b'-' | b'+' | b'Z' | b'z'));
    let (clock, offset) = match zone {
        Some(at) => (&text[..at], Some(parse_offset(&text[at..])?)),
        None => (text, None),
    };
    let mut parts = [0; 3];
    parts[0] = number(clock, 0, 2)?;
    let mut at = 2;
    let colons = clock.get(at) == Some(&b':');
    for part in &mut parts[1..] {
        if at >= clock.len() {
            break;
        }
        if colons {
            if clock[at] != b':' {
                return None;
            }
            at += 1;
        }
        *part = number(clock, at, 2)?;
        at += 2;
    }
    let mut micros = 0;
    if at < clock.len() {
        // Only seconds have a fraction, so it stands after hh:mm:ss or hhmmss.
        if at != if colons { 8 } else { 6 } || !matches!(clock[at], b'.' | b',') {
            return None;
        }
        let digits = &clock[at + 1..];
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return None;
        }
        for place in 0..6 {
            micros = micros * 10 + digits.get(place).map_or(0, |digit| u32::from(digit - b'0'));
        }
    }
    let next_day = parts[0] == 24;
    if next_day {
        if parts[1] != 0 || parts[2] != 0 || micros != 0 {
            return None;
        }
        parts[0] = 0;
    }
    let time = NaiveTime::from_hms_micro_opt(parts[0], parts[1], parts[2], micros)?;
    Some(ReadTime {
        time,
        next_day,
        offset,
    })
}

fn parse_offset(text: &[u8]) -> Option<FixedOffset> {
    if matches!(text, b"Z" | b"z") {
        return FixedOffset::east_opt(0);
    }
    let hours = number(text, 1, 2)?;
    let minutes = match text.len() {
        3 => 0,
        5 => number(text, 3, 2)?,
        6 if text[3] == b':' => number(text, 4, 2)?,
        _ => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    match text[0] {
        b'+' => FixedOffset::east_opt(seconds),
        b'-' => FixedOffset::west_opt(seconds),
        _ => None,
    }
}
