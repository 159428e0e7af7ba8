//! Moves protocol messages through Redis or memory; fetch and finish are one step each.
//!
//! [`connect`] gives a [`Broker`] for the configured URL; what it promises stands at the traits in [`Broker`] and
//! [`Consumer`], and the suite in `conformance` (feature `testing`) holds every form to it. This crate reads from a
//! message only what moving it needs (priority, id, the mark of a redelivery); it runs nothing and decides nothing
//! about tasks.
//!
//! | module | knows |
//! |---|---|
//! | `transport` | the seam: traits and plain data |
//! | `admission` | what a delivery needs before it runs, as plain data |
//! | `relay` | what is published once by any number of relays, as plain data |
//! | `reaping` | giving back what the dead held, as plain data |
//! | `revocation` | the seam of what is not to be run |
//! | [`pause`] | the seam of queues that nobody takes from |
//! | `journal` | the seam of what became of tasks, for whoever keeps a history |
//! | [`timetable`] | the seam of periodic schedules |
//! | `survey`, `upkeep` | a look at all that is kept, and at the server itself, for operators |
//! | `redis` | kombu's layout on Redis, leases, the scripts |
//! | `memory` | the same semantics inside one process |
//! | `topology` | the queues of the settings, and the exchanges they hang on |
//! | `priority`, `binding`, `rotation`, `backoff` | pure decisions |
//! | `envelope` | what is read from a message to move it |
//! | `conformance`, `redis_server` | the shared suite, and a server to run it on (feature `testing`) |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use lovage_broker::{Broker, Consumer, ConsumerOptions, Destination, MemoryBroker, Publish, Want};
//! use lovage_protocol::{NodeName, QueueName};
//!
//! let broker = MemoryBroker::new();
//! let queue = QueueName::parse("celery")?;
//! let destination = Destination::Queue(queue.clone());
//! broker.publish(&[Publish { destination, priority: 0, payload: "{}".into() }]).await?;
//!
//! let consumer = broker.consumer(ConsumerOptions::new(NodeName::parse("w1@host")?, vec![queue])).await?;
//! let taken = consumer.fetch(Want { max: 10, start: 10 }).await?;
//! assert_eq!(taken[0].raw, "{}");
//! # Ok(())
//! # }
//! ```

mod admission;
mod asking;
mod backoff;
mod binding;
#[cfg(feature = "testing")]
pub mod conformance;
mod envelope;
mod error;
#[cfg(feature = "testing")]
pub mod hostile;
mod journal;
mod memory;
pub mod pause;
mod priority;
mod reaping;
mod redis;
#[cfg(feature = "testing")]
pub mod redis_server;
mod relay;
pub mod revocation;
mod rotation;
mod survey;
pub mod timetable;
mod topology;
mod transport;
mod upkeep;

use std::sync::Arc;

use lovage_settings::{BrokerSettings, BrokerUrl};

pub use self::{
    admission::{Admit, Admitted, Claim, Demand, Entry, Hold, Leave, Line, Ration},
    asking::{Ask, Delayed, Enough},
    error::{Cause, Error},
    journal::{Budget, Journal, JournalEntry, Mark, Page},
    memory::{Contents, Held, MemoryBroker, MemoryResults},
    pause::Pauses,
    reaping::{Reaped, Reaping},
    redis::{Choice, RedisBroker, Servers},
    relay::{Relay, Relayed},
    revocation::{Recorded, Revocations, Revoke, Target},
    survey::{Kept, OpenChord, Spot, Survey},
    timetable::Timetable,
    topology::{BadQueue, Place, Topology},
    transport::{
        Binding, Broadcast, Broker, ChordClose, ChordPart, Consumer, ConsumerOptions, DeadLetter,
        DeadLetters, Delivery, DeliveryTag, Destination, Exclusive, Finish, Finished, Obituary,
        Peer, Publish, Reason, Recorder, ResultPlace, ResultWrite, Settle, Start, Want, Went,
    },
    upkeep::{Durability, FoundKey, HeldTooLong, ServerCondition, Walked},
};

/// Opens the broker that the settings name, and waits for its first answer no longer than `connect_timeout`.
/// `memory://` gives a new, empty broker at every call; [`MemoryBroker::new`] gives one whose results can be reached.
///
/// # Errors
/// [`Error::Unreachable`] when it does not answer, [`Error::NotConfigured`] when the settings name none.
pub async fn connect(settings: &BrokerSettings) -> Result<Arc<dyn Broker>, Error> {
    match &settings.url {
        Some(BrokerUrl::Redis(_)) => Ok(Arc::new(RedisBroker::connect(settings).await?)),
        Some(BrokerUrl::Memory) => Ok(Arc::new(MemoryBroker::new())),
        None => Err(Error::NotConfigured {
            why: "no URL is set",
        }),
    }
}
