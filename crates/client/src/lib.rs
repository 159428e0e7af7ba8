//! Sends tasks and gives back a handle to their results.
//!
//! A call becomes an [`Outgoing`], the [`Composer`] writes it as the message a Python producer would send, the broker
//! takes it, and a [`TaskHandle`] waits for its result without polling. The same composer writes what a worker sends:
//! retries, callbacks, the next step of a chain.
//!
//! This crate knows no Redis, runs no task, and sends no chains, groups or chords as a whole.
//!
//! | module | knows |
//! |---|---|
//! | `client` | the [`Client`] and what it is made of |
//! | `builder` | one call, option by option |
//! | `handle` | waiting for and reading a result |
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
mod handle;
mod layer;
mod moment;
mod outgoing;
mod publisher;
pub mod retry;
mod revoke;
mod router;
pub mod rusty;
mod sent;
pub mod signature;

pub use builder::SendBuilder;
pub use client::{Client, ClientOptions, DemandOf, OwnOptions};
pub use composer::Composer;
pub use error::Error;
pub use handle::TaskHandle;
pub use layer::PublishLayer;
pub use moment::Moment;
pub use outgoing::{Outgoing, Prepared};
pub use publisher::PublishPolicy;
pub use revoke::Revocation;
pub use router::{BadRoute, Router, Target};
