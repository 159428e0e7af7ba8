//! One node's reply.

use crate::json::JsonError;
use crate::value::{Map, Value};

use super::envelope::{self, Broken, Opened};

/// One node's reply.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply {
    /// The node.
    pub node: String,
    /// What the command gave; an object with the key `error` when it failed.
    pub value: Value,
    /// The ticket of the request it answers.
    pub ticket: Option<String>,
    /// The Lamport clock of the node when it replied.
    pub clock: Option<i64>,
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
        let Opened { headers, body } = envelope::read(raw).map_err(|broken| match broken {
            Broken::Json(error) => ReplyError::Json(error),
            Broken::Base64(error) => ReplyError::Base64(error),
            Broken::ContentType(_) | Broken::NoBody => ReplyError::Shape,
        })?;
        let ticket = headers.get("ticket").and_then(Value::as_str);
        let Value::Map(nodes) = body else {
            return Err(ReplyError::Shape);
        };
        let (node, value) = nodes.into_iter().next().ok_or(ReplyError::Shape)?;
        Ok(Self {
            node,
            value,
            ticket: ticket.map(str::to_owned),
            clock: headers.get("clock").and_then(Value::as_i64),
        })
    }

    /// Writes the envelope for the asker's `exchange` and `routing_key`.
    #[must_use]
    pub fn to_json(&self, exchange: &str, routing_key: &str) -> Vec<u8> {
        let body = Map::from_iter([(self.node.clone(), self.value.clone())]);
        let headers = Map::from_iter([
            (
                "ticket".to_owned(),
                self.ticket.as_deref().map_or(Value::Null, Value::from),
            ),
            ("clock".to_owned(), self.clock.unwrap_or(0).into()),
        ]);
        let (body, headers) = (Value::Map(body).to_json(), Value::Map(headers).to_json());
        envelope::write(&body, &headers, 1, exchange, routing_key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_celery_is_read() {
        let capture = include_str!("../../tests/captures/04-reply-registered.json");
        let capture = Value::from_json_plain(capture.as_bytes()).unwrap();
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
    fn a_reply_is_what_celery_sends() {
        let capture = include_str!("../../tests/captures/04-reply-registered.json");
        let capture = Value::from_json_plain(capture.as_bytes()).unwrap();
        let raw = capture.get("raw").unwrap().as_str().unwrap();
        let reply = Reply::parse(raw.as_bytes()).unwrap();
        let theirs = Value::from_json_plain(raw.as_bytes()).unwrap();
        let key = |of: &Value| {
            let info = of.get("properties").unwrap().get("delivery_info").unwrap();
            info.get("routing_key")
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned()
        };
        let ours = reply.to_json("reply.celery.pidbox", &key(&theirs));
        let ours = Value::from_json_plain(&ours).unwrap();
        let untagged = |mut value: Value| {
            if let Value::Map(map) = &mut value
                && let Some(Value::Map(properties)) = map.get_mut("properties")
            {
                properties.shift_remove("delivery_tag").unwrap();
            }
            value
        };
        assert_eq!(untagged(ours), untagged(theirs));
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
