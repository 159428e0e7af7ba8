//! What a test does: send, run, let time pass, look.

use std::{sync::Arc, time::Duration};

use celery::task::{Signature, Task};
use chrono::{DateTime, Utc};
use lovage_broker::{Broker, DeadLetter, MemoryBroker};
use lovage_client::{AsyncResult, Client, SendBuilder};
use lovage_protocol::{TaskId, TaskMeta};
use lovage_registry::TaskSpec;
use lovage_worker::{Module, Shutdown, Summary, WorkerHandle};
use serde::de::DeserializeOwned;
use tokio::task::JoinHandle;

use crate::{Error, FakeClock, HarnessBuilder, Sent, busy};

/// A task that has been run so often is taken to retry for ever.
const MOST_ATTEMPTS: u32 = 1_000;

/// A worker in this process, and everything around it.
///
/// It runs only inside [`run_until_idle`](Self::run_until_idle), [`run_for`](Self::run_for) and [`call`](Self::call), unless
/// it was made [free](HarnessBuilder::free_running). Its clock stands still but for [`advance`](Self::advance) and `run_for`
/// (and `call`, which follows retries). Waiting that a task does by itself, as with `tokio::time::sleep`, is real, unless the
/// test's runtime is paused (`#[tokio::test(start_paused = true)]`); so are time limits. Dropping it ends the worker.
#[derive(Debug)]
pub struct Harness {
    pub(crate) client: Client,
    pub(crate) controls: WorkerHandle,
    pub(crate) broker: Arc<MemoryBroker>,
    pub(crate) clock: FakeClock,
    pub(crate) specs: Vec<TaskSpec>,
    pub(crate) patience: Duration,
    pub(crate) free: bool,
    pub(crate) shutdown: Shutdown,
    pub(crate) running: Option<JoinHandle<Result<Summary, lovage_worker::Error>>>,
}

impl Harness {
    /// A harness with the tasks of one module and all defaults.
    ///
    /// # Errors
    /// As [`HarnessBuilder::start`].
    pub async fn start(module: Module) -> Result<Self, Error> {
        Self::builder().module(module).start().await
    }

    /// A harness, piece by piece.
    pub fn builder() -> HarnessBuilder {
        HarnessBuilder::new()
    }

    /// What a running worker can be told: limits, size, the end of a task.
    pub fn controls(&self) -> &WorkerHandle {
        &self.controls
    }

    /// Sends tasks and reads results, as in production.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The broker, for what the harness itself does not show.
    pub fn broker(&self) -> &Arc<MemoryBroker> {
        &self.broker
    }

    /// What the clock of the harness says.
    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// The clock, to be given to what asks for the time itself.
    pub fn clock(&self) -> &FakeClock {
        &self.clock
    }

    /// Moves the clock and runs nothing: what was waiting meanwhile is found to be due, or too late, by the next run.
    pub fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.broker.clock_moved();
    }

    /// Runs the worker until it has nothing to do: nothing waits in its queues, nothing runs, nothing is due. What is due
    /// later stays, and so does what lies in queues that it does not consume.
    ///
    /// # Errors
    /// [`Error::Busy`], which names what still waits, when it does not come to rest within the harness's patience.
    pub async fn run_until_idle(&self) -> Result<(), Error> {
        self.check_running()?;
        self.broker.go_on();
        let quiet = tokio::time::timeout(self.patience, self.broker.quiet()).await;
        // Looked at first, since holding up changes nothing of what is there.
        let contents = quiet.is_err().then(|| self.broker.contents());
        if !self.free {
            self.broker.hold_up();
        }
        match contents {
            None => self.check_running(),
            Some(contents) => Err(Error::Busy {
                patience: self.patience,
                what: busy::describe(&contents),
            }),
        }
    }

    /// Lets time pass: runs the worker until idle, moves the clock to what is due next, runs it again, until `by` is over.
    /// So each task runs at the time when it is due, and a retry of a retry comes in its turn.
    ///
    /// # Errors
    /// As [`run_until_idle`](Self::run_until_idle).
    pub async fn run_for(&self, by: Duration) -> Result<(), Error> {
        let end = FakeClock::at(self.now());
        end.advance(by);
        let end = end.now();
        self.run_until_idle().await?;
        while let Some(due) = self.next_due().filter(|due| *due <= end) {
            self.clock.advance_to(due);
            self.run_until_idle().await?;
        }
        self.clock.advance_to(end);
        self.run_until_idle().await
    }

    /// Runs one call at once and gives its value, as Celery's eager mode: retries are followed, however far ahead (the clock
    /// moves to each), and what else is due runs too, such as callbacks and the next steps of a chain.
    ///
    /// # Errors
    /// [`Error::failure`] and [`Error::revoked`] tell how the task ended instead; [`Error::NoResult`] when it leaves nothing.
    pub async fn call<T>(&self, call: Signature<T>) -> Result<T::Returns, Error>
    where
        T: Task + 'static,
        T::Returns: DeserializeOwned,
    {
        self.finish(self.client.send(call)).await
    }

    /// As [`call`](Self::call), for a call with options.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub async fn finish<R>(&self, call: SendBuilder<R>) -> Result<R, Error>
    where
        R: DeserializeOwned + 'static,
    {
        let handle = call.await?;
        for _ in 0..MOST_ATTEMPTS {
            self.run_until_idle().await?;
            if let Some(value) = self.result(&handle).await? {
                return Ok(value);
            }
            match self.due(handle.id()) {
                Some(due) => self.clock.advance_to(due),
                None => return Err(self.no_result(handle.id())),
            }
        }
        Err(Error::Endless {
            id: handle.id().clone(),
            attempts: MOST_ATTEMPTS,
        })
    }

    /// Why a task that is not delayed has no result.
    fn no_result(&self, id: &TaskId) -> Error {
        let contents = self.broker.contents();
        let left = contents.waiting.iter().find(|(queue, raw)| {
            Sent::parse(raw, queue.to_string(), |_| None).is_some_and(|sent| sent.id == *id)
        });
        let id = id.clone();
        match left {
            Some((queue, _)) => Error::NotConsumed {
                id,
                queue: queue.to_string(),
            },
            None => Error::NoResult { id },
        }
    }

    /// The value of a task that was sent; `None` while it has not ended, and when it leaves no result.
    ///
    /// # Errors
    /// When it failed or was revoked.
    pub async fn result<R: DeserializeOwned>(
        &self,
        handle: &AsyncResult<R>,
    ) -> Result<Option<R>, Error> {
        match self.meta(handle.id()).await? {
            Some(meta) if meta.status.is_ready() => {
                // A handle of one's own: one that was sent with `ignore_result` would not look.
                let handle = self.client.handle(handle.id().clone());
                Ok(Some(handle.get(Duration::ZERO).await?))
            }
            _ => Ok(None),
        }
    }

    /// The stored record of a task: state, result, traceback.
    ///
    /// # Errors
    /// When the record cannot be read.
    pub async fn meta(&self, id: &TaskId) -> Result<Option<TaskMeta>, Error> {
        let loaded = self.client.results().load(id).await;
        loaded.map_err(|error| Error::Memory(error.into()))
    }

    /// Every message of this task that was sent since the start, in order: calls, and retries with their number.
    pub fn sent<T: Task>(&self) -> Vec<Sent> {
        self.sent_named(T::NAME)
    }

    /// As [`sent`](Self::sent), for a task known by its name only.
    pub fn sent_named(&self, task: &str) -> Vec<Sent> {
        let mut sent = self.all_sent();
        sent.retain(|sent| sent.task == task);
        sent
    }

    /// Every task message that was sent since the start, in order.
    pub fn all_sent(&self) -> Vec<Sent> {
        let published = self.broker.published();
        let read = |publish| Sent::read(publish, |task| self.spec(task));
        published.iter().filter_map(read).collect()
    }

    /// The messages that wait in a queue, next first; mostly of one that this worker does not consume.
    pub fn waiting(&self, queue: &str) -> Vec<Sent> {
        let contents = self.broker.contents();
        let there = contents
            .waiting
            .iter()
            .filter(|(name, _)| name.as_str() == queue);
        there
            .filter_map(|(name, raw)| Sent::parse(raw, name.to_string(), |task| self.spec(task)))
            .collect()
    }

    /// The messages that are due later, the next first. A call with an eta is among them once the worker has seen it.
    pub fn scheduled(&self) -> Vec<Sent> {
        let contents = self.broker.contents();
        let delayed = contents.delayed.iter();
        delayed
            .filter_map(|(_, queue, raw)| {
                Sent::parse(raw, queue.to_string(), |task| self.spec(task))
            })
            .collect()
    }

    /// The messages that could not be run, the newest first.
    ///
    /// # Errors
    /// None in memory; the broker's trait may have some.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, Error> {
        let listed = self.broker.dead_letters().list(0, usize::MAX).await;
        listed.map_err(|error| Error::Memory(error.into()))
    }

    /// Stops the worker warmly, runs its stop hooks, and tells what it did.
    ///
    /// # Errors
    /// What the worker ended with.
    pub async fn stop(mut self) -> Result<Summary, Error> {
        self.shutdown.warm();
        match self.running.take() {
            Some(running) => Ok(running.await.map_err(|_| Error::Stopped)??),
            None => Err(Error::Stopped),
        }
    }

    fn check_running(&self) -> Result<(), Error> {
        match &self.running {
            Some(running) if !running.is_finished() => Ok(()),
            _ => Err(Error::Stopped),
        }
    }

    fn spec(&self, task: &str) -> Option<TaskSpec> {
        self.specs.iter().find(|spec| spec.name == task).cloned()
    }

    /// When the next delayed message is due.
    fn next_due(&self) -> Option<DateTime<Utc>> {
        let contents = self.broker.contents();
        contents.delayed.first().map(|(until, _, _)| moment(*until))
    }

    /// When a task runs again.
    fn due(&self, id: &TaskId) -> Option<DateTime<Utc>> {
        let contents = self.broker.contents();
        let again = contents.delayed.iter().find(|(_, queue, raw)| {
            Sent::parse(raw, queue.to_string(), |_| None).is_some_and(|sent| sent.id == *id)
        });
        again.map(|(until, _, _)| moment(*until))
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        self.shutdown.cold();
    }
}

/// The first moment at which a delay until this unix time is over; microseconds are all that the wire knows.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a float beyond the range becomes its end, which is no time and so the last moment"
)]
fn moment(unix: f64) -> DateTime<Utc> {
    // A float of today's seconds is a fraction of a microsecond off, to either side.
    let near = (unix * 1_000_000.0).round();
    let micros = if near / 1_000_000.0 < unix {
        near + 1.0
    } else {
        near
    };
    DateTime::from_timestamp_micros(micros as i64).unwrap_or(DateTime::<Utc>::MAX_UTC)
}
