//! Waiting for a result without asking again and again.

use std::{fmt, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use lovage_protocol::{TaskId, TaskMeta};

use crate::Error;

/// Hears the states of one task. Dropping it ends the subscription.
pub struct Watch {
    id: TaskId,
    states: BoxStream<'static, Result<TaskMeta, Error>>,
    outage: Outage,
}

/// Tells why nothing can be heard at the moment; `None` while all is well.
pub(crate) type Outage = Box<dyn Fn() -> Option<Error> + Send + Sync>;

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Watch {
    pub(crate) fn new(
        id: TaskId,
        states: BoxStream<'static, Result<TaskMeta, Error>>,
        outage: Outage,
    ) -> Self {
        Self { id, states, outage }
    }

    /// The task watched.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// The next state; the one stored already comes first. The same record is not told twice in a row.
    ///
    /// A lost connection is mended inside, so this may wait without end: see [`Watch::ready`] for a wait that ends.
    ///
    /// # Errors
    /// When the record cannot be read, or the store was closed for good.
    ///
    /// # Cancel safety
    /// Safe: no state is lost.
    pub async fn next(&mut self) -> Result<TaskMeta, Error> {
        match self.states.next().await {
            Some(state) => state,
            None => Err((self.outage)().unwrap_or(Error::Disabled)),
        }
    }

    /// Waits for the task's last state.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when it has not come within `patience`, or [`Error::Unreachable`] when the store cannot be
    /// reached at that moment: then nobody knows whether it has come.
    pub async fn ready(mut self, patience: Option<Duration>) -> Result<TaskMeta, Error> {
        let Some(patience) = patience else {
            return self.last().await;
        };
        match tokio::time::timeout(patience, self.last()).await {
            Ok(meta) => meta,
            Err(_) => Err((self.outage)().unwrap_or(Error::TimedOut {
                id: self.id.clone(),
                waited: patience,
            })),
        }
    }

    async fn last(&mut self) -> Result<TaskMeta, Error> {
        loop {
            let meta = self.next().await?;
            if meta.status.is_ready() {
                return Ok(meta);
            }
        }
    }
}
