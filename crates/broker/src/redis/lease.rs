//! Leases: a key that exists while its worker does, renewed from a thread of its own, so that a busy or blocked async
//! runtime does not look like a dead worker.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, Pipeline, RedisError};
use tokio::sync::Notify;

use super::{
    Core,
    exclusive::Estate,
    held::Held,
    link::{Patience, Request},
    reply,
    scripts::{self, REFRESH, RENEW},
    servers::{Choice, Servers},
};
use crate::{Error, Peer};

/// So many scores are refreshed in one script.
const MOST_REFRESHED: usize = 500;

/// Who holds the lease, and how it is written.
#[derive(Debug)]
pub(crate) struct Holder {
    pub(crate) id: String,
    pub(crate) node: String,
    pub(crate) tasks: String,
    pub(crate) lease: Duration,
    pub(crate) lease_key: String,
    pub(crate) worker_key: String,
    workers_key: String,
    journal_state: String,
    /// What is left of its own queues when it dies.
    pub(crate) estate: Estate,
    /// JSON; changes with the consumed queues.
    pub(crate) queues: Mutex<String>,
}

impl Holder {
    pub(crate) fn new(
        core: &Core,
        id: &str,
        node: &str,
        tasks: &[String],
        queues: String,
        lease: Duration,
        estate: Estate,
    ) -> Self {
        Self {
            id: id.to_owned(),
            node: node.to_owned(),
            tasks: serde_json::Value::from(tasks.to_vec()).to_string(),
            lease,
            lease_key: core.keys.lease(id),
            worker_key: core.keys.worker(id),
            workers_key: core.keys.workers.clone(),
            journal_state: core.keys.journal_state.clone(),
            estate,
            queues: Mutex::new(queues),
        }
    }

    /// Writes the lease and what is known of its holder: a call of [`RENEW`].
    pub(crate) fn renewal(&self) -> Cmd {
        let queues = self
            .queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut keys: Vec<&str> = vec![&self.lease_key, &self.workers_key, &self.worker_key];
        keys.extend(self.estate.members.iter().map(|(table, _)| table.as_str()));
        keys.push(&self.journal_state);
        let mut cmd = scripts::call(&RENEW, &keys);
        cmd.arg(&self.node)
            .arg(millis(self.lease))
            .arg(&self.id)
            .arg(queues)
            .arg(&self.tasks)
            .arg(self.estate.to_text());
        for (_, member) in &self.estate.members {
            cmd.arg(member);
        }
        cmd
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// What the thread knows, for the rest of the consumer.
#[derive(Debug)]
pub(crate) struct Pulse {
    lease: Duration,
    state: Mutex<State>,
    /// Told after each renewal.
    pub(crate) renewed: Notify,
}

#[derive(Debug, Clone, Copy)]
struct State {
    last: Instant,
    /// Since when every renewal has come soon after the one before.
    observed_since: Instant,
}

impl Pulse {
    pub(crate) fn new(lease: Duration) -> Self {
        let now = Instant::now();
        Self {
            lease,
            state: Mutex::new(State {
                last: now,
                observed_since: now,
            }),
            renewed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker was heard of within the last lease.
    pub(crate) fn is_connected(&self) -> bool {
        self.state().last.elapsed() <= self.lease
    }

    /// How long ago the lease was renewed last.
    pub(crate) fn age(&self) -> Duration {
        self.state().last.elapsed()
    }

    /// Whether the broker has been answering without a break for one whole lease: only then does a missing lease mean
    /// a dead worker, and not a broker that was away.
    pub(crate) fn observed_a_lease(&self) -> bool {
        let state = *self.state();
        state.observed_since.elapsed() >= self.lease && state.last.elapsed() <= self.lease / 2
    }

    /// Notes a renewal. Between two that are at most half a lease apart no server was away for so long that the lease of
    /// another, renewed every third of it, could have run out. A lost connection alone is no absence.
    pub(crate) fn record(&self) {
        let now = Instant::now();
        let mut state = self.state();
        if now.duration_since(state.last) > self.lease / 2 {
            state.observed_since = now;
        }
        state.last = now;
        drop(state);
        self.renewed.notify_waiters();
    }
}

/// The thread. Dropping it ends the thread and leaves the lease to run out.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) pulse: Arc<Pulse>,
    orders: mpsc::Sender<()>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

impl Keeper {
    /// Starts to renew a lease that was just written.
    pub(crate) fn start(
        core: &Arc<Core>,
        holder: &Arc<Holder>,
        held: &Arc<Held>,
        journals: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let pulse = Arc::new(Pulse::new(holder.lease));
        let (orders, inbox) = mpsc::channel();
        let work = Work {
            servers: Arc::clone(&core.servers),
            index: core.keys.unacked_index.clone(),
            refresh_after: core.options.visibility_timeout / 4,
            holder: Arc::clone(holder),
            held: Arc::clone(held),
            pulse: Arc::clone(&pulse),
            journals: Arc::clone(journals),
            connection: None,
        };
        let thread = std::thread::Builder::new()
            .name("lovage-lease".into())
            .spawn(move || work.run(&inbox))?;
        Ok(Self {
            pulse,
            orders,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Renews now, not at the next third of the lease.
    pub(crate) fn hurry(&self) {
        // A thread that has ended needs no order.
        let _ = self.orders.send(());
    }

    /// Ends the thread and waits for its end, so that no renewal comes after what the caller does next.
    pub(crate) async fn stop(self) {
        drop(self.orders);
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(thread) = thread {
            // An answer may keep it for a third of a lease. A panic of the thread was reported by the panic hook.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// What the thread works with.
struct Work {
    servers: Arc<Servers>,
    index: String,
    refresh_after: Duration,
    holder: Arc<Holder>,
    held: Arc<Held>,
    pulse: Arc<Pulse>,
    /// A journal is kept.
    journals: Arc<AtomicBool>,
    connection: Option<(Choice, redis::Connection)>,
}

impl Work {
    fn run(mut self, orders: &mpsc::Receiver<()>) {
        let beat = beat(self.holder.lease, self.refresh_after);
        let mut wait = beat;
        loop {
            match orders.recv_timeout(wait) {
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
            }
            let began = Instant::now();
            let renewed = self.renew();
            if renewed.is_ok() {
                self.pulse.record();
            }
            wait = match renewed {
                Ok(()) => beat.saturating_sub(began.elapsed()),
                Err(error) => {
                    tracing::debug!(worker = self.holder.id, %error, "the lease could not be renewed, trying again");
                    if let Some((server, _)) = self.connection.take() {
                        self.servers.ended(server, &error);
                    }
                    beat.min(Duration::from_millis(250))
                }
            };
        }
    }

    fn renew(&mut self) -> Result<(), RedisError> {
        let timeout = (self.holder.lease / 3)
            .min(self.servers.connect_timeout)
            .max(Duration::from_millis(10));
        let current = self
            .connection
            .take()
            .filter(|(server, _)| self.servers.in_use(*server));
        let current = match current {
            Some(current) => current,
            None => self.servers.connect_blocking(timeout)?,
        };
        let (_, connection) = self.connection.insert(current);
        let answer = scripts::run_blocking(&RENEW, &self.holder.renewal(), connection)?;
        self.journals.store(journals(&answer), Ordering::Relaxed);
        let overdue = self.held.overdue(self.refresh_after);
        for numbers in overdue.chunks(MOST_REFRESHED) {
            let mut invocation = REFRESH.key(&self.index);
            for number in numbers {
                invocation.arg(format!("{}:{number}", self.holder.id));
            }
            invocation.invoke::<()>(connection)?;
        }
        Ok(())
    }
}

/// How often is renewed: three times a lease. A score is refreshed on the same occasion and may be a second older than it is,
/// for it is kept in whole seconds; so with a visibility time-out of seconds the occasions have to be as close as that.
fn beat(lease: Duration, refresh_after: Duration) -> Duration {
    (lease / 3)
        .min(refresh_after / 2)
        .max(Duration::from_millis(10))
}

/// What a renewal says: whether a journal is kept.
fn journals(answer: &redis::Value) -> bool {
    reply::integer(answer) == Some(1)
}

/// Takes the lease for the first time, and tells whether a journal is kept.
pub(crate) async fn take(core: &Core, holder: &Holder) -> Result<bool, Error> {
    core.link
        .send(
            Request::Script(&RENEW, &holder.renewal()),
            Patience::Bounded,
        )
        .await
        .map(|answer| journals(&answer))
}

/// Removes the lease and all that is known of its holder.
pub(crate) async fn give_up(core: &Core, holder: &Holder) -> Result<(), Error> {
    let mut pipeline = Pipeline::new();
    pipeline
        .cmd("DEL")
        .arg(&holder.lease_key)
        .arg(&holder.worker_key);
    pipeline.cmd("ZREM").arg(&core.keys.workers).arg(&holder.id);
    core.link
        .send(Request::Many(&pipeline), Patience::Bounded)
        .await
        .map(drop)
}

/// The workers that hold a lease.
pub(crate) async fn peers(core: &Core) -> Result<Vec<Peer>, Error> {
    let ids = reply::text_list(
        core.ask(redis::cmd("ZRANGE").arg(&core.keys.workers).arg(0).arg(-1))
            .await?,
    );
    let mut pipeline = Pipeline::new();
    for id in &ids {
        pipeline.cmd("EXISTS").arg(core.keys.lease(id));
        pipeline
            .cmd("HMGET")
            .arg(core.keys.worker(id))
            .arg(&["node", "queues", "tasks"]);
    }
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let mut answers = reply::list(
        core.link
            .send(Request::Many(&pipeline), Patience::Bounded)
            .await?,
    )
    .into_iter();
    let mut peers = Vec::new();
    for id in ids {
        let (Some(alive), Some(known)) = (answers.next(), answers.next()) else {
            return Err(Error::Misunderstood { what: "HMGET" });
        };
        let mut known = reply::optional_bytes_list(known).into_iter();
        let mut field = || known.next().flatten().unwrap_or_default();
        let (node, queues, tasks) = (field(), field(), field());
        if reply::integer(&alive) == Some(1) {
            peers.push(Peer {
                id,
                node: String::from_utf8_lossy(&node).into_owned(),
                queues: serde_json::from_slice(&queues).unwrap_or_default(),
                tasks: serde_json::from_slice(&tasks).unwrap_or_default(),
            });
        }
    }
    Ok(peers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn held_scores_stay_younger_than_a_short_visibility_timeout() {
        let lease = Duration::from_secs(6);
        for seconds in [2, 3, 5, 10, 60, 3600] {
            let visibility = Duration::from_secs(seconds);
            let refresh_after = visibility / 4;
            let oldest = refresh_after + beat(lease, refresh_after) + Duration::from_secs(1);
            assert!(oldest < visibility, "{oldest:?} with {visibility:?}");
        }
        assert_eq!(beat(lease, Duration::from_secs(900)), lease / 3);
    }
}
