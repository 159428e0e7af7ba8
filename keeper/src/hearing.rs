//! From the events of Python workers into rows, best effort: what nobody hears is gone, as with any listener.
//!
//! Workers of ours tell the journal, so their task events are passed over here; their heartbeats, and what producers tell of
//! what they send, are not. Task events of Python workers are switched on from here, as Flower does it.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use futures::StreamExt;
use lovage_broker::Broker;
use lovage_database::{
    Database, commit,
    store::{history_gap::Gap, lease::Lease, worker},
};
use lovage_flower_compat::{Control, receive};
use lovage_protocol::{Lamport, Value, event::Event};
use lovage_settings::Redact;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{debug, warn};

use crate::{
    Error,
    account::Account,
    duty::Work,
    ledger::{self, Entry},
    replay::REPLAYED,
    roster::Roster,
};

/// So many events wait for the database; what comes beyond it is lost, and counted.
const WAITING: usize = 20_000;
/// So many go in one write.
const BATCH: usize = 1_000;
/// How often is written, however little there is.
const FLUSH: Duration = Duration::from_millis(250);
/// How often workers are asked for their task events; Flower's own interval.
const ASK: Duration = Duration::from_secs(5);
/// How often all are asked whether they live: some give no sign of life.
const ROLL_CALL: Duration = Duration::from_secs(30);

/// What the duty works with.
#[derive(Debug, Clone)]
pub(crate) struct Hearing {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) database: Database,
    pub(crate) redact: Arc<Redact>,
}

/// What was lost on the way to the database.
#[derive(Debug, Default)]
struct Overflow(AtomicU64);

impl Work for Hearing {
    type Error = Error;

    /// Listens until told to stop.
    async fn run(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
        let clock = Lamport::default();
        let mut heard = receive(&*self.broker, "#", clock.clone()).await?;
        let (sender, mut events) = mpsc::channel(WAITING);
        let overflow = Arc::new(Overflow::default());
        let lost = Arc::clone(&overflow);
        // By itself, so that a slow database does not make the broker drop us.
        let _listening = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(event) = heard.next().await {
                match sender.try_send(event) {
                    Ok(()) => {}
                    Err(mpsc::error::TrySendError::Full(_)) => {
                        lost.0.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(mpsc::error::TrySendError::Closed(_)) => return,
                }
            }
        }));
        let mut ear = Ear {
            hearing: self,
            control: Control::on_clock(Arc::clone(&self.broker), clock),
            roster: Roster::default(),
            entries: Vec::new(),
            since: Utc::now(),
        };
        ear.look_at_leases().await?;
        let mut ticks = Ticks::new();
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                count = events.recv_many(&mut batch, BATCH) => {
                    if count == 0 {
                        return Ok(());
                    }
                    for event in batch.drain(..) {
                        ear.hear(event).await?;
                    }
                    if ear.entries.len() >= BATCH {
                        ear.write(lease, &overflow).await?;
                    }
                }
                _ = ticks.flush.tick() => ear.write(lease, &overflow).await?,
                _ = ticks.ask.tick() => {
                    ear.look_at_leases().await?;
                    ear.ask_for_events();
                }
                _ = ticks.roll_call.tick() => ear.call_the_roll().await?,
                () = stop.cancelled() => {
                    // What was heard by now is kept.
                    while let Ok(event) = events.try_recv() {
                        ear.hear(event).await?;
                    }
                    return ear.write(lease, &overflow).await;
                }
            }
        }
    }
}

struct Ticks {
    flush: tokio::time::Interval,
    ask: tokio::time::Interval,
    roll_call: tokio::time::Interval,
}

impl Ticks {
    fn new() -> Self {
        let every = |time| {
            let mut ticks = interval(time);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        Self {
            flush: every(FLUSH),
            ask: every(ASK),
            roll_call: every(ROLL_CALL),
        }
    }
}

/// What is known while the duty is ours.
struct Ear<'a> {
    hearing: &'a Hearing,
    control: Control,
    roster: Roster,
    entries: Vec<Entry>,
    /// Of the last write.
    since: DateTime<Utc>,
}

impl Ear<'_> {
    async fn hear(&mut self, event: Event) -> Result<(), Error> {
        if event.fields.contains_key(REPLAYED) {
            return Ok(());
        }
        if event.kind.starts_with("worker-") {
            let new = self.roster.tells_the_journal(&event.hostname).is_none();
            self.roster.hear(&event, Instant::now());
            match self.roster.tells_the_journal(&event.hostname) {
                Some(false) if new => self.ask_for_events(),
                // Its queues stand with its lease, and with a new one may be others.
                Some(true) if new || event.kind == "worker-online" => self.look_at_leases().await?,
                _ => {}
            }
            return Ok(());
        }
        if event.kind != "task-sent" && self.tells_the_journal(&event.hostname).await? {
            return Ok(());
        }
        let source = source(&event);
        match Account::of(event, None, &self.hearing.redact) {
            Some(account) => self.entries.push(Entry { source, account }),
            None => debug!(source, "an event tells of no task"),
        }
        Ok(())
    }

    /// Whether what this node tells is told by the journal too. A node that was never heard of is looked for among those that
    /// hold a lease, which ours do before they run anything.
    async fn tells_the_journal(&mut self, node: &str) -> Result<bool, Error> {
        if let Some(known) = self.roster.tells_the_journal(node) {
            return Ok(known);
        }
        self.look_at_leases().await?;
        if let Some(known) = self.roster.tells_the_journal(node) {
            return Ok(known);
        }
        self.roster.is_a_stranger(node, Utc::now(), Instant::now());
        Ok(false)
    }

    async fn look_at_leases(&mut self) -> Result<(), Error> {
        let peers = self.hearing.broker.peers().await?;
        let peers = peers.into_iter().map(|peer| (peer.node, peer.queues));
        self.roster.hold_leases(peers, Utc::now(), Instant::now());
        Ok(())
    }

    /// Asks the workers that do not tell the journal for their task events. Nobody waits for the answers.
    fn ask_for_events(&self) {
        let nodes = self.roster.strangers(Instant::now());
        if nodes.is_empty() {
            return;
        }
        let question = self.control.ask("enable_events").to(nodes);
        tokio::spawn(async move {
            if let Err(error) = question.send().await {
                debug!(
                    error = &error as &dyn std::error::Error,
                    "workers could not be asked for their events"
                );
            }
        });
    }

    /// Asks all who live who they are.
    async fn call_the_roll(&mut self) -> Result<(), Error> {
        let replies = self.control.ask("ping").send().await?;
        self.look_at_leases().await?;
        let (at, now) = (Utc::now(), Instant::now());
        for reply in replies {
            if self.roster.tells_the_journal(&reply.node) != Some(true) {
                self.roster.is_a_stranger(&reply.node, at, now);
            }
        }
        self.ask_for_events();
        Ok(())
    }

    async fn write(&mut self, lease: &Lease, overflow: &Overflow) -> Result<(), Error> {
        let (database, now) = (&self.hearing.database, Utc::now());
        ledger::write(database, &self.entries).await?;
        self.entries.clear();
        for heard in self.roster.news(Instant::now()) {
            worker::record(database.writer(), &heard).await?;
        }
        let lost = overflow.0.swap(0, Ordering::Relaxed);
        if lost > 0 {
            warn!(lost, "events came faster than the database takes them");
            let gap = Gap {
                source: "events".to_owned(),
                began_at: self.since,
                ended_at: now,
                lost: i64::try_from(lost).unwrap_or(i64::MAX),
                reason: "events came faster than the database takes them".to_owned(),
            };
            let transaction = database.begin().await?;
            lease.confirm(&transaction).await?;
            gap.record(&transaction).await?;
            commit(transaction).await?;
        }
        self.since = now;
        Ok(())
    }
}

/// Names an event, wherever it is heard.
fn source(event: &Event) -> String {
    let pid = event.fields.get("pid").and_then(Value::as_i64).unwrap_or(0);
    match event.clock {
        Some(clock) => format!("{}/{pid}/{clock}/{}", event.hostname, event.kind),
        None => {
            let mut hasher = DefaultHasher::new();
            Value::Map(event.fields.clone()).to_json().hash(&mut hasher);
            format!("{}/{pid}/{:x}", event.hostname, hasher.finish())
        }
    }
}
