//! Entries that the server has under our name and that we do not hold.
//!
//! A master that dies may have answered a finish which its replica never heard of, and a server that is restarted may
//! have lost its last second. What takes over then still records the delivery as ours, and we live: nobody would ever put
//! it back. So after the server was exchanged we look for such entries ourselves, and put them back. They run again,
//! which is what at least once means; a SUCCESS that was stored stays.

use std::collections::BTreeSet;

use super::{batch::Settling, consumer::Shared, link::Patience, reaper::held_by, restore};
use crate::Error;

/// The search after one exchange of the server.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Found at the last look: only what is there at two looks in a row counts, the fetch of one may just be answered.
    found: Option<BTreeSet<u64>>,
    armed: bool,
}

impl Search {
    /// The server was exchanged.
    pub(crate) fn arm(&mut self) {
        self.armed = true;
        self.found = None;
    }

    /// One of the two looks; does nothing while no server was exchanged.
    pub(crate) async fn look(&mut self, shared: &Shared) -> Result<(), Error> {
        if !self.armed {
            return Ok(());
        }
        let entries = held_by(shared, &shared.holder.id).await?;
        let unheld = shared
            .held
            .unknown(entries.iter().map(|entry| entry.number));
        let Some(before) = self.found.replace(unheld) else {
            return Ok(());
        };
        let found = self.found.take().unwrap_or_default();
        let orphans: Vec<u64> = found.intersection(&before).copied().collect();
        if !orphans.is_empty() {
            let count = restore::own(shared, &orphans, Settling::All, Patience::Bounded).await?;
            tracing::warn!(
                count,
                "the server forgot that these messages were ended, they are back in their queues"
            );
        }
        self.armed = false;
        Ok(())
    }
}
