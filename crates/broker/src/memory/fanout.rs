//! Fanout exchanges in memory.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use regex::Regex;
use tokio::sync::mpsc;

use crate::Broadcast;

/// Everybody who listens.
#[derive(Debug, Default)]
pub(super) struct Fanout(Mutex<Vec<Subscriber>>);

#[derive(Debug)]
struct Subscriber {
    exchange: String,
    pattern: Regex,
    sender: mpsc::UnboundedSender<Broadcast>,
}

impl Fanout {
    /// Tells how many heard it.
    pub(super) fn send(&self, exchange: &str, routing_key: &str, payload: &Bytes) -> u64 {
        let mut heard = 0;
        let mut subscribers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain(|subscriber| {
            if subscriber.exchange != exchange || !subscriber.pattern.is_match(routing_key) {
                return !subscriber.sender.is_closed();
            }
            let broadcast = Broadcast {
                routing_key: routing_key.to_owned(),
                payload: payload.clone(),
            };
            let is_there = subscriber.sender.send(broadcast).is_ok();
            heard += u64::from(is_there);
            is_there
        });
        heard
    }

    pub(super) fn subscribe(&self, exchange: &str, pattern: &str) -> BoxStream<'static, Broadcast> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let text = regex::escape(&pattern.replace('#', "*")).replace(r"\*", ".*");
        let pattern =
            Regex::new(&format!("(?s)^{text}$")).expect("escaped text and .* make a valid pattern");
        let subscriber = Subscriber {
            exchange: exchange.to_owned(),
            pattern,
            sender,
        };
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(subscriber);
        stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        })
        .boxed()
    }
}
