//! The envelope of a task message.

mod headers;
mod legacy;
mod parse;
mod properties;
mod write;

pub use headers::{Headers, TimeLimit};
pub use properties::{BodyEncoding, DeliveryInfo, Properties};
pub(crate) use write::write_names;

use crate::body::{Body, Embed};
use crate::compression::{Compression, decompress};
use crate::content::{DecodeOptions, Serializer};
use crate::error::{DecodeError, DecodeReason};
use crate::format::WriteError;
use crate::json::JsonError;
use crate::json::reader::{Kind, Reader};
use crate::value::{Map, Value};

/// A task message as it lies in a queue, always in the shape of protocol 2.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// What is to run, when and for whom.
    pub headers: Headers,
    /// How it travels.
    pub properties: Properties,
    /// The body's `content-type`.
    pub content_type: String,
    /// The body's `content-encoding`.
    pub content_encoding: String,
    /// The body's bytes: no longer base64, still compressed and serialized.
    pub body: Vec<u8>,
    /// Fields of the envelope that this crate does not know.
    pub extra: Map,
}

impl Message {
    /// Makes a message with a JSON body, ready to be addressed through its properties.
    #[must_use]
    pub fn new(headers: Headers, properties: Properties, body: &Body) -> Self {
        Self {
            headers,
            properties,
            content_type: Serializer::Json.content_type().to_owned(),
            content_encoding: Serializer::Json.content_encoding().to_owned(),
            body: body.to_json(),
            extra: Map::new(),
        }
    }

    /// Makes a message whose body is written in any serializer.
    ///
    /// # Errors
    ///
    /// When the body holds what that serializer cannot.
    pub fn written(
        headers: Headers,
        properties: Properties,
        body: &Body,
        serializer: Serializer,
    ) -> Result<Self, WriteError> {
        Ok(Self {
            headers,
            properties,
            content_type: serializer.content_type().to_owned(),
            content_encoding: serializer.content_encoding().to_owned(),
            body: body.to_bytes(serializer)?,
            extra: Map::new(),
        })
    }

    /// Gives the serializer of the body, if it is one that is known here.
    #[must_use]
    pub fn serializer(&self) -> Option<Serializer> {
        Serializer::from_name(&self.content_type)
    }

    /// Reads an envelope.
    ///
    /// Takes everything that a Python worker runs, and refuses what would end or stop one. Protocol 1 and mixed
    /// messages become protocol 2: the headers are filled from the body, and the body is written anew. Only the
    /// envelope is looked at otherwise; [`Message::decode_body`] does the rest.
    ///
    /// # Errors
    ///
    /// With the name and place of the first thing that is wrong, and the task and id if they could be read.
    pub fn parse(raw: &[u8]) -> Result<Self, DecodeError> {
        Self::parse_with(raw, &DecodeOptions::default())
    }

    /// As [`Message::parse`], with what a body may be: a protocol 1 message must be read whole to know its task.
    ///
    /// # Errors
    ///
    /// As [`Message::parse`].
    pub fn parse_with(raw: &[u8], options: &DecodeOptions) -> Result<Self, DecodeError> {
        parse::parse(raw, options).map_err(|reason| parse::with_names(reason, raw))
    }

    /// Writes the envelope as Python does.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        write::to_json(self)
    }

    /// Reads the body.
    ///
    /// # Errors
    ///
    /// When its content type is not accepted, it cannot be decompressed within the limit, or it is not
    /// `[args, kwargs, embed]` in that type.
    pub fn decode_body(&self, options: &DecodeOptions) -> Result<Body, DecodeError> {
        read_body(self, options).map_err(|reason| {
            DecodeError::new(reason).of(
                Some(self.headers.task.clone()),
                Some(self.headers.id.clone()),
            )
        })
    }

    /// Tells whether the message was put back into its queue before.
    #[must_use]
    pub fn redelivered(&self) -> bool {
        let marked = |map: &Map| matches!(map.get("redelivered"), Some(Value::Bool(true)));
        marked(&self.headers.extra) || marked(&self.properties.delivery_info.extra)
    }
}

fn read_body(message: &Message, options: &DecodeOptions) -> Result<Body, DecodeReason> {
    let serializer = options.serializer(&message.content_type, &message.content_encoding)?;
    let plain;
    let bytes = match &message.headers.compression {
        None => &message.body,
        Some(method) => {
            let method = Compression::from_name(method)?;
            plain = decompress(method, &message.body, options.max_decompressed)?;
            &plain
        }
    };
    match serializer {
        Serializer::Json => read_json_body(bytes),
        other => read_other_body(other, bytes, options.max_decompressed),
    }
}

/// A whole body in any serializer.
fn body_value(serializer: Serializer, bytes: &[u8], limit: usize) -> Result<Value, DecodeReason> {
    match serializer {
        Serializer::Json => Value::from_json(bytes).map_err(body_fault),
        other => Value::read_as(other, bytes, limit).map_err(|problem| DecodeReason::Body {
            serializer: other.name(),
            problem,
        }),
    }
}

fn read_other_body(
    serializer: Serializer,
    bytes: &[u8],
    limit: usize,
) -> Result<Body, DecodeReason> {
    match body_value(serializer, bytes, limit)? {
        Value::List(parts) => match <[Value; 3]>::try_from(parts) {
            Ok(parts) => body_of(parts),
            Err(parts) => {
                let found = format!("a list of {}", parts.len());
                Err(DecodeReason::field("body", &found, SHAPE))
            }
        },
        Value::Map(fields) => legacy::hybrid_body(fields),
        other => Err(DecodeReason::field("body", other.kind(), SHAPE)),
    }
}

fn body_fault(problem: JsonError) -> DecodeReason {
    DecodeReason::Json {
        part: "body",
        problem,
    }
}

const SHAPE: &str = "a list of three elements: [args, kwargs, embed]";

fn read_json_body(json: &[u8]) -> Result<Body, DecodeReason> {
    let mut reader = Reader::from_bytes(json).map_err(body_fault)?;
    match reader.kind().map_err(body_fault)? {
        Kind::List => {}
        // A compressed protocol 1 body: its shape could not be seen when the envelope was read.
        Kind::Object => return legacy::read_object_body(json),
        _ => {
            Value::from_json(json).map_err(body_fault)?;
            return Err(wrong_shape(json));
        }
    }
    let parts = read_parts(&mut reader).map_err(body_fault)?;
    match parts {
        Some(parts) => body_of(parts),
        None => Err(wrong_shape(json)),
    }
}

fn body_of([args, kwargs, embed]: [Value; 3]) -> Result<Body, DecodeReason> {
    Ok(Body {
        args,
        kwargs: keyword_arguments(kwargs)?,
        embed: follow_ups(embed)?,
    })
}

/// Three values, or none if the list has another length.
fn read_parts(reader: &mut Reader<'_>) -> Result<Option<[Value; 3]>, JsonError> {
    let mut parts = [Value::Null, Value::Null, Value::Null];
    let (mut first, mut count) = (true, 0);
    reader.open_list()?;
    while reader.next_item(&mut first)? {
        let value = Value::read(reader, true)?;
        if let Some(place) = parts.get_mut(count) {
            *place = value;
        }
        count += 1;
    }
    reader.end()?;
    Ok((count == parts.len()).then_some(parts))
}

fn wrong_shape(json: &[u8]) -> DecodeReason {
    DecodeReason::field("body", &String::from_utf8_lossy(json), SHAPE)
}

fn keyword_arguments(kwargs: Value) -> Result<Map, DecodeReason> {
    match kwargs {
        Value::Map(map) => Ok(map),
        other => Err(DecodeReason::field(
            "body kwargs",
            &other.to_json(),
            "an object",
        )),
    }
}

fn follow_ups(embed: Value) -> Result<Embed, DecodeReason> {
    match embed {
        Value::Map(raw) => Ok(Embed::read(raw)),
        Value::Null => Ok(Embed::default()),
        other => Err(DecodeReason::field(
            "body embed",
            &other.to_json(),
            "an object or null",
        )),
    }
}
