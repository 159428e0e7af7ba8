//! Dead letters on their way from a real Redis into real databases, and back.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{sync::Arc, time::Duration};

use lovage_broker::{
    Broker, ConsumerOptions, Destination, Finish, Publish, Reason, RedisBroker, Settle, Want,
    redis_server::RedisServer,
};
use lovage_client::{ClientOptions, Composer};
use lovage_database::{
    store::{
        dead_letter::{self, Act, Filter, page, waiting},
        task_run,
    },
    testing::on_both,
};
use lovage_keeper::{dead_letters, outbox};
use lovage_protocol::{NodeName, QueueName, State, TaskId};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

struct Stage {
    // Ends with the value.
    _redis: RedisServer,
    broker: Arc<RedisBroker>,
}

fn queue() -> QueueName {
    QueueName::parse("q").unwrap()
}

impl Stage {
    async fn start() -> Self {
        let redis = RedisServer::start().unwrap();
        let broker = RedisBroker::connect(&redis.settings()).await.unwrap();
        Self {
            _redis: redis,
            broker: Arc::new(broker),
        }
    }

    /// Has a worker give these messages up.
    async fn bury(&self, messages: std::ops::Range<usize>) {
        let publishes: Vec<Publish> = messages
            .map(|number| Publish {
                destination: Destination::Queue(queue()),
                priority: 0,
                payload: format!("message {number} \u{1}é").into(),
            })
            .collect();
        self.broker.publish(&publishes).await.unwrap();
        let options = ConsumerOptions::new(NodeName::parse("w@test").unwrap(), vec![queue()]);
        let consumer = self.broker.consumer(options).await.unwrap();
        let mut left = publishes.len();
        while left > 0 {
            let taken = consumer
                .fetch(Want {
                    max: left,
                    start: left,
                })
                .await
                .unwrap();
            left -= taken.len();
            let ends = taken.into_iter().map(|delivery| {
                let text = String::from_utf8_lossy(&delivery.raw).into_owned();
                let number = text.split(' ').nth(1).unwrap().to_owned();
                Finish {
                    settle: Some(Settle::DeadLetter(Reason {
                        code: "rejected".to_owned(),
                        detail: "no".to_owned(),
                        task: Some("t".to_owned()),
                        task_id: Some(number),
                    })),
                    delivery,
                    publishes: Vec::new(),
                    results: Vec::new(),
                    chord: None,
                    leave: None,
                    record: None,
                }
            });
            consumer.finish(ends.collect()).await.unwrap();
        }
        consumer.close().await.unwrap();
    }

    async fn letters_at_the_broker(&self) -> u64 {
        self.broker.dead_letters().count().await.unwrap()
    }
}

on_both! {
    async fn letters_move_in_their_order_and_byte_for_byte(database: Database) {
        let stage = Stage::start().await;
        let mut failed = task_run::Change::new(TaskId::from("7"), State::Failure, chrono::Utc::now());
        failed.traceback = Some("line 1".to_owned());
        task_run::record(&database, [failed]).await.unwrap();
        stage.bury(0..450).await;
        assert_eq!(dead_letters::collect(&database, &*stage.broker).await.unwrap(), 450);
        assert_eq!(stage.letters_at_the_broker().await, 0);
        assert_eq!(dead_letters::collect(&database, &*stage.broker).await.unwrap(), 0);
        let all = page(database.reader(), &Filter::default(), None, 500).await.unwrap();
        assert_eq!(all.len(), 450);
        let seventh = all.iter().find(|letter| letter.died.task_id.as_deref() == Some("7")).unwrap();
        assert_eq!(seventh.died.traceback.as_deref(), Some("line 1"));
        assert_eq!(seventh.died.message, "message 7 \u{1}é".as_bytes());
        assert_eq!((seventh.died.code.as_str(), seventh.died.queue.as_str(), seventh.died.worker.as_deref()), ("rejected", "q", Some("w@test")));
        assert!(all.windows(2).all(|pair| pair[0].died.died_at >= pair[1].died.died_at), "the newest first");
    }

    async fn what_is_replayed_is_back_in_its_queue_once(database: Database) {
        let stage = Stage::start().await;
        stage.bury(0..10).await;
        dead_letters::collect(&database, &*stage.broker).await.unwrap();
        let act = async |act: Act, filter: Filter| {
            let letters = waiting(database.reader(), &filter, 0, i64::MAX, 100).await.unwrap();
            for letter in &letters {
                assert!(act.on(database.writer(), letter, "me").await.unwrap());
            }
            letters.len()
        };
        assert_eq!(act(Act::Replay, Filter { task_id: Some("3".to_owned()), ..Filter::default() }).await, 1);
        assert_eq!(act(Act::Discard, Filter::default()).await, 9);
        let broker: Arc<dyn Broker> = stage.broker.clone();
        let parts = outbox::Parts::new(database.clone(), broker, Composer::new(ClientOptions::default()), "me".to_owned());
        assert_eq!(outbox::relay_now(&parts).await.unwrap(), Some(1));
        let options = ConsumerOptions::new(NodeName::parse("w@test").unwrap(), vec![queue()]);
        let consumer = stage.broker.consumer(options).await.unwrap();
        let back = consumer.fetch(Want { max: 10, start: 0 }).await.unwrap();
        assert_eq!(back.len(), 1);
        assert_eq!(back[0].raw, "message 3 \u{1}é");
    }

    async fn several_that_move_letters_move_each_once(database: Database) {
        let stage = Stage::start().await;
        let token = CancellationToken::new();
        let movers: Vec<_> = ["a", "b"]
            .map(|holder| {
                let broker: Arc<dyn Broker> = stage.broker.clone();
                let mut parts = dead_letters::Parts::new(database.clone(), broker, holder.to_owned());
                parts.poll = Duration::from_millis(10);
                tokio::spawn(dead_letters::run(parts, token.clone()))
            })
            .into();
        stage.bury(0..100).await;
        // Who is not led by a lease takes part too, as `lovage dlq` may.
        let moved = async {
            while stage.letters_at_the_broker().await > 0 {
                dead_letters::collect(&database, &*stage.broker).await.unwrap();
            }
        };
        timeout(Duration::from_secs(30), moved).await.expect("they are moved");
        token.cancel();
        for mover in movers {
            mover.await.unwrap();
        }
        assert_eq!(dead_letter::count(database.reader(), &Filter::default()).await.unwrap(), 100);
    }
}
