//! Fanout exchanges: PUB/SUB, with kombu's channel names.

use std::sync::Arc;

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use redis::{RedisError, aio::PubSub};
use tokio::sync::mpsc;

use super::Core;
use crate::{Broadcast, Error, backoff};

/// A subscriber that is this far behind makes the next message wait in the connection.
const BUFFER: usize = 1024;

pub(crate) async fn broadcast(
    core: &Core,
    exchange: &str,
    routing_key: &str,
    payload: &Bytes,
) -> Result<(), Error> {
    let mut cmd = redis::cmd("PUBLISH");
    cmd.arg(core.keys.channel(exchange, routing_key))
        .arg(&payload[..]);
    core.ask(&cmd).await.map(drop)
}

pub(crate) async fn subscribe(
    core: &Arc<Core>,
    exchange: &str,
    pattern: &str,
) -> Result<BoxStream<'static, Broadcast>, Error> {
    let channel = core.keys.channel(exchange, &pattern.replace('#', "*"));
    let began = std::time::Instant::now();
    let mut attempt = 0;
    let first = loop {
        match open(core, &channel).await {
            Ok(subscription) => break subscription,
            Err(source) => {
                let wait = backoff::delay(attempt, fastrand::f64());
                if began.elapsed() + wait >= core.servers.connect_timeout {
                    return Err(Error::Unreachable {
                        address: core.servers.address(),
                        source: source.into(),
                    });
                }
                tokio::time::sleep(wait).await;
                attempt += 1;
            }
        }
    };
    let (sender, receiver) = mpsc::channel(BUFFER);
    tokio::spawn(listen(
        Arc::clone(core),
        exchange.to_owned(),
        channel,
        first,
        sender,
    ));
    let broadcasts = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Ok(broadcasts.boxed())
}

async fn open(core: &Core, channel: &str) -> Result<PubSub, RedisError> {
    let mut subscription = core.servers.subscriber().await?;
    subscription.psubscribe(channel).await?;
    Ok(subscription)
}

/// Passes messages on until nobody listens any more.
async fn listen(
    core: Arc<Core>,
    exchange: String,
    channel: String,
    mut subscription: PubSub,
    sender: mpsc::Sender<Broadcast>,
) {
    loop {
        let mut messages = subscription.into_on_message();
        loop {
            let message = tokio::select! {
                () = sender.closed() => return,
                message = messages.next() => message,
            };
            let Some(message) = message else { break };
            let routing_key = core
                .keys
                .routing_key(&exchange, message.get_channel_name())
                .to_owned();
            let payload = Bytes::copy_from_slice(message.get_payload_bytes());
            if sender
                .send(Broadcast {
                    routing_key,
                    payload,
                })
                .await
                .is_err()
            {
                return;
            }
        }
        tracing::warn!(exchange, "the subscription was lost, subscribing again");
        let mut attempt = 0;
        subscription = loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(backoff::delay(attempt, fastrand::f64())) => {}
            }
            match open(&core, &channel).await {
                Ok(subscription) => break subscription,
                Err(_) => attempt += 1,
            }
        };
        tracing::info!(exchange, "subscribed again");
    }
}
