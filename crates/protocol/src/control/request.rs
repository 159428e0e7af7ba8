//! A request to workers, as an asker sends it.

use uuid::Uuid;

use crate::value::{Map, Value};

use super::{EXCHANGE, REPLY_EXCHANGE, envelope};

/// A request to workers.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The command, such as `ping` or `registered`.
    pub method: String,
    /// Its arguments.
    pub arguments: Map,
    /// Node names that shall act; `None`: every node.
    pub destination: Option<Vec<String>>,
    /// Which nodes shall act, by their names; only without a destination.
    pub matching: Option<Matching>,
    /// Names this request in its replies.
    pub ticket: String,
    /// The routing key of the replies on [`REPLY_EXCHANGE`]; each asker has its own.
    pub reply_key: String,
}

/// A choice of nodes by a pattern of their names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// The pattern.
    pub pattern: String,
    /// How it is meant: `glob` or `pcre`.
    pub matcher: String,
}

impl Request {
    /// A request to every node, with a fresh ticket and reply key.
    #[must_use]
    pub fn new(method: &str) -> Self {
        Self {
            method: method.to_owned(),
            arguments: Map::new(),
            destination: None,
            matching: None,
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
        let matching = self.matching.as_ref();
        let text = |text: Option<&String>| text.map_or(Value::Null, |text| text.as_str().into());
        let mut body = object([
            ("method", self.method.as_str().into()),
            ("arguments", Value::Map(self.arguments.clone())),
            ("destination", destination.into()),
            ("pattern", text(matching.map(|matching| &matching.pattern))),
            ("matcher", text(matching.map(|matching| &matching.matcher))),
        ]);
        if let Value::Map(body) = &mut body {
            body.extend(answer.map(|(name, value)| (name.to_owned(), value)));
        }
        let headers = object([("clock", clock.into()), ("expires", expires.into())]);
        envelope::write(&body.to_json(), &headers.to_json(), 2, EXCHANGE, "")
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
        let capture = Value::from_json_plain(text.as_bytes()).unwrap();
        let raw = capture.get("raw").unwrap().as_str().unwrap();
        Value::from_json_plain(raw.as_bytes()).unwrap()
    }

    fn untagged(mut value: Value) -> Value {
        if let Value::Map(map) = &mut value
            && let Some(Value::Map(properties)) = map.get_mut("properties")
        {
            properties.shift_remove("delivery_tag").unwrap();
        }
        value
    }

    #[test]
    fn a_request_is_what_celery_sends() {
        let theirs = capture(include_str!("../../tests/captures/04-request-ping.json"));
        let mut request = Request::new("ping");
        request.ticket = "e57f5eee-33d5-4624-88e5-f7550fc271df".to_owned();
        request.reply_key = "acf87c39-cfc0-382d-9465-d7b6b61df57c".to_owned();
        let ours = Value::from_json_plain(&request.to_json(1, 1_795_409_446.414_389)).unwrap();
        assert_eq!(untagged(ours), untagged(theirs));
    }

    #[test]
    fn a_request_by_pattern_is_what_celery_sends() {
        let theirs = capture(include_str!("../../tests/captures/04-request-pattern.json"));
        let theirs = super::super::Received::parse(theirs.to_json().as_bytes()).unwrap();
        let mut request = Request::new(&theirs.method);
        request.matching = Some(Matching {
            pattern: "w*".to_owned(),
            matcher: "glob".to_owned(),
        });
        let ours = super::super::Received::parse(&request.to_json(1, 0.0)).unwrap();
        assert_eq!(ours.addressed, theirs.addressed);
    }
}
