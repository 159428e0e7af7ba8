//! Events: what workers and clients tell whoever listens (`celery/events/dispatcher.py`, `celery/events/event.py`).
//!
//! A worker writes thousands of events a second, so an [`EventText`] writes straight into a text, with no tree of values
//! in between; whoever listens reads [`Event`]s.

use crate::control::envelope::{self, Broken, Opened};
use crate::json::JsonError;
use crate::json::writer::{write_float, write_int, write_string};
use crate::value::{Map, Value};

/// The exchange of events.
pub const EXCHANGE: &str = "celeryev";
/// The routing key of lists of task events.
pub const MULTI: &str = "task.multi";

/// Who sends events.
#[derive(Debug, Clone, PartialEq)]
pub struct Origin {
    /// The node name `worker@host`; of a client, `gen<pid>@host`.
    pub hostname: String,
    /// The sending process.
    pub pid: u32,
    /// Hours of the local zone from UTC, those in the west positive (`time.timezone / 3600`).
    pub utcoffset: f64,
}

/// The routing key of an event on its own.
#[must_use]
pub fn routing_key(kind: &str) -> String {
    kind.replace('-', ".")
}

/// The envelope of an event, or of a list of them, for [`EXCHANGE`].
#[must_use]
pub fn envelope(origin: &Origin, routing_key: &str, body: &str) -> Vec<u8> {
    let mut headers = "{\"hostname\": ".to_owned();
    write_string(&mut headers, &origin.hostname);
    headers.push('}');
    envelope::write(body, &headers, 1, EXCHANGE, routing_key)
}

/// An event while it is written, in Celery's order of fields.
#[derive(Debug)]
pub struct EventText<'a> {
    out: &'a mut String,
}

impl<'a> EventText<'a> {
    /// Begins an event at the end of a text. `clock` is the sender's Lamport clock for it.
    pub fn begin(out: &'a mut String, origin: &Origin, clock: i64) -> Self {
        out.push_str("{\"hostname\": ");
        write_string(out, &origin.hostname);
        let mut this = Self { out };
        this.float("utcoffset", origin.utcoffset);
        this.int("pid", i64::from(origin.pid));
        this.int("clock", clock);
        this
    }

    /// Begins an event without who sends it, for records that say that in another place.
    pub fn plain(out: &'a mut String) -> Self {
        out.push('{');
        Self { out }
    }

    fn name(&mut self, name: &str) {
        if !self.out.ends_with('{') {
            self.out.push_str(", ");
        }
        write_string(self.out, name);
        self.out.push_str(": ");
    }

    /// A field with a text.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        write_string(self.out, text);
    }

    /// A field with a text, or null.
    pub fn maybe(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.null(name),
        }
    }

    /// A field with a whole number.
    pub fn int(&mut self, name: &str, int: i64) {
        self.name(name);
        write_int(self.out, int);
    }

    /// A field with a number that Python reads as a float.
    pub fn float(&mut self, name: &str, float: f64) {
        self.name(name);
        write_float(self.out, float);
    }

    /// A field with true or false.
    pub fn bool(&mut self, name: &str, value: bool) {
        self.name(name);
        self.out.push_str(if value { "true" } else { "false" });
    }

    /// A field without a value.
    pub fn null(&mut self, name: &str) {
        self.name(name);
        self.out.push_str("null");
    }

    /// A field with any value.
    pub fn value(&mut self, name: &str, value: &Value) {
        self.name(name);
        value.write_json(self.out);
    }

    /// Ends the event: when it happened, in unix seconds, and what it is, such as `task-received`.
    pub fn end(mut self, timestamp: f64, kind: &str) {
        self.float("timestamp", timestamp);
        self.text("type", kind);
        self.out.push('}');
    }
}

/// An event as it was heard.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Such as `task-received`.
    pub kind: String,
    /// The node that sent it; empty when it does not say.
    pub hostname: String,
    /// When it happened, in unix seconds by the sender's clock; 0 when it does not say.
    pub timestamp: f64,
    /// The sender's Lamport clock.
    pub clock: Option<i64>,
    /// All fields, those above too.
    pub fields: Map,
}

/// Why what was heard is no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// It is no JSON.
    #[error("the event is not JSON")]
    Json(#[from] JsonError),
    /// Its body is no base64.
    #[error("the event's body is not base64")]
    Base64(#[from] base64::DecodeError),
    /// It is neither an object with a type nor a list of them.
    #[error("the event is {0}, expected an object with a type or a list of them, as JSON")]
    Shape(String),
}

impl Event {
    /// Reads an envelope: one event, or a list of them.
    ///
    /// # Errors
    ///
    /// When it is not what a node sends.
    pub fn parse(raw: &[u8]) -> Result<Vec<Self>, EventError> {
        let Opened { body, .. } = envelope::read(raw).map_err(|broken| match broken {
            Broken::Json(error) => EventError::Json(error),
            Broken::Base64(error) => EventError::Base64(error),
            Broken::ContentType(kind) => EventError::Shape(kind),
            Broken::NoBody => EventError::Shape("without a body".to_owned()),
        })?;
        match body {
            Value::List(events) => events.into_iter().map(Self::from_value).collect(),
            event => Self::from_value(event).map(|event| vec![event]),
        }
    }

    /// Reads an event that stands alone, as [`EventText::plain`] writes it.
    ///
    /// # Errors
    ///
    /// When it is no JSON object with a type.
    pub fn from_json(raw: &[u8]) -> Result<Self, EventError> {
        Self::from_value(Value::from_json_plain(raw)?)
    }

    fn from_value(value: Value) -> Result<Self, EventError> {
        let kind = value.kind();
        let Value::Map(fields) = value else {
            return Err(EventError::Shape(kind.to_owned()));
        };
        let text = |name| fields.get(name).and_then(Value::as_str);
        let Some(kind) = text("type") else {
            return Err(EventError::Shape("an object without a type".to_owned()));
        };
        Ok(Self {
            kind: kind.to_owned(),
            hostname: text("hostname").unwrap_or_default().to_owned(),
            timestamp: fields
                .get("timestamp")
                .and_then(Value::as_f64)
                .unwrap_or(0.0),
            clock: fields.get("clock").and_then(Value::as_i64),
            fields,
        })
    }

    /// A field's text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }
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

    fn origin() -> Origin {
        Origin {
            hostname: "w1@host1".to_owned(),
            pid: 5134,
            utcoffset: 0.0,
        }
    }

    #[test]
    fn a_list_of_task_events_is_what_celery_sends_to_the_byte() {
        let theirs = capture(include_str!("../tests/captures/03-event-task-multi.json"));
        let mut body = "[".to_owned();
        let mut event = EventText::begin(&mut body, &origin(), 12);
        event.text("uuid", "00000000-0000-4000-9000-000000000001");
        event.text("name", "t.add");
        event.text("args", "(2, 3)");
        event.text("kwargs", "{}");
        event.text("root_id", "00000000-0000-4000-9000-000000000001");
        event.maybe("parent_id", None);
        event.int("retries", 0);
        event.null("eta");
        event.null("expires");
        event.end(1_795_410_372.513_241_8, "task-received");
        body.push(']');
        let ours = envelope(&origin(), MULTI, &body);
        let ours = Value::from_json_plain(&ours).unwrap();
        assert_eq!(untagged(ours), untagged(theirs));
    }

    #[test]
    fn events_of_celery_are_read_alone_and_in_lists() {
        let read = |text: &str| Event::parse(capture(text).to_json().as_bytes()).unwrap();
        let online = read(include_str!(
            "../tests/captures/03-event-worker-online.json"
        ));
        let [online] = online.as_slice() else {
            panic!("one event")
        };
        assert_eq!(online.kind, "worker-online");
        assert_eq!(online.hostname, "w1@host1");
        assert_eq!(online.clock, Some(1));
        let several = read(include_str!("../tests/captures/03-event-task-multi.json"));
        assert_eq!(several[0].text("name"), Some("t.add"));
    }

    #[test]
    fn a_plain_event_is_read_as_it_was_written() {
        let mut text = String::new();
        let mut event = EventText::plain(&mut text);
        event.text("uuid", "{");
        event.int("retries", 2);
        event.end(7.5, "task-retried");
        assert_eq!(
            text,
            r#"{"uuid": "{", "retries": 2, "timestamp": 7.5, "type": "task-retried"}"#
        );
        let read = Event::from_json(text.as_bytes()).unwrap();
        assert_eq!((read.kind.as_str(), read.timestamp), ("task-retried", 7.5));
        assert_eq!((read.hostname.as_str(), read.text("uuid")), ("", Some("{")));
        assert!(Event::from_json(b"[]").is_err());
    }

    #[test]
    fn what_is_no_event_is_refused() {
        let raw =
            |body: &str| String::from_utf8(envelope(&origin(), "worker.online", body)).unwrap();
        for raw in [
            String::new(),
            "{}".to_owned(),
            raw("7"),
            raw("[7]"),
            raw("{}"),
            raw(r#"{"type": 7}"#),
            raw("{"),
        ] {
            assert!(Event::parse(raw.as_bytes()).is_err(), "{raw}");
        }
        assert!(Event::parse(raw("[]").as_bytes()).unwrap().is_empty());
    }
}
