//! One batch at a time: read, hand over, delete.

use lovage_broker::{Publish, Relayed};
use lovage_database::store::{
    lease::Lease,
    outbox::{self, Waiting},
};

use super::{Parts, compose::compose};

/// Why a batch was not relayed. Trying again is harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database.
    #[error("the outbox cannot be read or written")]
    Database(#[from] lovage_database::Error),
    /// The broker.
    #[error("the messages of the outbox cannot be sent")]
    Broker(#[from] lovage_broker::Error),
    /// Another process relays by now.
    #[error("another process relays the outbox: it has the number {by}, this one {ours}")]
    Superseded {
        /// Its number.
        by: i64,
        /// Ours.
        ours: i64,
    },
}

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// There was something, and there may be more.
    Busy,
    /// There was nothing.
    Idle,
}

/// A relay under a lease.
pub(super) struct Relay<'p> {
    parts: &'p Parts,
    lease: Lease,
    /// Marks of messages whose rows are gone: nobody hands them over again.
    forget: Vec<String>,
    published: u64,
}

impl<'p> Relay<'p> {
    pub(super) fn new(parts: &'p Parts, lease: Lease) -> Self {
        Self {
            parts,
            lease,
            forget: Vec::new(),
            published: 0,
        }
    }

    /// So many messages were sent so far.
    pub(super) fn published(&self) -> u64 {
        self.published
    }

    pub(super) async fn renew(&self) -> Result<bool, Error> {
        let Parts {
            database, lease, ..
        } = self.parts;
        Ok(self.lease.renew(database, *lease).await?)
    }

    pub(super) async fn release(self) -> Result<(), Error> {
        Ok(self.lease.release(&self.parts.database).await?)
    }

    /// Relays one batch.
    pub(super) async fn step(&mut self) -> Result<Step, Error> {
        let Parts {
            database, batch, ..
        } = self.parts;
        let waiting = outbox::next(database.reader(), *batch).await?;
        if waiting.is_empty() {
            if !self.forget.is_empty() {
                self.hand_over(Vec::new()).await?;
            }
            return Ok(Step::Idle);
        }
        let messages = self.compose_all(&waiting).await?;
        let marks: Vec<String> = messages.iter().map(|(_, mark, _)| mark.clone()).collect();
        let ids: Vec<i64> = messages.iter().map(|(id, ..)| *id).collect();
        let messages = messages
            .into_iter()
            .map(|(_, mark, publish)| (mark, publish))
            .collect();
        self.hand_over(messages).await?;
        outbox::remove(database.writer(), &ids).await?;
        self.forget = marks;
        Ok(Step::Busy)
    }

    /// Makes messages of rows; those of which none can be made are put aside, and hold nothing up.
    async fn compose_all(&self, waiting: &[Waiting]) -> Result<Vec<(i64, String, Publish)>, Error> {
        let mut messages = Vec::with_capacity(waiting.len());
        for one in waiting {
            match compose(&self.parts.composer, one) {
                Ok(publish) => messages.push((one.id, one.mark(), publish)),
                Err(why) => {
                    tracing::error!(
                        outbox.id = one.id,
                        task.id = one.outgoing.task_id.as_str(),
                        task.name = one.outgoing.task.as_str(),
                        why,
                        "a message of the outbox cannot be sent and was put aside"
                    );
                    outbox::refuse(self.parts.database.writer(), one.id, &why).await?;
                }
            }
        }
        Ok(messages)
    }

    async fn hand_over(&mut self, messages: Vec<(String, Publish)>) -> Result<(), Error> {
        let relay = lovage_broker::Relay {
            scope: self.lease.scope.clone(),
            fence: self.lease.fence,
            messages,
            forget: std::mem::take(&mut self.forget),
        };
        match self.parts.broker.relay(&relay).await? {
            Relayed::Done { published } => {
                self.published += published;
                Ok(())
            }
            Relayed::Superseded { by } => {
                let ours = self.lease.fence;
                // When the lease is ours all the same, this is an older copy of the database; the next attempt has a higher number.
                let raised = self.lease.raise(&self.parts.database, by).await?;
                if raised.is_some() {
                    tracing::warn!(ours, by, "the database is an older copy of itself");
                }
                Err(Error::Superseded { by, ours })
            }
        }
    }
}
