//! Values to JSON, byte for byte as kombu's `dumps`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Map, Value};
use crate::json::writer::{write_float, write_int, write_string};

impl Value {
    /// Writes JSON as Python does: `", "` and `": "`, ASCII only, type envelopes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.write_json(&mut out);
        out
    }

    /// Appends what [`Value::to_json`] gives.
    pub fn write_json(&self, out: &mut String) {
        match self {
            Self::Null => out.push_str("null"),
            Self::Bool(true) => out.push_str("true"),
            Self::Bool(false) => out.push_str("false"),
            Self::Int(int) => write_int(out, *int),
            Self::Big(digits) => out.push_str(digits),
            Self::Float(float) => write_float(out, *float),
            Self::Str(text) => write_string(out, text),
            Self::Bytes(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => write_envelope(out, "bytes", text),
                Err(_) => write_envelope(out, "base64", &STANDARD.encode(bytes)),
            },
            Self::DateTime(text) => write_envelope(out, "datetime", text),
            Self::Date(text) => write_envelope(out, "date", text),
            Self::Time(text) => write_envelope(out, "time", text),
            Self::Decimal(text) => write_envelope(out, "decimal", text),
            Self::Uuid(uuid) => {
                out.push_str("{\"__type__\": \"uuid\", \"__value__\": {\"hex\": \"");
                out.push_str(uuid.simple().encode_lower(&mut uuid::Uuid::encode_buffer()));
                out.push_str("\"}}");
            }
            Self::List(items) => write_list(out, items),
            Self::Map(map) => write_map(out, map),
        }
    }
}

fn write_envelope(out: &mut String, kind: &str, text: &str) {
    out.push_str("{\"__type__\": \"");
    out.push_str(kind);
    out.push_str("\", \"__value__\": ");
    write_string(out, text);
    out.push('}');
}

pub(crate) fn write_list(out: &mut String, items: &[Value]) {
    out.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        item.write_json(out);
    }
    out.push(']');
}

pub(crate) fn write_map(out: &mut String, map: &Map) {
    out.push('{');
    for (index, (key, value)) in map.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        write_string(out, key);
        out.push_str(": ");
        value.write_json(out);
    }
    out.push('}');
}
