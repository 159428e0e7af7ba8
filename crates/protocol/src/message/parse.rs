//! Reading an envelope.

use std::borrow::Cow;

use base64::Engine as _;

use super::headers::{ReadHeaders, required_text, text, wrong};
use super::properties::{BodyEncoding, Properties};
use super::{Message, legacy};
use crate::content::DecodeOptions;
use crate::error::{DecodeError, DecodeReason};
use crate::ids::{TaskId, TaskName};
use crate::json::JsonError;
use crate::json::reader::{Kind, Reader};
use crate::value::{BASE64, Map, Value};

pub(super) fn parse(raw: &[u8], options: &DecodeOptions) -> Result<Message, DecodeReason> {
    let mut reader = Reader::from_bytes(raw)?;
    if reader.kind()? != Kind::Object {
        return Err(wrong(&mut reader, "the message", "an object"));
    }
    let (mut body, mut content_type, mut properties) = (None, None, None);
    let mut content_encoding = Cow::Borrowed("utf-8");
    let mut headers = ReadHeaders::absent();
    let mut raw_headers = "{}";
    let mut extra = Map::new();
    let mut first = true;
    reader.open_object()?;
    while let Some(key) = reader.next_key(&mut first)? {
        match &*key {
            "body" => body = Some(required_text(&mut reader, "body", "a string")?),
            "content-encoding" => {
                content_encoding = text(&mut reader)?.unwrap_or(Cow::Borrowed("utf-8"))
            }
            "content-type" => {
                content_type = Some(required_text(&mut reader, "content-type", "a string")?)
            }
            "headers" => {
                let start = reader.position_of_value();
                headers = ReadHeaders::read(&mut reader)?;
                // The reader has checked that the input is UTF-8, and it stops between characters.
                raw_headers = std::str::from_utf8(&raw[start..reader.position()]).unwrap_or("{}");
            }
            "properties" => properties = Some(Properties::read(&mut reader)?),
            _ => {
                extra.insert(key.into_owned(), Value::read(&mut reader, false)?);
            }
        }
    }
    reader.end()?;
    let missing = |field, expected| DecodeReason::Missing { field, expected };
    let properties = properties.ok_or(missing("properties", "an object"))?;
    let content_type =
        content_type.ok_or(missing("content-type", "a string such as application/json"))?;
    let body = body.ok_or(missing("body", "a string"))?;
    let body = body_bytes(body, properties.body_encoding)?;
    if body.is_empty() {
        return Err(DecodeReason::field(
            "body",
            "empty",
            "[args, kwargs, embed]",
        ));
    }
    let mut message = Envelope {
        content_type,
        content_encoding,
        body,
    };
    let headers = if legacy::applies(&headers, &message) {
        legacy::convert(raw_headers, headers.compression(), &mut message, options)?
    } else {
        headers.complete()?
    };
    Ok(Message {
        headers,
        properties,
        content_type: message.content_type.into_owned(),
        content_encoding: message.content_encoding.into_owned(),
        body: message.body,
        extra,
    })
}

/// What of a message describes its body.
pub(super) struct Envelope<'a> {
    pub(super) content_type: Cow<'a, str>,
    pub(super) content_encoding: Cow<'a, str>,
    pub(super) body: Vec<u8>,
}

fn body_bytes(body: Cow<'_, str>, encoding: BodyEncoding) -> Result<Vec<u8>, DecodeReason> {
    match encoding {
        BodyEncoding::Plain => Ok(body.into_owned().into_bytes()),
        BodyEncoding::Base64 => match BASE64.decode(body.as_bytes()) {
            Ok(bytes) => Ok(bytes),
            // Some encoders break lines, which Python's decoder passes over.
            Err(_) if body.contains(['\n', '\r', ' ']) => {
                let compact: String = body
                    .chars()
                    .filter(|char| !matches!(char, '\n' | '\r' | ' '))
                    .collect();
                BASE64
                    .decode(compact)
                    .map_err(|error| DecodeReason::Base64 {
                        problem: error.to_string(),
                    })
            }
            Err(error) => Err(DecodeReason::Base64 {
                problem: error.to_string(),
            }),
        },
    }
}

/// Adds the task and id to a fault, looking for them only now that they are needed.
pub(super) fn with_names(reason: DecodeReason, raw: &[u8]) -> DecodeError {
    let mut names = (None, None);
    // What was found before the fault counts.
    let _ = find_names(raw, &mut names);
    DecodeError::new(reason).of(names.0, names.1)
}

fn find_names(raw: &[u8], names: &mut (Option<TaskName>, Option<TaskId>)) -> Result<(), JsonError> {
    let mut reader = Reader::from_bytes(raw)?;
    reader.open_object()?;
    let mut first = true;
    while let Some(key) = reader.next_key(&mut first)? {
        if key != "headers" || reader.kind()? != Kind::Object {
            reader.skip_value()?;
            continue;
        }
        reader.open_object()?;
        let mut first = true;
        while let Some(key) = reader.next_key(&mut first)? {
            match (&*key, reader.kind()?) {
                ("task", Kind::Text) => names.0 = Some(reader.string()?.into()),
                ("id", Kind::Text) => names.1 = Some(reader.string()?.into()),
                _ => {
                    reader.skip_value()?;
                }
            }
        }
    }
    Ok(())
}
