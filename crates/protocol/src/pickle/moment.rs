//! `datetime`'s classes from the bytes in which they pickle themselves (Lib/datetime.py, `_getstate`).

use chrono::{FixedOffset, NaiveDate, NaiveTime};

use crate::time::isoformat;
use crate::value::Value;

/// `datetime(bytes)`: two bytes of year, then one each of month, day, hour, minute, second, three of microseconds.
pub(super) fn datetime(state: &[u8], zone: Option<FixedOffset>) -> Option<Value> {
    let (date, time) = state.split_at_checked(4)?;
    // The top bit of the month says which of two equal local times is meant; no text form tells it.
    let date = calendar_date(&[date[0], date[1], date[2] & 0x7f, date[3]])?;
    let local = date.and_time(clock_time(time)?);
    Some(Value::DateTime(isoformat(local, zone, 'T')))
}

/// `date(bytes)`.
pub(super) fn date(state: &[u8]) -> Option<Value> {
    Some(Value::Date(
        calendar_date(state.try_into().ok()?)?
            .format("%Y-%m-%d")
            .to_string(),
    ))
}

/// `time(bytes)`, whose first byte may carry the fold.
pub(super) fn time(state: &[u8], zone: Option<FixedOffset>) -> Option<Value> {
    let mut state: [u8; 6] = state.try_into().ok()?;
    state[0] &= 0x7f;
    let local = NaiveDate::default().and_time(clock_time(&state)?);
    let text = isoformat(local, zone, 'T');
    Some(Value::Time(text.split_once('T')?.1.to_owned()))
}

fn calendar_date([high, low, month, day]: &[u8; 4]) -> Option<NaiveDate> {
    let year = u16::from_be_bytes([*high, *low]);
    if !(1..=9999).contains(&year) {
        return None;
    }
    NaiveDate::from_ymd_opt(year.into(), (*month).into(), (*day).into())
}

fn clock_time(state: &[u8]) -> Option<NaiveTime> {
    let [hour, minute, second, high, middle, low] = <[u8; 6]>::try_from(state).ok()?;
    let micros = u32::from_be_bytes([0, high, middle, low]);
    NaiveTime::from_hms_micro_opt(hour.into(), minute.into(), second.into(), micros)
        .filter(|_| micros < 1_000_000)
}
