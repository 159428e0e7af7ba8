//! The journal: what became of tasks, for whoever keeps a history.
//!
//! Workers write into it while it is kept ([`Journal::keep`]), in the same step that does what is told (see
//! [`crate::Finish::record`]). Nobody waits for its reader: beyond its budget the oldest records go, and since they are
//! numbered the reader finds out how many it has missed.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::Error;

/// How much is written while nobody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// So many bytes; beyond it the oldest go.
    pub bytes: u64,
    /// Without [`Journal::keep`] for so long, the journal ends: what is in it goes, and workers write no more.
    pub life: Duration,
}

/// What workers wrote in one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Up to where one has read who has read this.
    pub mark: Mark,
    /// The node that wrote it.
    pub node: String,
    /// The records, in the order of what they tell.
    pub records: Vec<Bytes>,
}

impl JournalEntry {
    /// How many records were written before this entry's first.
    pub fn before(&self) -> u64 {
        let own = u64::try_from(self.records.len()).unwrap_or(u64::MAX);
        self.mark.records.saturating_sub(own)
    }
}

/// A place in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Names the journal from its begin to its end; after an end there is another.
    pub epoch: String,
    /// The last entry before this place; its time comes first, in unix milliseconds.
    pub id: String,
    /// Records written up to here since the journal began.
    pub records: u64,
    /// Bytes written up to here since the journal began.
    pub bytes: u64,
}

/// What a look into the journal found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The journal that was looked into.
    pub epoch: String,
    /// Records written into it since it began, those that are gone too.
    pub written: u64,
    /// The entries found, the oldest first.
    pub entries: Vec<JournalEntry>,
}

/// The journal of a broker. Any number of readers may look into it; who keeps what it reads tells up to where with
/// [`Journal::forget`].
#[async_trait]
pub trait Journal: Send + Sync {
    /// Has workers write from the next message on that they fetch, and goes on keeping what is there. Gives the epoch, which is
    /// another one if there was no journal.
    async fn keep(&self, budget: Budget) -> Result<String, Error>;

    /// The entries after the one named (`None`: from the oldest on), until about so many bytes are together. `None`: there is
    /// no journal.
    async fn read(&self, after: Option<&str>, enough: usize) -> Result<Option<Page>, Error>;

    /// Drops all up to a place. Nothing happens when it is one of another journal.
    async fn forget(&self, mark: &Mark) -> Result<(), Error>;

    /// Ends the journal: what is in it goes, and workers write no more.
    async fn end(&self) -> Result<(), Error>;
}
