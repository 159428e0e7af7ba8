//! Emits worker events and serves remote control, as Flower, `celery inspect` and `celery events` expect.
//!
//! Both halves of both conversations are here: a worker emits events and serves a mailbox; a command line or a dashboard
//! receives events and writes to mailboxes. What a command does is its handler's business: see [`ControlHandler`].
//!
//! It does not know what a worker is made of, and decides nothing about tasks.
//!
//! | module | knows |
//! |---|---|
//! | `emitter` | task events: gathered, capped, kept while the broker is away |
//! | `buffer` | what has been written and not yet sent |
//! | `heart` | worker-online, the heartbeat, worker-offline |
//! | `receiver` | events as they are heard |
//! | `cluster` | which nodes there are, from their events |
//! | `gossip` | what workers make of each other's events: the common clock, who is gone, elections |
//! | `mingle` | what a worker asks the others before it begins |
//! | `mailbox_server`, `handler`, `address` | answering remote control |
//! | `mailbox_client` | asking |
//! | `pausing` | having no worker take from a queue |
//! | `machine` | load, zone, what this software is called |
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//! use lovage_broker::{Broker, MemoryBroker};
//! use lovage_flower_compat::Control;
//!
//! # async fn example() -> Result<(), lovage_broker::Error> {
//! let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new());
//! for reply in Control::new(broker).ask("ping").wait(Duration::from_secs(1)).send().await? {
//!     assert_eq!(reply.value.to_json(), r#"{"ok": "pong"}"#);
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod buffer;
mod cluster;
mod emitter;
mod gossip;
mod handler;
mod heart;
pub mod machine;
mod mailbox_client;
mod mailbox_server;
mod mingle;
mod pausing;
mod receiver;

pub use cluster::{Change, Cluster, Node};
pub use emitter::{Emitter, EmitterOptions};
pub use gossip::{Elected, Gossip};
pub use handler::{Answer, ControlHandler, Raised};
pub use heart::{Heart, Pulse};
pub use mailbox_client::{Control, Question};
pub use mailbox_server::Mailbox;
pub use mingle::{Neighbour, mingle};
pub use pausing::{pause_queue, resume_queue};
pub use receiver::receive;
