//! Asking: a request to everybody who listens, and what the broker itself is asked about messages that wait.

use std::time::Duration;

use bytes::Bytes;
use lovage_protocol::QueueName;

/// A request to everybody who listens, and where the replies come.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The fanout exchange of the request.
    pub exchange: String,
    /// The request's envelope.
    pub payload: Bytes,
    /// The direct exchange of the replies.
    pub reply_exchange: String,
    /// Their routing key, the asker's own.
    pub reply_key: String,
    /// The queue for them.
    pub reply_queue: QueueName,
    /// How long replies are gathered.
    pub wait: Duration,
    /// How many end the wait early.
    pub enough: Enough,
}

/// How many replies end a wait before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    /// None do: who replies late is heard too.
    Never,
    /// So many.
    Replies(u64),
    /// As many as there were who heard the request.
    Everybody,
}

/// A message that waits for its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Delayed {
    /// When it is due, in unix seconds.
    pub due: f64,
    /// The envelope.
    pub raw: Bytes,
}
