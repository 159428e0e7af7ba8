//! What happens to tasks, as it happens: the events of all workers, numbered and kept for a while.
//!
//! Whoever lost the connection comes back with the number of the last event it has seen and is told what it missed, as far as
//! that is still kept; else it is told that there is a gap. Numbers are this process's own: they begin with a mark that is
//! new at each start.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
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
    mark: String,
    state: Mutex<State>,
    tell: Sender<Arc<Happening>>,
    /// Whether events are heard at this moment.
    hears: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    number: u64,
    kept: VecDeque<Arc<Happening>>,
    tasks: HashMap<String, Known>,
    order: VecDeque<String>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    task: Option<String>,
    root_id: Option<String>,
}

/// What a listener begins with.
pub(crate) struct Beginning {
    /// What it missed.
    pub(crate) missed: Vec<Arc<Happening>>,
    /// Something that it missed is no longer kept.
    pub(crate) gap: bool,
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
            mark: random(6),
            state: Mutex::default(),
            tell: broadcast::channel(WAITING).0,
            hears: watch::Sender::new(false),
        }
    }

    /// Hears events until `stop` is cancelled. Workers are asked to send them.
    pub(crate) async fn listen(
        &self,
        broker: Arc<dyn Broker>,
        control: &Control,
        stop: CancellationToken,
    ) {
        loop {
            let heard = receive(&*broker, "task.#", Lamport::default()).await;
            match heard {
                Ok(mut events) => {
                    self.hears.send_replace(true);
                    if let Err(error) = control.ask("enable_events").tell().await {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "workers are not asked for events"
                        );
                    }
                    loop {
                        tokio::select! {
                            event = events.next() => match event {
                                Some(event) => self.take(&event),
                                None => break,
                            },
                            () = stop.cancelled() => return,
                        }
                    }
                    self.hears.send_replace(false);
                }
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "events cannot be heard; trying again"
                ),
            }
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_secs(2)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Waits until events are heard, but not for long: a broker that is away is no reason to keep a listener out.
    pub(crate) async fn heard(&self) {
        let mut hears = self.hears.subscribe();
        let heard = hears.wait_for(|hears| *hears);
        // Whatever comes of it, the listener begins.
        let _ = tokio::time::timeout(std::time::Duration::from_secs(2), heard).await;
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
        let happening = Arc::new(Happening {
            id: format!("{}-{}", self.mark, state.number),
            kind: kind.to_owned(),
            task_id,
            task: known.task,
            root_id: known.root_id,
            worker: event.hostname.clone(),
            at: moment(event.timestamp),
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
        let Some(last) = last else {
            return Beginning {
                missed: Vec::new(),
                gap: false,
                next,
            };
        };
        let number = last
            .strip_prefix(&self.mark)
            .and_then(|rest| rest.strip_prefix('-'))
            .and_then(|number| number.parse::<u64>().ok());
        let kept = u64::try_from(state.kept.len()).unwrap_or(u64::MAX);
        match number.and_then(|number| state.number.checked_sub(number)) {
            // The events behind it: all of them are kept, or some are not.
            Some(behind) => Beginning {
                missed: state
                    .kept
                    .iter()
                    .skip(usize::try_from(kept.saturating_sub(behind)).unwrap_or(usize::MAX))
                    .cloned()
                    .collect(),
                gap: behind > kept,
                next,
            },
            None => Beginning {
                missed: Vec::new(),
                gap: true,
                next,
            },
        }
    }

    /// What a task is called, when an event has told it.
    pub(crate) fn name_of(&self, id: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.tasks.get(id)?.task.clone()
    }

    /// How many listen.
    pub(crate) fn listeners(&self) -> usize {
        self.tell.receiver_count()
    }
}

impl State {
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
mod tests {
    use lovage_protocol::Map;

    use super::*;

    fn event(kind: &str, fields: &[(&str, &str)]) -> Event {
        let fields: Map = fields
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Carried::from(*value)))
            .collect();
        Event {
            kind: kind.to_owned(),
            hostname: "w@h".to_owned(),
            timestamp: 1.5,
            clock: None,
            fields,
        }
    }

    fn kinds(beginning: &Beginning) -> Vec<&str> {
        let missed = beginning.missed.iter();
        missed.map(|one| one.kind.as_str()).collect()
    }

    #[test]
    fn whoever_comes_back_is_told_what_it_missed() {
        let live = Live::new();
        let received = [("uuid", "1"), ("name", "a"), ("root_id", "r")];
        live.take(&event("task-received", &received));
        live.take(&event("worker-heartbeat", &[]));
        live.take(&event("task-started", &[("uuid", "1")]));
        let first = live.state.lock().unwrap().kept[0].id.clone();
        let back = live.begin(Some(&first));
        assert_eq!((kinds(&back), back.gap), (vec!["started"], false));
        // What later events do not say is known from earlier ones.
        assert_eq!(back.missed[0].task.as_deref(), Some("a"));
        assert_eq!(back.missed[0].root_id.as_deref(), Some("r"));
        let anew = live.begin(None);
        assert_eq!((kinds(&anew), anew.gap), (vec![], false));
        assert!(live.begin(Some("other-7")).gap, "it is another process's");
    }

    #[test]
    fn what_is_no_longer_kept_is_told_as_a_gap() {
        let live = Live::new();
        live.take(&event("task-sent", &[("uuid", "first")]));
        let first = live.state.lock().unwrap().kept[0].id.clone();
        for _ in 0..=KEPT {
            live.take(&event("task-started", &[("uuid", "1")]));
        }
        let back = live.begin(Some(&first));
        assert_eq!((back.missed.len(), back.gap), (KEPT, true));
    }
}
