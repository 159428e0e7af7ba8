//! The pool of child processes, seen by the worker: takes a free child, gives it a job, hears how it ended.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use lovage_settings::WorkerSettings;
use lovage_telemetry::Trace;
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{
    keeper,
    process::{ChildCommand, Death},
};
use crate::{
    context::Context,
    outcome::Outcome,
    pool::{
        kill_signal::KillSignal,
        limits::{Limits, Over},
    },
};

/// How long the end of all children may take: longer than each may.
const FAREWELL: Duration = Duration::from_secs(8);

/// One message for a child to run.
#[derive(Debug)]
pub(crate) struct Assignment {
    pub(crate) job: u64,
    pub(crate) raw: Bytes,
    pub(crate) queue: String,
    /// The span that it runs in, for the child; empty: none.
    pub(crate) trace: String,
    pub(crate) limits: Limits,
    /// The running task, for the log.
    pub(crate) context: Context,
    /// Where the end is told. Nobody there any more: the job is to be killed.
    pub(crate) reply: oneshot::Sender<JobEnd>,
    /// Signals to send to the child while it runs this.
    pub(crate) signals: mpsc::UnboundedReceiver<KillSignal>,
}

/// How a job ended.
#[derive(Debug)]
pub(crate) enum JobEnd {
    /// The child has reported; the tasks that were sent are told beside.
    Reported(
        Outcome,
        Vec<lovage_protocol::Value>,
        Vec<lovage_protocol::Signature>,
    ),
    /// A limit was over; after a hard one the child has been killed.
    Over(Over),
    /// The child died.
    Died(Death),
}

/// A child that waits for a job, or did when it offered itself.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(super) pid: u32,
    pub(super) take: oneshot::Sender<Box<Assignment>>,
}

impl Offer {
    /// The id of the child's process.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Gives it a job; back when it has died meanwhile, and has not begun.
    pub(crate) fn assign(self, assignment: Box<Assignment>) -> Result<(), Box<Assignment>> {
        self.take.send(assignment)
    }
}

/// When a child is replaced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wear {
    pub(super) max_tasks: Option<u32>,
    /// KiB.
    pub(super) max_memory: Option<u64>,
}

/// What the keepers of the children share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) command: ChildCommand,
    pub(super) wear: Wear,
    pub(super) offers: mpsc::UnboundedSender<Offer>,
    /// Each permit retires one keeper whose child is idle.
    pub(super) retired: Semaphore,
    pub(super) closing: CancellationToken,
    /// Children of an older generation are replaced.
    pub(super) generation: watch::Sender<u64>,
    /// How the first child of all fared: the reason when it could not start.
    pub(super) first: watch::Sender<Option<Result<(), String>>>,
    /// How many jobs each child was given.
    processes: Mutex<BTreeMap<u32, u64>>,
}

impl Shared {
    pub(super) fn processes(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell_first(&self, fared: Result<(), String>) {
        self.first.send_if_modified(|first| {
            let is_first = first.is_none();
            if is_first {
                *first = Some(fared);
            }
            is_first
        });
    }
}

/// Child processes, each with a keeper that replaces it.
#[derive(Debug)]
pub(crate) struct Prefork {
    shared: Arc<Shared>,
    /// Children that wait. Attempts queue up at the lock when there are none.
    waiting: tokio::sync::Mutex<mpsc::UnboundedReceiver<Offer>>,
    keepers: Mutex<JoinSet<()>>,
    jobs: AtomicU64,
}

impl Prefork {
    pub(crate) fn new(command: ChildCommand, settings: &WorkerSettings) -> Self {
        let (offers, waiting) = mpsc::unbounded_channel();
        let shared = Shared {
            command,
            wear: Wear {
                max_tasks: settings.max_tasks_per_child,
                max_memory: settings.max_memory_per_child,
            },
            offers,
            retired: Semaphore::new(0),
            closing: CancellationToken::new(),
            generation: watch::Sender::new(0),
            first: watch::Sender::new(None),
            processes: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
            waiting: tokio::sync::Mutex::new(waiting),
            keepers: Mutex::default(),
            jobs: AtomicU64::new(0),
        }
    }

    /// Starts so many children, and waits until one of them is ready. The error says why it could not start.
    pub(crate) async fn open(&self, children: usize) -> Result<(), String> {
        self.grow(children);
        let mut first = self.shared.first.subscribe();
        let fared = first.wait_for(Option::is_some).await;
        match fared.ok().and_then(|fared| fared.clone()) {
            Some(Err(why)) => Err(why),
            _ => Ok(()),
        }
    }

    /// Adds children; those that were to retire and have not yet are kept instead.
    pub(crate) fn grow(&self, children: usize) {
        let kept = self.shared.retired.forget_permits(children);
        let mut keepers = self.keepers();
        for _ in kept..children {
            keepers.spawn(keeper::run(Arc::clone(&self.shared)));
        }
    }

    /// Takes children away: idle ones at once, the others after their task.
    pub(crate) fn shrink(&self, children: usize) {
        self.shared.retired.add_permits(children);
    }

    /// Replaces every child: idle ones at once, the others after their task.
    pub(crate) fn restart(&self) {
        self.shared
            .generation
            .send_modify(|generation| *generation += 1);
    }

    fn keepers(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The ids of the children's processes, ascending.
    pub(crate) fn processes(&self) -> Vec<u32> {
        self.shared.processes().keys().copied().collect()
    }

    /// How many jobs each child was given, in the order of [`Self::processes`].
    pub(crate) fn jobs_given(&self) -> Vec<u64> {
        self.shared.processes().values().copied().collect()
    }

    /// A child that waits, as soon as there is one.
    ///
    /// # Cancel safety
    /// Safe: a child that was taken and not used offers itself again.
    pub(crate) async fn offer(&self) -> Offer {
        let mut waiting = self.waiting.lock().await;
        loop {
            match waiting.recv().await {
                Some(offer) if !offer.take.is_closed() => return offer,
                Some(_) => {}
                // Cannot be: we hold a sender. Nobody is served any more.
                None => std::future::pending().await,
            }
        }
    }

    /// Runs a message on a child; the other part sends signals to the child meanwhile. Dropping the future kills it.
    ///
    /// A child that has died before it could begin costs nothing: the next one gets the job.
    pub(crate) fn run(
        &self,
        mut offer: Offer,
        raw: Bytes,
        queue: String,
        limits: Limits,
        context: Context,
    ) -> (
        mpsc::UnboundedSender<KillSignal>,
        impl Future<Output = (JobEnd, u64)>,
    ) {
        let job = self.jobs.fetch_add(1, Ordering::Relaxed);
        let (killer, signals) = mpsc::unbounded_channel();
        let trace = Trace::current().parent().unwrap_or_default();
        let running = async move {
            let (reply, end) = oneshot::channel();
            let mut assignment = Box::new(Assignment {
                job,
                raw,
                queue,
                trace,
                limits,
                context,
                reply,
                signals,
            });
            while let Err(back) = offer.assign(assignment) {
                assignment = back;
                offer = self.offer().await;
            }
            // A keeper ends without an answer only when the worker itself does.
            let end = end.await;
            (end.unwrap_or(JobEnd::Died(Death::Exit(0))), job)
        };
        (killer, running)
    }

    /// Ends all children.
    pub(crate) async fn close(&self) {
        self.shared.closing.cancel();
        let mut keepers = std::mem::take(&mut *self.keepers());
        let gone = async { while keepers.join_next().await.is_some() {} };
        if tokio::time::timeout(FAREWELL, gone).await.is_err() {
            warn!("child processes do not end; they are left to their end of the pipe");
        }
    }
}
