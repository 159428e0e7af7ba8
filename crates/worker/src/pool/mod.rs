//! How tasks are run: in this process on the executor or on threads, or in child processes; and how much at once.
//!
//! The seam is [`Pool::place`] and [`Pool::run`]: an attempt asks for a place, so that it is known which process will run
//! it, records that it begins, and has its job run there. What a job ends in is a [`Ran`], whatever ran it.
//!
//! | module | knows |
//! |---|---|
//! | `in_process` | tasks on the executor and on threads |
//! | `threads` | threads that may block, and those that nobody waits for any more |
//! | `prefork` | child processes |
//! | `limits` | when an attempt has taken too long |
//! | `orders` | how a running task is ended from outside |
//! | `size`, `autoscale` | how much is run and taken |
//! | `kill_signal` | signals by name |

mod autoscale;
pub(crate) mod in_process;
mod kill_signal;
pub(crate) mod limits;
mod orders;
pub(crate) mod prefork;
mod size;
pub(crate) mod threads;

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use lovage_broker::{Delivery, Target};
use lovage_protocol::TaskId;
use lovage_settings::Pool as Kind;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use autoscale::Autoscale;
pub use kill_signal::{KillSignal, UnknownSignal};
pub use orders::Terminated;
pub use prefork::{
    ChildCommand,
    child::{ChildParts, serve_child},
};

pub(crate) use self::size::Size;
use self::{
    in_process::Runner,
    limits::{Limits, Over, after, bounded},
    orders::{Heard, Order, Orders},
    prefork::{Death, JobEnd, Offer, Prefork},
    threads::Abandoned,
};
use crate::{
    catalogue::Registered, error::ControlError, handler::Call, outcome::Outcome, policy,
    shutdown::Shutdown,
};

/// Where a worker's tasks are run.
pub(crate) struct Pool {
    kind: Kind,
    form: Form,
    pub(crate) size: Arc<Size>,
    orders: Orders,
    abandoned: Arc<Abandoned>,
    /// Set when it is opened.
    shutdown: OnceLock<Shutdown>,
    /// Also the lock of whoever changes the size.
    autoscale: Mutex<Option<Autoscale>>,
}

enum Form {
    InProcess(Runner),
    Prefork(Prefork),
}

/// Where one job is going to run.
#[derive(Debug)]
pub(crate) enum Place {
    Here,
    Child(Offer),
}

impl Place {
    /// The process that will run it.
    pub(crate) fn pid(&self) -> u32 {
        match self {
            Self::Here => std::process::id(),
            Self::Child(offer) => offer.pid(),
        }
    }
}

/// One task to run, in the forms that the different places take it in.
pub(crate) struct Job<'a> {
    pub(crate) task: &'a Arc<Registered>,
    pub(crate) call: Box<Call>,
    pub(crate) limits: Limits,
    /// What a child gets: the envelope, and the queue it came from.
    pub(crate) delivery: &'a Delivery,
}

/// What became of a job.
#[derive(Debug)]
pub(crate) enum Ran {
    /// It ended, by itself or by a limit or an order.
    Ended(Outcome),
    /// Its process died; it was this pool's job of this number.
    Lost(Death, u64),
    /// A cold shutdown dropped it.
    Dropped,
    /// It was dropped since the worker is away from the broker.
    Cancelled,
}

impl Pool {
    /// Tasks in this process. `abandoned` is shared with the runner.
    pub(crate) fn in_process(kind: Kind, runner: Runner, size: Size) -> Self {
        let abandoned = Arc::clone(&runner.abandoned);
        Self::new(kind, Form::InProcess(runner), size, abandoned)
    }

    /// Tasks in child processes.
    pub(crate) fn prefork(prefork: Prefork, size: Size) -> Self {
        let form = Form::Prefork(prefork);
        Self::new(Kind::Prefork, form, size, Abandoned::new(0))
    }

    fn new(kind: Kind, form: Form, size: Size, abandoned: Arc<Abandoned>) -> Self {
        Self {
            kind,
            form,
            size: Arc::new(size),
            orders: Orders::default(),
            abandoned,
            shutdown: OnceLock::new(),
            autoscale: Mutex::default(),
        }
    }

    /// Makes it ready: with child processes, waits for the first of them. The error says why it could not start.
    pub(crate) async fn open(
        self: &Arc<Self>,
        shutdown: &Shutdown,
        keepalive: Duration,
        stopped: CancellationToken,
    ) -> Result<(), String> {
        let shutdown = self.shutdown.get_or_init(|| shutdown.clone());
        self.abandoned.stop_with(shutdown.clone());
        if let Form::Prefork(prefork) = &self.form {
            prefork.open(self.size.slots()).await?;
        }
        let this = Arc::clone(self);
        tokio::spawn(async move { this.orders.announce_cold(this.shutdown()).await });
        tokio::spawn(autoscale::run(Arc::clone(self), keepalive, stopped));
        Ok(())
    }

    fn shutdown(&self) -> &Shutdown {
        self.shutdown.get_or_init(Shutdown::new)
    }

    /// Ends what it has started. To be called when nothing runs any more.
    pub(crate) async fn close(&self) {
        if let Form::Prefork(prefork) = &self.form {
            prefork.close().await;
        }
    }

    /// A place for a job, as soon as there is one; `None` once a shutdown is asked for while there is none.
    pub(crate) async fn place(&self) -> Option<Place> {
        match &self.form {
            Form::InProcess(_) => Some(Place::Here),
            Form::Prefork(prefork) => tokio::select! {
                biased;
                offer = prefork.offer() => Some(Place::Child(offer)),
                () = self.shutdown().asked() => None,
            },
        }
    }

    /// Runs a job at a place that this pool has given.
    pub(crate) async fn run(&self, place: Place, job: Job<'_>) -> Ran {
        match (&self.form, place) {
            (Form::Prefork(prefork), Place::Child(offer)) => {
                Box::pin(self.run_in_child(prefork, offer, job)).await
            }
            (Form::InProcess(runner), _) => self.run_here(runner, job).await,
            // Not a place of this pool: nothing gives one out.
            (Form::Prefork(_), Place::Here) => Ran::Dropped,
        }
    }

    async fn run_here(&self, runner: &Runner, job: Job<'_>) -> Ran {
        let Job {
            task, call, limits, ..
        } = job;
        let context = call.context.clone();
        let running = runner.start(task, call);
        // A thread that blocks cannot be stopped; an async task can be dropped, wherever it runs.
        let blocks = task.rules.blocking;
        let told = async {
            after(limits.soft).await;
            limits::report(Over::Soft, limits, &context);
        };
        let mut heard = Heard::default();
        heard.stays = blocks || !task.rules.acks_late;
        heard.began_in = self.orders.absences();
        let mut running = pin!(async {
            if limits == Limits::default() {
                return Ok(running.await);
            }
            // Boxed: every message's future would carry the size of the rarer way along.
            let hard = after(limits.hard);
            Box::pin(bounded(running, &context, told, hard)).await
        });
        loop {
            tokio::select! {
                biased;
                ended = &mut running => return Ran::Ended(match ended {
                    Ok(outcome) => outcome,
                    Err(over) => over_limit(over, limits, &context),
                }),
                order = self.orders.next(&context.message().headers, &mut heard, self.shutdown()) => match order {
                    Order::Cold => return Ran::Dropped,
                    Order::Away => return Ran::Cancelled,
                    Order::Terminate(_, answer) if blocks => {
                        warn!("a task on a thread cannot be terminated, it runs on; the prefork pool can end such tasks");
                        answer.give(Terminated::OnThread);
                    }
                    Order::Terminate(signal, answer) => {
                        answer.give(Terminated::Yes);
                        return Ran::Ended(Outcome::Terminated(signal));
                    }
                },
            }
        }
    }

    async fn run_in_child(&self, prefork: &Prefork, offer: Offer, job: Job<'_>) -> Ran {
        let Job {
            task,
            call,
            limits,
            delivery,
        } = job;
        let context = call.context;
        let (raw, queue) = (delivery.raw.clone(), delivery.queue.to_string());
        let (killer, running) = prefork.run(offer, raw, queue, limits, context.clone());
        let mut running = pin!(running);
        let (mut terminated, mut heard) = (None, Heard::default());
        heard.stays = !task.rules.acks_late;
        heard.began_in = self.orders.absences();
        let mut cancelled = false;
        loop {
            tokio::select! {
                biased;
                (end, number) = &mut running => return match end {
                    JobEnd::Reported(outcome, children, added) => {
                        context.add_members(added);
                        context.add_children(children);
                        Ran::Ended(outcome)
                    }
                    JobEnd::Over(over) => Ran::Ended(over_limit(over, limits, &context)),
                    JobEnd::Died(_) if cancelled => Ran::Cancelled,
                    JobEnd::Died(death) => match terminated {
                        Some(signal) => Ran::Ended(Outcome::Terminated(signal)),
                        None => Ran::Lost(death, number),
                    },
                },
                order = self.orders.next(&context.message().headers, &mut heard, self.shutdown()) => match order {
                    Order::Cold => return Ran::Dropped,
                    Order::Away => {
                        heard.stays = true;
                        cancelled = killer.send(KillSignal::KILL).is_ok();
                    }
                    Order::Terminate(signal, answer) => {
                        // A signal that does not end the process leaves the task running.
                        if killer.send(signal).is_ok() {
                            terminated = Some(signal);
                        }
                        answer.give(Terminated::Yes);
                    }
                },
            }
        }
    }

    /// Orders the end of a running task.
    pub(crate) async fn terminate(&self, id: &TaskId, signal: KillSignal) -> Terminated {
        self.orders.terminate(id, signal).await
    }

    /// Orders the end of all that is meant, also of what begins to run within the next moments.
    pub(crate) fn terminate_all(&self, targets: Vec<(Target, KillSignal)>) {
        self.orders.terminate_all(targets);
    }

    /// Says whether the worker is away from the broker: then running tasks whose messages are acked late are dropped.
    pub(crate) fn set_away(&self, away: bool) {
        self.orders.set_away(away);
    }

    /// How tasks are run.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Threads that run on though their tasks were given up.
    pub(crate) fn abandoned(&self) -> &Abandoned {
        &self.abandoned
    }

    /// The processes that run tasks.
    pub(crate) fn processes(&self) -> Vec<u32> {
        match &self.form {
            Form::InProcess(_) => vec![std::process::id()],
            Form::Prefork(prefork) => prefork.processes(),
        }
    }

    /// Replaces what runs the tasks, where that is child processes: they end after the task they have.
    pub(crate) fn restart(&self) {
        if let Form::Prefork(prefork) = &self.form {
            prefork.restart();
        }
    }

    /// How many jobs each child process was given; nothing where there are none.
    pub(crate) fn jobs_given(&self) -> Vec<u64> {
        match &self.form {
            Form::InProcess(_) => Vec::new(),
            Form::Prefork(prefork) => prefork.jobs_given(),
        }
    }

    fn bounds(&self) -> MutexGuard<'_, Option<Autoscale>> {
        self.autoscale
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Between what sizes it scales by itself.
    pub(crate) fn autoscale(&self) -> Option<Autoscale> {
        *self.bounds()
    }

    /// Lets it scale by itself from now on.
    pub(crate) fn set_autoscale(&self, bounds: Autoscale) -> Result<(), ControlError> {
        self.check_sizes()?;
        *self.bounds() = Some(bounds);
        self.size.set_ceiling(bounds.max);
        let slots = self.size.slots();
        self.resize(slots.clamp(bounds.min, bounds.max))
    }

    /// Changes the size by so many; where it scales by itself the bounds give way, as in Celery (`force_scale_up`).
    pub(crate) fn change_by(&self, difference: isize) -> Result<usize, ControlError> {
        self.check_sizes()?;
        let slots = self.size.slots();
        let size = slots.saturating_add_signed(difference);
        if size == 0 {
            return Err(ControlError::TooFew { slots });
        }
        if let Some(bounds) = &mut *self.bounds() {
            *bounds = Autoscale::new(bounds.max.max(size), bounds.min.min(size));
            self.size.set_ceiling(bounds.max);
        }
        self.resize(size)?;
        Ok(size)
    }

    fn check_sizes(&self) -> Result<(), ControlError> {
        match self.kind {
            Kind::Solo => Err(ControlError::Solo),
            _ => Ok(()),
        }
    }

    /// Changes the size. What runs is not disturbed.
    pub(crate) fn resize(&self, slots: usize) -> Result<(), ControlError> {
        self.check_sizes()?;
        let _one_at_a_time = self.bounds();
        let before = self.size.slots();
        let prefork = match &self.form {
            Form::Prefork(prefork) => Some(prefork),
            Form::InProcess(_) => None,
        };
        if let Some(prefork) = prefork
            && slots > before
        {
            prefork.grow(slots - before);
        }
        self.size.set_slots(slots);
        if let Some(prefork) = prefork
            && slots < before
        {
            prefork.shrink(before - slots);
        }
        Ok(())
    }
}

fn over_limit(over: Over, limits: Limits, context: &crate::Context) -> Outcome {
    if over == Over::Hard {
        limits::report(over, limits, context);
    }
    policy::timed_out(over, limits.hard)
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("kind", &self.kind)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}
