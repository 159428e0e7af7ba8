//! Values from JSON.

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::general_purpose::GeneralPurpose;
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use uuid::Uuid;

use super::{Map, Value};
use crate::json::JsonError;
use crate::json::reader::{Kind, Number, Reader};
use crate::time;

/// Reads what Python's `b64decode` reads of well-formed text, with or without padding.
pub(crate) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

impl Value {
    /// Reads JSON as kombu does, with type envelopes.
    ///
    /// An object with exactly the keys `__type__` and `__value__` becomes the value it stands for. Integers may have
    /// any length, `NaN` and the infinities are allowed, and of a repeated key the last one counts. Half of a
    /// surrogate pair on its own becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// For anything that is not one JSON value in UTF-8, nesting beyond 512 levels, and type envelopes of an unknown
    /// type or with a value that type cannot have.
    pub fn from_json(json: &[u8]) -> Result<Self, JsonError> {
        whole(json, true)
    }

    /// Reads JSON without looking for type envelopes, as headers are read.
    ///
    /// # Errors
    ///
    /// As [`Value::from_json`], but for the envelopes.
    pub fn from_json_plain(json: &[u8]) -> Result<Self, JsonError> {
        whole(json, false)
    }

    /// Reads the next value; `envelopes` says whether those are looked for.
    ///
    /// Open containers are kept on the heap: how deep a stranger nests must not decide how much stack is used.
    pub(crate) fn read(reader: &mut Reader<'_>, envelopes: bool) -> Result<Self, JsonError> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            let mut done = match reader.kind()? {
                Kind::List => {
                    reader.open_list()?;
                    open.push(Open {
                        first: true,
                        content: Content::List(Vec::new()),
                    });
                    None
                }
                Kind::Object => {
                    reader.open_object()?;
                    open.push(Open {
                        first: true,
                        content: Content::Map(Map::new(), String::new()),
                    });
                    None
                }
                scalar => Some(read_scalar(reader, scalar)?),
            };
            // Hand what is complete to what it stands in, until something more has to be read.
            loop {
                let Some(container) = open.last_mut() else {
                    match done {
                        Some(value) => return Ok(value),
                        None => break,
                    }
                };
                if let Some(value) = done.take() {
                    container.add(value);
                }
                if container.next(reader)? {
                    break;
                }
                done = match open.pop() {
                    Some(closed) => Some(closed.close(envelopes)?),
                    None => None,
                };
            }
        }
    }
}

/// A list or object whose end has not come yet.
struct Open {
    first: bool,
    content: Content,
}

enum Content {
    List(Vec<Value>),
    /// With the key of the member that is being read.
    Map(Map, String),
}

impl Open {
    fn add(&mut self, value: Value) {
        match &mut self.content {
            Content::List(items) => items.push(value),
            Content::Map(map, key) => {
                map.insert(std::mem::take(key), value);
            }
        }
    }

    /// Goes to the next member; false at the end.
    fn next(&mut self, reader: &mut Reader<'_>) -> Result<bool, JsonError> {
        match &mut self.content {
            Content::List(_) => reader.next_item(&mut self.first),
            Content::Map(_, key) => match reader.next_key(&mut self.first)? {
                Some(next) => {
                    *key = next.into_owned();
                    Ok(true)
                }
                None => Ok(false),
            },
        }
    }

    fn close(self, envelopes: bool) -> Result<Value, JsonError> {
        match self.content {
            Content::List(items) => Ok(Value::List(items)),
            Content::Map(map, _) => {
                if envelopes
                    && map.len() == 2
                    && map.contains_key("__type__")
                    && map.contains_key("__value__")
                {
                    open_envelope(map)
                } else {
                    Ok(Value::Map(map))
                }
            }
        }
    }
}

fn read_scalar(reader: &mut Reader<'_>, kind: Kind) -> Result<Value, JsonError> {
    Ok(match kind {
        Kind::Null => {
            reader.null()?;
            Value::Null
        }
        Kind::Bool => Value::Bool(reader.bool()?),
        Kind::Number => match reader.number()? {
            Number::Int(int) => Value::Int(int),
            Number::Big(digits) => Value::Big(digits.to_owned()),
            Number::Float(float) => Value::Float(float),
        },
        Kind::Text | Kind::List | Kind::Object => Value::Str(reader.string()?.into_owned()),
    })
}

fn whole(json: &[u8], envelopes: bool) -> Result<Value, JsonError> {
    let mut reader = Reader::from_bytes(json)?;
    let value = Value::read(&mut reader, envelopes)?;
    reader.end()?;
    Ok(value)
}

fn open_envelope(mut map: Map) -> Result<Value, JsonError> {
    let kind = map.swap_remove("__type__").unwrap_or(Value::Null);
    let value = map.swap_remove("__value__").unwrap_or(Value::Null);
    let Value::Str(kind) = kind else {
        return Err(JsonError::Envelope {
            kind: kind.to_json(),
            problem: "must name its type in a string",
        });
    };
    let decoded = match (kind.as_str(), value) {
        ("bytes", Value::Str(text)) => Ok(Value::Bytes(text.into_bytes())),
        ("base64", Value::Str(text)) => BASE64
            .decode(text)
            .map(Value::Bytes)
            .map_err(|_| "does not hold valid base64"),
        ("datetime", Value::Str(text)) => match time::parse_iso(&text, chrono_tz::UTC) {
            Ok(_) => Ok(Value::DateTime(text)),
            Err(_) => Err("does not hold an ISO 8601 date and time"),
        },
        // kombu reads a date with datetime.fromisoformat and drops the time.
        ("date", Value::Str(text)) => match time::parse_local(&text) {
            Some((local, _)) => Ok(Value::Date(local.date().format("%Y-%m-%d").to_string())),
            None => Err("does not hold an ISO 8601 date"),
        },
        ("time", Value::Str(text)) if time::is_time_of_day(&text) => Ok(Value::Time(text)),
        ("time", Value::Str(_)) => Err("does not hold an ISO 8601 time"),
        ("decimal", Value::Str(text)) if is_decimal(&text) => Ok(Value::Decimal(text)),
        ("decimal", Value::Str(_)) => Err("does not hold a decimal number"),
        ("decimal", Value::Int(int)) => Ok(Value::Decimal(int.to_string())),
        ("decimal", Value::Big(digits)) => Ok(Value::Decimal(digits)),
        ("uuid", Value::Map(map)) => {
            match map.get("hex").and_then(Value::as_str).map(Uuid::parse_str) {
                Some(Ok(uuid)) if map.len() == 1 => Ok(Value::Uuid(uuid)),
                _ => Err("must hold {\"hex\": 32 hexadecimal digits}"),
            }
        }
        ("bytes" | "base64" | "datetime" | "date" | "time" | "decimal", _) => {
            Err("must hold a string")
        }
        ("uuid", _) => Err("must hold {\"hex\": 32 hexadecimal digits}"),
        _ => Err("is not known; bytes, base64, datetime, date, time, decimal and uuid are"),
    };
    decoded.map_err(|problem| JsonError::Envelope { kind, problem })
}

/// Tells whether Python's `Decimal` takes this text.
pub(crate) fn is_decimal(text: &str) -> bool {
    let text = text.trim().to_ascii_lowercase();
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(&text);
    if matches!(unsigned, "inf" | "infinity") {
        return true;
    }
    if let Some(payload) = unsigned
        .strip_prefix("snan")
        .or_else(|| unsigned.strip_prefix("nan"))
    {
        return payload.bytes().all(|byte| byte.is_ascii_digit());
    }
    let (number, exponent) = unsigned
        .split_once('e')
        .map_or((unsigned, None), |(n, e)| (n, Some(e)));
    let digits = number.replacen('.', "", 1);
    let all_digits =
        |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits(&digits)
        && exponent.is_none_or(|e| all_digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}
