//! Reading the server's answers.

use bytes::Bytes;
use redis::Value;

/// The bytes of a string; `None` for nil and everything else.
pub(crate) fn bytes(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::SimpleString(text) => Some(text.into()),
        _ => None,
    }
}

/// Text; what is not UTF-8 is replaced.
pub(crate) fn text(value: Value) -> Option<String> {
    bytes(value).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// A whole number.
pub(crate) fn integer(value: &Value) -> Option<u64> {
    match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        _ => None,
    }
}

/// A number in a string, as scores come.
pub(crate) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.parse().ok(),
        Value::Double(number) => Some(*number),
        _ => None,
    }
}

/// The elements of an array; none for anything else.
pub(crate) fn list(value: Value) -> Vec<Value> {
    value.into_sequence().unwrap_or_default()
}

/// The strings of an array, without the nils.
pub(crate) fn bytes_list(value: Value) -> Vec<Bytes> {
    list(value).into_iter().filter_map(bytes).collect()
}

/// The strings of an array, each nil as `None`.
pub(crate) fn optional_bytes_list(value: Value) -> Vec<Option<Bytes>> {
    list(value).into_iter().map(bytes).collect()
}

/// The strings of an array as text.
pub(crate) fn text_list(value: Value) -> Vec<String> {
    list(value).into_iter().filter_map(text).collect()
}
