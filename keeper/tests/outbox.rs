//! The relay on real databases and a real Redis: each committed message is sent once, whatever ends when.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::Duration,
};

use lovage_broker::{RedisBroker, redis_server::RedisServer};
use lovage_client::{ClientOptions, Composer};
use lovage_database::{
    Database,
    store::{
        lease::Lease,
        outbox::{Outgoing, depth, enqueue, enqueue_many, refused},
    },
    testing::{number, on_both},
};
use lovage_keeper::outbox::{Error, LEASE, Parts, Swept, relay_now, run, sweep};
use lovage_protocol::{TaskId, TaskName};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

struct Stage {
    redis: RedisServer,
    database: Database,
}

impl Stage {
    fn on(database: &Database) -> Self {
        Self {
            redis: RedisServer::start().unwrap(),
            database: database.clone(),
        }
    }

    async fn parts(&self, holder: &str) -> Parts {
        let broker = RedisBroker::connect(&self.redis.settings()).await.unwrap();
        let composer = Composer::new(ClientOptions::default());
        Parts::new(
            self.database.clone(),
            Arc::new(broker),
            composer,
            holder.to_owned(),
        )
    }

    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut connection = self.redis.connection(0).unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut connection).unwrap()
    }

    /// What waits in a queue, the first sent first.
    fn sent(&self, queue: &str) -> Vec<Vec<u8>> {
        let mut sent: Vec<Vec<u8>> = self.ask(&["LRANGE", queue, "0", "-1"]);
        sent.reverse();
        sent
    }

    /// The marks of every scope.
    fn marks(&self) -> usize {
        let keys: Vec<String> = self.ask(&["KEYS", "lovage:relayed:*"]);
        let marks = keys.iter().filter(|key| !key.ends_with(":fence"));
        marks.map(|key| self.ask::<usize>(&["ZCARD", key])).sum()
    }
}

/// A message that is made already and says nothing but its number.
fn ready(number: usize) -> Outgoing {
    let text = number.to_string();
    Outgoing::ready(
        TaskId::from(text.as_str()),
        TaskName::from("t"),
        "q".to_owned(),
        0,
        text.into_bytes(),
    )
}

fn numbers(sent: &[Vec<u8>]) -> Vec<usize> {
    let text = |raw: &Vec<u8>| String::from_utf8(raw.clone()).unwrap();
    sent.iter().map(|raw| text(raw).parse().unwrap()).collect()
}

/// What the future is ready with within so many polls, at least one; after them it is dropped where it stands.
async fn steps<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(output) => Poll::Ready(Some(output)),
        }
    })
    .await
}

async fn until_empty(database: &Database) {
    let emptied = async {
        while depth(database.reader()).await.unwrap().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, emptied).await.expect("it is relayed");
}

on_both! {
    async fn messages_are_sent_in_their_order_and_leave_nothing(database: Database) {
        let stage = Stage::on(&database);
        let parts = stage.parts("a").await;
        enqueue_many(database.writer(), (0..1234).map(ready)).await.unwrap();
        assert_eq!(relay_now(&parts).await.unwrap(), Some(1234));
        assert_eq!(numbers(&stage.sent("q")), (0..1234).collect::<Vec<_>>());
        assert_eq!(depth(database.reader()).await.unwrap().waiting, 0);
        assert_eq!(stage.marks(), 0, "no mark outlives its row");
        assert_eq!(relay_now(&parts).await.unwrap(), Some(0));
    }

    async fn a_call_becomes_a_message_and_a_bad_row_is_put_aside(database: Database) {
        let stage = Stage::on(&database);
        let parts = stage.parts("a").await;
        let call = |id: &str, args: &str| {
            let mut call = Outgoing::call(TaskId::from(id), TaskName::from("app.add"));
            call.args = args.to_owned();
            call
        };
        let mut no_queue = call("4", "[]");
        no_queue.queue = Some("a\u{6}b".to_owned());
        let mut nowhere = ready(5);
        nowhere.queue = None;
        let rows = [call("1", "[1, 2]"), call("2", "{}"), call("3", "[1"), no_queue, nowhere, call("6", "[3]")];
        enqueue_many(database.writer(), rows).await.unwrap();
        assert_eq!(relay_now(&parts).await.unwrap(), Some(2));
        let sent = stage.sent("celery");
        let first = String::from_utf8(sent[0].clone()).unwrap();
        assert!(first.contains("app.add") && first.contains("(1, 2)"), "{first}");
        let aside = refused(database.reader(), 10).await.unwrap();
        let why: Vec<String> = aside.into_iter().map(|row| row.error.unwrap_or_default()).collect();
        assert_eq!(why.len(), 4);
        for (why, expected) in why.iter().zip(["args: expected a JSON array", "column args", "column queue", "queue must be"]) {
            assert!(why.contains(expected), "{why:?} tells {expected:?}");
        }
        assert_eq!(depth(database.reader()).await.unwrap().waiting, 0);
    }

    async fn a_relay_that_ends_at_any_point_sends_nothing_twice(test: TestDatabase) {
        let stage = Stage::on(&test.database);
        let total = 1000;
        let mut parts = [stage.parts("a").await, stage.parts("b").await];
        for part in &mut parts {
            part.batch = 7;
            part.lease = Duration::from_millis(20);
        }
        enqueue_many(test.database.writer(), (0..7).map(ready)).await.unwrap();
        let written = AtomicBool::new(false);
        let writing = async {
            for chunk in (7..total).collect::<Vec<_>>().chunks(10) {
                let transaction = test.database.begin().await.unwrap();
                enqueue_many(&transaction, chunk.iter().copied().map(ready)).await.unwrap();
                transaction.commit().await.unwrap();
            }
            written.store(true, Ordering::Relaxed);
        };
        // Each relay is dropped wherever it stands, after another number of steps: some while they take the lease,
        // others in the midst of a batch.
        let relaying = async {
            let mut ended = 0;
            for round in 0_u32.. {
                let part = &parts[usize::from(round % 3 == 0)];
                ended += u32::from(steps(relay_now(part), 1 + round * 7919 % 30).await.is_none());
                if written.load(Ordering::Relaxed) && depth(test.database.reader()).await.unwrap().waiting == 0 {
                    break;
                }
            }
            ended
        };
        let ((), ended) = timeout(PATIENCE * 4, Box::pin(async { tokio::join!(writing, relaying) })).await.expect("it is relayed");
        assert!(ended > 20, "{ended} ended early");
        let mut sent = numbers(&stage.sent("q"));
        assert_eq!(sent.iter().collect::<HashSet<_>>().len(), sent.len(), "none twice");
        sent.sort_unstable();
        assert_eq!(sent, (0..total).collect::<Vec<_>>(), "none lost");
    }

    async fn any_number_of_relays_send_one_of_each(test: TestDatabase) {
        let stage = Stage::on(&test.database);
        let token = CancellationToken::new();
        let mut relays = JoinSet::new();
        for holder in ["a", "b", "c"] {
            let mut parts = stage.parts(holder).await;
            parts.poll = Duration::from_millis(5);
            relays.spawn(run(parts, token.clone()));
        }
        for number in 0..300 {
            enqueue(test.database.writer(), ready(number)).await.unwrap();
        }
        until_empty(&test.database).await;
        token.cancel();
        while let Some(ended) = relays.join_next().await {
            ended.unwrap();
        }
        let mut sent = numbers(&stage.sent("q"));
        sent.sort_unstable();
        assert_eq!(sent, (0..300).collect::<Vec<_>>());
    }

    async fn a_relay_that_was_taken_over_is_refused(database: Database) {
        let stage = Stage::on(&database);
        let old = Lease::take(&database, LEASE, "old", Duration::ZERO).await.unwrap().unwrap();
        let parts = stage.parts("new").await;
        enqueue(database.writer(), ready(1)).await.unwrap();
        assert_eq!(relay_now(&parts).await.unwrap(), Some(1));
        // What the old one has read before it was stopped, it hands over when it resumes.
        let late = lovage_broker::Relay {
            scope: old.scope.clone(),
            fence: old.fence,
            messages: vec![("1:1".to_owned(), lovage_broker::Publish {
                destination: lovage_broker::Destination::Queue(lovage_protocol::QueueName::parse("q").unwrap()),
                priority: 0,
                payload: "1".into(),
            })],
            forget: Vec::new(),
        };
        let answer = parts.broker.relay(&late).await.unwrap();
        assert_eq!(answer, lovage_broker::Relayed::Superseded { by: old.fence + 1 });
        assert_eq!(stage.sent("q").len(), 1);
    }

    async fn an_older_copy_of_the_database_goes_on(database: Database) {
        let stage = Stage::on(&database);
        let parts = stage.parts("a").await;
        enqueue(database.writer(), ready(1)).await.unwrap();
        relay_now(&parts).await.unwrap();
        let lease = Lease::take(&database, LEASE, "a", Duration::from_secs(60)).await.unwrap().unwrap();
        // Redis has seen a number that this copy of the database does not know.
        let fence = format!("lovage:relayed:{}:fence", lease.scope);
        let _: () = stage.ask(&["SET", &fence, "41"]);
        enqueue(database.writer(), ready(2)).await.unwrap();
        let refused = relay_now(&parts).await;
        assert!(matches!(refused, Err(Error::Superseded { by: 41, .. })), "{refused:?}");
        assert_eq!(relay_now(&parts).await.unwrap(), Some(1));
        assert_eq!(stage.sent("q").len(), 2);
    }

    async fn a_broker_that_was_away_gets_everything_later(database: Database) {
        let mut stage = Stage::on(&database);
        let parts = stage.parts("a").await;
        let token = CancellationToken::new();
        let relaying = tokio::spawn(run(parts, token.clone()));
        stage.redis.kill().unwrap();
        enqueue_many(database.writer(), (0..50).map(ready)).await.unwrap();
        stage.redis.restart().unwrap();
        until_empty(&database).await;
        token.cancel();
        relaying.await.unwrap();
        assert_eq!(numbers(&stage.sent("q")), (0..50).collect::<Vec<_>>());
        assert_eq!(number(database.reader(), "SELECT count(*) FROM outbox").await, 0);
    }

    async fn a_sweep_sends_what_nobody_relays_and_tells_what_stays(database: Database) {
        let stage = Stage::on(&database);
        let parts = stage.parts("sweep").await;
        let patience = Duration::from_secs(10);
        assert_eq!(sweep(&parts, patience).await.unwrap(), Swept::default());
        let mut bad = ready(0);
        bad.queue = None;
        enqueue_many(database.writer(), [bad, ready(1), ready(2)]).await.unwrap();
        let swept = sweep(&parts, patience).await.unwrap();
        assert_eq!(swept, Swept { sent: 2, waiting: 0, refused: 1 });
        assert_eq!(numbers(&stage.sent("q")), [1, 2]);
        // Somebody else relays: it is theirs, but what waits for too long is told.
        let other = Lease::take(&database, LEASE, "other", Duration::from_secs(60)).await.unwrap();
        assert!(other.is_some(), "the sweep holds nothing");
        enqueue(database.writer(), ready(3)).await.unwrap();
        let young = sweep(&parts, patience).await.unwrap();
        assert_eq!(young, Swept { sent: 0, waiting: 0, refused: 1 });
        let old = sweep(&parts, Duration::ZERO).await.unwrap();
        assert_eq!(old, Swept { sent: 0, waiting: 1, refused: 1 });
        assert_eq!(stage.sent("q").len(), 2);
        // The process that relayed is gone, and its lease is over.
        other.unwrap().release(&database).await.unwrap();
        assert_eq!(sweep(&parts, patience).await.unwrap().sent, 1);
        assert_eq!(numbers(&stage.sent("q")), [1, 2, 3]);
    }

    async fn a_relay_that_is_stopped_gives_its_lease_up(database: Database) {
        let stage = Stage::on(&database);
        let token = CancellationToken::new();
        let relaying = tokio::spawn(run(stage.parts("a").await, token.clone()));
        enqueue(database.writer(), ready(1)).await.unwrap();
        until_empty(&database).await;
        token.cancel();
        relaying.await.unwrap();
        let next = Lease::take(&database, LEASE, "b", Duration::from_secs(60)).await.unwrap();
        assert!(next.is_some(), "it need not run out");
    }
}
