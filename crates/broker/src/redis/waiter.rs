//! Waiting for a message without taking it.
//!
//! A `BRPOP` would take a message before it is recorded, and a worker that dies between the two loses it. So each empty
//! list has a connection that waits with `BLMOVE list list RIGHT RIGHT`: it moves the message popped next to where it
//! already is, which blocks while there is none and changes nothing when there is one. Then the fetch script runs.
//!
//! Tried on Redis 7.0 with three such waiters and a Python `BRPOP` on one list. A push wakes every waiter once, in the
//! order in which they began to wait, until the `BRPOP` (if it is among them) takes the message; those behind it sleep
//! on. The move onto itself wakes nobody again: 20 messages made 30 wakes, none later than 0.8 ms, and no loop.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::Notify, task::JoinHandle};

use super::{
    link::{Link, Request},
    servers::Servers,
};

/// How long the server lets one wait; then it is asked again, which finds out lost connections.
const WAIT: Duration = Duration::from_secs(30);
/// After a failure the fetch, which is woken by it, mends the connection; this only keeps the waiters from racing it.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// One waiter per list, each made when its list is first waited for.
#[derive(Debug)]
pub(crate) struct Waiters {
    servers: Arc<Servers>,
    woken: Arc<Notify>,
    lists: Mutex<HashMap<String, Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    signal: Arc<Signal>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Signal {
    armed: AtomicBool,
    arm: Notify,
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Waiters {
    pub(crate) fn new(servers: &Arc<Servers>) -> Self {
        Self {
            servers: Arc::clone(servers),
            woken: Arc::default(),
            lists: Mutex::default(),
        }
    }

    /// Makes every list be waited for, and no other. A list that is waited for already stays so: a wake that comes
    /// before [`Self::wait`] is not lost. Nothing is done for the one for which a fetch is parked; next time that may be
    /// another, so its waiter stays too.
    pub(crate) fn arm(&self, lists: &[String], parked: Option<&str>) {
        let mut waiters = self.lists.lock().unwrap_or_else(PoisonError::into_inner);
        waiters.retain(|list, _| lists.contains(list));
        for list in lists.iter().filter(|list| Some(list.as_str()) != parked) {
            let waiter = waiters
                .entry(list.clone())
                .or_insert_with(|| self.waiter(list.clone()));
            if !waiter.signal.armed.swap(true, Ordering::AcqRel) {
                waiter.signal.arm.notify_one();
            }
        }
    }

    /// Returns after any of the lists may have got a message.
    ///
    /// # Cancel safety
    /// Safe: a wake that nobody waited for is kept for the next call.
    pub(crate) async fn wait(&self) {
        self.woken.notified().await;
    }

    fn waiter(&self, list: String) -> Waiter {
        let signal = Arc::new(Signal::default());
        let link = Link::with_timeout(
            &self.servers,
            "wait",
            Some(WAIT + self.servers.response_timeout),
        );
        let task = tokio::spawn(watch(
            Arc::clone(&self.servers),
            link,
            list,
            Arc::clone(&signal),
            Arc::clone(&self.woken),
        ));
        Waiter { signal, task }
    }
}

async fn watch(
    servers: Arc<Servers>,
    link: Link,
    list: String,
    signal: Arc<Signal>,
    woken: Arc<Notify>,
) {
    let mut wait = redis::cmd("BLMOVE");
    wait.arg(&list)
        .arg(&list)
        .arg("RIGHT")
        .arg("RIGHT")
        .arg(WAIT.as_secs());
    loop {
        signal.arm.notified().await;
        let answered = tokio::select! {
            biased;
            // Looked at first, so that no move is missed.
            () = servers.moved() => false,
            answer = link.attempt(Request::One(&wait)) => answer.is_ok(),
        };
        if !answered {
            tokio::time::sleep(AFTER_FAILURE).await;
        }
        signal.armed.store(false, Ordering::Release);
        woken.notify_one();
    }
}
