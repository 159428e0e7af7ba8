//! A look at all that a broker keeps, for operators. Nothing is changed by it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, ResultPlace};

/// What can be seen of a broker as a whole, however long that takes.
#[async_trait]
pub trait Survey: Send + Sync {
    /// Shows every message that waits, is held or is delayed. One that moves meanwhile may be missed or shown twice.
    async fn messages(&self, see: &mut (dyn FnMut(Kept) + Send)) -> Result<(), Error>;

    /// The chords that have not been ended. `keys` is what all group keys begin with.
    async fn open_chords(&self, place: &ResultPlace, keys: &str) -> Result<Vec<OpenChord>, Error>;

    /// The parts that have returned to a chord, by their index; infinite for one that has none.
    async fn parts(&self, place: &ResultPlace, group_key: &str)
    -> Result<Vec<(f64, Bytes)>, Error>;
}

/// A message, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Where it is.
    pub spot: Spot,
    /// The envelope, byte for byte.
    pub raw: Bytes,
}

/// Where a message can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spot {
    /// In a queue, by the name of its list.
    Waiting(String),
    /// In a worker's hands.
    Held,
    /// Out of its queue until its time has come, or its limit has room.
    Delayed,
}

/// A chord that waits for parts, or whose end was left to somebody who did not bring it about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenChord {
    /// The group key.
    pub group_key: String,
    /// How many parts it needs.
    pub size: u64,
    /// How many have returned.
    pub returned: u64,
    /// How long its keys still live: begun anew with every part that returns. `None` when they live for ever.
    pub left: Option<Duration>,
    /// Somebody is about to end it.
    pub claimed: bool,
    /// The signature of its body as JSON, when a part was returned by a worker of ours.
    pub body: Option<Bytes>,
}
