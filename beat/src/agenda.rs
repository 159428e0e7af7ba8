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
    due::{Decision, Progress, task_id},
    message::{self, MessageError},
    roster::Roster,
    store::{Cause, Stored, Tick, TickRecord},
};

/// One schedule that runs. There may be a hundred thousand: of what it is only the text is held, until it is due.
#[derive(Debug)]
struct Item {
    id: Uuid,
    version: u64,
    progress: Progress,
    draft: Box<str>,
    /// When it is to be looked at. Nothing while its tick is under way.
    at: Option<DateTime<Utc>>,
    /// And when after the tick that is under way.
    then: Option<DateTime<Utc>>,
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
                    at,
                    then: None,
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

    /// The next tick that is due. Its schedule is not looked at again until it is told that the tick has happened.
    pub(crate) fn due(&mut self, now: DateTime<Utc>, client: &Client) -> Option<Tick> {
        while self.next().is_some_and(|at| at <= now) {
            let (_, name) = self.order.pop_first()?;
            let Some(item) = self.items.get_mut(&name) else {
                continue;
            };
            item.at = None;
            match decided(item, &self.defaults, now, client) {
                Ok((tick, then)) => {
                    item.then = then;
                    if tick.before != tick.after {
                        return Some(tick);
                    }
                    // Nothing is due after all; its order was made by another clock.
                    item.at = then;
                    self.order.extend(then.map(|at| (at, name)));
                }
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
        None
    }

    /// A tick has happened.
    pub(crate) fn done(&mut self, name: &str, progress: Progress) {
        let Some((name, _)) = self.items.get_key_value(name) else {
            return;
        };
        let name = Arc::clone(name);
        if let Some(item) = self.items.get_mut(&name) {
            item.progress = progress;
            item.at = item.then.take();
            self.order.extend(item.at.map(|at| (at, name)));
        }
    }
}

/// What is due of a schedule, as a tick, and when to look at it after that.
fn decided(
    item: &Item,
    defaults: &Defaults,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<(Tick, Option<DateTime<Utc>>), MessageError> {
    let draft: Draft = serde_json::from_str(&item.draft)?;
    let decision = draft.timing(defaults)?.decide(item.id, &item.progress, now);
    let then = decision.next.map(|next| next.at);
    Ok((tick(item, draft, &decision, now, client)?, then))
}

/// The tick that a decision makes.
fn tick(
    item: &Item,
    draft: Draft,
    decision: &Decision,
    now: DateTime<Utc>,
    client: &Client,
) -> Result<Tick, MessageError> {
    let silent = draft.is_silent();
    let mut messages = Vec::with_capacity(decision.send.len());
    let mut records = Vec::with_capacity(decision.send.len());
    for (place, run) in decision.send.iter().enumerate() {
        let task_id = task_id(item.id, run.at);
        // The tick is all that is looked for.
        if !silent {
            messages.push(message::prepare(client, &draft, task_id, run.at)?);
        }
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
