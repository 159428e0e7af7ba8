//! What is sent, where to, and who hears it.

use std::time::Duration;

use bytes::Bytes;
use lovage_protocol::QueueName;
use lovage_settings::ExchangeType;

/// A message to send.
#[derive(Debug, Clone)]
pub struct Publish {
    /// Where to.
    pub destination: Destination,
    /// As given by the producer; the broker clamps it.
    pub priority: i64,
    /// The envelope.
    pub payload: Bytes,
}

/// Where a message goes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Destination {
    /// To a queue by name, through the default exchange.
    Queue(QueueName),
    /// To the queues bound to an exchange; nobody bound means nobody gets it, as on any broker.
    Exchange {
        /// Its name.
        exchange: String,
        /// Matched against the bindings.
        routing_key: String,
    },
    /// To every consumer that has a queue of its own on this exchange, and to all that listen there now. No step of
    /// [`Consumer::finish`](super::Consumer::finish) holds it: it is sent before the step, once more when the step is repeated.
    Fanout {
        /// The exchange.
        exchange: String,
        /// Matched against the keys by which they listen.
        routing_key: String,
    },
}

/// A queue and the exchange it is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The queue.
    pub queue: QueueName,
    /// The exchange.
    pub exchange: String,
    /// How that exchange matches routing keys; never fanout, where a queue is its consumer's alone.
    pub kind: ExchangeType,
    /// The key, or the pattern of a topic exchange.
    pub routing_key: String,
    /// The queue is forgotten when nobody has used it for so long.
    pub expires: Option<Duration>,
}

impl Binding {
    /// A queue bound to an exchange of its own name by its own name.
    pub fn plain(queue: &QueueName) -> Self {
        Self {
            queue: queue.clone(),
            exchange: queue.as_str().to_owned(),
            kind: ExchangeType::Direct,
            routing_key: queue.as_str().to_owned(),
            expires: None,
        }
    }
}

/// A queue that is one consumer's alone: what is sent to all on its exchange comes to it too.
///
/// What comes is a message as any other from the moment it is in the queue. Before, it is nowhere: a consumer that dies
/// loses it, and one that dies later takes the queue with it, for what was meant for it is meant for nobody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exclusive {
    /// The queue; nobody else may have one of this name.
    pub queue: QueueName,
    /// The exchange.
    pub exchange: String,
    /// The key by which it listens, in which `*` and `#` stand for any text.
    pub routing_key: String,
}

/// A message heard on a fanout exchange.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// Its routing key.
    pub routing_key: String,
    /// The envelope.
    pub payload: Bytes,
}
