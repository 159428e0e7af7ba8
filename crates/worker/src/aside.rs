//! Messages that do not run now: those that wait for a slot are looked at, those with a time of their own are kept at the broker, and
//! those that wait for a rate limit wait beside the engine's line.

use std::sync::Arc;

use lovage_broker::{Delivery, Settle};
use lovage_protocol::{Message, RECEIVED_MARK, mark_received};
use tokio::sync::mpsc;
use tracing::debug;

use crate::{
    attempt::{Shared, settle},
    catalogue::Registered,
    commit::{self, Ticket},
    engine::Event,
    intake::{self, Intake},
    revoking,
};

/// The message whose task is going to run.
pub(crate) fn accepted(intake: &Intake) -> Option<&Arc<Message>> {
    match intake {
        Intake::Run(job) => Some(&job.message),
        Intake::Delay(_, message) => Some(message),
        _ => None,
    }
}

/// Tells of a message's reception, unless it was told before it waited at the broker.
pub(crate) fn receive(shared: &Shared, message: &Message, delivery: &Delivery, at: f64) {
    let info = &message.properties.delivery_info;
    if !info.extra.contains_key(RECEIVED_MARK) {
        shared.announcer.received(message, at);
        if let Some(tally) = &shared.tally {
            tally.received(message, delivery.queue.as_str());
        }
    }
}

/// A message that is to run later.
pub(crate) struct Later {
    until: f64,
    message: Arc<Message>,
}

impl Later {
    /// Keeps it at the broker until its time.
    pub(crate) async fn wait(self, shared: &Shared, delivery: Delivery, ticket: Ticket) {
        delay(shared, delivery, ticket, self.until, &self.message).await;
    }
}

/// Looks at a message that has to wait for a slot: its reception is told. Gives the time of one that is to run later.
pub(crate) fn look(shared: &Shared, delivery: &Delivery) -> Option<Later> {
    let now = shared.client.clock().now();
    let intake = intake::read(shared, delivery, now);
    if (shared.announcer.tells_all() || shared.tally.is_some())
        && let Some(message) = accepted(&intake)
    {
        receive(shared, message, delivery, intake::unix(now));
    }
    match intake {
        Intake::Delay(until, message) => Some(Later { until, message }),
        Intake::Run(job) => {
            note(shared, delivery, &job.message);
            None
        }
        _ => None,
    }
}

/// Tells the journal of a message that waits here.
pub(crate) fn note(shared: &Shared, delivery: &Delivery, message: &Message) {
    let chronicle = &shared.announcer.chronicle;
    if let Some(record) = chronicle.received(message, delivery.queue.as_str()) {
        chronicle.note(record);
    }
}

/// Keeps a message at the broker until a time.
pub(crate) async fn delay(
    shared: &Shared,
    delivery: Delivery,
    ticket: Ticket,
    until: f64,
    message: &Message,
) {
    // It comes back as a new delivery, which is not to be told as another reception.
    let told = shared.announcer.tells_all() || shared.tally.is_some();
    let payload = told.then(|| mark_received(&delivery.raw)).flatten();
    let payload = payload.map(Into::into);
    let chronicle = &shared.announcer.chronicle;
    let record = chronicle.received(message, delivery.queue.as_str());
    let mut finish = settle(delivery, Settle::Delay { until, payload });
    finish.record = record;
    commit::finish(shared, Box::new(finish), None).await;
    drop(ticket);
    revoking::recall_if_revoked(shared, &message.headers).await;
}

/// Waits for the task's rate limit, in nobody's way: the message is then in the engine's line again. At a shutdown it goes back
/// like all that has not begun.
pub(crate) async fn wait_for_turn(
    shared: &Shared,
    mut delivery: Delivery,
    task: &Registered,
    engine: &mpsc::UnboundedSender<Event>,
) {
    let turn = async {
        tokio::select! {
            biased;
            () = shared.shutdown.asked() => None,
            token = task.bucket.wait() => Some(token),
        }
    };
    let back = async {
        if delivery.started {
            shared.consumer.unstart(vec![delivery.tag]).await
        } else {
            Ok(())
        }
    };
    shared.turns.waits(&delivery);
    // The place in the line is taken first.
    let (token, waits) = tokio::join!(turn, back);
    shared.turns.has_waited(delivery.tag);
    match waits {
        Ok(()) => delivery.started = false,
        Err(error) => debug!(
            error = &error as &dyn std::error::Error,
            "a message that waited counts as started"
        ),
    }
    let Some(token) = token else {
        return;
    };
    shared.turns.grant(delivery.tag, token);
    // An engine that has ended gives back what has not begun.
    let _ = engine.send(Event::Turned(delivery));
}
