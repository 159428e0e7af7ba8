//! Everything a memory broker knows, under one lock.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use super::{MemoryResults, chord::Chords, lists::Lists};
use bytes::Bytes;
use lovage_protocol::{Message, QueueName};
use lovage_settings::ExchangeType;

use crate::{
    Binding, ConsumerOptions, DeadLetter, Destination, Peer, Publish, Reason, binding::reaches,
    envelope,
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
}

/// A consumer, alive or dead.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) options: ConsumerOptions,
    pub(super) queues: Vec<QueueName>,
    pub(super) held: BTreeMap<u64, Holding>,
    pub(super) next: u64,
    /// When its lease runs out; `None` while it lives.
    pub(super) ends: Option<Instant>,
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
struct Delayed {
    until: f64,
    queue: QueueName,
    payload: Bytes,
}

/// Unix time in seconds.
pub(super) fn unix_time() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

impl State {
    pub(super) fn publish(&mut self, publish: &Publish) {
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

    pub(super) fn delay(&mut self, until: f64, queue: &QueueName, payload: Bytes) {
        self.delayed.push(Delayed {
            until,
            queue: queue.clone(),
            payload,
        });
        self.delayed.sort_by(|a, b| a.until.total_cmp(&b.until));
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
            at: unix_time(),
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
        let now = unix_time();
        let due = self.delayed.partition_point(|delayed| delayed.until <= now);
        let due: Vec<Delayed> = self.delayed.drain(..due).collect();
        let mut moved = !due.is_empty();
        for delayed in due.into_iter().rev() {
            self.lists.restore(&delayed.queue, delayed.payload);
        }
        let dead = self
            .workers
            .iter()
            .filter(|(_, worker)| worker.ends.is_some_and(|ends| ends <= Instant::now()));
        for id in dead.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
            moved |= self.expire(&id, results);
            self.forget(&id);
        }
        moved
    }

    /// Gives every delayed message back to its queue when no worker is left.
    pub(super) fn hand_back_if_last(&mut self) {
        if self.peers().is_empty() {
            for delayed in std::mem::take(&mut self.delayed).into_iter().rev() {
                self.lists.restore(&delayed.queue, delayed.payload);
            }
        }
    }

    /// How long until [`Self::advance`] has something to do.
    pub(super) fn next_event(&self) -> Option<Duration> {
        let due = self.delayed.first().map(|first| {
            // What is never due cannot be slept for.
            let wait = (first.until - unix_time()).clamp(0.0, LONGEST_SLEEP.as_secs_f64());
            Duration::try_from_secs_f64(wait).unwrap_or(LONGEST_SLEEP)
        });
        let ends = self.workers.values().filter_map(|worker| worker.ends);
        let ends = ends
            .min()
            .map(|ends| ends.saturating_duration_since(Instant::now()));
        due.into_iter().chain(ends).min()
    }

    /// Gives back what a worker held whose lease ran out. False: there is no such worker.
    pub(super) fn expire(&mut self, id: &str, results: &MemoryResults) -> bool {
        let Some(worker) = self.workers.get_mut(id) else {
            return false;
        };
        let held = std::mem::take(&mut worker.held);
        let options = worker.options.clone();
        // The oldest goes last, to the very head.
        for holding in held.into_values().rev() {
            let deaths = if holding.started {
                self.count_death(&holding.raw)
            } else {
                0
            };
            if holding.started && deaths > options.max_deaths {
                self.give_up(holding, deaths, &options, results);
            } else {
                let again = if holding.started {
                    envelope::after_death(&holding.raw, deaths, options.max_deaths)
                } else {
                    envelope::redelivered(&holding.raw)
                };
                self.lists.restore(&holding.queue, again);
            }
        }
        true
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
