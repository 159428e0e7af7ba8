//! The properties of a message: how it travels.

use super::headers::{integer, owned, required_text, wrong};
use crate::error::DecodeReason;
use crate::json::reader::{Kind, Number, Reader};
use crate::value::{Map, Value};

/// How the body stands in the envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BodyEncoding {
    /// As base64; what Celery writes.
    #[default]
    Base64,
    /// As text.
    Plain,
}

/// Where a message was sent to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeliveryInfo {
    /// The exchange; empty for the default one.
    pub exchange: String,
    /// The routing key; the queue's name when the exchange is the default one.
    pub routing_key: String,
    /// Other fields, among them `redelivered`.
    pub extra: Map,
}

/// How a message travels.
#[derive(Debug, Clone, PartialEq)]
pub struct Properties {
    /// The task's id, which replies carry back.
    pub correlation_id: Option<String>,
    /// Where replies go.
    pub reply_to: Option<String>,
    /// 2 is kept on disk by AMQP, 1 is not.
    pub delivery_mode: i64,
    /// Where it was sent to.
    pub delivery_info: DeliveryInfo,
    /// Its priority as the sender gave it, not clamped.
    pub priority: i64,
    /// How the body stands in the envelope.
    pub body_encoding: BodyEncoding,
    /// The key by which it is acknowledged.
    pub delivery_tag: String,
    /// How long AMQP keeps it, milliseconds in a string.
    pub expiration: Option<String>,
    /// Properties that Celery does not know.
    pub extra: Map,
}

impl Properties {
    /// Makes the properties of a persistent message to a queue.
    #[must_use]
    pub fn new(correlation_id: &str, queue: &str) -> Self {
        Self {
            correlation_id: Some(correlation_id.to_owned()),
            delivery_info: DeliveryInfo {
                routing_key: queue.to_owned(),
                ..DeliveryInfo::default()
            },
            delivery_tag: uuid::Uuid::new_v4().to_string(),
            ..Self::bare()
        }
    }

    fn bare() -> Self {
        Self {
            correlation_id: None,
            reply_to: None,
            delivery_mode: 2,
            delivery_info: DeliveryInfo::default(),
            priority: 0,
            // Without the property the body is text.
            body_encoding: BodyEncoding::Base64,
            delivery_tag: String::new(),
            expiration: None,
            extra: Map::new(),
        }
    }

    /// Reads the properties object.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeReason> {
        if reader.kind()? != Kind::Object {
            return Err(wrong(reader, "properties", "an object"));
        }
        let mut read = Self {
            body_encoding: BodyEncoding::Plain,
            ..Self::bare()
        };
        let (mut tagged, mut addressed, mut first) = (false, false, true);
        reader.open_object()?;
        while let Some(key) = reader.next_key(&mut first)? {
            match &*key {
                "correlation_id" => read.correlation_id = owned(reader)?,
                "reply_to" => read.reply_to = owned(reader)?,
                "delivery_mode" => read.delivery_mode = delivery_mode(reader)?,
                "delivery_info" => {
                    read.delivery_info = DeliveryInfo::read(reader)?;
                    addressed = true;
                }
                "priority" => read.priority = integer(reader, "properties.priority")?.unwrap_or(0),
                "body_encoding" => read.body_encoding = body_encoding(reader)?,
                "delivery_tag" => {
                    read.delivery_tag = owned(reader)?.unwrap_or_default();
                    tagged = true;
                }
                "expiration" => read.expiration = owned(reader)?,
                _ => {
                    read.extra
                        .insert(key.into_owned(), Value::read(reader, false)?);
                }
            }
        }
        if !addressed {
            let expected = "an object with exchange and routing_key";
            return Err(DecodeReason::Missing {
                field: "properties.delivery_info",
                expected,
            });
        }
        if !tagged {
            return Err(DecodeReason::Missing {
                field: "properties.delivery_tag",
                expected: "a string",
            });
        }
        Ok(read)
    }
}

impl DeliveryInfo {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeReason> {
        if reader.kind()? != Kind::Object {
            return Err(wrong(
                reader,
                "properties.delivery_info",
                "an object with exchange and routing_key",
            ));
        }
        let mut read = Self::default();
        let (mut exchange, mut routing_key, mut first) = (false, false, true);
        reader.open_object()?;
        while let Some(key) = reader.next_key(&mut first)? {
            match &*key {
                "exchange" => {
                    read.exchange = address(reader, "properties.delivery_info.exchange")?;
                    exchange = true;
                }
                "routing_key" => {
                    read.routing_key = address(reader, "properties.delivery_info.routing_key")?;
                    routing_key = true;
                }
                _ => {
                    read.extra
                        .insert(key.into_owned(), Value::read(reader, false)?);
                }
            }
        }
        let missing = |field| DecodeReason::Missing {
            field,
            expected: "a string, which may be empty",
        };
        if !exchange {
            return Err(missing("properties.delivery_info.exchange"));
        }
        if !routing_key {
            return Err(missing("properties.delivery_info.routing_key"));
        }
        Ok(read)
    }
}

fn address(reader: &mut Reader<'_>, field: &'static str) -> Result<String, DecodeReason> {
    if reader.kind()? == Kind::Null {
        reader.null()?;
        return Ok(String::new());
    }
    Ok(required_text(reader, field, "a string, which may be empty")?.into_owned())
}

/// It means nothing to whoever receives the message, so nothing is refused for it.
fn delivery_mode(reader: &mut Reader<'_>) -> Result<i64, DecodeReason> {
    if reader.kind()? == Kind::Number
        && let Number::Int(mode) = reader.clone().number()?
    {
        reader.number()?;
        return Ok(mode);
    }
    reader.skip_value()?;
    Ok(2)
}

fn body_encoding(reader: &mut Reader<'_>) -> Result<BodyEncoding, DecodeReason> {
    const EXPECTED: &str = "base64, utf-8 or null";
    if reader.kind()? == Kind::Null {
        reader.null()?;
        return Ok(BodyEncoding::Plain);
    }
    let text = required_text(reader, "properties.body_encoding", EXPECTED)?;
    match &*text {
        "base64" => Ok(BodyEncoding::Base64),
        "" | "utf-8" | "utf8" => Ok(BodyEncoding::Plain),
        other => Err(DecodeReason::field(
            "properties.body_encoding",
            &format!("{other:?}"),
            EXPECTED,
        )),
    }
}
