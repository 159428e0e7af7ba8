//! Random lives of locks and slots: tasks are sent, taken, admitted, ended, tried again and put back, and workers die. At every
//! moment one task holds each key, no more run than may, and in the end every task has ended.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use lovage_broker::{
    Admit, Admitted, Broker, Claim, Consumer, ConsumerOptions, Delivery, Demand, Destination,
    Entry, Finish, Finished, Hold, Leave, MemoryBroker, Publish, Ration, RedisBroker, Settle, Want,
    redis_server::RedisServer,
};
use lovage_protocol::{Message, NodeName, QueueName};
use proptest::prelude::*;

const WORKERS: usize = 2;
const KEYS: usize = 4;
const MOST: usize = 2;
const DAY: Duration = Duration::from_secs(24 * 3600);

#[derive(Debug, Clone, Copy)]
enum Step {
    Send {
        key: usize,
    },
    /// By a client that asks as it sends.
    Enter {
        key: usize,
    },
    Take {
        worker: usize,
        max: usize,
    },
    End {
        pick: usize,
        how: How,
    },
    Kill {
        worker: usize,
    },
}

#[derive(Debug, Clone, Copy)]
enum How {
    Ends,
    Retries,
    Restored,
}

fn steps() -> impl Strategy<Value = Step> {
    let how = prop_oneof![4 => Just(How::Ends), 1 => Just(How::Retries), 1 => Just(How::Restored)];
    prop_oneof![
        3 => (0..KEYS).prop_map(|key| Step::Send { key }),
        3 => (0..KEYS).prop_map(|key| Step::Enter { key }),
        5 => (0..WORKERS, 1..4usize).prop_map(|(worker, max)| Step::Take { worker, max }),
        4 => (0..9usize, how).prop_map(|(pick, how)| Step::End { pick, how }),
        1 => (0..WORKERS).prop_map(|worker| Step::Kill { worker }),
    ]
}

/// The broker under test, and how its workers die.
enum World {
    Memory(MemoryBroker),
    Redis(RedisServer, RedisBroker),
}

impl World {
    fn broker(&self) -> Arc<dyn Broker> {
        match self {
            Self::Memory(broker) => Arc::new(broker.clone()),
            Self::Redis(_, broker) => Arc::new(broker.clone()),
        }
    }

    fn bury(&self, id: &str) {
        match self {
            Self::Memory(broker) => {
                broker.expire_lease(id);
            }
            Self::Redis(server, _) => {
                let mut connection = server.connection(0).unwrap();
                let key = format!("lovage:lease:{id}");
                redis::cmd("DEL").arg(key).exec(&mut connection).unwrap();
            }
        }
    }
}

struct System {
    world: World,
    workers: Vec<(Arc<dyn Consumer>, String)>,
    names: usize,
    sent: usize,
    /// The key of each task that has not ended.
    alive: BTreeMap<String, usize>,
    /// The task that holds each key.
    holders: BTreeMap<usize, String>,
    /// Those that run, with their workers.
    running: Vec<(usize, Delivery)>,
}

fn queue() -> QueueName {
    QueueName::parse("q").unwrap()
}

fn message(id: &str) -> Publish {
    let payload = format!(
        "{{\"body\": \"W1tdLCB7fSwge31d\", \"content-encoding\": \"utf-8\", \"content-type\": \"application/json\", \
         \"headers\": {{\"task\": \"t\", \"id\": \"{id}\"}}, \"properties\": {{\"correlation_id\": \"{id}\", \
         \"delivery_info\": {{\"exchange\": \"\", \"routing_key\": \"q\"}}, \"priority\": 0, \"body_encoding\": \
         \"base64\", \"delivery_tag\": \"{id}\"}}}}"
    );
    Publish {
        destination: Destination::Queue(queue()),
        priority: 0,
        payload: Bytes::from(payload),
    }
}

/// What every task asks for: one at once of its key, so many of all.
fn demand(key: usize) -> Demand {
    Demand {
        claim: Some(Claim {
            key: format!("unique:{key}"),
            hold: Hold::End,
            waiting: DAY,
            join: false,
        }),
        debounce: None,
        rations: vec![Ration {
            key: "slots:all".into(),
            most: u32::try_from(MOST).unwrap(),
            period: None,
        }],
    }
}

fn id(delivery: &Delivery) -> String {
    let message = Message::parse(&delivery.raw).unwrap();
    message.headers.id.to_string()
}

impl System {
    async fn new(world: World) -> Self {
        let mut system = Self {
            world,
            workers: Vec::new(),
            names: 0,
            sent: 0,
            alive: BTreeMap::new(),
            holders: BTreeMap::new(),
            running: Vec::new(),
        };
        for _ in 0..WORKERS {
            let worker = system.hire().await;
            system.workers.push(worker);
        }
        system
    }

    /// A new worker, and the id of its lease.
    async fn hire(&mut self) -> (Arc<dyn Consumer>, String) {
        self.names += 1;
        let node = NodeName::parse(&format!("w{}@test", self.names)).unwrap();
        let mut options = ConsumerOptions::new(node.clone(), vec![queue()]);
        options.lease = Duration::from_millis(300);
        options.max_deaths = 1_000;
        let broker = self.world.broker();
        let consumer = broker.consumer(options).await.unwrap();
        let peers = broker.peers().await.unwrap();
        let own = peers.into_iter().find(|peer| peer.node == node.as_str());
        (consumer, own.unwrap().id)
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Send { key } => {
                self.sent += 1;
                let id = format!("{}-{key}", self.sent);
                self.world.broker().publish(&[message(&id)]).await.unwrap();
                self.alive.insert(id, key);
            }
            Step::Enter { key } => self.enter(key).await,
            Step::Take { worker, max } => {
                self.take(worker, max, Duration::from_millis(20)).await;
            }
            Step::End { pick, how } if !self.running.is_empty() => {
                self.end(pick % self.running.len(), how).await;
            }
            Step::End { .. } => {}
            Step::Kill { worker } => self.kill(worker).await,
        }
    }

    /// Sends a call that is sent only when nobody holds its key.
    async fn enter(&mut self, key: usize) {
        self.sent += 1;
        let id = format!("{}-{key}", self.sent);
        let entry = Entry {
            owner: id.clone(),
            not_before: None,
            demand: demand(key),
        };
        let broker = self.world.broker();
        let holder = broker.publish_gated(&message(&id), &entry).await.unwrap();
        assert_eq!(holder.as_ref(), self.holders.get(&key));
        if holder.is_none() {
            self.holders.insert(key, id.clone());
            self.alive.insert(id, key);
        }
    }

    /// Takes what is there, and asks for each whether it may run.
    async fn take(&mut self, worker: usize, max: usize, patience: Duration) {
        let consumer = Arc::clone(&self.workers[worker].0);
        let fetch = consumer.fetch(Want { max, start: max });
        let Ok(taken) = tokio::time::timeout(patience, fetch).await else {
            return;
        };
        let taken = taken.unwrap();
        let asked = taken.iter().map(|delivery| self.asks(delivery)).collect();
        let decided = consumer.admit(asked).await.unwrap();
        for (delivery, admitted) in taken.into_iter().zip(decided) {
            let id = id(&delivery);
            let key = self.alive[&id];
            let holder = self.holders.get(&key).filter(|holder| **holder != id);
            match (admitted, holder) {
                (Admitted::Duplicate { of }, Some(holder)) => {
                    assert_eq!(of, *holder);
                    self.finish(&consumer, &delivery, How::Ends).await;
                    self.alive.remove(&id);
                }
                (Admitted::Runs, None) => {
                    self.holders.insert(key, id);
                    self.running.push((worker, delivery));
                }
                (Admitted::Waits, None) => {
                    self.holders.insert(key, id);
                }
                (admitted, holder) => panic!("{id} {admitted:?}, while {holder:?} holds its key"),
            }
        }
        assert!(self.running.len() <= MOST, "{} run", self.running.len());
    }

    fn asks(&self, delivery: &Delivery) -> Admit {
        let owner = id(delivery);
        Admit {
            demand: demand(self.alive[&owner]),
            owner,
            delivery: delivery.clone(),
            early: false,
            not_before: None,
        }
    }

    async fn end(&mut self, pick: usize, how: How) {
        let (worker, delivery) = self.running.remove(pick);
        let consumer = Arc::clone(&self.workers[worker].0);
        self.finish(&consumer, &delivery, how).await;
        if matches!(how, How::Ends) {
            let id = id(&delivery);
            let key = self.alive.remove(&id).unwrap();
            assert_eq!(self.holders.remove(&key), Some(id));
        }
    }

    async fn finish(&self, consumer: &Arc<dyn Consumer>, delivery: &Delivery, how: How) {
        let owner = id(delivery);
        let (settle, publishes, leave) = match how {
            How::Ends => (Settle::Ack, Vec::new(), Some(Leave::End { owner })),
            How::Retries => {
                let again = vec![message(&owner)];
                let pause = Duration::ZERO;
                (Settle::Ack, again, Some(Leave::Again { owner, pause }))
            }
            How::Restored => (Settle::Restore, Vec::new(), None),
        };
        let finish = Finish {
            delivery: delivery.clone(),
            settle: Some(settle),
            publishes,
            results: Vec::new(),
            chord: None,
            leave,
            record: None,
        };
        let ended = consumer.finish(vec![finish]).await.unwrap();
        assert_eq!(ended, [Finished::Done { chord: None }]);
    }

    async fn kill(&mut self, worker: usize) {
        let heir = self.hire().await;
        let (consumer, id) = std::mem::replace(&mut self.workers[worker], heir);
        drop(consumer);
        self.world.bury(&id);
        // Its deliveries are nobody's until they come back; what their tasks hold stays theirs.
        self.running.retain(|(holder, _)| *holder != worker);
    }

    /// Everything ends, and soon: nobody has to wait for what is only there in case of a fault.
    async fn drain(&mut self) {
        let began = Instant::now();
        while !self.alive.is_empty() {
            assert!(
                began.elapsed() < Duration::from_secs(8),
                "these never end: {:?}",
                self.alive
            );
            while !self.running.is_empty() {
                self.end(0, How::Ends).await;
            }
            for worker in 0..WORKERS {
                self.take(worker, 3, Duration::from_millis(20)).await;
            }
        }
        assert_eq!(self.world.broker().lines().await.unwrap(), []);
    }
}

fn live(world: impl Future<Output = World>, steps: Vec<Step>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut system = System::new(world.await).await;
        for step in steps {
            system.step(step).await;
        }
        system.drain().await;
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn locks_and_slots_are_kept_and_given_back_in_memory(steps in prop::collection::vec(steps(), 1..40)) {
        live(async { World::Memory(MemoryBroker::new()) }, steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 20, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn locks_and_slots_are_kept_and_given_back_in_redis(steps in prop::collection::vec(steps(), 1..40)) {
        let server = RedisServer::start().unwrap();
        live(
            async {
                let broker = RedisBroker::connect(&server.settings()).await.unwrap();
                World::Redis(server, broker)
            },
            steps,
        );
    }
}
