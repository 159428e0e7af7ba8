//! Fanout exchanges: PUB/SUB, with kombu's channel names.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use redis::{Pipeline, RedisError, aio::PubSub};
use tokio::sync::mpsc;

use super::{
    Choice, Core,
    link::{Link, Patience, Request},
};
use crate::{Broadcast, Destination, Error, Publish, backoff, envelope};

/// A subscriber that is this far behind makes the next message wait in the connection.
const BUFFER: usize = 1024;
/// So many delivery tags are remembered where a message comes over two channels, as in kombu.
const REMEMBERED: usize = 1000;

pub(crate) async fn broadcast(
    core: &Core,
    exchange: &str,
    routing_key: &str,
    payload: &Bytes,
) -> Result<(), Error> {
    let mut pipeline = Pipeline::with_capacity(1);
    publish(core, &mut pipeline, exchange, routing_key, payload);
    let request = Request::Many(&pipeline);
    core.link.send(request, Patience::Bounded).await.map(drop)
}

/// The broadcasts among these, in one round trip.
pub(crate) async fn send_all(
    core: &Core,
    link: &Link,
    patience: Patience,
    batch: &[Publish],
) -> Result<(), Error> {
    let mut pipeline = Pipeline::new();
    for one in batch {
        if let Destination::Fanout {
            exchange,
            routing_key,
        } = &one.destination
        {
            publish(core, &mut pipeline, exchange, routing_key, &one.payload);
        }
    }
    if pipeline.is_empty() {
        return Ok(());
    }
    link.send(Request::Many(&pipeline), patience)
        .await
        .map(drop)
}

fn publish(
    core: &Core,
    pipeline: &mut Pipeline,
    exchange: &str,
    routing_key: &str,
    payload: &Bytes,
) {
    for channel in core.keys.channels(exchange, routing_key) {
        pipeline.cmd("PUBLISH").arg(channel).arg(&payload[..]);
    }
}

pub(crate) async fn subscribe(
    core: &Arc<Core>,
    exchange: &str,
    pattern: &str,
) -> Result<BoxStream<'static, Broadcast>, Error> {
    let channels = core.keys.channels(exchange, &pattern.replace('#', "*"));
    let began = std::time::Instant::now();
    let mut attempt = 0;
    let first = loop {
        match open(core, &channels).await {
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
        channels,
        first,
        sender,
    ));
    let broadcasts = stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Ok(broadcasts.boxed())
}

async fn open(core: &Core, channels: &[String]) -> Result<(Choice, PubSub), RedisError> {
    let (server, mut subscription) = core.servers.subscriber().await?;
    subscription.psubscribe(channels).await?;
    Ok((server, subscription))
}

/// Passes messages on until nobody listens any more.
async fn listen(
    core: Arc<Core>,
    exchange: String,
    channels: Vec<String>,
    (mut server, mut subscription): (Choice, PubSub),
    sender: mpsc::Sender<Broadcast>,
) {
    let mut seen = (channels.len() > 1).then(Seen::default);
    loop {
        let mut messages = subscription.into_on_message();
        loop {
            let message = tokio::select! {
                () = sender.closed() => return,
                () = core.servers.moved() => None,
                message = messages.next() => message,
            };
            let Some(message) = message else { break };
            let routing_key = core
                .keys
                .routing_key(&exchange, message.get_channel_name())
                .to_owned();
            let payload = Bytes::copy_from_slice(message.get_payload_bytes());
            if seen.as_mut().is_some_and(|seen| !seen.is_new(&payload)) {
                continue;
            }
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
        core.servers.lost(server);
        tracing::warn!(exchange, "the subscription was lost, subscribing again");
        let mut attempt = 0;
        (server, subscription) = loop {
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(backoff::delay(attempt, fastrand::f64())) => {}
            }
            match open(&core, &channels).await {
                Ok(subscription) => break subscription,
                Err(_) => attempt += 1,
            }
        };
        tracing::info!(exchange, "subscribed again");
    }
}

/// The delivery tags heard of late. A message without one counts as new, as in kombu.
#[derive(Debug, Default)]
struct Seen {
    order: VecDeque<String>,
    tags: HashSet<String>,
}

impl Seen {
    fn is_new(&mut self, payload: &[u8]) -> bool {
        let Some(tag) = envelope::delivery_tag(payload) else {
            return true;
        };
        if !self.tags.insert(tag.clone()) {
            return false;
        }
        self.order.push_back(tag);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.tags.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEMBERED, Seen};

    #[test]
    fn a_message_that_comes_over_both_channels_is_new_once() {
        let tagged = |tag: usize| format!(r#"{{"properties": {{"delivery_tag": "{tag}"}}}}"#);
        let mut seen = Seen::default();
        for tag in 0..=REMEMBERED {
            assert!(seen.is_new(tagged(tag).as_bytes()), "{tag}");
            assert!(!seen.is_new(tagged(tag).as_bytes()), "{tag}");
        }
        assert!(seen.is_new(tagged(0).as_bytes()), "long forgotten");
        for _ in 0..2 {
            assert!(seen.is_new(b"no envelope"), "without a tag nobody can tell");
        }
    }
}
