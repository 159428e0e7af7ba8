//! The event `task-sent` (`CELERY_TASK_SEND_SENT_EVENT`; `celery/app/amqp.py`, `send_task_message`): who sends a task says so, right
//! after the message, in an event of its own.

use lovage_broker::{Broker, Destination, Publish};
use lovage_flower_compat::machine;
use lovage_protocol::{
    Lamport, Message,
    event::{self, EventText, Origin},
};
use tracing::debug;

/// The kind of event.
const KIND: &str = "task-sent";

/// Tells of what is sent.
#[derive(Debug)]
pub(crate) struct Sent {
    origin: Origin,
    clock: Lamport,
}

impl Sent {
    /// For a process that signs as `origin`, `gen<pid>@<host>`.
    pub(crate) fn new(origin: &str) -> Self {
        Self {
            origin: Origin {
                hostname: origin.to_owned(),
                pid: std::process::id(),
                utcoffset: machine::utcoffset(),
            },
            clock: Lamport::default(),
        }
    }

    /// Tells of these messages. An event that cannot be sent changes nothing for the task.
    pub(crate) async fn tell(&self, broker: &dyn Broker, batch: &[Publish]) {
        let events: Vec<Publish> = batch.iter().filter_map(|one| self.event(one)).collect();
        if events.is_empty() {
            return;
        }
        if let Err(error) = broker.publish(&events).await {
            debug!(
                error = &error as &dyn std::error::Error,
                "task-sent was not sent"
            );
        }
    }

    fn event(&self, publish: &Publish) -> Option<Publish> {
        let message = Message::parse(&publish.payload).ok()?;
        let (headers, info) = (&message.headers, &message.properties.delivery_info);
        let queue = match &publish.destination {
            Destination::Queue(queue) => queue.as_str(),
            _ => info.routing_key.as_str(),
        };
        let mut body = String::with_capacity(512);
        let mut event = EventText::begin(&mut body, &self.origin, self.clock.forward());
        event.text("uuid", headers.id.as_str());
        event.maybe("root_id", headers.root_id.as_ref().map(|id| id.as_str()));
        event.maybe(
            "parent_id",
            headers.parent_id.as_ref().map(|id| id.as_str()),
        );
        event.text(
            "name",
            headers.shadow.as_deref().unwrap_or(headers.task.as_str()),
        );
        event.maybe("args", headers.argsrepr.as_deref());
        event.maybe("kwargs", headers.kwargsrepr.as_deref());
        event.int("retries", i64::from(headers.retries));
        event.maybe("eta", headers.eta.as_deref());
        event.maybe("expires", headers.expires.as_deref());
        event.text("queue", queue);
        event.text("exchange", &info.exchange);
        event.text("routing_key", &info.routing_key);
        event.end(machine::now(), KIND);
        let routing_key = event::routing_key(KIND);
        Some(Publish {
            payload: event::envelope(&self.origin, &routing_key, &body).into(),
            destination: Destination::Fanout {
                exchange: event::EXCHANGE.to_owned(),
                routing_key,
            },
            priority: 0,
        })
    }
}
