//! Schedules kept at the broker, for a platform without a database: one leader at a time, and a tick in one step with its
//! messages.
//!
//! What an entry means is its keeper's business: definitions and progress are bytes here. What is promised is that a tick
//! happens whole or not at all, once, and only while its sender leads and the entry is as the sender knows it.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Error, Publish};

/// So many records of ticks are kept of each entry.
pub const HISTORY: usize = 200;
/// So many spans of its past are kept of each entry.
pub const PAST: usize = 500;

/// Somebody who would lead.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its id, never used twice.
    pub owner: String,
    /// Who that is, for people.
    pub about: String,
    /// How long it leads without a sign of life.
    pub lease: Duration,
}

/// Who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leadership {
    /// The candidate leads, with this fencing number: higher than that of every leader before.
    pub fence: Option<u64>,
    /// Who leads, for people.
    pub about: String,
    /// Grows with every change of an entry.
    pub edition: u64,
}

/// One entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub name: String,
    /// The edition of its last change.
    pub version: u64,
    /// What it is.
    pub definition: Bytes,
    /// What has become of it.
    pub progress: Bytes,
}

/// A change of an entry.
#[derive(Debug, Clone)]
pub struct Put {
    /// Its name.
    pub name: String,
    /// The version that is changed; `None`: there is none yet.
    pub version: Option<u64>,
    /// What it is from now on.
    pub definition: Bytes,
    /// What has become of it; `None`: as before.
    pub progress: Option<Bytes>,
}

/// What has changed since an edition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Everything up to this edition is told.
    pub edition: u64,
    /// New and changed entries.
    pub entries: Vec<Kept>,
    /// Entries that are no more.
    pub removed: Vec<String>,
    /// There is more to ask for.
    pub more: bool,
}

/// One tick of one entry.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The entry.
    pub name: String,
    /// Its version, as the sender knows it.
    pub version: u64,
    /// Its progress, as the sender knows it.
    pub before: Bytes,
    /// Its progress from now on.
    pub after: Bytes,
    /// What is sent.
    pub publishes: Vec<Publish>,
    /// What is remembered of it, the oldest first.
    pub records: Vec<Bytes>,
    /// The entry as it was before joins its past: runs were left out.
    pub breaks: bool,
}

/// What was of an entry, span by span. A span is the entry as it once was; what that says of what was sent is its keeper's
/// business. An entry's span ends when it is given another progress, and with a tick that says so.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Past {
    /// So many spans there have been, those included that are kept no more.
    pub number: u64,
    /// Those that are kept, the oldest first.
    pub spans: Vec<Span>,
}

/// An entry as it once was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it was.
    pub definition: Bytes,
    /// What had become of it.
    pub progress: Bytes,
}

/// What is sent of a time that has passed.
#[derive(Debug, Clone)]
pub struct MakeUp {
    /// The entry.
    pub name: String,
    /// Its version, as the sender knows it.
    pub version: u64,
    /// [`Past::number`], as the sender knows it.
    pub number: u64,
    /// What joins its past with this.
    pub span: Span,
    /// What is sent.
    pub publishes: Vec<Publish>,
    /// What is remembered of it, the oldest first.
    pub records: Vec<Bytes>,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MadeUp {
    /// It was sent.
    Done,
    /// The entry is not of this version: nothing happened.
    Changed,
    /// Its past is longer than the sender knew: nothing happened.
    Outdated,
    /// A queue of it is no queue at the broker: nothing happened.
    Refused,
}

/// What came of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticked {
    /// It happened.
    Done,
    /// The entry is not as the sender knew it: nothing happened.
    Changed,
    /// A queue of it is no queue at the broker: nothing happened.
    Refused,
}

/// The schedules at a broker.
#[async_trait]
pub trait Timetable: Send + Sync {
    /// Takes the lead when nobody has it, prolongs it when the candidate has it.
    async fn lead(&self, candidate: &Candidate) -> Result<Leadership, Error>;

    /// Gives up the lead, if the candidate has it.
    async fn step_down(&self, owner: &str) -> Result<(), Error>;

    /// Who leads, if somebody does; asks for nothing.
    async fn leader(&self) -> Result<Option<Leadership>, Error>;

    /// What has changed after an edition, up to so many entries, in the order of the changes.
    async fn changes(&self, since: u64, most: usize) -> Result<Changes, Error>;

    /// One entry.
    async fn kept(&self, name: &str) -> Result<Option<Kept>, Error>;

    /// Makes or changes an entry; its new version, or `None` when it is not as the change says. Asked again after a lost
    /// answer it changes nothing.
    async fn put(&self, put: &Put) -> Result<Option<u64>, Error>;

    /// Removes an entry, and what is remembered of it. False: there is none.
    async fn remove(&self, name: &str) -> Result<bool, Error>;

    /// Makes ticks happen, each whole or not at all. `None`: somebody else leads, and nothing happened. Asked again after a
    /// lost answer nothing happens twice.
    async fn tick(
        &self,
        owner: &str,
        fence: u64,
        ticks: &[Tick],
    ) -> Result<Option<Vec<Ticked>>, Error>;

    /// What was of an entry.
    async fn past(&self, name: &str) -> Result<Past, Error>;

    /// Sends what was due in a time that has passed, whole or not at all. Asked again after a lost answer nothing happens twice.
    async fn make_up(&self, make_up: &MakeUp) -> Result<MadeUp, Error>;

    /// Remembers what was sent beside an entry's ticks, the oldest first.
    async fn remember(&self, name: &str, records: &[Bytes]) -> Result<(), Error>;

    /// What is remembered of an entry's ticks, the newest first.
    async fn history(&self, name: &str, most: usize) -> Result<Vec<Bytes>, Error>;
}
