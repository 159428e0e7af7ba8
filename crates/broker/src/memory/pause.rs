//! Paused queues in memory.

use std::collections::BTreeSet;

use async_trait::async_trait;
use lovage_protocol::QueueName;

use super::MemoryBroker;
use crate::{Error, Pauses};

#[async_trait]
impl Pauses for MemoryBroker {
    async fn pause(&self, queue: &QueueName, told: &[String]) -> Result<(), Error> {
        let mut state = self.inner.lock();
        let known = state.paused.entry(queue.clone()).or_default();
        for node in told {
            if !known.contains(node) {
                known.push(node.clone());
            }
        }
        Ok(())
    }

    async fn resume(&self, queue: &QueueName) -> Result<Option<Vec<String>>, Error> {
        Ok(self.inner.lock().paused.remove(queue))
    }

    async fn paused(&self) -> Result<BTreeSet<QueueName>, Error> {
        Ok(self.inner.lock().paused.keys().cloned().collect())
    }
}
