//! A request as a worker reads it: lenient where kombu is (`kombu/pidbox.py`, `Node.handle_message` and `dispatch`).

use crate::json::JsonError;
use crate::value::{Map, Value};

use super::envelope::{self, Broken, Opened};
use super::request::Matching;

/// A request that came.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The command.
    pub method: String,
    /// Its arguments: an object, where the asker knows what he does.
    pub arguments: Value,
    /// Who is to act.
    pub addressed: Addressed,
    /// What the reply is to carry, so that the asker knows it again.
    pub ticket: Option<String>,
    /// Where the reply goes; `None`: nobody waits for one.
    pub reply_to: Option<ReplyTo>,
    /// The asker's Lamport clock.
    pub clock: i64,
}

/// Which nodes are to act.
#[derive(Debug, Clone, PartialEq)]
pub enum Addressed {
    /// All.
    Everybody,
    /// Those with these names.
    Nodes(Vec<String>),
    /// Those whose name is a part of this text: what `in` means in Python where a single text was sent for a list.
    Within(String),
    /// Those whose names match.
    Matching(Matching),
}

/// Where a reply goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyTo {
    /// A direct exchange.
    pub exchange: String,
    /// The asker's key on it.
    pub routing_key: String,
}

/// Why a request cannot be read. Nobody is told: it may not be a request at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceivedError {
    /// It is no JSON.
    #[error("the request is not JSON")]
    Json(#[from] JsonError),
    /// Its body is no base64.
    #[error("the request's body is not base64")]
    Base64(#[from] base64::DecodeError),
    /// Mailboxes take JSON only.
    #[error("the request is {0}, and only application/json is taken")]
    ContentType(String),
    /// It is no envelope with an object that names a method.
    #[error("the request has no {0}")]
    Missing(&'static str),
    /// Its destination is no list of names.
    #[error("the request's destination is {0}, expected a list of node names")]
    Destination(&'static str),
}

impl Received {
    /// Reads a request's envelope.
    ///
    /// # Errors
    ///
    /// When it is not what an asker sends.
    pub fn parse(raw: &[u8]) -> Result<Self, ReceivedError> {
        let Opened { headers, body } = envelope::read(raw).map_err(|broken| match broken {
            Broken::Json(error) => ReceivedError::Json(error),
            Broken::Base64(error) => ReceivedError::Base64(error),
            Broken::ContentType(kind) => ReceivedError::ContentType(kind),
            Broken::NoBody => ReceivedError::Missing("body"),
        })?;
        let Value::Map(mut body) = body else {
            return Err(ReceivedError::Missing("object in its body"));
        };
        let Some(Value::Str(method)) = body.shift_remove("method") else {
            return Err(ReceivedError::Missing("method"));
        };
        let arguments = match body.shift_remove("arguments") {
            Some(arguments) if is_true(&arguments) => arguments,
            _ => Value::Map(Map::new()),
        };
        Ok(Self {
            method,
            arguments,
            addressed: addressed(&body)?,
            ticket: body
                .get("ticket")
                .and_then(Value::as_str)
                .map(str::to_owned),
            reply_to: body.get("reply_to").and_then(reply_to),
            clock: headers.get("clock").and_then(Value::as_i64).unwrap_or(0),
        })
    }
}

fn addressed(body: &Map) -> Result<Addressed, ReceivedError> {
    match body.get("destination") {
        Some(destination) if is_true(destination) => match destination {
            Value::List(nodes) => {
                let names = nodes.iter().filter_map(Value::as_str);
                return Ok(Addressed::Nodes(names.map(str::to_owned).collect()));
            }
            Value::Map(nodes) => return Ok(Addressed::Nodes(nodes.keys().cloned().collect())),
            Value::Str(text) => return Ok(Addressed::Within(text.clone())),
            other => return Err(ReceivedError::Destination(other.kind())),
        },
        _ => {}
    }
    let text = |name| body.get(name).and_then(Value::as_str);
    Ok(match (text("pattern"), text("matcher")) {
        (Some(pattern), Some(matcher)) if !pattern.is_empty() && !matcher.is_empty() => {
            Addressed::Matching(Matching {
                pattern: pattern.to_owned(),
                matcher: matcher.to_owned(),
            })
        }
        _ => Addressed::Everybody,
    })
}

fn reply_to(value: &Value) -> Option<ReplyTo> {
    let text = |name| value.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(ReplyTo {
        exchange: text("exchange")?,
        routing_key: text("routing_key")?,
    })
}

/// What Python takes for true.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Int(value) => *value != 0,
        Value::Float(value) => *value != 0.0,
        Value::Str(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        Value::Map(map) => !map.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::STANDARD};

    use super::*;

    fn received(body: &str) -> Result<Received, ReceivedError> {
        let raw = format!(
            r#"{{"body": "{}", "properties": {{"body_encoding": "base64"}}}}"#,
            STANDARD.encode(body)
        );
        Received::parse(raw.as_bytes())
    }

    #[test]
    fn a_request_of_celery_is_read() {
        let capture = include_str!("../../tests/captures/04-request-ping.json");
        let capture = Value::from_json_plain(capture.as_bytes()).unwrap();
        let raw = capture.get("raw").unwrap().as_str().unwrap();
        let received = Received::parse(raw.as_bytes()).unwrap();
        assert_eq!(received.method, "ping");
        assert_eq!(received.clock, 1);
        assert_eq!(received.addressed, Addressed::Everybody);
        let reply_to = received.reply_to.unwrap();
        assert_eq!(reply_to.exchange, "reply.celery.pidbox");
        assert_eq!(reply_to.routing_key, "acf87c39-cfc0-382d-9465-d7b6b61df57c");
    }

    #[test]
    fn who_is_to_act_is_read_as_kombu_reads_it() {
        let check = |fields: &str, expected: Addressed| {
            let body = format!(r#"{{"method": "ping", {fields}}}"#);
            assert_eq!(received(&body).unwrap().addressed, expected, "{fields}");
        };
        let nodes = Addressed::Nodes(vec!["a@h".to_owned()]);
        check(r#""destination": ["a@h", 3]"#, nodes.clone());
        check(r#""destination": {"a@h": 1}"#, nodes.clone());
        check(
            r#""destination": "a@h""#,
            Addressed::Within("a@h".to_owned()),
        );
        check(r#""destination": []"#, Addressed::Everybody);
        check(r#""pattern": "a*""#, Addressed::Everybody);
        let matching = Addressed::Matching(Matching {
            pattern: "a*".to_owned(),
            matcher: "glob".to_owned(),
        });
        check(r#""pattern": "a*", "matcher": "glob""#, matching);
        check(
            r#""destination": ["a@h"], "pattern": "b*", "matcher": "glob""#,
            nodes,
        );
    }

    #[test]
    fn what_is_no_request_is_refused_and_odd_ones_are_read() {
        for body in ["[]", "7", "{}", r#"{"method": 7}"#, "{"] {
            assert!(received(body).is_err(), "{body}");
        }
        assert!(received(r#"{"method": "ping", "destination": 7}"#).is_err());
        let odd =
            received(r#"{"method": "ping", "arguments": [1], "reply_to": "me", "ticket": 7}"#);
        let odd = odd.unwrap();
        assert_eq!(odd.arguments.as_list().unwrap().len(), 1);
        assert_eq!((odd.reply_to, odd.ticket), (None, None));
        let none = received(r#"{"method": "ping", "arguments": null}"#).unwrap();
        assert!(none.arguments.as_map().unwrap().is_empty());
        let pickled = br#"{"body": "e30=", "content-type": "application/x-python-serialize"}"#;
        assert!(matches!(
            Received::parse(pickled),
            Err(ReceivedError::ContentType(_))
        ));
    }
}
