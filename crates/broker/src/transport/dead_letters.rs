//! The messages that could not be run.

use async_trait::async_trait;
use bytes::Bytes;

use crate::Error;

/// The messages that could not be run.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// The newest first, from `offset` on.
    async fn list(&self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>, Error>;
    /// How many there are.
    async fn count(&self) -> Result<u64, Error>;
    /// One of them.
    async fn show(&self, id: &str) -> Result<Option<DeadLetter>, Error>;
    /// Puts it back at the end of its queue, byte for byte, and takes it off the list. False: there is no such letter.
    async fn replay(&self, id: &str) -> Result<bool, Error>;
    /// Deletes it. False: there is no such letter.
    async fn discard(&self, id: &str) -> Result<bool, Error>;
}

/// One message that could not be run.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its id in the list of dead letters.
    pub id: String,
    /// Why.
    pub reason: Reason,
    /// The queue it came from.
    pub queue: String,
    /// The worker that gave it up.
    pub node: String,
    /// When, unix time in seconds.
    pub at: f64,
    /// The message, byte for byte.
    pub raw: Bytes,
}

/// Why a message is among the dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A short word to filter by: `undecodable`, `unknown-task`, `invalid`, `died`, `rejected` …
    pub code: String,
    /// One line for people.
    pub detail: String,
    /// The task's name, when it could be read.
    pub task: Option<String>,
    /// The task's id, when it could be read.
    pub task_id: Option<String>,
}
