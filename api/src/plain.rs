//! Values of messages as plain JSON, for clients that know nothing of kombu's types, and back.

use base64::{Engine, engine::general_purpose::STANDARD};
use lovage_protocol::{Map, Value};
use serde_json::{Number, Value as Json};

use crate::problem::Problem;

/// The value as JSON has it. What JSON has no word for: times, dates, decimals, UUIDs and whole numbers beyond 64 bits are
/// text, bytes are base64, infinities and NaN are null.
pub(crate) fn json(value: &Value) -> Json {
    match value {
        Value::Bool(bool) => Json::Bool(*bool),
        Value::Int(int) => Json::Number((*int).into()),
        Value::Float(float) => Number::from_f64(*float).map_or(Json::Null, Json::Number),
        Value::Str(text)
        | Value::Big(text)
        | Value::DateTime(text)
        | Value::Date(text)
        | Value::Time(text)
        | Value::Decimal(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Uuid(uuid) => Json::String(uuid.to_string()),
        Value::List(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(map) => Json::Object(
            map.iter()
                .map(|(key, value)| (key.clone(), json(value)))
                .collect(),
        ),
        _ => Json::Null,
    }
}

/// JSON as a message has it.
///
/// # Errors
/// When a number in it is none that a message can carry.
pub(crate) fn value(json: &Json) -> Result<Value, Problem> {
    Value::from_serialize(json)
        .map_err(|error| Problem::invalid(format!("an argument cannot be sent: {error}")))
}

/// An object as a message has it.
///
/// # Errors
/// As [`value`].
pub(crate) fn map<'a>(
    object: impl IntoIterator<Item = (&'a String, &'a Json)>,
) -> Result<Map, Problem> {
    object
        .into_iter()
        .map(|(name, one)| Ok((name.clone(), value(one)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_plain_json_and_json_is_a_value() {
        let kept = json!({"a": [1, -2.5, "x", null, true], "b": {"c": []}});
        assert_eq!(super::json(&value(&kept).unwrap()), kept);
        for (value, expected) in [
            (
                Value::DateTime("2026-11-26T10:00:00Z".to_owned()),
                json!("2026-11-26T10:00:00Z"),
            ),
            (Value::Bytes(b"abc".to_vec()), json!("YWJj")),
            (Value::Float(f64::NAN), Json::Null),
            (
                Value::Big("123456789012345678901".to_owned()),
                json!("123456789012345678901"),
            ),
        ] {
            assert_eq!(super::json(&value), expected);
        }
    }
}
