//! Pausing: queues that no worker of ours takes from, whoever runs now and whoever starts later, until they are resumed.
//!
//! What is kept is all there is to it: workers look every [`LOOK`], and whoever was away learns of it then.

use std::{collections::BTreeSet, time::Duration};

use async_trait::async_trait;
use lovage_protocol::QueueName;

use crate::Error;

/// How often a worker looks whether queues were paused or resumed.
pub const LOOK: Duration = Duration::from_secs(1);

/// The paused queues of a broker.
#[async_trait]
pub trait Pauses: Send + Sync {
    /// Pauses a queue. With it is kept which workers of others are told to consume it no longer, since they cannot look; of
    /// one that is paused already they are added to those told before.
    async fn pause(&self, queue: &QueueName, told: &[String]) -> Result<(), Error>;

    /// Ends a pause, and gives the workers that were told; `None`: the queue was not paused.
    async fn resume(&self, queue: &QueueName) -> Result<Option<Vec<String>>, Error>;

    /// The paused queues.
    async fn paused(&self) -> Result<BTreeSet<QueueName>, Error>;
}
