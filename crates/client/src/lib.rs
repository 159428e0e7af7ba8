//! Sends tasks and gives back a handle to their results.
//!
//! A call becomes an [`Outgoing`], the [`Composer`] writes it as the message a Python producer would send, the broker
//! takes it, and a [`AsyncResult`] waits for its result without polling. The same composer writes what a worker sends:
//! retries, callbacks, the next step of a chain.
//!
//! Chains, groups and chords are sent as the messages that begin them, and waited for in the same way ([`canvas`]).
//!
//! This crate knows no Redis and runs no task.
//!
//! | module | knows |
//! |---|---|
//! | `client` | the [`Client`] and what it is made of |
//! | `builder` | one call, option by option |
//! | `result` | waiting for and reading results |
//! | [`canvas`] | chains, groups and chords |
//! | `outgoing`, `moment` | a call as plain data |
//! | `composer` | a call as the bytes of its message |
//! | `router` | which queue, when nobody says |
//! | `layer` | a user's code around sending |
//! | `publisher` | repeating a publish that failed |
//! | [`signature`] | signatures as messages, merged as Celery does |
//! | [`retry`] | the message of a retry |
//! | [`Revocation`] | what is not to be run |
//! | [`context`] | which task is sending |
//! | [`rusty`] | the bridge to `#[celery::task]` |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::{sync::Arc, time::Duration};
//!
//! use lovage_broker::MemoryBroker;
//! use lovage_client::{Client, ClientOptions, Error};
//! use lovage_results::MemoryStore;
//! use lovage_settings::ResultSettings;
//!
//! let broker = MemoryBroker::new();
//! let results = MemoryStore::new(&ResultSettings::default(), &broker)?;
//! let client = Client::new(Arc::new(broker), Arc::new(results), ClientOptions::default());
//!
//! let handle = client.send_task("mail.send").args(("Zoë", 3)).priority(5).await?;
//! // Nobody works here, so nothing comes.
//! let outcome = handle.get(Duration::from_millis(10)).await;
//! assert!(matches!(outcome, Err(Error::TimedOut { .. })));
//! # Ok(())
//! # }
//! ```

mod builder;
pub mod canvas;
mod client;
mod composer;
pub mod context;
mod error;
mod layer;
mod moment;
mod outgoing;
mod publisher;
mod result;
pub mod retry;
mod revoke;
mod router;
pub mod rusty;
mod sent;
pub mod signature;

pub use builder::SendBuilder;
pub use client::{Client, ClientOptions, Composed, DemandOf, OwnOptions};
pub use composer::Composer;
pub use error::Error;
pub use layer::PublishLayer;
pub use moment::Moment;
pub use outgoing::{Outgoing, Prepared};
pub use publisher::PublishPolicy;
pub use result::{AsyncResult, DependencyGraph, GroupResult, ResultNode, ResultSet};
pub use revoke::Revocation;
pub use router::{BadRoute, Router, Target};
