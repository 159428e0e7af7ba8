//! Waiting for a result by asking again (`celery/backends/base.py`, `wait_for`).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt;
use lovage_protocol::{TaskId, TaskMeta};

use super::DatabaseStore;
use crate::{Error, ResultStore, Watch};

/// The first pause; each is twice as long as the one before. Most that is waited for comes soon.
const FIRST: Duration = Duration::from_millis(20);
/// Celery's pause.
const LONGEST: Duration = Duration::from_millis(500);

struct Poll {
    store: DatabaseStore,
    id: TaskId,
    pause: Duration,
    last: Option<TaskMeta>,
    outage: Arc<Mutex<Option<Error>>>,
}

/// Hears the states of a task that stand there when it is asked.
pub(super) fn watch(store: DatabaseStore, id: TaskId) -> Watch {
    let outage: Arc<Mutex<Option<Error>>> = Arc::default();
    let poll = Poll {
        store,
        id: id.clone(),
        pause: Duration::ZERO,
        last: None,
        outage: Arc::clone(&outage),
    };
    let states = futures::stream::unfold(poll, |mut poll| async move {
        let state = poll.next().await;
        Some((state, poll))
    });
    let tell = move || outage.lock().unwrap_or_else(PoisonError::into_inner).take();
    Watch::new(id, states.boxed(), Box::new(tell))
}

impl Poll {
    async fn next(&mut self) -> Result<TaskMeta, Error> {
        loop {
            tokio::time::sleep(self.pause).await;
            self.pause = (self.pause * 2).clamp(FIRST, LONGEST);
            let loaded = self.store.load(&self.id).await;
            let mut away = None;
            let found = match loaded {
                Ok(found) => found,
                // It is mended inside, as a lost connection of other stores is.
                Err(error) if error.is_transient() => {
                    away = Some(error);
                    None
                }
                Err(error) => return Err(error),
            };
            *self.outage.lock().unwrap_or_else(PoisonError::into_inner) = away;
            if let Some(meta) = found
                && self.last.as_ref() != Some(&meta)
            {
                self.last = Some(meta.clone());
                return Ok(meta);
            }
        }
    }
}
