//! Remote control: a request to all workers and the replies to it (kombu's pidbox, `kombu/pidbox.py`).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use uuid::Uuid;

use crate::json::JsonError;
use crate::value::{Map, Value};

/// The exchange on which workers hear requests.
pub const EXCHANGE: &str = "celery.pidbox";
/// The exchange on which they reply.
pub const REPLY_EXCHANGE: &str = "reply.celery.pidbox";

/// A request to workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The command, such as `ping` or `registered`.
    pub method: String,
    /// Its arguments.
    pub arguments: Map,
    /// Node names that shall act; `None`: every node.
    pub destination: Option<Vec<String>>,
    /// Names this request in its replies.
    pub ticket: String,
    /// The routing key of the replies on [`REPLY_EXCHANGE`]; each asker has its own.
    pub reply_key: String,
}

impl Request {
    /// A request to every node, with a fresh ticket and reply key.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            arguments: Map::new(),
            destination: None,
            ticket: Uuid::new_v4().to_string(),
            reply_key: Uuid::new_v4().to_string(),
        }
    }

    /// The queue for the replies.
    #[must_use]
    pub fn reply_queue(&self) -> String {
        format!("{}.{REPLY_EXCHANGE}", self.reply_key)
    }

    /// Writes the envelope to broadcast. `clock` is the sender's Lamport clock, `expires` the unix time at which it
    /// stops listening.
    #[must_use]
    pub fn to_json(&self, clock: i64, expires: f64) -> Vec<u8> {
        let reply_to = object([
            ("exchange", REPLY_EXCHANGE.into()),
            ("routing_key", self.reply_key.as_str().into()),
        ]);
        let answer = [
            ("ticket", self.ticket.as_str().into()),
            ("reply_to", reply_to),
        ];
        self.envelope(answer, clock, expires)
    }

    /// As [`Self::to_json`], for a request that nobody is to answer.
    #[must_use]
    pub fn to_json_without_reply(&self, clock: i64, expires: f64) -> Vec<u8> {
        self.envelope([], clock, expires)
    }

    fn envelope<const N: usize>(
        &self,
        answer: [(&str, Value); N],
        clock: i64,
        expires: f64,
    ) -> Vec<u8> {
        let destination = self
            .destination
            .as_ref()
            .map(|nodes| Value::List(nodes.iter().map(|node| Value::Str(node.clone())).collect()));
        let mut body = object([
            ("method", self.method.as_str().into()),
            ("arguments", Value::Map(self.arguments.clone())),
            ("destination", destination.into()),
            ("pattern", Value::Null),
            ("matcher", Value::Null),
        ]);
        if let Value::Map(body) = &mut body {
            body.extend(answer.map(|(name, value)| (name.to_owned(), value)));
        }
        let properties = object([
            ("delivery_mode", 2.into()),
            (
                "delivery_info",
                object([("exchange", EXCHANGE.into()), ("routing_key", "".into())]),
            ),
            ("priority", 0.into()),
            ("body_encoding", "base64".into()),
            ("delivery_tag", Uuid::new_v4().to_string().into()),
        ]);
        let envelope = object([
            ("body", STANDARD.encode(body.to_json()).into()),
            ("content-encoding", "utf-8".into()),
            ("content-type", "application/json".into()),
            (
                "headers",
                object([("clock", clock.into()), ("expires", expires.into())]),
            ),
            ("properties", properties),
        ]);
        envelope.to_json().into_bytes()
    }
}

/// One node's reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The node.
    pub node: String,
    /// What the command gave; an object with the key `error` when it failed.
    pub value: Value,
    /// The ticket of the request it answers.
    pub ticket: Option<String>,
}

/// Why a reply cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// It is no JSON.
    #[error("the reply is not JSON")]
    Json(#[from] JsonError),
    /// Its body is no base64.
    #[error("the reply's body is not base64")]
    Base64(#[from] base64::DecodeError),
    /// It is no envelope with one node's answer.
    #[error("the reply is not an envelope with an object of one node")]
    Shape,
}

impl Reply {
    /// Reads a reply's envelope.
    ///
    /// # Errors
    ///
    /// When it is not what a node sends.
    pub fn parse(raw: &[u8]) -> Result<Self, ReplyError> {
        let envelope = Value::from_json_plain(raw)?;
        let body = envelope
            .get("body")
            .and_then(Value::as_str)
            .ok_or(ReplyError::Shape)?;
        let encoding = envelope
            .get("properties")
            .and_then(|all| all.get("body_encoding"));
        let body = match encoding.and_then(Value::as_str) {
            Some("base64") => Value::from_json(&STANDARD.decode(body)?)?,
            _ => Value::from_json(body.as_bytes())?,
        };
        let ticket = envelope
            .get("headers")
            .and_then(|headers| headers.get("ticket"));
        let ticket = ticket.and_then(Value::as_str).map(str::to_owned);
        let Value::Map(nodes) = body else {
            return Err(ReplyError::Shape);
        };
        let (node, value) = nodes.into_iter().next().ok_or(ReplyError::Shape)?;
        Ok(Self {
            node,
            value,
            ticket,
        })
    }
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(
        fields
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(text: &str) -> Value {
        Value::from_json_plain(text.as_bytes()).unwrap()
    }

    fn without(mut value: Value, path: &[&str], names: &[&str]) -> Value {
        fn at<'a>(value: &'a mut Value, path: &[&str]) -> &'a mut Map {
            let Value::Map(map) = value else {
                panic!("an object")
            };
            match path {
                [] => map,
                [first, rest @ ..] => at(map.get_mut(*first).unwrap(), rest),
            }
        }
        for name in names {
            at(&mut value, path).shift_remove(*name).unwrap();
        }
        value
    }

    #[test]
    fn a_request_is_what_celery_sends() {
        let capture = capture(include_str!("../tests/captures/04-request-ping.json"));
        let theirs =
            Value::from_json_plain(capture.get("raw").unwrap().as_str().unwrap().as_bytes())
                .unwrap();
        let mut request = Request::new("ping");
        request.ticket = "e57f5eee-33d5-4624-88e5-f7550fc271df".to_owned();
        request.reply_key = "acf87c39-cfc0-382d-9465-d7b6b61df57c".to_owned();
        let ours = Value::from_json_plain(&request.to_json(1, 1_795_409_446.414_389)).unwrap();
        let strip = |value| without(value, &["properties"], &["delivery_tag"]);
        assert_eq!(strip(ours), strip(theirs));
    }

    #[test]
    fn a_reply_of_celery_is_read() {
        let capture = capture(include_str!("../tests/captures/04-reply-registered.json"));
        let raw = capture.get("raw").unwrap().as_str().unwrap();
        let reply = Reply::parse(raw.as_bytes()).unwrap();
        assert_eq!(reply.node, "w1@host1");
        assert_eq!(
            reply.ticket.as_deref(),
            Some("8027656c-be77-4123-b38b-543ea2cd3e8b")
        );
        assert_eq!(reply.value.as_list().unwrap()[0], "t.add".into());
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for raw in [
            "",
            "[]",
            "{}",
            r#"{"body": "W10="}"#,
            r#"{"body": "*", "properties": {"body_encoding": "base64"}}"#,
        ] {
            assert!(Reply::parse(raw.as_bytes()).is_err(), "{raw}");
        }
    }
}
