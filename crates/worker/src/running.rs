//! The tasks that run here now, for whoever asks (`inspect active`).
//!
//! Every attempt enters itself and leaves again, so a look costs tasks nothing but a lock that is hardly ever taken by another:
//! there are several lists, and an attempt goes by its delivery's number.

use std::sync::{Mutex, MutexGuard, PoisonError};

use lovage_broker::DeliveryTag;
use lovage_protocol::TaskId;

use crate::context::Context;

/// Enough that two attempts which begin at once seldom meet.
const LISTS: u64 = 16;

/// All that run.
#[derive(Debug, Default)]
pub(crate) struct Running {
    lists: [Mutex<Vec<Runs>>; 16],
}

/// One that runs.
#[derive(Debug, Clone)]
pub(crate) struct Runs {
    pub(crate) tag: DeliveryTag,
    /// Identity and message.
    pub(crate) context: Context,
    /// The process that runs it.
    pub(crate) pid: u32,
    /// When it began, in unix seconds.
    pub(crate) since: f64,
    /// Its message is settled already.
    pub(crate) acknowledged: bool,
}

/// Takes one off the list when it is dropped.
#[derive(Debug)]
pub(crate) struct Listed<'a> {
    running: &'a Running,
    tag: DeliveryTag,
}

impl Running {
    fn list(&self, tag: DeliveryTag) -> MutexGuard<'_, Vec<Runs>> {
        let number = usize::try_from(tag.0 % LISTS).unwrap_or(0);
        self.lists[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters an attempt for as long as the answer lives.
    pub(crate) fn enter(
        &self,
        tag: DeliveryTag,
        context: Context,
        pid: u32,
        since: f64,
        acknowledged: bool,
    ) -> Listed<'_> {
        self.list(tag).push(Runs {
            tag,
            context,
            pid,
            since,
            acknowledged,
        });
        Listed { running: self, tag }
    }

    /// All that run, those first that began first.
    pub(crate) fn all(&self) -> Vec<Runs> {
        let mut all = Vec::new();
        for list in &self.lists {
            all.extend_from_slice(&list.lock().unwrap_or_else(PoisonError::into_inner));
        }
        all.sort_by(|a, b| a.since.total_cmp(&b.since));
        all
    }

    /// Whether a task runs.
    pub(crate) fn has(&self, id: &TaskId) -> bool {
        self.lists.iter().any(|list| {
            let list = list.lock().unwrap_or_else(PoisonError::into_inner);
            list.iter().any(|runs| runs.context.task_id() == id)
        })
    }

    /// How many run.
    pub(crate) fn count(&self) -> usize {
        let lengths = self.lists.iter().map(|list| {
            let list = list.lock().unwrap_or_else(PoisonError::into_inner);
            list.len()
        });
        lengths.sum()
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let mut list = self.running.list(self.tag);
        // The youngest usually ends first.
        if let Some(at) = list.iter().rposition(|runs| runs.tag == self.tag) {
            list.swap_remove(at);
        }
    }
}
