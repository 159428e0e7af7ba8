//! The brokers behind rusty-celery's apps: one hands messages to our client, one keeps them for the caller.

use std::{cell::RefCell, io};

use async_trait::async_trait;
use celery::{
    broker::{Broker, Delivery, DeliveryStream},
    error::BrokerError,
    protocol::Message,
};
use chrono::{DateTime, Utc};

use super::UNROUTED;
use crate::{Client, Outgoing, rusty::from_message};

/// Sends what task code sends through `task.request().app`.
pub(super) struct Outbox(pub(super) Client);

/// Keeps the message of a signature for the thread that asks.
pub(super) struct Capture;

thread_local! {
    static CAPTURED: RefCell<Option<(Message, String)>> = const { RefCell::new(None) };
}

/// What the last send of this thread through [`Capture`] was.
pub(super) fn captured() -> Option<(Message, String)> {
    CAPTURED.take()
}

fn unsupported<T>() -> Result<T, BrokerError> {
    Err(BrokerError::IoError(io::Error::new(
        io::ErrorKind::Unsupported,
        "this app only sends; the worker that runs the task consumes",
    )))
}

impl Outbox {
    async fn pass_on(&self, message: &Message, queue: &str) -> Result<(), crate::Error> {
        let mut call: Outgoing = from_message(message)?;
        if queue != UNROUTED {
            call.queue = Some(lovage_protocol::QueueName::parse(queue).map_err(|error| {
                crate::Error::invalid(
                    &call.task,
                    format!("the queue {queue:?} cannot be: {error}"),
                )
            })?);
        }
        self.0.send_outgoing::<()>(call).await.map(|_| ())
    }
}

/// Implements the parts of the trait that neither broker has.
macro_rules! send_only {
    ($name:ty, $shown:literal, |$broker:ident, $message:ident, $queue:ident| $send:expr) => {
        #[async_trait]
        impl Broker for $name {
            fn safe_url(&self) -> String {
                $shown.to_owned()
            }

            async fn send(&self, $message: &Message, $queue: &str) -> Result<(), BrokerError> {
                let $broker = self;
                $send
            }

            async fn consume(
                &self,
                _: &str,
                _: Box<dyn Fn(BrokerError) + Send + Sync + 'static>,
            ) -> Result<(String, Box<dyn DeliveryStream>), BrokerError> {
                unsupported()
            }

            async fn cancel(&self, _: &str) -> Result<(), BrokerError> {
                unsupported()
            }

            async fn ack(&self, _: &dyn Delivery) -> Result<(), BrokerError> {
                unsupported()
            }

            async fn retry(
                &self,
                _: &dyn Delivery,
                _: Option<DateTime<Utc>>,
            ) -> Result<(), BrokerError> {
                unsupported()
            }

            async fn increase_prefetch_count(&self) -> Result<(), BrokerError> {
                Ok(())
            }

            async fn decrease_prefetch_count(&self) -> Result<(), BrokerError> {
                Ok(())
            }

            async fn close(&self) -> Result<(), BrokerError> {
                Ok(())
            }

            async fn reconnect(&self, _: u32) -> Result<(), BrokerError> {
                Ok(())
            }
        }
    };
}

send_only!(Outbox, "lovage://", |outbox, message, queue| {
    outbox
        .pass_on(message, queue)
        .await
        .map_err(|error| BrokerError::IoError(io::Error::other(error)))
});

send_only!(Capture, "capture://", |_capture, message, queue| {
    CAPTURED.set(Some((message.clone(), queue.to_owned())));
    Ok(())
});
