//! What was sent, to be compared.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use lovage_broker::{Destination, Publish};
use lovage_protocol::{DecodeOptions, Map, Message, TaskId, Value, time};
use lovage_registry::{Binder, TaskSpec};
use serde::de::DeserializeOwned;

/// A message that was sent: by the test, by a task, or by the worker (a retry, a callback, the next step of a chain).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Sent {
    /// The task's id.
    pub id: TaskId,
    /// The task's name.
    pub task: String,
    /// The queue it went to; `exchange/routing key` for a message to an exchange.
    pub queue: String,
    /// Positional arguments.
    pub args: Vec<Value>,
    /// Keyword arguments.
    pub kwargs: Map,
    /// Not to be run before.
    pub eta: Option<DateTime<Utc>>,
    /// Not to be run after.
    pub expires: Option<DateTime<Utc>>,
    /// Its priority.
    pub priority: i64,
    /// 0 for a call, the number of the attempt for a retry.
    pub retries: u32,
    /// Headers of the user's own.
    pub headers: Map,
    /// The whole message.
    pub message: Message,
    /// Arguments by the names of their parameters.
    named: Map,
}

impl Sent {
    /// `None` for what is no task message.
    pub(crate) fn read(publish: &Publish, spec: impl Fn(&str) -> Option<TaskSpec>) -> Option<Self> {
        let queue = match &publish.destination {
            Destination::Queue(queue) => queue.to_string(),
            Destination::Exchange {
                exchange,
                routing_key,
            } => format!("{exchange}/{routing_key}"),
            _ => return None,
        };
        Self::parse(&publish.payload, queue, spec)
    }

    pub(crate) fn parse(
        raw: &[u8],
        queue: String,
        spec: impl Fn(&str) -> Option<TaskSpec>,
    ) -> Option<Self> {
        let message = Message::parse(raw).ok()?;
        let body = message.decode_body(&DecodeOptions::default()).ok()?;
        let headers = &message.headers;
        let bound = spec(headers.task.as_str()).and_then(|spec| {
            Binder::new(&spec)
                .bind(body.args.clone(), body.kwargs.clone())
                .ok()
        });
        let moment = |text: &Option<String>| time::parse_iso(text.as_deref()?, Tz::UTC).ok();
        Some(Self {
            id: headers.id.clone(),
            task: headers.task.as_str().to_owned(),
            queue,
            args: match body.args {
                Value::List(args) => args,
                other => vec![other],
            },
            named: bound.unwrap_or_else(|| body.kwargs.clone()),
            kwargs: body.kwargs,
            eta: moment(&headers.eta),
            expires: moment(&headers.expires),
            priority: message.properties.priority,
            retries: headers.retries,
            headers: headers.extra.clone(),
            message,
        })
    }

    /// An argument by its parameter's name, however it was passed; a default counts as passed. `None` when there is none of
    /// this name or it is of another type.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        self.named.get(name)?.clone().deserialize().ok()
    }
}
