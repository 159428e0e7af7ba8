//! Rust types for the kinds of value that plain serde has no word for.
//!
//! A task that returns `DateTime` gives Python a `datetime`; the `chrono` type itself would arrive as text. Each
//! wrapper also reads the plain text form, so that callers without the Python type can be served too.

use std::fmt;

use chrono::{NaiveDate, NaiveTime, Utc};
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::time::{format_iso, parse_iso};
use crate::value::marker;

/// Python's `bytes`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Bytes(pub Vec<u8>);

/// Python's `datetime` with a time zone; one without is read as UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DateTime(pub chrono::DateTime<Utc>);

/// Python's `date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Date(pub NaiveDate);

/// Python's `time` without a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Time(pub NaiveTime);

/// Python's `Decimal` as text, such as `1.50` or `1E+3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Decimal(pub String);

/// Python's `UUID`; a plain [`uuid::Uuid`] would arrive as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uuid(pub uuid::Uuid);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_newtype_struct(marker::BYTES, &marker::RawBytes(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(BytesVisitor)
    }
}

struct BytesVisitor;

impl<'de> Visitor<'de> for BytesVisitor {
    type Value = Bytes;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
        Ok(Bytes(bytes.to_vec()))
    }

    fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
        Ok(Bytes(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Bytes(bytes))
    }
}

/// Writes and reads a wrapper as marked text.
macro_rules! text_form {
    ($name:ident, $marker:expr, $expected:literal, $write:expr, $read:expr) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let write: fn(&Self) -> String = $write;
                serializer.serialize_newtype_struct($marker, &write(self))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                let read: fn(&str) -> Option<Self> = $read;
                read(&text)
                    .ok_or_else(|| de::Error::invalid_value(de::Unexpected::Str(&text), &$expected))
            }
        }
    };
}

text_form!(
    DateTime,
    marker::DATETIME,
    "an ISO 8601 date and time",
    |time| format_iso(time.0),
    |text| parse_iso(text, chrono_tz::UTC).ok().map(Self)
);
text_form!(
    Date,
    marker::DATE,
    "a date such as 2026-01-31",
    |date| date.0.format("%Y-%m-%d").to_string(),
    |text| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().map(Self)
);
text_form!(
    Time,
    marker::TIME,
    "a time such as 12:30:00",
    |time| time
        .0
        .format(if time.0.format("%6f").to_string() == "000000" {
            "%H:%M:%S"
        } else {
            "%H:%M:%S%.6f"
        })
        .to_string(),
    |text| NaiveTime::parse_from_str(text, "%H:%M:%S%.f")
        .or_else(|_| NaiveTime::parse_from_str(text, "%H:%M"))
        .ok()
        .map(Self)
);
text_form!(
    Uuid,
    marker::UUID,
    "a UUID",
    |uuid| uuid.0.to_string(),
    |text| uuid::Uuid::parse_str(text).ok().map(Self)
);
text_form!(
    Decimal,
    marker::DECIMAL,
    "a decimal number",
    |decimal| decimal.0.clone(),
    |text| marker::is_decimal(text).then(|| Self(text.to_owned()))
);
