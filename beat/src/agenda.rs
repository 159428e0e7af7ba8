//! What the leader holds in its hands: every schedule that runs, ordered by when it is next to be looked at.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use lovage_client::Client;
use uuid::Uuid;

use crate::{
    check::Defaults,
    draft::Draft,
    due::{Decision, Progress, Timing, task_id},
    message::{self, MessageError},
    roster::Roster,
    store::{Cause, Stored, Tick, TickRecord},
};

/// One schedule that runs. There may be a hundred thousand: of what is sent only the text is held, until it is due.
#[derive(Debug)]
struct Item {
    id: Uuid,
    version: u64,
    progress: Progress,
    draft: Box<str>,
    timing: Timing,
    at: Option<DateTime<Utc>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Agenda {
    defaults: Defaults,
    roster: Roster,
    items: HashMap<Arc<str>, Item>,
    order: BTreeSet<(DateTime<Utc>, Arc<str>)>,
    refused: HashMap<String, String>,
}

impl Agenda {
    pub(crate) fn new(defaults: Defaults, roster: Roster) -> Self {
        Self {
            defaults,
            roster,
            items: HashMap::new(),
            order: BTreeSet::new(),
            refused: HashMap::new(),
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.items.clear();
        self.order.clear();
        self.refused.clear();
    }

    /// How many schedules run.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// How many schedules are kept that do not run because they cannot.
    pub(crate) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// When something is next to be looked at.
    pub(crate) fn next(&self) -> Option<DateTime<Utc>> {
        self.order.first().map(|(at, _)| *at)
    }

    /// Takes a schedule in as it is kept now.
    pub(crate) fn take(&mut self, stored: &Stored) {
        let name = stored.definition.draft.name.clone();
        self.drop(&name);
        if !stored.definition.runs() {
            return;
        }
        let draft = &stored.definition.draft;
        let checked = self
            .roster
            .check(draft)
            .and_then(|()| draft.timing(&self.defaults))
            .map_err(|faults| faults.to_string());
        let written = serde_json::to_string(draft).map_err(|error| error.to_string());
        match checked.and_then(|timing| Ok((timing, written?))) {
            Ok((timing, written)) => {
                let id = stored.definition.id;
                let at = timing.next(id, &stored.progress).map(|next| next.at);
                let item = Item {
                    id,
                    version: stored.version,
                    progress: stored.progress,
                    draft: written.into_boxed_str(),
                    timing,
                    at,
                };
                let name: Arc<str> = name.into();
                self.items.insert(Arc::clone(&name), item);
                self.order.extend(at.map(|at| (at, name)));
            }
            Err(faults) => {
                tracing::error!(
                    schedule = name,
                    "a schedule is refused and does not run: {faults}"
                );
                self.refused.insert(name, faults);
            }
        }
    }

    /// Forgets a schedule.
    pub(crate) fn drop(&mut self, name: &str) {
        self.refused.remove(name);
        if let Some((name, item)) = self.items.remove_entry(name)
            && let Some(at) = item.at
        {
            self.order.remove(&(at, name));
        }
    }

    /// The ticks that are due, up to so many.
    pub(crate) fn due(&mut self, now: DateTime<Utc>, most: usize, client: &Client) -> Vec<Tick> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        let names: Vec<Arc<str>> = due.take(most).map(|(_, name)| Arc::clone(name)).collect();
        let mut ticks = Vec::with_capacity(names.len());
        for name in names {
            let Some(item) = self.items.get(&name) else {
                continue;
            };
            let decision = item.timing.decide(item.id, &item.progress, now);
            if decision.progress == item.progress {
                // Nothing is due after all; its order was made by another clock.
                self.reorder(&name, decision.next.map(|next| next.at));
                continue;
            }
            match tick(item, &decision, now, client) {
                Ok(tick) => ticks.push(tick),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        schedule = &*name,
                        error,
                        "a schedule cannot be sent and does not run"
                    );
                    let why = error.to_string();
                    self.drop(&name);
                    self.refused.insert(name.to_string(), why);
                }
            }
        }
        ticks
    }

    /// A tick has happened.
    pub(crate) fn done(&mut self, name: &str, progress: Progress) {
        let Some(item) = self.items.get_mut(name) else {
            return;
        };
        item.progress = progress;
        let next = item.timing.next(item.id, &progress);
        self.reorder(name, next.map(|next| next.at));
    }

    fn reorder(&mut self, name: &str, at: Option<DateTime<Utc>>) {
        let Some((name, _)) = self.items.get_key_value(name) else {
            return;
        };
        let name = Arc::clone(name);
        if let Some(item) = self.items.get_mut(&name) {
            if let Some(before) = item.at {
                self.order.remove(&(before, Arc::clone(&name)));
            }
            item.at = at;
            self.order.extend(at.map(|at| (at, name)));
        }
    }
}

/// The tick that a decision makes.
fn tick(
    item: &Item,
    decision: &Decision,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<Tick, MessageError> {
    let draft: Draft = serde_json::from_str(&item.draft)?;
    let mut messages = Vec::with_capacity(decision.send.len());
    let mut records = Vec::with_capacity(decision.send.len());
    for (place, run) in decision.send.iter().enumerate() {
        let task_id = task_id(item.id, run.at);
        messages.push(message::prepare(client, &draft, task_id, run.at)?);
        records.push(TickRecord {
            due: run.at,
            sent: now,
            task_id,
            cause: Cause::Due,
            left_out: if place == 0 { decision.left_out } else { 0 },
        });
    }
    Ok(Tick {
        name: draft.name,
        id: item.id,
        task: draft.task,
        version: item.version,
        before: item.progress,
        after: decision.progress,
        messages,
        records,
    })
}
