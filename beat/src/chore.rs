//! Chores that the beat which leads does itself: when one is to be done.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{sync::watch, time::sleep};
use tracing::debug;
use uuid::Uuid;

use crate::{service::Status, store::Store};

/// How often is looked for a tick.
const LOOK: Duration = Duration::from_secs(2);

/// The ticks of one schedule, as the beat that leads sees them: those that were due, and those that somebody wanted at once.
pub struct Ticks {
    store: Arc<dyn Store>,
    name: &'static str,
    status: watch::Receiver<Status>,
    /// The last tick that was seen; nothing until the first look. What was ticked before is not made up for.
    seen: Option<Option<Uuid>>,
}

impl fmt::Debug for Ticks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticks")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Ticks {
    /// Of the schedule of this name, for the beat with this status.
    pub fn new(store: Arc<dyn Store>, name: &'static str, status: watch::Receiver<Status>) -> Self {
        Self {
            store,
            name,
            status,
            seen: None,
        }
    }

    /// Waits for a tick that it has not told of, while the beat leads. Several that come together are one. A store that is away is
    /// waited for; never comes back once the beat is gone.
    ///
    /// # Cancel safety
    /// Safe: a tick is told of by the next call.
    pub async fn next(&mut self) {
        loop {
            if !self.status.borrow().leads {
                self.seen = None;
            }
            let leads = self.status.wait_for(|status| status.leads).await.is_ok();
            if !leads || self.status.has_changed().is_err() {
                return std::future::pending().await;
            }
            match self.store.history(self.name, None, 1).await {
                Ok(records) => {
                    let last = records.first().map(|record| record.task_id);
                    let before = self.seen.replace(last);
                    if last.is_some() && before.is_some_and(|before| before != last) {
                        return;
                    }
                }
                Err(error) => debug!(
                    chore = self.name,
                    error = &error as &dyn std::error::Error,
                    "ticks cannot be looked for now"
                ),
            }
            sleep(LOOK).await;
        }
    }
}
