//! What the leader holds in its hands: every schedule that runs, ordered by when it is next to be looked at.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use lovage_client::Client;

use crate::{
    check::Defaults,
    due::{Decision, Progress, Timing, task_id},
    message::{self, MessageError},
    roster::Roster,
    store::{Cause, Stored, Tick, TickRecord},
};

/// One schedule that runs.
#[derive(Debug)]
struct Item {
    stored: Stored,
    timing: Timing,
    at: Option<DateTime<Utc>>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Agenda {
    defaults: Defaults,
    roster: Roster,
    items: HashMap<String, Item>,
    order: BTreeSet<(DateTime<Utc>, String)>,
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
    pub(crate) fn take(&mut self, stored: Stored) {
        let name = stored.definition.draft.name.clone();
        self.drop(&name);
        if !stored.definition.runs() {
            return;
        }
        let draft = &stored.definition.draft;
        let checked = self
            .roster
            .check(draft)
            .and_then(|()| draft.timing(&self.defaults));
        match checked {
            Ok(timing) => {
                let next = timing.next(stored.definition.id, &stored.progress);
                let at = next.map(|next| next.at);
                let item = Item { stored, timing, at };
                self.items.insert(name.clone(), item);
                self.order.extend(at.map(|at| (at, name)));
            }
            Err(faults) => {
                tracing::error!(
                    schedule = name,
                    "a schedule is refused and does not run: {faults}"
                );
                self.refused.insert(name, faults.to_string());
            }
        }
    }

    /// Forgets a schedule.
    pub(crate) fn drop(&mut self, name: &str) {
        self.refused.remove(name);
        if let Some(item) = self.items.remove(name)
            && let Some(at) = item.at
        {
            self.order.remove(&(at, name.to_owned()));
        }
    }

    /// The ticks that are due, up to so many.
    pub(crate) fn due(&mut self, now: DateTime<Utc>, most: usize, client: &Client) -> Vec<Tick> {
        let due = self.order.iter().take_while(|(at, _)| *at <= now);
        let names: Vec<String> = due.take(most).map(|(_, name)| name.clone()).collect();
        let mut ticks = Vec::with_capacity(names.len());
        for name in names {
            let Some(item) = self.items.get(&name) else {
                continue;
            };
            let id = item.stored.definition.id;
            let decision = item.timing.decide(id, &item.stored.progress, now);
            if decision.progress == item.stored.progress {
                // Nothing is due after all; its order was made by another clock.
                self.reorder(&name, decision.next.map(|next| next.at));
                continue;
            }
            match tick(&item.stored, &decision, now, client) {
                Ok(tick) => ticks.push(tick),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        schedule = name,
                        error,
                        "a schedule cannot be sent and does not run"
                    );
                    self.drop(&name);
                    self.refused.insert(name, error.to_string());
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
        item.stored.progress = progress;
        let next = item.timing.next(item.stored.definition.id, &progress);
        self.reorder(name, next.map(|next| next.at));
    }

    fn reorder(&mut self, name: &str, at: Option<DateTime<Utc>>) {
        if let Some(item) = self.items.get_mut(name) {
            if let Some(before) = item.at {
                self.order.remove(&(before, name.to_owned()));
            }
            item.at = at;
            self.order.extend(at.map(|at| (at, name.to_owned())));
        }
    }
}

/// The tick that a decision makes.
fn tick(
    stored: &Stored,
    decision: &Decision,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<Tick, MessageError> {
    let definition = &stored.definition;
    let mut messages = Vec::with_capacity(decision.send.len());
    let mut records = Vec::with_capacity(decision.send.len());
    for (place, run) in decision.send.iter().enumerate() {
        let task_id = task_id(definition.id, run.at);
        messages.push(message::prepare(
            client,
            &definition.draft,
            task_id,
            run.at,
        )?);
        records.push(TickRecord {
            due: run.at,
            sent: now,
            task_id,
            cause: Cause::Due,
            left_out: if place == 0 { decision.left_out } else { 0 },
        });
    }
    Ok(Tick {
        name: definition.draft.name.clone(),
        id: definition.id,
        version: stored.version,
        before: stored.progress,
        after: decision.progress,
        messages,
        records,
    })
}
