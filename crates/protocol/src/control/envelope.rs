//! kombu's envelope around a JSON body, as control messages and events have it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use uuid::Uuid;

use crate::json::JsonError;
use crate::json::writer::write_string;
use crate::value::{Map, Value};

/// Writes an envelope; `body` and `headers` are JSON.
pub(crate) fn write(
    body: &str,
    headers: &str,
    delivery_mode: u8,
    exchange: &str,
    routing_key: &str,
) -> Vec<u8> {
    let mut out = String::with_capacity(body.len() * 4 / 3 + 400);
    out.push_str("{\"body\": \"");
    STANDARD.encode_string(body, &mut out);
    out.push_str(
        "\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \"headers\": ",
    );
    out.push_str(headers);
    out.push_str(", \"properties\": {\"delivery_mode\": ");
    out.push(char::from(b'0' + delivery_mode % 10));
    out.push_str(", \"delivery_info\": {\"exchange\": ");
    write_string(&mut out, exchange);
    out.push_str(", \"routing_key\": ");
    write_string(&mut out, routing_key);
    out.push_str("}, \"priority\": 0, \"body_encoding\": \"base64\", \"delivery_tag\": \"");
    let mut tag = Uuid::encode_buffer();
    out.push_str(Uuid::new_v4().hyphenated().encode_lower(&mut tag));
    out.push_str("\"}}");
    out.into_bytes()
}

/// What was in an envelope.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) headers: Map,
    pub(crate) body: Value,
}

/// Why an envelope cannot be read.
#[derive(Debug)]
pub(crate) enum Broken {
    Json(JsonError),
    Base64(base64::DecodeError),
    ContentType(String),
    NoBody,
}

/// Reads an envelope and the JSON in it; nothing else is accepted (kombu's mailboxes take JSON only).
pub(crate) fn read(raw: &[u8]) -> Result<Opened, Broken> {
    let envelope = Value::from_json_plain(raw).map_err(Broken::Json)?;
    let Value::Map(mut envelope) = envelope else {
        return Err(Broken::NoBody);
    };
    if let Some(kind) = envelope.get("content-type").and_then(Value::as_str)
        && kind != "application/json"
    {
        return Err(Broken::ContentType(kind.to_owned()));
    }
    let body = envelope
        .get("body")
        .and_then(Value::as_str)
        .ok_or(Broken::NoBody)?;
    let encoding = envelope
        .get("properties")
        .and_then(|all| all.get("body_encoding"));
    let body = match encoding.and_then(Value::as_str) {
        Some("base64") => Value::from_json(&STANDARD.decode(body).map_err(Broken::Base64)?),
        _ => Value::from_json(body.as_bytes()),
    };
    let body = body.map_err(Broken::Json)?;
    let headers = match envelope.shift_remove("headers") {
        Some(Value::Map(headers)) => headers,
        _ => Map::new(),
    };
    Ok(Opened { headers, body })
}
