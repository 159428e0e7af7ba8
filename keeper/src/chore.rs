//! When a chore is to be done: at each tick of its schedule, or by a clock of the keeper's own where no beat leads.

use std::time::Duration;

use lovage_database::{Database, Error, store::chore};
use tokio::time::{Instant, sleep};

/// How often is looked for a tick.
const LOOK: Duration = Duration::from_secs(2);

/// A chore, as the keeper that has its duty waits for it.
#[derive(Debug)]
pub(crate) struct Times<'a> {
    database: &'a Database,
    name: &'static str,
    /// How often without a beat.
    every: Duration,
    /// When it is done next without a beat.
    next: Instant,
    /// The last tick that was seen; nothing until the first look. What was ticked before is not made up for.
    seen: Option<Option<i64>>,
}

impl<'a> Times<'a> {
    /// The chore of this schedule; without a beat each `every`, the first time after `first`.
    pub(crate) fn new(
        database: &'a Database,
        name: &'static str,
        every: Duration,
        first: Duration,
    ) -> Self {
        Self {
            database,
            name,
            every,
            next: Instant::now() + first,
            seen: None,
        }
    }

    /// Waits until it is to be done. May be dropped anywhere.
    ///
    /// # Errors
    /// The database does not answer.
    pub(crate) async fn come(&mut self) -> Result<(), Error> {
        loop {
            if self.is_due().await? {
                self.next = Instant::now() + self.every;
                return Ok(());
            }
            sleep(LOOK.min(self.every)).await;
        }
    }

    async fn is_due(&mut self) -> Result<bool, Error> {
        let signal = chore::signal(self.database, self.name).await?;
        let last = signal.and_then(|signal| signal.last);
        let before = self.seen.replace(last);
        // A tick by hand counts even while the schedule is paused.
        if last.is_some() && before.is_some_and(|before| before != last) {
            return Ok(true);
        }
        if Instant::now() < self.next || signal.is_some_and(|signal| !signal.enabled) {
            return Ok(false);
        }
        Ok(signal.is_none() || !chore::is_ticked(self.database).await?)
    }
}
