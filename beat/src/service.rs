//! The loop: lead or stand by, learn what has changed, send what is due, sleep until the next.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use lovage_broker::{Publish, timetable::Candidate};
use lovage_client::Client;
use lovage_protocol::Clock;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    task::yield_now,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use uuid::Uuid;

use crate::{
    agenda::Agenda,
    check::Defaults,
    numbers::BeatNumbers,
    roster::Roster,
    store::{Store, StoreError, Tick, Ticked},
};

/// How often the store is asked what has changed, and the lead is prolonged or asked for. Clocks that jump are seen as soon.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest pause between two looks at the agenda.
const SHORTEST: Duration = Duration::from_millis(1);
/// So many schedules are sent at once; what is due beyond it follows at once.
const MOST_AT_ONCE: usize = 200;

/// What a beat is made of.
#[derive(Debug)]
pub struct Beat {
    store: Arc<dyn Store>,
    client: Client,
    node: String,
    candidate: Candidate,
    agenda: Agenda,
    clock: Clock,
    status: watch::Sender<Status>,
    numbers: BeatNumbers,
    fence: Option<u64>,
    edition: u64,
    looked: Option<Instant>,
    unwell: bool,
}

/// What a beat is told at its start.
#[derive(Debug, Clone)]
pub struct BeatOptions {
    /// Its node name, for people: `celerybeat@host`.
    pub node: String,
    /// How long the lead holds without a sign of life; default 6 s.
    pub lease: Duration,
    /// What holds for schedules that say nothing else.
    pub defaults: Defaults,
    /// The tasks there are.
    pub roster: Roster,
}

/// What the leader tells of itself, with each sign of life.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaderReport {
    /// Its node name.
    pub node: String,
    /// When it wrote this.
    pub seen: Option<DateTime<Utc>>,
    /// When it sent something last.
    pub last_tick: Option<DateTime<Utc>>,
    /// When the next run is due.
    pub next_due: Option<DateTime<Utc>>,
    /// So many schedules run.
    pub schedules: usize,
    /// So many schedules are kept that cannot run.
    pub refused: usize,
}

impl LeaderReport {
    /// As it is kept beside the lead.
    pub fn read(about: &str) -> Self {
        // A beat of another version may tell something else; its name is all that is needed.
        serde_json::from_str(about).unwrap_or_else(|_| Self {
            node: about.to_owned(),
            ..Self::default()
        })
    }
}

/// How a beat is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// It leads; otherwise it stands by.
    pub leads: bool,
    /// The node that leads; nothing until the store has answered.
    pub leader: String,
    /// When the store answered last.
    pub seen: Option<DateTime<Utc>>,
    /// When this beat sent something last.
    pub last_tick: Option<DateTime<Utc>>,
    /// When the next run is due, if this beat leads.
    pub next_due: Option<DateTime<Utc>>,
    /// So many schedules run, if this beat leads.
    pub schedules: usize,
    /// So many schedules are kept that cannot run, if this beat leads.
    pub refused: usize,
}

impl Beat {
    /// A beat on a store, which sends through a client and reads its clock.
    pub fn new(store: Arc<dyn Store>, client: Client, options: BeatOptions) -> Self {
        let clock = client.clock().clone();
        Self {
            store,
            client,
            node: options.node,
            candidate: Candidate {
                owner: Uuid::new_v4().to_string(),
                about: String::new(),
                lease: options.lease,
            },
            agenda: Agenda::new(options.defaults, options.roster),
            clock,
            status: watch::Sender::new(Status::default()),
            numbers: BeatNumbers::default(),
            fence: None,
            edition: 0,
            looked: None,
            unwell: false,
        }
    }

    /// How it is, from now on.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.subscribe()
    }

    /// What it counts, from now on.
    pub fn numbers(&self) -> BeatNumbers {
        self.numbers.clone()
    }

    /// Runs until told to stop; then the lead is free at once. A store that is away is waited for.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let pause = match self.turn().await {
                Ok(pause) => {
                    self.unwell = false;
                    pause
                }
                Err(refusal) => {
                    self.complain(&refusal);
                    // What the last step did is not known: everything is asked for anew.
                    self.stand_by();
                    self.looked = None;
                    LOOK
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        let owner = &self.candidate.owner;
        if self.fence.is_some() && self.store.step_down(owner).await.is_err() {
            debug!("the lead was not given up; it ends with its lease");
        }
    }

    /// One look around; how long to wait for the next.
    async fn turn(&mut self) -> Result<Duration, StoreError> {
        if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
            self.look().await?;
        }
        if let Some(fence) = self.fence {
            self.send(fence).await?;
        }
        self.tell();
        let until_look = self.looked.map_or(Duration::ZERO, |looked| {
            LOOK.saturating_sub(looked.elapsed())
        });
        let now = self.clock.now();
        let until_due = self
            .agenda
            .next()
            .map(|at| (at - now).to_std().unwrap_or_default());
        Ok(until_due
            .map_or(until_look, |due| due.min(until_look))
            .max(SHORTEST))
    }

    /// Prolongs the lead or asks for it, and learns what has changed.
    async fn look(&mut self) -> Result<(), StoreError> {
        let looked = Instant::now();
        self.candidate.about = self.report();
        let leadership = self.store.lead(&self.candidate).await?;
        self.looked = Some(looked);
        let now = self.clock.now();
        self.status.send_modify(|status| {
            status.seen = Some(now);
            status.leader = LeaderReport::read(&leadership.about).node;
        });
        if leadership.fence != self.fence {
            self.stand_by();
            self.fence = leadership.fence;
            match self.fence {
                Some(fence) => info!(fence, "this beat leads"),
                None => info!("another beat leads, standing by"),
            }
        }
        if self.fence.is_some() && leadership.edition != self.edition {
            self.learn().await?;
        }
        Ok(())
    }

    /// What it will have told if it leads.
    fn report(&self) -> String {
        let report = LeaderReport {
            node: self.node.clone(),
            seen: Some(self.clock.now()),
            last_tick: self.status.borrow().last_tick,
            next_due: self.agenda.next(),
            schedules: self.agenda.len(),
            refused: self.agenda.refused(),
        };
        serde_json::to_string(&report).unwrap_or_else(|_| self.node.clone())
    }

    async fn learn(&mut self) -> Result<(), StoreError> {
        loop {
            let news = self.store.news(self.edition).await?;
            for name in &news.removed {
                self.agenda.drop(name);
            }
            for stored in news.changed {
                self.agenda.take(&stored);
            }
            self.edition = news.edition;
            if !news.more {
                return Ok(());
            }
            // To learn of a hundred thousand takes longer than a lease may: it is prolonged meanwhile.
            if self.looked.is_none_or(|looked| looked.elapsed() >= LOOK) {
                let looked = Instant::now();
                let leadership = self.store.lead(&self.candidate).await?;
                self.looked = Some(looked);
                if leadership.fence != self.fence {
                    self.stand_by();
                    self.looked = None;
                    return Ok(());
                }
            }
        }
    }

    /// Sends what is due, until nothing is or the lead has to be prolonged. While the store is busy with some, the next are written.
    async fn send(&mut self, fence: u64) -> Result<(), StoreError> {
        let mut ticks = gather(&mut self.agenda, &self.clock, &self.client).await;
        while !ticks.is_empty() {
            let publishes: Vec<Publish> = ticks
                .iter()
                .flat_map(|tick| tick.messages.iter().map(|one| one.publish.clone()))
                .collect();
            let is_held = self.looked.is_some_and(|looked| looked.elapsed() < LOOK);
            let (agenda, clock, client) = (&mut self.agenda, &self.clock, &self.client);
            let next = async {
                match is_held {
                    true => gather(agenda, clock, client).await,
                    false => Vec::new(),
                }
            };
            let step = self.store.tick(&self.candidate.owner, fence, &ticks);
            let (ticked, (), next) = tokio::join!(step, declare(&self.client, &publishes), next);
            let Some(ticked) = ticked? else {
                warn!("another beat has taken the lead");
                self.stand_by();
                self.looked = None;
                return Ok(());
            };
            let mut sent = Vec::with_capacity(publishes.len());
            for (tick, ticked) in ticks.iter().zip(ticked) {
                if ticked == Ticked::Done {
                    sent.extend(tick.messages.iter().map(|one| one.publish.clone()));
                }
                self.settle(tick, ticked).await?;
            }
            // Events are for who listens: a broker that is away holds nothing up.
            let _ = timeout(LOOK, self.client.tell_sent(&sent)).await;
            let now = self.clock.now();
            self.status
                .send_modify(|status| status.last_tick = Some(now));
            ticks = next;
        }
        Ok(())
    }

    async fn settle(&mut self, tick: &Tick, ticked: Ticked) -> Result<(), StoreError> {
        match ticked {
            Ticked::Done => {
                for record in &tick.records {
                    let late = (record.sent - record.due).num_milliseconds();
                    self.numbers.sent(record.sent - record.due);
                    info!(schedule = tick.name, task.id = %record.task_id, late_ms = late, "sent");
                }
                self.agenda.done(&tick.name, tick.after);
            }
            Ticked::Changed => match self.store.stored(&tick.name).await? {
                Some(stored) => self.agenda.take(&stored),
                None => self.agenda.drop(&tick.name),
            },
            Ticked::Refused => {
                error!(
                    schedule = tick.name,
                    "the broker has another kind of key where the queue is to be; the schedule does not run until it is changed"
                );
                self.agenda.drop(&tick.name);
            }
        }
        Ok(())
    }

    fn stand_by(&mut self) {
        self.fence = None;
        self.edition = 0;
        self.agenda.clear();
        self.tell();
    }

    fn tell(&self) {
        let leads = self.fence.is_some();
        let next = self.agenda.next();
        self.status.send_if_modified(|status| {
            let told = Status {
                leads,
                next_due: next,
                schedules: self.agenda.len(),
                refused: self.agenda.refused(),
                ..status.clone()
            };
            let is_new = told != *status;
            *status = told;
            is_new
        });
    }

    fn complain(&mut self, refusal: &StoreError) {
        if !self.unwell {
            self.unwell = true;
            error!(
                error = refusal as &dyn std::error::Error,
                "beat cannot reach what it needs, trying again"
            );
        }
    }
}

/// What is due, as ticks, up to so many. Whoever is waited for meanwhile goes on between any two.
async fn gather(agenda: &mut Agenda, clock: &Clock, client: &Client) -> Vec<Tick> {
    let mut ticks = Vec::new();
    while ticks.len() < MOST_AT_ONCE
        && let Some(tick) = agenda.due(clock.now(), client)
    {
        ticks.push(tick);
        yield_now().await;
    }
    ticks
}

/// Makes queues known to Python peers. With a database ticks go on while the broker is away.
async fn declare(client: &Client, publishes: &[Publish]) {
    match timeout(LOOK, client.declare(publishes)).await {
        Ok(Ok(())) => {}
        Ok(Err(refusal)) => warn!(
            error = &refusal as &dyn std::error::Error,
            "queues were not made known to Python peers"
        ),
        Err(_) => warn!("queues were not made known to Python peers: the broker is silent"),
    }
}
