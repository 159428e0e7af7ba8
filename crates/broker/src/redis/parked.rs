//! A fetch that waits at the server.
//!
//! Behind `BLMOVE list list RIGHT RIGHT` (see [`super::waiter`]) on one connection goes the fetch script. While the list is
//! empty the server holds both back; when a message comes it runs both at once, so that the message is taken and recorded
//! without another way to us and back. A fetch that was given up meanwhile is refused by its epoch and takes nothing.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{Cmd, Pipeline, Value};
use tokio::{sync::oneshot, task::JoinHandle};

use super::{
    link::{Link, Request},
    reply,
    servers::Servers,
};

/// How long the server lets it wait; then the fetch runs and finds nothing.
const WAIT: Duration = Duration::from_secs(30);
/// Keeps a wait that cannot be sent from being tried in a tight loop.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// One such fetch at a time.
#[derive(Debug)]
pub(crate) struct Parked {
    link: Arc<Link>,
    busy: Arc<AtomicBool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(task) = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            task.abort();
        }
    }
}

impl Parked {
    pub(crate) fn new(servers: &Arc<Servers>) -> Self {
        let patience = WAIT + servers.response_timeout;
        Self {
            link: Arc::new(Link::with_timeout(servers, "wait", Some(patience))),
            busy: Arc::default(),
            task: Mutex::default(),
        }
    }

    /// Parks a fetch behind a wait for `list`; the receiver gets the fetch's answer, or an error when there is none.
    /// `None`: one that was given up still waits there.
    pub(crate) fn park(&self, list: &str, fetch: &Cmd) -> Option<oneshot::Receiver<Value>> {
        if self.busy.swap(true, Ordering::AcqRel) {
            return None;
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline
            .cmd("BLMOVE")
            .arg(list)
            .arg(list)
            .arg("RIGHT")
            .arg("RIGHT")
            .arg(WAIT.as_secs());
        pipeline.add_command(fetch.clone());
        let (sender, receiver) = oneshot::channel();
        let (link, busy) = (Arc::clone(&self.link), Arc::clone(&self.busy));
        let task = tokio::spawn(async move {
            let answer = link.attempt(Request::Many(&pipeline)).await;
            busy.store(false, Ordering::Release);
            match answer.map(|answer| reply::list(answer.value).into_iter().nth(1)) {
                // Whoever asked may have given it up; then nobody reads what a fetch of an old epoch did not take.
                Ok(Some(fetched)) => drop(sender.send(fetched)),
                // The sender is dropped: whoever waits finds out what was taken, though not in a tight loop.
                Ok(None) | Err(_) => tokio::time::sleep(AFTER_FAILURE).await,
            }
        });
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Some(receiver)
    }
}
