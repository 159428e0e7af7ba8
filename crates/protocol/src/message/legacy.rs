//! Protocol 1, and messages with the headers of protocol 2 and the body of protocol 1.
//!
//! What a Python worker makes of them is in celery/worker/strategy.py: a body with `args` is read by `hybrid_to_proto2`
//! (which passes over `taskset`), one without by `proto1_to_proto2`.

use std::borrow::Cow;

use super::headers::{Headers, ReadHeaders};
use super::parse::Envelope;
use super::{body_fault, keyword_arguments};
use crate::body::{Body, Embed};
use crate::compression::{Compression, decompress};
use crate::content::{DecodeOptions, Serializer};
use crate::error::DecodeReason;
use crate::json::reader::Reader;
use crate::repr;
use crate::value::{Map, Value};

/// The fields of a protocol 1 body that are headers in protocol 2.
///
/// Python passes over `group_index`, so that a chord's results lose their order; there is no harm in keeping it.
const HEADERS: [&str; 15] = [
    "lang",
    "task",
    "id",
    "root_id",
    "parent_id",
    "group",
    "group_index",
    "shadow",
    "eta",
    "expires",
    "retries",
    "timelimit",
    "argsrepr",
    "kwargsrepr",
    "origin",
];

/// Tells whether the headers lack a task, or the body is an object where protocol 2 has a list.
///
/// A compressed body is not looked into: with complete headers its fields are only arguments and callbacks, which
/// [`read_object_body`] finds.
pub(super) fn applies(headers: &ReadHeaders, message: &Envelope<'_>) -> bool {
    let object = || message.body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let json = || message.content_type == Serializer::Json.content_type();
    !headers.has_task || (headers.compression().is_none() && json() && object())
}

/// Makes headers of protocol 2 and rewrites the body to match.
pub(super) fn convert(
    raw_headers: &str,
    compression: Option<&str>,
    message: &mut Envelope<'_>,
    options: &DecodeOptions,
) -> Result<Headers, DecodeReason> {
    let serializer = options.serializer(&message.content_type, &message.content_encoding)?;
    if let Some(method) = compression {
        message.body = decompress(
            Compression::from_name(method)?,
            &message.body,
            options.max_decompressed,
        )?;
    }
    let outer = match Value::from_json_plain(raw_headers.as_bytes())? {
        Value::Map(map) => map,
        _ => Map::new(),
    };
    let limit = options.max_decompressed;
    let Value::Map(fields) = super::body_value(serializer, &message.body, limit)? else {
        return Err(DecodeReason::UnknownMessage);
    };
    if !outer.contains_key("task") && !fields.contains_key("task") {
        return Err(DecodeReason::UnknownMessage);
    }
    let (headers, body) = split(fields, outer)?;
    // In the serializer it came in, so that whoever is sent a retry takes it; a pickle is never written.
    let (written, bytes) = match body.to_bytes(serializer) {
        Ok(bytes) => (serializer, bytes),
        Err(_) => (Serializer::Json, body.to_json()),
    };
    message.content_type = Cow::Borrowed(written.content_type());
    message.content_encoding = Cow::Borrowed(written.content_encoding());
    message.body = bytes;
    let json = Value::Map(headers).to_json();
    ReadHeaders::read(&mut Reader::new(&json))?.complete()
}

fn split(mut fields: Map, mut outer: Map) -> Result<(Map, Body), DecodeReason> {
    let mut headers = Map::new();
    let has_args = fields.contains_key("args");
    if !has_args {
        // Without `args` Python reads the older `taskset` in place of `group`.
        if let Some(taskset) = fields.shift_remove("taskset") {
            fields.insert("group".to_owned(), taskset);
        }
    }
    for name in HEADERS {
        if let Some(value) = fields.shift_remove(name) {
            headers.insert(name.to_owned(), value);
        }
    }
    if let Some(Value::Bool(false)) = fields.get("utc") {
        headers.insert("utc".to_owned(), Value::Bool(false));
    }
    let body = take_body(&mut fields)?;
    if !has_args {
        headers.insert("argsrepr".to_owned(), repr::args_repr(&[]).into());
        headers.insert(
            "kwargsrepr".to_owned(),
            repr::kwargs_repr(&body.kwargs).into(),
        );
    }
    // The body is written anew, uncompressed.
    outer.shift_remove("compression");
    headers.extend(outer);
    Ok((headers, body))
}

fn take_body(fields: &mut Map) -> Result<Body, DecodeReason> {
    let args = fields
        .shift_remove("args")
        .unwrap_or_else(|| Value::List(Vec::new()));
    let kwargs = keyword_arguments(
        fields
            .shift_remove("kwargs")
            .unwrap_or_else(|| Value::Map(Map::new())),
    )?;
    let mut embed = Embed::default();
    for name in ["callbacks", "errbacks", "chain", "chord"] {
        // Protocol 1 has no chain: later steps hang as callbacks of callbacks.
        let value = if name == "chain" {
            None
        } else {
            fields.shift_remove(name)
        };
        embed
            .raw
            .insert(name.to_owned(), value.unwrap_or(Value::Null));
    }
    Ok(Body {
        args,
        kwargs,
        embed,
    })
}

/// Reads an object body whose headers are complete already.
pub(super) fn read_object_body(json: &[u8]) -> Result<Body, DecodeReason> {
    match Value::from_json(json).map_err(body_fault)? {
        Value::Map(mut fields) if fields.contains_key("args") => take_body(&mut fields),
        _ => Err(super::wrong_shape(json)),
    }
}

/// The same of a body in another serializer.
pub(super) fn hybrid_body(mut fields: Map) -> Result<Body, DecodeReason> {
    if fields.contains_key("args") {
        return take_body(&mut fields);
    }
    Err(DecodeReason::field("body", "an object", super::SHAPE))
}
