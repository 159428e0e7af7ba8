//! Stores and awaits task results in the form Celery reads.
//!
//! A store writes the record of [`lovage_protocol::TaskMeta`] under `celery-task-meta-<id>` and announces it on the
//! channel of the same name. A SUCCESS is never overwritten: a late failure of a lost copy must not hide it. Whoever waits
//! hears announcements; nothing is polled but a database, which announces nothing.
//!
//! This crate does not decide which result a task has, and counts no chords: the broker does that in the step that settles
//! the message, with the records made here. Where no broker counts, in a database, a chord's end is polled for by its
//! `celery.chord_unlock`.
//!
//! | module | knows |
//! |---|---|
//! | `store` | the seam [`ResultStore`] |
//! | `watch` | waiting for states |
//! | `record` | keys, life and compression of records |
//! | `redis` | the Redis form: a connection that mends itself, a guarded write, one PUB/SUB connection for all watches |
//! | `database` | the form in Celery's own SQL tables; the cargo feature `database` |
//! | `memory` | the form beside the memory broker, in one process |
//! | `disabled` | the form that stores nothing |
//! | `connect` | which form the settings ask for |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lovage_broker::MemoryBroker;
//! use lovage_protocol::{State, TaskId, TaskMeta};
//! use lovage_results::connect;
//! use lovage_settings::{BrokerUrl, ResultSettings};
//!
//! let broker = MemoryBroker::new();
//! let store = connect(&ResultSettings::default(), &BrokerUrl::Memory, Some(&broker)).await?;
//! let watch = store.watch(&TaskId::from("a")).await?;
//! store.store(&TaskMeta::new("a".into(), State::Success, 5.into())).await?;
//! assert_eq!(watch.ready(None).await?.result, 5.into());
//! # Ok(())
//! # }
//! ```

mod connect;
#[cfg(feature = "database")]
mod database;
mod disabled;
mod error;
mod memory;
mod record;
mod redis;
mod store;
mod watch;

pub use connect::{connect, connect_lazily};
#[cfg(feature = "database")]
pub use database::DatabaseStore;
pub use disabled::DisabledStore;
pub use error::{Cause, Error};
pub use memory::MemoryStore;
pub use redis::RedisStore;
pub use store::ResultStore;
pub use watch::Watch;
