//! What happens to tasks, as it happens: the events of all workers, numbered and kept for a while.
//!
//! Whoever lost the connection comes back with the number of the last event it has seen and is told what it missed, as far as
//! that is still kept. Numbers are this process's own: they begin with a mark that is new at each start, and end with the time,
//! by which every process can look up what was recorded since (`backlog`).
//!
//! Events are heard while somebody listens, and for a while longer: an API that only sends does not read three messages for
//! each task that runs.

mod naming;

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::{Stream, StreamExt};
use lovage_broker::Broker;
use lovage_flower_compat::{Control, receive};
use lovage_protocol::{Lamport, Value as Carried, event::Event};
use serde_json::Value;
use tokio::sync::{
    broadcast::{self, Receiver, Sender},
    watch,
};
use tokio_util::sync::CancellationToken;

use crate::{auth::random, plain};

/// So many events are kept for those who come back.
const KEPT: usize = 10_000;
/// So many may wait for a listener before it has a gap.
const WAITING: usize = 4_096;
/// Of so many tasks it is remembered what they are called and what they belong to.
const TASKS: usize = 50_000;

/// For so long events are heard when the last listener has left: one that lost the connection is back by then.
const LINGER: Duration = Duration::from_secs(60);
/// After so long it is tried again to hear.
const AGAIN: Duration = Duration::from_secs(2);

/// The kind of what tells that events are missing.
pub(crate) const GAP: &str = "gap";

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happening {
    /// Its number, with the mark of this process.
    pub(crate) id: String,
    /// What happened: `received`, `started`, `succeeded` and so on.
    pub(crate) kind: String,
    /// The Celery id of the task.
    pub(crate) task_id: String,
    /// The task's name, when an event has told it.
    pub(crate) task: Option<String>,
    /// The first task of its workflow, when an event has told it.
    pub(crate) root_id: Option<String>,
    /// The worker.
    pub(crate) worker: String,
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// What else the event says.
    pub(crate) fields: Value,
}

/// Keeps what happens, and tells it.
pub(crate) struct Live {
    state: Mutex<State>,
    /// Of all who listen one asks the history.
    asking: tokio::sync::Mutex<()>,
    tell: Sender<Arc<Happening>>,
    /// Whether events are heard at this moment.
    hears: watch::Sender<bool>,
    /// How many want them to be.
    wanted: watch::Sender<usize>,
}

/// Somebody listens, as long as this is kept.
#[derive(Debug)]
pub(crate) struct Attention {
    wanted: watch::Sender<usize>,
}

impl Drop for Attention {
    fn drop(&mut self) {
        self.wanted.send_modify(|wanted| *wanted -= 1);
    }
}

/// Why hearing ended.
enum Silence {
    /// The broker has closed the connection.
    Cut,
    /// Nobody listens any more.
    Unwanted,
    /// The process stops.
    Stopped,
}

#[derive(Default)]
struct State {
    /// New whenever hearing begins: what was numbered under another was heard by somebody else, or before a pause.
    mark: String,
    /// Since when everything is heard.
    since: Option<DateTime<Utc>>,
    number: u64,
    kept: VecDeque<Arc<Happening>>,
    tasks: HashMap<String, Known>,
    order: VecDeque<String>,
}

/// What is known of a task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) task: Option<String>,
    pub(crate) root_id: Option<String>,
    /// The event at which the history was asked for it.
    asked_at: Option<String>,
}

/// What a listener missed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Missed {
    /// It comes for the first time.
    Nothing,
    /// All of it is kept here.
    Kept(Vec<Arc<Happening>>),
    /// It is not, so it is to be looked up what was recorded since then.
    Recorded {
        /// When the last happened that the listener has heard.
        since: DateTime<Utc>,
        /// What of it is kept here.
        kept: Vec<Arc<Happening>>,
    },
    /// Nobody can tell.
    Unknown,
}

/// What a listener begins with.
pub(crate) struct Beginning {
    /// What it missed.
    pub(crate) missed: Missed,
    /// What happens from now on.
    pub(crate) next: Receiver<Arc<Happening>>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").finish_non_exhaustive()
    }
}

impl Live {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            tell: broadcast::channel(WAITING).0,
            hears: watch::Sender::new(false),
            wanted: watch::Sender::new(0),
        }
    }

    /// Hears events while somebody listens, until `stop` is cancelled. Workers are asked to send them.
    pub(crate) async fn listen(
        &self,
        broker: Arc<dyn Broker>,
        control: &Control,
        stop: CancellationToken,
    ) {
        let mut wanted = self.wanted.subscribe();
        loop {
            tokio::select! {
                _ = wanted.wait_for(|wanted| *wanted > 0) => {}
                () = stop.cancelled() => return,
            }
            match receive(&*broker, "task.#", Lamport::default()).await {
                Ok(events) => {
                    self.begin_to_hear();
                    if let Err(error) = control.ask("enable_events").tell().await {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "workers are not asked for events"
                        );
                    }
                    match self.hear(events, wanted.clone(), &stop).await {
                        Silence::Cut => self.hears.send_replace(false),
                        Silence::Unwanted => {
                            self.cease_to_hear();
                            continue;
                        }
                        Silence::Stopped => return,
                    };
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "events cannot be heard; trying again"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(AGAIN) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Takes events in until nobody has wanted them for a while.
    async fn hear(
        &self,
        mut events: impl Stream<Item = Event> + Unpin,
        wanted: watch::Receiver<usize>,
        stop: &CancellationToken,
    ) -> Silence {
        let mut unwanted = pin!(unwanted(wanted));
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.take(&event),
                    None => return Silence::Cut,
                },
                () = &mut unwanted => return Silence::Unwanted,
                () = stop.cancelled() => return Silence::Stopped,
            }
        }
    }

    /// Events are heard from now on, until a while after this is dropped.
    pub(crate) fn attend(&self) -> Attention {
        self.wanted.send_modify(|wanted| *wanted += 1);
        Attention {
            wanted: self.wanted.clone(),
        }
    }

    /// Waits until events are heard, but not for long: a broker that is away is no reason to keep a listener out.
    pub(crate) async fn heard(&self) {
        let mut hears = self.hears.subscribe();
        let heard = hears.wait_for(|hears| *hears);
        // Whatever comes of it, the listener begins.
        let _ = tokio::time::timeout(AGAIN, heard).await;
    }

    /// Everything is heard from now on, under a new mark. Whoever listens already is told that something is missing.
    fn begin_to_hear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let heard_before = state.since.is_some();
        state.mark = random(6);
        state.since = Some(Utc::now());
        state.number = 0;
        state.kept.clear();
        if heard_before {
            let _ = self.tell.send(Arc::new(Happening::gap()));
        }
        drop(state);
        self.hears.send_replace(true);
    }

    /// What happens from now on is not heard: none of the numbers given so far leads to what is missing.
    fn cease_to_hear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mark = random(6);
        state.since = None;
        state.kept = VecDeque::new();
        drop(state);
        self.hears.send_replace(false);
    }

    /// Since when everything is heard.
    pub(crate) fn since(&self) -> Option<DateTime<Utc>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.since
    }

    /// Takes in an event.
    pub(crate) fn take(&self, event: &Event) {
        let Some(kind) = event.kind.strip_prefix("task-") else {
            return;
        };
        let Some(task_id) = event.text("uuid").map(str::to_owned) else {
            return;
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.note(&task_id, event);
        state.number += 1;
        let at = moment(event.timestamp);
        let happening = Arc::new(Happening {
            id: Place::write(&state.mark, state.number, at),
            kind: kind.to_owned(),
            task_id,
            task: known.task,
            root_id: known.root_id,
            worker: event.hostname.clone(),
            at,
            fields: plain::json(&Carried::Map(event.fields.clone())),
        });
        state.kept.push_back(Arc::clone(&happening));
        if state.kept.len() > KEPT {
            state.kept.pop_front();
        }
        // Told while the lock is held, so that whoever begins now misses nothing and hears nothing twice.
        let _ = self.tell.send(happening);
    }

    /// Begins to listen, behind the event of this number, if there was one.
    pub(crate) fn begin(&self, last: Option<&str>) -> Beginning {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.tell.subscribe();
        let missed = match last.map(Place::read) {
            None => Missed::Nothing,
            Some(None) => Missed::Unknown,
            Some(Some(place)) => state.missed(&place),
        };
        Beginning { missed, next }
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.tell.receiver_count()
    }
}

/// Ends when nobody has wanted to hear for a while.
async fn unwanted(mut wanted: watch::Receiver<usize>) {
    loop {
        // The sender lives as long as whoever hears.
        let _ = wanted.wait_for(|wanted| *wanted == 0).await;
        let again = wanted.wait_for(|wanted| *wanted > 0);
        if tokio::time::timeout(LINGER, again).await.is_err() {
            return;
        }
    }
}

/// Where a listener is: the mark and number of the last event, and when that happened, which is the same to every process.
struct Place {
    mark: String,
    number: u64,
    at: DateTime<Utc>,
}

impl Place {
    fn write(mark: &str, number: u64, at: DateTime<Utc>) -> String {
        format!("{mark}-{number}-{}", at.timestamp_micros())
    }

    fn read(text: &str) -> Option<Self> {
        let (rest, at) = text.rsplit_once('-')?;
        let (mark, number) = rest.rsplit_once('-')?;
        Some(Self {
            mark: mark.to_owned(),
            number: number.parse().ok()?,
            at: DateTime::from_timestamp_micros(at.parse().ok()?)?,
        })
    }
}

/// The id of an event that was heard by another process, or before this one began.
pub(crate) fn recorded_id(at: DateTime<Utc>) -> String {
    Place::write("recorded", 0, at)
}

impl Happening {
    /// Some events are missing here.
    fn gap() -> Self {
        Self {
            id: String::new(),
            kind: GAP.to_owned(),
            task_id: String::new(),
            task: None,
            root_id: None,
            worker: String::new(),
            at: Utc::now(),
            fields: Value::Null,
        }
    }
}

impl State {
    /// What happened behind a place.
    fn missed(&self, place: &Place) -> Missed {
        let kept = u64::try_from(self.kept.len()).unwrap_or(u64::MAX);
        let behind = self.number.checked_sub(place.number);
        match behind.filter(|behind| place.mark == self.mark && *behind <= kept) {
            Some(behind) => {
                let first = usize::try_from(kept - behind).unwrap_or(usize::MAX);
                Missed::Kept(self.kept.iter().skip(first).cloned().collect())
            }
            None => Missed::Recorded {
                since: place.at,
                kept: self.kept.iter().cloned().collect(),
            },
        }
    }

    /// Remembers what an event says of its task, and tells all that is known of it.
    fn note(&mut self, id: &str, event: &Event) -> Known {
        let is_new = !self.tasks.contains_key(id);
        let known = self.tasks.entry(id.to_owned()).or_default();
        for (field, place) in [("name", &mut known.task), ("root_id", &mut known.root_id)] {
            if let Some(text) = event.text(field) {
                *place = Some(text.to_owned());
            }
        }
        let known = known.clone();
        if is_new {
            self.order.push_back(id.to_owned());
            if self.order.len() > TASKS
                && let Some(oldest) = self.order.pop_front()
            {
                self.tasks.remove(&oldest);
            }
        }
        known
    }
}

fn moment(timestamp: f64) -> DateTime<Utc> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "microseconds of a time that is checked to lie within the calendar"
    )]
    let micros = (timestamp.clamp(0.0, 250_000_000_000.0) * 1e6) as i64;
    DateTime::UNIX_EPOCH + TimeDelta::microseconds(micros)
}

#[cfg(test)]
mod tests;
