//! Deciding about a message as it is sent, in memory: `redis/lua/publish_gated.lua` on maps.

use lovage_protocol::QueueName;

use super::state::State;
use crate::{Entry, Publish};

impl State {
    /// See [`crate::Broker::publish_gated`]: the holder of its lock, or it is sent.
    pub(super) fn enter(
        &mut self,
        queue: &QueueName,
        publish: &Publish,
        entry: &Entry,
    ) -> Option<String> {
        let now = self.now();
        let (id, demand) = (entry.owner.as_str(), &entry.demand);
        if self.gates.was_sent(id, &publish.payload) {
            return None;
        }
        if let Some(debounce) = &demand.debounce {
            self.gates.judged(id, &publish.payload);
            let due = self.supersede(id, debounce, entry.not_before);
            if due > now {
                // Its lock and limits are looked at when the window is over.
                self.send_or_set_aside(queue, publish, id, Some(due));
                return None;
            }
        }
        if let Some(claim) = &demand.claim
            && let Some((holder, _)) = self.holder(&claim.key, id, now)
        {
            return Some(holder);
        }
        let is_due = entry.not_before.is_none_or(|at| at <= now);
        // A message that waits in the queue was sent before: this one may not be in the line in front of it.
        let is_next = !self.lists.has_ahead(queue, publish.priority);
        let blocked = if is_due && is_next && self.is_served() {
            self.first_blocked(id, &demand.rations, now)
        } else {
            None
        };
        let till = blocked.as_ref().map(|(till, _)| *till);
        if let Some(claim) = &demand.claim {
            let later = till
                .or(entry.not_before)
                .map_or(0.0, |at| (at - now).max(0.0));
            let waiting = claim.waiting.as_secs_f64() + later;
            self.take_lock(claim, id, None, false, waiting);
            self.gates.locked(id, claim);
            self.gates.judged(id, &publish.payload);
        }
        if let Some((_, (key, most))) = blocked {
            self.stand(id, &key, most);
            self.gates.judged(id, &publish.payload);
        }
        self.send_or_set_aside(queue, publish, id, till);
        None
    }

    fn send_or_set_aside(
        &mut self,
        queue: &QueueName,
        publish: &Publish,
        id: &str,
        till: Option<f64>,
    ) {
        match till.filter(|_| self.is_served()) {
            Some(till) => {
                self.note(publish);
                self.set_aside(id, queue, publish.payload.clone(), till);
            }
            None => self.publish(publish),
        }
    }

    /// Whether a worker lives that brings back what was set aside.
    fn is_served(&self) -> bool {
        self.workers.values().any(|worker| worker.ends.is_none())
    }
}
