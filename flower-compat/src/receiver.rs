//! Events as they are heard (`celery/events/receiver.py`).

use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use lovage_broker::{Broker, Error};
use lovage_protocol::{
    Lamport,
    event::{self, Event},
};

/// Hears events from now on, by routing key (`#` for all of them). What is no event is passed over. The clock learns
/// from each what time it is; a client's `task-sent` has a clock of its own that says nothing.
///
/// # Errors
/// When the broker does not answer.
pub async fn receive(
    broker: &dyn Broker,
    pattern: &str,
    clock: Lamport,
) -> Result<BoxStream<'static, Event>, Error> {
    let heard = broker.subscribe(event::EXCHANGE, pattern).await?;
    let events = heard.map(move |broadcast| {
        let events = Event::parse(&broadcast.payload).unwrap_or_else(|error| {
            tracing::debug!(
                routing_key = broadcast.routing_key,
                error = &error as &dyn std::error::Error,
                "what was heard is no event"
            );
            Vec::new()
        });
        for event in &events {
            if event.kind != "task-sent"
                && let Some(theirs) = event.clock
            {
                clock.adjust(theirs);
            }
        }
        stream::iter(events)
    });
    Ok(events.flatten().boxed())
}
