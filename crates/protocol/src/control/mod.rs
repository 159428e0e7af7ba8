//! Remote control: a request to workers and their replies to it (kombu's pidbox, `kombu/pidbox.py`).
//!
//! A [`Request`] is what an asker sends, a [`Received`] what a worker makes of one that came, a [`Reply`] what goes back.

pub(crate) mod envelope;
mod received;
mod reply;
mod request;

pub use received::{Addressed, Received, ReceivedError, ReplyTo};
pub use reply::{Reply, ReplyError};
pub use request::{Matching, Request};

/// The exchange on which workers hear requests.
pub const EXCHANGE: &str = "celery.pidbox";
/// The exchange on which they reply.
pub const REPLY_EXCHANGE: &str = "reply.celery.pidbox";
