//! Who may run, in memory: the decisions of `redis/lua/admit.lua` and `gate.lua`, on maps.

mod lines;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;

use super::state::State;
use crate::{Admit, Admitted, Claim, Hold, Leave, Ration};

/// See `redis/lua/gate.lua`.
const GRACE: f64 = 10.0;

/// A delivery: worker and number.
pub(super) type Tag = (String, u64);

/// What tasks hold and wait for.
#[derive(Debug, Default)]
pub(super) struct Gates {
    tasks: HashMap<String, Task>,
    locks: HashMap<String, Lock>,
    /// The last call, and when it is due.
    debounced: HashMap<String, (String, f64)>,
    /// The deliveries that hold a key, and whether each was acked as it began.
    slots: HashMap<String, BTreeMap<Tag, bool>>,
    /// The last starts, the newest first.
    starts: HashMap<String, VecDeque<f64>>,
    /// Ids by ticket.
    lines: BTreeMap<String, BTreeMap<u64, String>>,
    tickets: u64,
}

#[derive(Debug, Default)]
struct Task {
    lock: Option<String>,
    hold: Option<Hold>,
    waiting: f64,
    debounce: Option<String>,
    /// The message about which was decided as it was sent.
    sent: Option<Bytes>,
    joined: Option<String>,
    passed: bool,
    tag: Option<Tag>,
    slots: Vec<(String, u32)>,
    line: Option<(String, u64)>,
    /// Of how many slots, when it waits for one.
    most: Option<u32>,
    /// Its member among the delayed.
    parked: Option<u64>,
    at: f64,
}

#[derive(Debug)]
struct Lock {
    owner: String,
    tag: Option<Tag>,
    early: bool,
    ended: bool,
    until: f64,
}

impl State {
    fn alive(&self, (worker, number): &Tag, early: bool) -> bool {
        let Some(worker) = self.workers.get(worker) else {
            return false;
        };
        worker.held.contains_key(number) || (early && worker.ends.is_none())
    }

    /// Who holds a lock other than the task itself, and whether it has ended.
    pub(super) fn holder(&self, lock: &str, id: &str, now: f64) -> Option<(String, bool)> {
        let lock = self.gates.locks.get(lock)?;
        let alive = match &lock.tag {
            None => true,
            Some(tag) => lock.ended || self.alive(tag, lock.early),
        };
        (lock.owner != id && now < lock.until && alive).then(|| (lock.owner.clone(), lock.ended))
    }

    pub(super) fn take_lock(
        &mut self,
        claim: &Claim,
        id: &str,
        tag: Option<Tag>,
        early: bool,
        waiting: f64,
    ) {
        let now = self.now();
        let mine = self.gates.locks.get(&claim.key);
        let mine = mine.filter(|lock| lock.owner == id && now < lock.until);
        let until = match (claim.hold, mine) {
            (Hold::For(_), Some(mine)) => mine.until,
            (Hold::For(span), None) => now + span.as_secs_f64(),
            (Hold::Start | Hold::End, _) if tag.is_some() => f64::INFINITY,
            (Hold::Start | Hold::End, _) => now + waiting,
        };
        let lock = Lock {
            owner: id.to_owned(),
            tag,
            early,
            ended: false,
            until,
        };
        self.gates.locks.insert(claim.key.clone(), lock);
    }

    /// See [`Leave`].
    pub(super) fn leave(&mut self, tag: &Tag, leave: &Leave) {
        let now = self.now();
        let (Leave::End { owner } | Leave::Again { owner, .. }) = leave;
        let Some(task) = self.gates.tasks.get_mut(owner) else {
            return;
        };
        let (slots, waiting) = (task.slots.clone(), task.waiting);
        if task.tag.as_ref() == Some(tag) {
            task.tag = None;
            task.slots.clear();
        }
        let lock = task.lock.clone();
        for (key, most) in slots {
            let holders = self.gates.slots.entry(key.clone()).or_default();
            if holders.remove(tag).is_some() {
                let free = (most as usize).saturating_sub(holders.len());
                self.wake(&key, free, now);
            }
        }
        if let Leave::Again { pause, .. } = leave {
            let lock = lock.and_then(|lock| self.gates.locks.get_mut(&lock));
            if let Some(lock) = lock
                && lock.owner == *owner
                && lock.tag.as_ref() == Some(tag)
            {
                lock.tag = None;
                if lock.until == f64::INFINITY {
                    lock.until = now + waiting + pause.as_secs_f64();
                }
            }
            return;
        }
        let Some(task) = self.gates.tasks.remove(owner) else {
            return;
        };
        if let Some(key) = task.lock {
            let held = self.gates.locks.get_mut(&key);
            let others = held.as_ref().is_some_and(|lock| lock.owner != *owner);
            match held {
                Some(lock) if !others && matches!(task.hold, Some(Hold::For(_))) => {
                    (lock.tag, lock.ended) = (None, true);
                }
                Some(_) if !others => {
                    self.gates.locks.remove(&key);
                }
                _ => {}
            }
            if !others {
                self.wake(&key, usize::MAX, now);
            }
        }
        if let Some(key) = task.debounce
            && self
                .gates
                .debounced
                .get(&key)
                .is_some_and(|(last, _)| last == owner)
        {
            self.gates.debounced.remove(&key);
        }
        if let Some((key, ticket)) = task.line {
            self.leave_line(&key, ticket, task.most, now);
        }
    }

    /// The time until which it has to wait for a limit, at the latest; `None` when it may go.
    fn blocked(&mut self, ration: &Ration, before: usize, now: f64) -> Option<f64> {
        let most = ration.most.max(1) as usize;
        if let Some(period) = ration.period {
            let starts = self.gates.starts.entry(ration.key.clone()).or_default();
            let start = starts.get(most - 1 - before % most);
            let period = period.as_secs_f64();
            let rounds = u32::try_from(before / most).unwrap_or(u32::MAX);
            let free = start.map_or(now, |start| start + period) + f64::from(rounds) * period;
            return (free > now).then_some(free);
        }
        let holders = self.gates.slots.entry(ration.key.clone()).or_default();
        if holders.len() + before >= most {
            let mut holders = std::mem::take(holders);
            holders.retain(|tag, early| self.alive(tag, *early));
            self.gates.slots.insert(ration.key.clone(), holders);
        }
        let used = self.gates.slots.get(&ration.key).map_or(0, BTreeMap::len);
        // Also when it was only found out now that there is room: nobody gives back what was removed above, or by `tidy`.
        self.wake(&ration.key, most.saturating_sub(used), now);
        let before_seconds = f64::from(u32::try_from(before).unwrap_or(u32::MAX));
        (used + before >= most).then_some(now + GRACE + before_seconds)
    }

    /// The limit that has no room for it, as key and number of slots, and until when at the latest.
    pub(super) fn first_blocked(
        &mut self,
        id: &str,
        rations: &[Ration],
        now: f64,
    ) -> Option<(f64, (String, Option<u32>))> {
        rations.iter().find_map(|ration| {
            let before = self.rank(id, &ration.key, now);
            let till = self.blocked(ration, before, now)?;
            let most = ration.period.is_none().then_some(ration.most);
            Some((till, (ration.key.clone(), most)))
        })
    }

    /// Makes it the last call of its key, from now on; the one before it goes back to its queue, to end there. Gives the time
    /// when the window is over.
    pub(super) fn supersede(
        &mut self,
        id: &str,
        (key, window): &(String, Duration),
        not_before: Option<f64>,
    ) -> f64 {
        let now = self.now();
        let due = (now + window.as_secs_f64()).max(not_before.unwrap_or(0.0));
        let last = (id.to_owned(), due);
        let before = self.gates.debounced.insert(key.clone(), last);
        self.gates.task(id).debounce = Some(key.clone());
        if let Some((before, _)) = before.filter(|(before, _)| before != id) {
            self.recall_parked(&before, now);
        }
        due
    }

    /// See [`crate::Consumer::admit`].
    pub(super) fn admit(&mut self, worker: &str, admit: &Admit) -> Admitted {
        let now = self.now();
        let demand = &admit.demand;
        let (id, tag) = (
            admit.owner.as_str(),
            (worker.to_owned(), admit.delivery.tag.0),
        );
        if !self.alive(&tag, false) {
            return Admitted::Lost;
        }
        if let Some(of) = self.gates.task(id).joined.clone() {
            let lock = demand.claim.as_ref().map_or("", |claim| &claim.key);
            if self.holder(lock, id, now) == Some((of.clone(), false)) {
                let before = self.rank(id, lock, now);
                return self.line_up(admit, &tag, (lock, None), safety(now, before));
            }
            return Admitted::Joined { of };
        }
        if let Some(debounce @ (key, _)) = &demand.debounce {
            let last = self.gates.debounced.get(key).cloned();
            let due = if self.gates.task(id).debounce.as_ref() == Some(key) {
                match last {
                    Some((of, due)) if of == id => due,
                    // A later call took its place; one that has ended already is not known by name any more.
                    Some((of, _)) => return Admitted::Duplicate { of },
                    None => {
                        let of = "a later call".to_owned();
                        return Admitted::Duplicate { of };
                    }
                }
            } else {
                self.supersede(id, debounce, admit.not_before)
            };
            if due > now {
                return self.park(admit, &tag, due);
            }
        }
        let passed = self.gates.task(id).passed;
        let claim = demand.claim.as_ref();
        let claim = claim.filter(|claim| !(claim.hold == Hold::Start && passed));
        if let Some(claim) = claim {
            self.gates.task(id).lock = Some(claim.key.clone());
            match self.holder(&claim.key, id, now) {
                Some((of, _)) if !claim.join => return Admitted::Duplicate { of },
                Some((of, ended)) => {
                    self.gates.task(id).joined = Some(of.clone());
                    if ended {
                        return Admitted::Joined { of };
                    }
                    let before = self.rank(id, &claim.key, now);
                    return self.line_up(admit, &tag, (&claim.key, None), safety(now, before));
                }
                None => {
                    let task = self.gates.task(id);
                    (task.hold, task.waiting) = (Some(claim.hold), claim.waiting.as_secs_f64());
                }
            }
        }
        let asks_again = self.gates.task(id).tag.as_ref() == Some(&tag);
        let mut wait = admit.not_before.filter(|at| *at > now).map(|at| (at, None));
        if wait.is_none() && !asks_again {
            let blocked = self.first_blocked(id, &demand.rations, now);
            wait = blocked.map(|(till, line)| (till, Some(line)));
        }
        if let Some((till, line)) = wait {
            if let Some(claim) = claim {
                let waiting = claim.waiting.as_secs_f64() + till - now;
                self.take_lock(claim, id, None, admit.early, waiting);
            }
            return match line {
                Some((key, most)) => self.line_up(admit, &tag, (&key, most), till),
                None => self.park(admit, &tag, till),
            };
        }
        self.hold(admit, claim, tag, asks_again, now);
        Admitted::Runs
    }

    /// Takes everything.
    fn hold(&mut self, admit: &Admit, claim: Option<&Claim>, tag: Tag, again: bool, now: f64) {
        let id = admit.owner.as_str();
        match claim {
            Some(claim) if claim.hold == Hold::Start => {
                let lock = self.gates.locks.get(&claim.key);
                if lock.is_some_and(|lock| lock.owner == id) {
                    self.gates.locks.remove(&claim.key);
                }
                self.gates.task(id).passed = true;
            }
            Some(claim) => {
                // One for a time needs nobody who vouches for it.
                let for_a_time = matches!(claim.hold, Hold::For(_));
                let tag = (!for_a_time).then(|| tag.clone());
                self.take_lock(claim, id, tag, admit.early, 0.0);
            }
            None => {}
        }
        if let Some((key, ticket)) = self.gates.task(id).line.take() {
            self.gates.leave_line(&key, ticket);
        }
        let mut slots = Vec::new();
        for ration in &admit.demand.rations {
            if let Some(period) = ration.period {
                if !again {
                    let starts = self.gates.starts.entry(ration.key.clone()).or_default();
                    starts.push_front(now);
                    starts.truncate(ration.most as usize);
                    starts.retain(|start| start + period.as_secs_f64() > now);
                }
            } else {
                let holders = self.gates.slots.entry(ration.key.clone()).or_default();
                holders.insert(tag.clone(), admit.early);
                slots.push((ration.key.clone(), ration.most));
            }
        }
        let task = self.gates.task(id);
        (task.slots, task.tag, task.parked) = (slots, Some(tag), None);
    }
}

/// When one comes again that nobody woke.
fn safety(now: f64, before: usize) -> f64 {
    now + GRACE + f64::from(u32::try_from(before).unwrap_or(u32::MAX))
}

impl Gates {
    /// Whether this message was sent already.
    pub(super) fn was_sent(&self, id: &str, payload: &Bytes) -> bool {
        let task = self.tasks.get(id);
        task.is_some_and(|task| task.sent.as_ref() == Some(payload))
    }

    /// Notes that this message is sent.
    pub(super) fn judged(&mut self, id: &str, payload: &Bytes) {
        self.task(id).sent = Some(payload.clone());
    }

    /// Notes the lock that a task has.
    pub(super) fn locked(&mut self, id: &str, claim: &Claim) {
        let task = self.task(id);
        (task.lock, task.hold) = (Some(claim.key.clone()), Some(claim.hold));
        task.waiting = claim.waiting.as_secs_f64();
    }

    fn task(&mut self, id: &str) -> &mut Task {
        self.tasks.entry(id.to_owned()).or_default()
    }
}
