//! Tasks on threads of their own kind: they may block there. A thread cannot be stopped from outside, so one whose task
//! is given up (a time limit, a cold shutdown) is left running, and counted.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
};

use lovage_telemetry::Trace;
use tokio::{runtime::Handle, sync::Notify, task::JoinHandle};
use tracing::{error, info, warn};

use crate::{outcome::Outcome, shutdown::Shutdown};

/// Threads whose task was given up and that run on.
#[derive(Debug)]
pub(crate) struct Abandoned {
    count: AtomicUsize,
    most: usize,
    /// What to do when there are too many, and the task that was one too many.
    last_straw: Mutex<(Option<Shutdown>, Option<String>)>,
}

impl Abandoned {
    /// At most `most` are borne. Each holds its memory and perhaps a lock or a connection, and nothing ends it but the end
    /// of the process: at one more the worker asks for its own warm shutdown, so that its supervisor starts it afresh.
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            most,
            last_straw: Mutex::default(),
        })
    }

    /// Names whom to ask for a shutdown.
    pub(crate) fn stop_with(&self, shutdown: Shutdown) {
        self.lock().0 = Some(shutdown);
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// The task whose thread was one too many, if it came to that.
    pub(crate) fn last_straw(&self) -> Option<String> {
        self.lock().1.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Option<Shutdown>, Option<String>)> {
        self.last_straw
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, task: &str, blocks: bool) {
        let count = self.count.fetch_add(1, Ordering::Relaxed) + 1;
        // An async task is about to end, unless it computes without an await.
        if blocks {
            warn!(
                task.name = task,
                abandoned = count,
                "the thread of a task that was given up runs on, since a thread cannot be stopped; the prefork pool can"
            );
        }
        if count <= self.most {
            return;
        }
        let mut last_straw = self.lock();
        let (shutdown, named) = &mut *last_straw;
        // At a cold shutdown everything is given up; the process ends anyway.
        if let Some(shutdown) = shutdown.take_if(|shutdown| !shutdown.is_asked()) {
            error!(
                task.name = task,
                abandoned = count,
                most = self.most,
                "too many threads run on after their tasks were given up: this worker stops, start it again"
            );
            *named = Some(task.to_owned());
            shutdown.warm();
        }
    }

    fn subtract(&self, blocks: bool) {
        let left = self.count.fetch_sub(1, Ordering::Relaxed) - 1;
        if blocks {
            info!(abandoned = left, "a thread that was given up has ended");
        }
    }
}

const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const ENDED: u8 = 2;
const GIVEN_UP: u8 = 3;

/// What a thread and whoever waits for it share.
#[derive(Debug)]
struct Tie {
    phase: AtomicU8,
    given_up: Notify,
}

/// Drives `running` on a thread that may block. Dropped, it ends an async task at its next await, and leaves a
/// thread behind that blocks (`blocks`), unless it has not begun. Each is counted until it ends.
pub(crate) async fn run(
    abandoned: &Arc<Abandoned>,
    task: &str,
    blocks: bool,
    running: impl Future<Output = Outcome> + Send + 'static,
) -> Outcome {
    let tie = Arc::new(Tie {
        phase: AtomicU8::new(WAITING),
        given_up: Notify::new(),
    });
    let (handle, span) = (Handle::current(), tracing::Span::current());
    let trace = Trace::current();
    let (own, counted) = (Arc::clone(&tie), Arc::clone(abandoned));
    let thread = tokio::task::spawn_blocking(move || {
        let begun =
            own.phase
                .compare_exchange(WAITING, RUNNING, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_err() {
            return lost_thread();
        }
        let bounded = async {
            tokio::select! {
                biased;
                outcome = Box::pin(running) => outcome,
                () = own.given_up.notified() => lost_thread(),
            }
        };
        let outcome = span.in_scope(|| trace.in_scope(|| handle.block_on(bounded)));
        if own.phase.swap(ENDED, Ordering::AcqRel) == GIVEN_UP {
            counted.subtract(blocks);
        }
        outcome
    });
    let mut watch = Watch {
        thread,
        tie,
        blocks,
        abandoned,
        task,
    };
    (&mut watch.thread).await.unwrap_or_else(|_| lost_thread())
}

/// Notices that nobody waits for the thread any more.
struct Watch<'a> {
    thread: JoinHandle<Outcome>,
    tie: Arc<Tie>,
    blocks: bool,
    abandoned: &'a Abandoned,
    task: &'a str,
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if self.tie.phase.load(Ordering::Acquire) == ENDED {
            return;
        }
        self.thread.abort();
        self.tie.given_up.notify_one();
        let before = self.tie.phase.swap(GIVEN_UP, Ordering::AcqRel);
        if before == RUNNING {
            self.abandoned.add(self.task, self.blocks);
        }
    }
}

/// The handler catches panics, so a thread that ends without an outcome was stopped with the runtime.
fn lost_thread() -> Outcome {
    Outcome::Reject {
        requeue: true,
        reason: "the worker stopped".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_thread_that_is_given_up_is_counted_until_it_ends() {
        let abandoned = Abandoned::new(1);
        let shutdown = Shutdown::new();
        abandoned.stop_with(shutdown.clone());
        let mut ends = Vec::new();
        for count in 1..=2 {
            let (begun, began) = tokio::sync::oneshot::channel();
            let (end, ended) = mpsc::channel::<()>();
            let blocks = async move {
                begun.send(()).unwrap();
                let _ = ended.recv();
                Outcome::Ignore
            };
            tokio::select! {
                _ = run(&abandoned, "blocks", true, blocks) => panic!("it blocks"),
                began = began => began.unwrap(),
            }
            assert_eq!(abandoned.count(), count);
            ends.push(end);
        }
        assert!(shutdown.is_asked(), "two are more than one");
        assert_eq!(abandoned.last_straw().as_deref(), Some("blocks"));
        drop(ends);
        while abandoned.count() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
