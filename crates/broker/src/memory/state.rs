//! Everything a memory broker knows, under one lock.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use bytes::Bytes;
use lovage_protocol::{Clock, Message, QueueName};
use lovage_settings::ExchangeType;

use super::{
    MemoryResults,
    chord::Chords,
    gate::{Gates, Tag},
    journal::Kept,
    lists::Lists,
    relay::Relays,
    timetable::Entries,
};
use crate::{
    Binding, ConsumerOptions, DeadLetter, Destination, Leave, Peer, Publish, Reason, Target, Went,
    binding::reaches, envelope,
};

/// The state.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) lists: Lists,
    pub(super) chords: Chords,
    /// The oldest first.
    pub(super) letters: Vec<DeadLetter>,
    pub(super) workers: BTreeMap<String, Worker>,
    deaths: HashMap<String, u32>,
    declared: Vec<Binding>,
    /// Queues for replies, by exchange and routing key.
    bound: BTreeMap<(String, String), QueueName>,
    delayed: Vec<Delayed>,
    clock: Clock,
    /// Nothing is handed out.
    pub(super) held_up: bool,
    /// Everything published since it was asked for, in order.
    pub(super) published: Option<Vec<Publish>>,
    delays: u64,
    pub(super) gates: Gates,
    pub(super) relays: Relays,
    /// The paused queues, each with whom else was told of it.
    pub(super) paused: BTreeMap<QueueName, Vec<String>>,
    pub(super) revoked: Vec<(Target, f64)>,
    pub(super) terminated: Vec<(Target, String, f64)>,
    /// The journal of what became of tasks.
    pub(super) history: Option<Kept>,
    pub(super) timetable: Entries,
}

/// A consumer, alive or dead.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) options: ConsumerOptions,
    pub(super) queues: Vec<QueueName>,
    pub(super) held: BTreeMap<u64, Holding>,
    /// Acked at their start, and not yet at their end.
    pub(super) early: BTreeMap<u64, Holding>,
    pub(super) next: u64,
    /// When its lease runs out, unix time in seconds; `None` while it lives.
    pub(super) ends: Option<f64>,
}

/// A message in a consumer's hands.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) queue: QueueName,
    pub(super) raw: Bytes,
    pub(super) started: bool,
}

/// Longer than this nobody sleeps for what is delayed.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Delayed {
    member: u64,
    pub(super) until: f64,
    pub(super) queue: QueueName,
    pub(super) payload: Bytes,
}

/// Unix time in seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since 1970 stay under 2^53 until the year 2255"
)]
pub(super) fn unix_time(clock: &Clock) -> f64 {
    clock.now().timestamp_micros() as f64 / 1_000_000.0
}

impl State {
    pub(super) fn with_clock(clock: Clock) -> Self {
        Self {
            chords: Chords::with_clock(clock.clone()),
            clock,
            ..Self::default()
        }
    }

    pub(super) fn now(&self) -> f64 {
        unix_time(&self.clock)
    }

    /// Whatever is delayed, the first due first.
    pub(super) fn delayed(&self) -> &[Delayed] {
        &self.delayed
    }

    /// Writes down what is published, when somebody wants to know.
    pub(super) fn note(&mut self, publish: &Publish) {
        if let Some(published) = &mut self.published {
            published.push(publish.clone());
        }
    }

    pub(super) fn publish(&mut self, publish: &Publish) {
        self.note(publish);
        match &publish.destination {
            Destination::Queue(queue) => {
                self.lists
                    .push_back(queue, publish.priority, publish.payload.clone())
            }
            Destination::Exchange {
                exchange,
                routing_key,
            } => {
                let declared = self.declared.iter().filter(|binding| {
                    binding.exchange == *exchange
                        && reaches(binding.kind, &binding.routing_key, routing_key)
                });
                let bound = self.bound.get(&(exchange.clone(), routing_key.clone()));
                let mut queues: Vec<QueueName> = declared
                    .map(|binding| &binding.queue)
                    .chain(bound)
                    .cloned()
                    .collect();
                queues.sort_unstable();
                queues.dedup();
                for queue in queues {
                    self.lists
                        .push_back(&queue, publish.priority, publish.payload.clone());
                }
            }
            Destination::Fanout {
                exchange,
                routing_key,
            } => self.fan_out(exchange, routing_key, &publish.payload),
        }
    }

    /// Gives a broadcast to every consumer that has a queue of its own on the exchange.
    pub(super) fn fan_out(&mut self, exchange: &str, routing_key: &str, payload: &Bytes) {
        let State { workers, lists, .. } = self;
        let own = workers
            .values()
            .flat_map(|worker| &worker.options.exclusive)
            .filter(|own| {
                own.exchange == exchange
                    && reaches(ExchangeType::Topic, &own.routing_key, routing_key)
            });
        for own in own {
            lists.push_back(&own.queue, envelope::priority(payload), payload.clone());
        }
    }

    /// Forgets a worker, and what is in the queues of its own.
    pub(super) fn forget(&mut self, worker: &str) {
        let Some(worker) = self.workers.remove(worker) else {
            return;
        };
        for own in &worker.options.exclusive {
            self.lists.empty(&own.queue);
        }
    }

    /// Binds a queue for replies.
    pub(super) fn bind(&mut self, binding: (String, String), queue: QueueName) {
        self.bound.insert(binding, queue);
    }

    /// Ends a binding; gives what came, the first first.
    pub(super) fn unbind(&mut self, binding: &(String, String), queue: &QueueName) -> Vec<Bytes> {
        self.bound.remove(binding);
        self.lists.empty(queue)
    }

    pub(super) fn declare(&mut self, bindings: &[Binding]) {
        for binding in bindings {
            if !self.declared.contains(binding) {
                self.declared.push(binding.clone());
            }
        }
    }

    /// Keeps a message for later, under the number given.
    pub(super) fn delay(&mut self, until: f64, queue: &QueueName, payload: Bytes) -> u64 {
        self.delays += 1;
        self.delayed.push(Delayed {
            member: self.delays,
            until,
            queue: queue.clone(),
            payload,
        });
        self.delayed.sort_by(|a, b| a.until.total_cmp(&b.until));
        self.delays
    }

    pub(super) fn is_parked(&self, member: u64) -> bool {
        self.delayed.iter().any(|delayed| delayed.member == member)
    }

    /// Gives a delayed message back before its time.
    pub(super) fn unpark(&mut self, member: u64) {
        let at = self
            .delayed
            .iter()
            .position(|delayed| delayed.member == member);
        if let Some(at) = at {
            let delayed = self.delayed.remove(at);
            self.lists.restore(&delayed.queue, delayed.payload);
        }
    }

    pub(super) fn forget_deaths(&mut self, raw: &Bytes) {
        self.deaths.remove(&envelope::identity(raw));
    }

    pub(super) fn bury(&mut self, reason: Reason, queue: &QueueName, node: &str, raw: Bytes) {
        self.letters.push(DeadLetter {
            id: uuid::Uuid::new_v4().simple().to_string(),
            reason,
            queue: queue.to_string(),
            node: node.to_owned(),
            at: self.now(),
            raw,
        });
    }

    pub(super) fn peers(&self) -> Vec<Peer> {
        let alive = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.ends.is_none());
        alive
            .map(|(id, worker)| Peer {
                id: id.clone(),
                node: worker.options.node.to_string(),
                queues: worker.queues.iter().map(QueueName::to_string).collect(),
                tasks: worker.options.tasks.clone(),
            })
            .collect()
    }

    /// Moves what is due and gives back what the dead held; true if there may be something new to fetch.
    pub(super) fn advance(&mut self, results: &MemoryResults) -> bool {
        let now = self.now();
        let due = self.delayed.partition_point(|delayed| delayed.until <= now);
        let due: Vec<Delayed> = self.delayed.drain(..due).collect();
        let mut moved = !due.is_empty();
        for delayed in due.into_iter().rev() {
            self.lists.restore(&delayed.queue, delayed.payload);
        }
        let dead = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.ends.is_some_and(|ends| ends <= now));
        for id in dead.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            moved |= self.expire(&id, results);
            self.forget(&id);
        }
        moved
    }

    /// Gives every delayed message back to its queue when no worker is left.
    pub(super) fn hand_back_if_last(&mut self) {
        if self.peers().is_empty() {
            self.recall(|_| true);
        }
    }

    /// Gives the chosen delayed messages back to their queues, and tells how many they were.
    pub(super) fn recall(&mut self, chosen: impl Fn(&Bytes) -> bool) -> u64 {
        let all = std::mem::take(&mut self.delayed);
        let (back, kept): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|delayed| chosen(&delayed.payload));
        self.delayed = kept;
        let count = u64::try_from(back.len()).unwrap_or(u64::MAX);
        for delayed in back.into_iter().rev() {
            self.lists.restore(&delayed.queue, delayed.payload);
        }
        count
    }

    /// All delayed messages, the one due first at the head.
    pub(super) fn delayed_messages(&self) -> Vec<crate::Delayed> {
        let mut all: Vec<crate::Delayed> = self
            .delayed
            .iter()
            .map(|delayed| crate::Delayed {
                due: delayed.until,
                raw: delayed.payload.clone(),
            })
            .collect();
        all.sort_by(|a, b| a.due.total_cmp(&b.due));
        all
    }

    /// How long until [`Self::advance`] has something to do. `None` on a clock that is moved by hand: who moves it tells.
    pub(super) fn next_event(&self) -> Option<Duration> {
        if !self.clock.is_system() {
            return None;
        }
        let due = self.delayed.first().map(|first| first.until);
        let ends = self.workers.values().filter_map(|worker| worker.ends);
        let next = due.into_iter().chain(ends).min_by(f64::total_cmp)?;
        // What is never due cannot be slept for.
        let wait = (next - self.now()).clamp(0.0, LONGEST_SLEEP.as_secs_f64());
        Some(Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_SLEEP))
    }

    /// Gives back what a worker held whose lease ran out. False: there is no such worker.
    pub(super) fn expire(&mut self, id: &str, results: &MemoryResults) -> bool {
        let Some(worker) = self.workers.get_mut(id) else {
            return false;
        };
        let held = std::mem::take(&mut worker.held);
        let options = worker.options.clone();
        // The oldest goes last, to the very head.
        for (number, holding) in held.into_iter().rev() {
            let tag = (id.to_owned(), number);
            if holding.started {
                self.after_death(&tag, holding, &options, results);
            } else {
                let leave = Leave::Again {
                    owner: envelope::identity(&holding.raw),
                    pause: Duration::ZERO,
                };
                self.leave(&tag, &leave);
                let again = envelope::redelivered(&holding.raw);
                self.lists.restore(&holding.queue, again);
            }
        }
        true
    }

    /// Counts a death of a message whose process died while it ran, and puts it back or gives it up.
    pub(super) fn after_death(
        &mut self,
        tag: &Tag,
        holding: Holding,
        options: &ConsumerOptions,
        results: &MemoryResults,
    ) {
        let deaths = self.count_death(&holding.raw);
        let owner = envelope::identity(&holding.raw);
        let buried = deaths > options.max_deaths;
        if self.journals()
            && let Some(recorder) = &options.recorder
        {
            let went = match buried {
                true => Went::Under(deaths),
                false => Went::Back(deaths),
            };
            let record = recorder(&holding.raw, went);
            self.record(options.node.as_str(), record.into_iter().collect());
        }
        if buried {
            self.leave(tag, &Leave::End { owner });
            self.give_up(holding, deaths, options, results);
        } else {
            let pause = Duration::ZERO;
            self.leave(tag, &Leave::Again { owner, pause });
            let again = envelope::after_death(&holding.raw, deaths, options.max_deaths);
            self.lists.restore(&holding.queue, again);
        }
    }

    fn count_death(&mut self, raw: &Bytes) -> u32 {
        let deaths = self.deaths.entry(envelope::identity(raw)).or_default();
        *deaths += 1;
        *deaths
    }

    fn give_up(
        &mut self,
        holding: Holding,
        deaths: u32,
        options: &ConsumerOptions,
        results: &MemoryResults,
    ) {
        let message = Message::parse(&holding.raw).ok();
        let reason = Reason {
            code: "died".to_owned(),
            detail: format!("{deaths} workers died while they ran it"),
            task: message
                .as_ref()
                .map(|message| message.headers.task.to_string()),
            task_id: message
                .as_ref()
                .map(|message| message.headers.id.to_string()),
        };
        self.forget_deaths(&holding.raw);
        for result in options
            .obituary
            .as_ref()
            .map(|write| write(&holding.raw, deaths))
            .unwrap_or_default()
        {
            results.set(&result);
        }
        self.bury(reason, &holding.queue, options.node.as_str(), holding.raw);
    }
}
