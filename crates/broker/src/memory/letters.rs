//! Dead letters in memory.

use async_trait::async_trait;
use lovage_protocol::QueueName;

use super::MemoryBroker;
use crate::{DeadLetter, DeadLetters, Error};

impl MemoryBroker {
    fn take_letter(&self, id: &str) -> Option<DeadLetter> {
        let mut state = self.inner.lock();
        let at = state.letters.iter().position(|letter| letter.id == id)?;
        Some(state.letters.remove(at))
    }
}

#[async_trait]
impl DeadLetters for MemoryBroker {
    async fn list(&self, offset: usize, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        Ok(self
            .inner
            .lock()
            .letters
            .iter()
            .rev()
            .skip(offset)
            .take(limit)
            .cloned()
            .collect())
    }

    async fn count(&self) -> Result<u64, Error> {
        Ok(u64::try_from(self.inner.lock().letters.len()).expect("a length fits into 64 bits"))
    }

    async fn show(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        Ok(self
            .inner
            .lock()
            .letters
            .iter()
            .find(|letter| letter.id == id)
            .cloned())
    }

    async fn replay(&self, id: &str) -> Result<bool, Error> {
        let Some(letter) = self.take_letter(id) else {
            return Ok(false);
        };
        let Ok(queue) = QueueName::parse(&letter.queue) else {
            return Ok(false);
        };
        self.inner.lock().lists.requeue(&queue, letter.raw);
        self.inner.arrived.notify_waiters();
        Ok(true)
    }

    async fn discard(&self, id: &str) -> Result<bool, Error> {
        Ok(self.take_letter(id).is_some())
    }
}
