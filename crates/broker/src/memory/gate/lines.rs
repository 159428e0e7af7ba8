//! Who waits outside of the queues, and in which order they are called.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use lovage_protocol::QueueName;

use super::{GRACE, Gates, State, Tag};
use crate::{Admit, Admitted, Line};

impl State {
    /// Takes those off the head of a line whose messages are gone.
    pub(super) fn tidy(&mut self, key: &str, now: f64) {
        loop {
            let line = self.gates.lines.get(key);
            let Some((ticket, id)) = line.and_then(|line| line.first_key_value()) else {
                return;
            };
            let task = self.gates.tasks.get(id);
            let parked = task.and_then(|task| task.parked);
            if parked.is_some_and(|member| self.is_parked(member))
                || task.is_some_and(|task| task.at + GRACE > now)
            {
                return;
            }
            let ticket = *ticket;
            self.gates.leave_line(key, ticket);
        }
    }

    pub(super) fn wake(&mut self, key: &str, free: usize, now: f64) {
        self.tidy(key, now);
        let ids: Vec<String> = match self.gates.lines.get(key) {
            Some(line) => line.values().take(free).cloned().collect(),
            None => return,
        };
        for id in ids.iter().rev() {
            self.recall_parked(id, now);
        }
    }

    /// Puts the message of a task that waits at the head of its queue.
    pub(super) fn recall_parked(&mut self, id: &str, now: f64) {
        let Some(task) = self.gates.tasks.get_mut(id) else {
            return;
        };
        if let Some(member) = task.parked.take() {
            task.at = now;
            self.unpark(member);
        }
    }

    /// See [`crate::Broker::lines`].
    pub(in crate::memory) fn lines(&self) -> Vec<Line> {
        let gates = &self.gates;
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let lines = gates.lines.iter().filter(|(_, line)| !line.is_empty());
        lines
            .map(|(key, line)| Line {
                key: key.clone(),
                waiting: count(line.len()),
                holding: count(
                    gates.slots.get(key).map_or(0, BTreeMap::len)
                        + gates.starts.get(key).map_or(0, VecDeque::len)
                        + usize::from(gates.locks.contains_key(key)),
                ),
            })
            .collect()
    }

    /// Among the delayed, from where it is called or comes at its time.
    pub(in crate::memory) fn set_aside(
        &mut self,
        id: &str,
        queue: &QueueName,
        raw: Bytes,
        till: f64,
    ) {
        let member = self.delay(till, queue, raw);
        let task = self.gates.task(id);
        (task.parked, task.at) = (Some(member), till);
    }

    /// Out of the queue and of everybody's hands.
    pub(super) fn park(&mut self, admit: &Admit, tag: &Tag, till: f64) -> Admitted {
        if let Some(worker) = self.workers.get_mut(&tag.0) {
            worker.held.remove(&tag.1);
        }
        let delivery = &admit.delivery;
        self.set_aside(&admit.owner, &delivery.queue, delivery.raw.clone(), till);
        Admitted::Waits
    }

    /// In the line of a key, at the place where it stood when it waits again.
    pub(in crate::memory) fn stand(&mut self, id: &str, key: &str, most: Option<u32>) {
        let task = self.gates.task(id);
        let (was, was_most) = (task.line.clone(), task.most);
        let ticket = match &was {
            Some((_, ticket)) => *ticket,
            None => {
                self.gates.tickets += 1;
                self.gates.tickets
            }
        };
        if let Some((other, ticket)) = was.filter(|(other, _)| other != key) {
            self.leave_line(&other, ticket, was_most, self.now());
        }
        let line = self.gates.lines.entry(key.to_owned()).or_default();
        line.insert(ticket, id.to_owned());
        let task = self.gates.task(id);
        (task.line, task.most) = (Some((key.to_owned(), ticket)), most);
    }

    pub(super) fn line_up(
        &mut self,
        admit: &Admit,
        tag: &Tag,
        (key, most): (&str, Option<u32>),
        till: f64,
    ) -> Admitted {
        self.stand(&admit.owner, key, most);
        self.park(admit, tag, till)
    }

    /// How many stand before it.
    pub(super) fn rank(&mut self, id: &str, key: &str, now: f64) -> usize {
        self.tidy(key, now);
        let Some(line) = self.gates.lines.get(key) else {
            return 0;
        };
        if let Some(place) = line.values().position(|other| other == id) {
            return place;
        }
        // One that has waited in another line brings its ticket along.
        let task = self.gates.tasks.get(id);
        match task.and_then(|task| task.line.as_ref()) {
            Some((_, ticket)) => line.range(..ticket).count(),
            None => line.len(),
        }
    }

    /// Takes a task out of a line; the one behind it may go where it did not.
    pub(super) fn leave_line(&mut self, key: &str, ticket: u64, most: Option<u32>, now: f64) {
        self.gates.leave_line(key, ticket);
        if let Some(most) = most {
            let used = self.gates.slots.get(key).map_or(0, BTreeMap::len);
            self.wake(key, (most as usize).saturating_sub(used), now);
        }
    }
}

impl Gates {
    pub(super) fn leave_line(&mut self, key: &str, ticket: u64) {
        if let Some(line) = self.lines.get_mut(key) {
            line.remove(&ticket);
            if line.is_empty() {
                self.lines.remove(key);
            }
        }
    }
}
