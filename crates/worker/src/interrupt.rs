//! What can cut a running attempt short from outside: a cold shutdown, or somebody who terminates its task.
//!
//! Attempts are not registered anywhere, so that an ordinary task pays for none of this: all of them wait at one bell, and
//! when it rings each looks whether it is meant. It rings rarely.

use std::{
    collections::HashMap,
    sync::{
        RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use lovage_broker::Target;
use lovage_protocol::{Headers, TaskId};
use tokio::sync::Notify;

use crate::revoked::carries;

/// How long a wish to terminate stands: for an attempt that had passed its last check when the wish came, and begins to
/// listen only now.
const STANDS: Duration = Duration::from_secs(60);
/// How long attempts have to answer that they run.
const ANSWER: Duration = Duration::from_millis(50);

/// Why an attempt ends before its task does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Interrupt {
    /// The worker stops coldly.
    Cold,
    /// Somebody ended this task, by a signal of this name. A future has no use for a signal and is dropped; a pool of
    /// processes sends it.
    Terminated(String),
}

/// The bell, and what was said.
#[derive(Debug, Default)]
pub(crate) struct Interrupts {
    bell: Notify,
    said_anything: AtomicBool,
    said: RwLock<Said>,
}

#[derive(Debug, Default)]
struct Said {
    cold: bool,
    terminated: Vec<(Target, String, Instant)>,
    /// Who is asked whether it runs, and whether it said yes.
    asked: HashMap<TaskId, bool>,
}

impl Interrupts {
    /// Waits until the attempt with these headers is to end. Dropping it costs nothing.
    pub(crate) async fn of(&self, headers: &Headers) -> Interrupt {
        loop {
            let mut ring = std::pin::pin!(self.bell.notified());
            // Before the look, so that what is said after it rings.
            ring.as_mut().enable();
            if self.said_anything.load(Ordering::Acquire)
                && let Some(interrupt) = self.look(headers)
            {
                return interrupt;
            }
            ring.await;
        }
    }

    /// Every attempt ends.
    pub(crate) fn cold(&self) {
        self.say(|said| said.cold = true);
    }

    /// The attempts that are meant end.
    pub(crate) fn terminate(&self, targets: Vec<(Target, String)>) {
        let now = Instant::now();
        self.say(|said| {
            said.terminated.retain(|(.., at)| at.elapsed() < STANDS);
            let wishes = targets.into_iter();
            said.terminated
                .extend(wishes.map(|(target, signal)| (target, signal, now)));
        });
    }

    /// Those of these tasks that run here now.
    pub(crate) async fn running(&self, ids: &[TaskId]) -> Vec<TaskId> {
        self.say(|said| said.asked = ids.iter().map(|id| (id.clone(), false)).collect());
        tokio::time::sleep(ANSWER).await;
        let answers = std::mem::take(&mut self.write().asked);
        let running = answers.into_iter().filter(|(_, yes)| *yes);
        running.map(|(id, _)| id).collect()
    }

    fn say(&self, what: impl FnOnce(&mut Said)) {
        what(&mut self.write());
        self.said_anything.store(true, Ordering::Release);
        self.bell.notify_waiters();
    }

    fn look(&self, headers: &Headers) -> Option<Interrupt> {
        let said = self.read();
        if said.cold {
            return Some(Interrupt::Cold);
        }
        let meant = |(target, _, at): &&(Target, String, Instant)| {
            at.elapsed() < STANDS && carries(headers, target)
        };
        if let Some((_, signal, _)) = said.terminated.iter().find(meant) {
            return Some(Interrupt::Terminated(signal.clone()));
        }
        let asked = said.asked.contains_key(&headers.id);
        drop(said);
        if asked && let Some(answer) = self.write().asked.get_mut(&headers.id) {
            *answer = true;
        }
        None
    }

    fn read(&self) -> RwLockReadGuard<'_, Said> {
        self.said
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Said> {
        self.said
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(id: &str) -> Headers {
        Headers::new("t".into(), TaskId::from(id))
    }

    #[tokio::test]
    async fn only_who_is_meant_ends() {
        let interrupts = Interrupts::default();
        let (one, two) = (headers("1"), headers("2"));
        let asked = async {
            let running = interrupts.running(&["1".into(), "3".into()]).await;
            assert_eq!(running, [TaskId::from("1")]);
            interrupts.terminate(vec![(Target::Task("1".into()), "SIGTERM".to_owned())]);
        };
        let mut other = std::pin::pin!(interrupts.of(&two));
        let (ended, ()) = tokio::select! {
            biased;
            _ = &mut other => panic!("nobody meant this one"),
            ended = async { tokio::join!(interrupts.of(&one), asked) } => ended,
        };
        assert_eq!(ended, Interrupt::Terminated("SIGTERM".to_owned()));
        interrupts.cold();
        assert_eq!(other.await, Interrupt::Cold);
        let late = interrupts.of(&headers("1")).await;
        assert_eq!(late, Interrupt::Cold, "what stops all comes first");
    }
}
