//! What is heard of a task, merged in memory before it is written.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use lovage_protocol::{State, TaskId};

use super::progress::{self, Progress};

/// One thing that became known of a task. Everything but its id, its state and the time of it may be missing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Change {
    /// Which task.
    pub task_id: TaskId,
    /// The state that it went to.
    pub state: State,
    /// When.
    pub at: DateTime<Utc>,
    /// Which attempt this is about: how often it was retried before.
    pub retries: Option<u32>,
    /// Name of the task.
    pub name: Option<String>,
    /// Its queue.
    pub queue: Option<String>,
    /// Its routing key.
    pub routing_key: Option<String>,
    /// Its priority.
    pub priority: Option<i16>,
    /// The node name of the worker.
    pub worker: Option<String>,
    /// Who sent it.
    pub client: Option<String>,
    /// Its positional arguments, as a text.
    pub args: Option<String>,
    /// Its keyword arguments, as a text.
    pub kwargs: Option<String>,
    /// What it returned, as a text.
    pub result: Option<String>,
    /// What it failed with, as a text.
    pub exception: Option<String>,
    /// Where it failed.
    pub traceback: Option<String>,
    /// The first task of its workflow.
    pub root_id: Option<TaskId>,
    /// The task that sent it.
    pub parent_id: Option<TaskId>,
    /// The group that it belongs to.
    pub group_id: Option<String>,
    /// Not before.
    pub eta: Option<DateTime<Utc>>,
    /// Not after.
    pub expires: Option<DateTime<Utc>>,
    /// When it was sent.
    pub sent_at: Option<DateTime<Utc>>,
    /// When a worker got it.
    pub received_at: Option<DateTime<Utc>>,
    /// When it began to run.
    pub started_at: Option<DateTime<Utc>>,
    /// When it ended for good.
    pub finished_at: Option<DateTime<Utc>>,
    /// How long it ran, in seconds.
    pub runtime: Option<f64>,
}

impl Change {
    /// Only that the task went to `state` then.
    #[must_use]
    pub fn new(task_id: TaskId, state: State, at: DateTime<Utc>) -> Self {
        Self {
            task_id,
            state,
            at,
            retries: None,
            name: None,
            queue: None,
            routing_key: None,
            priority: None,
            worker: None,
            client: None,
            args: None,
            kwargs: None,
            result: None,
            exception: None,
            traceback: None,
            root_id: None,
            parent_id: None,
            group_id: None,
            eta: None,
            expires: None,
            sent_at: None,
            received_at: None,
            started_at: None,
            finished_at: None,
            runtime: None,
        }
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            rank: progress::rank(&self.state),
            at: self.at,
            attempt: self.retries,
        }
    }

    /// Adds what came after, or turns out to have come before.
    fn absorb(&mut self, mut other: Self) {
        if self.progress().accepts(other.progress()) {
            std::mem::swap(self, &mut other);
        }
        // What a task that ended does not tell of its end, nobody else does: an earlier attempt left it.
        let (rank, others) = (self.progress().rank, other.progress().rank);
        if progress::is_final(rank) && others < rank {
            other.result = None;
            other.exception = None;
            other.traceback = None;
        }
        self.fill(other);
    }

    /// Takes from `other` what is not known.
    fn fill(&mut self, other: Self) {
        fn or<T>(mine: &mut Option<T>, others: Option<T>) {
            if mine.is_none() {
                *mine = others;
            }
        }
        self.retries = self.retries.max(other.retries);
        or(&mut self.name, other.name);
        or(&mut self.queue, other.queue);
        or(&mut self.routing_key, other.routing_key);
        or(&mut self.priority, other.priority);
        or(&mut self.worker, other.worker);
        or(&mut self.client, other.client);
        or(&mut self.args, other.args);
        or(&mut self.kwargs, other.kwargs);
        or(&mut self.result, other.result);
        or(&mut self.exception, other.exception);
        or(&mut self.traceback, other.traceback);
        or(&mut self.root_id, other.root_id);
        or(&mut self.parent_id, other.parent_id);
        or(&mut self.group_id, other.group_id);
        or(&mut self.eta, other.eta);
        or(&mut self.expires, other.expires);
        self.sent_at = match (self.sent_at, other.sent_at) {
            (Some(mine), Some(others)) => Some(mine.min(others)),
            (mine, others) => mine.or(others),
        };
        // Nothing is less than something: the latest attempt's.
        self.received_at = self.received_at.max(other.received_at);
        self.started_at = self.started_at.max(other.started_at);
        self.finished_at = self.finished_at.max(other.finished_at);
        or(&mut self.runtime, other.runtime);
    }
}

/// All that a batch says of one task.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Merged {
    pub(super) change: Change,
    /// The earliest time in it.
    pub(super) seen_at: DateTime<Utc>,
}

/// One row a task, in the order of the ids: two that write the same tasks at once do not wait for each other in a circle.
pub(super) fn merge(changes: impl IntoIterator<Item = Change>) -> Vec<Merged> {
    let mut merged: BTreeMap<TaskId, Merged> = BTreeMap::new();
    for change in changes {
        match merged.get_mut(&change.task_id) {
            Some(known) => {
                known.seen_at = known.seen_at.min(change.at);
                known.change.absorb(change);
            }
            None => {
                let seen_at = change.at;
                merged.insert(change.task_id.clone(), Merged { change, seen_at });
            }
        }
    }
    merged.into_values().collect()
}
