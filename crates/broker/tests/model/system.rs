//! A broker with its workers, and where every message must be.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lovage_broker::{
    Consumer, ConsumerOptions, Delivery, Destination, Finish, Finished, Publish, Reason, Settle,
    Start, Want,
};
use lovage_protocol::{NodeName, QueueName};
use tokio::runtime::Runtime;

use super::{
    step::{How, Step, WORKERS},
    world::World,
};

const LEASE: Duration = Duration::from_millis(300);
const MAX_DEATHS: u32 = 2;

/// Where a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Queued,
    Held { worker: usize, started: bool },
    Done,
    Dead,
}

pub(crate) struct Worker {
    consumer: Arc<dyn Consumer>,
    id: String,
    held: Vec<Delivery>,
}

pub(crate) struct System {
    runtime: Runtime,
    world: Box<dyn World>,
    workers: Vec<Worker>,
    places: BTreeMap<String, Place>,
    deaths: BTreeMap<String, u32>,
    lost: Vec<(usize, Delivery)>,
    names: usize,
}

pub(crate) fn queue() -> QueueName {
    QueueName::parse("q").unwrap()
}

pub(crate) fn envelope(id: &str) -> Bytes {
    Bytes::from(format!(
        "{{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"task\": \"t\", \"id\": \"{id}\"}}, \"properties\": {{\"correlation_id\": \"{id}\", \
         \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"q\"}}, \"priority\": 0, \"body_encoding\": \
         \"base64\", \"delivery_tag\": \"{id}\"}}}}"
    ))
}

pub(crate) fn id(delivery: &Delivery) -> String {
    lovage_protocol::Message::parse(&delivery.raw)
        .unwrap()
        .headers
        .id
        .to_string()
}

impl System {
    pub(crate) fn new(runtime: Runtime, world: Box<dyn World>) -> Self {
        let mut system = Self {
            runtime,
            world,
            workers: Vec::new(),
            places: BTreeMap::new(),
            deaths: BTreeMap::new(),
            lost: Vec::new(),
            names: 0,
        };
        for _ in 0..WORKERS {
            let worker = system.hire();
            system.workers.push(worker);
        }
        system
    }

    fn hire(&mut self) -> Worker {
        self.names += 1;
        let node = NodeName::parse(&format!("w{}@test", self.names)).unwrap();
        let mut options = ConsumerOptions::new(node.clone(), vec![queue()]);
        options.lease = LEASE;
        options.max_deaths = MAX_DEATHS;
        let broker = self.world.broker();
        let consumer = self.runtime.block_on(broker.consumer(options)).unwrap();
        let peers = self.runtime.block_on(broker.peers()).unwrap();
        let id = peers
            .into_iter()
            .find(|peer| peer.node == node.as_str())
            .unwrap()
            .id;
        Worker {
            consumer,
            id,
            held: Vec::new(),
        }
    }

    fn count(&self, wanted: impl Fn(Place) -> bool) -> usize {
        self.places.values().filter(|place| wanted(**place)).count()
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Publish(count) => self.publish(count),
            Step::Fetch { worker, max, start } => self.fetch(worker, max, start),
            Step::Start { worker, pick, ack } => self.start(worker, pick, ack),
            Step::Finish { worker, pick, how } => self.finish(worker, pick, how),
            Step::FinishLost { pick } => self.finish_lost(pick),
            Step::Release { worker } => self.release(worker),
            Step::Close { worker } => {
                let consumer = Arc::clone(&self.workers[worker].consumer);
                self.runtime.block_on(consumer.close()).unwrap();
                self.back(worker, |_| true, false);
                self.replace(worker);
            }
            Step::Kill { worker } => {
                let fresh = self.hire();
                let old = std::mem::replace(&mut self.workers[worker], fresh);
                let _in_runtime = self.runtime.enter();
                drop(old.consumer);
                self.world.expire(&old.id);
                self.back(worker, |_| true, true);
                self.lost.retain(|(robbed, _)| *robbed != worker);
            }
            Step::Rob { worker } => {
                let counts = self.world.rob(&self.workers[worker].id.clone());
                let held = std::mem::take(&mut self.workers[worker].held);
                self.lost
                    .extend(held.into_iter().map(|delivery| (worker, delivery)));
                self.back(worker, |_| true, counts);
            }
            Step::Restart => self.world.restart(),
        }
    }

    fn replace(&mut self, worker: usize) {
        self.workers[worker] = self.hire();
        self.lost.retain(|(robbed, _)| *robbed != worker);
    }

    /// Notes that what the worker held (and `which` says so) is back in the queue, or given up.
    fn back(&mut self, worker: usize, which: impl Fn(bool) -> bool, deaths_count: bool) {
        for (id, place) in &mut self.places {
            let Place::Held {
                worker: holder,
                started,
            } = *place
            else {
                continue;
            };
            if holder != worker || !which(started) {
                continue;
            }
            *place = Place::Queued;
            if started && deaths_count {
                let deaths = self.deaths.entry(id.clone()).or_default();
                *deaths += 1;
                if *deaths > MAX_DEATHS {
                    *place = Place::Dead;
                    self.deaths.remove(id);
                }
            }
        }
    }

    fn publish(&mut self, count: usize) {
        let first = self.places.len();
        let names: Vec<String> = (first..first + count)
            .map(|number| format!("m{number}"))
            .collect();
        let message = |id: &String| Publish {
            destination: Destination::Queue(queue()),
            priority: 0,
            payload: envelope(id),
        };
        let batch: Vec<Publish> = names.iter().map(message).collect();
        // A connection that the last restart cut is noticed by the first use; tried again, a message could come twice.
        self.runtime.block_on(self.world.broker().ping()).unwrap();
        self.runtime
            .block_on(self.world.broker().publish(&batch))
            .unwrap();
        self.places
            .extend(names.into_iter().map(|id| (id, Place::Queued)));
    }

    fn fetch(&mut self, worker: usize, max: usize, start: usize) {
        let waiting = self.count(|place| place == Place::Queued);
        if waiting == 0 {
            return;
        }
        let consumer = Arc::clone(&self.workers[worker].consumer);
        let fetch = async {
            tokio::time::timeout(Duration::from_secs(20), consumer.fetch(Want { max, start })).await
        };
        let taken = self
            .runtime
            .block_on(fetch)
            .expect("there is something to fetch")
            .unwrap();
        assert_eq!(taken.len(), max.min(waiting));
        for (position, delivery) in taken.into_iter().enumerate() {
            // What has cost all but one of the workers that it may is a suspect.
            let suspect = self
                .deaths
                .get(&id(&delivery))
                .is_some_and(|deaths| *deaths >= MAX_DEATHS - 1);
            assert_eq!(delivery.suspect, suspect);
            assert_eq!(delivery.started, position < start && !suspect);
            let place = self
                .places
                .get_mut(&id(&delivery))
                .expect("it was published");
            assert_eq!(*place, Place::Queued, "{}", id(&delivery));
            *place = Place::Held {
                worker,
                started: delivery.started,
            };
            self.workers[worker].held.push(delivery);
        }
    }

    fn start(&mut self, worker: usize, pick: usize, ack: bool) {
        let held = &self.workers[worker].held;
        let Some(delivery) = held.get(pick % held.len().max(1)).cloned() else {
            return;
        };
        let consumer = Arc::clone(&self.workers[worker].consumer);
        let batch = vec![Start {
            tag: delivery.tag,
            ack,
            result: None,
            record: None,
        }];
        assert_eq!(
            self.runtime.block_on(consumer.start(batch)).unwrap(),
            [true]
        );
        let place = if ack {
            Place::Done
        } else {
            Place::Held {
                worker,
                started: true,
            }
        };
        self.places.insert(id(&delivery), place);
        if ack {
            self.workers[worker]
                .held
                .retain(|held| held.tag != delivery.tag);
        }
    }

    fn end(&mut self, worker: usize, delivery: &Delivery, how: How) -> Vec<Finished> {
        let settle = match how {
            How::Ack => Settle::Ack,
            How::Requeue => Settle::Requeue,
            How::Restore => Settle::Restore,
            How::Delay => Settle::Delay {
                until: 1.0,
                payload: None,
            },
            How::DeadLetter => Settle::DeadLetter(Reason {
                code: "rejected".into(),
                detail: String::new(),
                task: None,
                task_id: None,
            }),
        };
        let finish = Finish {
            delivery: delivery.clone(),
            settle: Some(settle),
            publishes: vec![],
            results: vec![],
            chord: None,
            leave: None,
            record: None,
        };
        let consumer = Arc::clone(&self.workers[worker].consumer);
        self.runtime
            .block_on(consumer.finish(vec![finish]))
            .unwrap()
    }

    fn finish(&mut self, worker: usize, pick: usize, how: How) {
        let held = &mut self.workers[worker].held;
        if held.is_empty() {
            return;
        }
        let delivery = held.remove(pick % held.len());
        assert_eq!(
            self.end(worker, &delivery, how),
            [Finished::Done { chord: None }]
        );
        let place = match how {
            How::Ack => Place::Done,
            How::Requeue | How::Restore | How::Delay => Place::Queued,
            How::DeadLetter => Place::Dead,
        };
        if matches!(place, Place::Done | Place::Dead) {
            self.deaths.remove(&id(&delivery));
        }
        self.places.insert(id(&delivery), place);
    }

    fn finish_lost(&mut self, pick: usize) {
        if self.lost.is_empty() {
            return;
        }
        let (worker, delivery) = self.lost[pick % self.lost.len()].clone();
        for how in [How::Ack, How::Requeue, How::DeadLetter] {
            assert_eq!(self.end(worker, &delivery, how), [Finished::Lost]);
        }
    }

    fn release(&mut self, worker: usize) {
        let consumer = Arc::clone(&self.workers[worker].consumer);
        let released = self.runtime.block_on(consumer.release_unstarted()).unwrap();
        let waiting = Place::Held {
            worker,
            started: false,
        };
        assert_eq!(
            usize::try_from(released).unwrap(),
            self.count(|place| place == waiting)
        );
        self.back(worker, |started| !started, false);
        let places = &self.places;
        self.workers[worker]
            .held
            .retain(|delivery| matches!(places[&id(delivery)], Place::Held { .. }));
    }

    /// Waits until the broker shows what the steps should have led to; it must not show anything else for long.
    pub(crate) fn check(&mut self) {
        let queued = self.count(|place| place == Place::Queued);
        let dead = self.count(|place| place == Place::Dead);
        let held = self.count(|place| matches!(place, Place::Held { .. }));
        let began = Instant::now();
        loop {
            let broker = self.world.broker();
            let depth = self.runtime.block_on(broker.depth(&[queue()])).unwrap()[0];
            let letters = self
                .runtime
                .block_on(broker.dead_letters().count())
                .unwrap();
            let recorded = self.world.held().unwrap_or(held);
            let seen = (
                usize::try_from(depth).unwrap(),
                usize::try_from(letters).unwrap(),
                recorded,
            );
            if seen == (queued, dead, held) {
                return;
            }
            let message = format!(
                "queued, dead, held: saw {seen:?}, expected {:?}",
                (queued, dead, held)
            );
            assert!(began.elapsed() < Duration::from_secs(20), "{message}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
