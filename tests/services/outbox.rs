//! Relays of the outbox as processes that are killed and stopped while programs write to it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{collections::BTreeMap, process::Command, time::Duration};

use lovage_database::{
    store::outbox::{Outgoing, depth, enqueue_many},
    testing::{TestDatabase, on_both},
};
use lovage_integration_tests::{KeeperProcess, RedisServer, child::Child, place};
use lovage_protocol::{TaskId, TaskName};
use rustix::process::Signal;
use tokio::time::{sleep, timeout};

/// Kills, or stops and goes on.
const BLOWS: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(120);

fn relay(test: &TestDatabase, redis: &RedisServer) -> Child {
    let mut command = Command::new(place::built("relay-outbox"));
    command
        .env("DATABASE_URL", test.url())
        .env("CELERY_BROKER_URL", redis.url())
        .env("LOVAGE_LOG", "info");
    Child::start("relay-outbox", &mut command, "cargo build --bins makes it")
}

fn ready(number: u64) -> Outgoing {
    let text = number.to_string();
    Outgoing::ready(
        TaskId::from(text.as_str()),
        TaskName::from("t"),
        "q".to_owned(),
        0,
        text.into_bytes(),
    )
}

/// Writes one transaction after the other until it is told to stop; every seventh is rolled back. Gives what was committed.
async fn write(test: &TestDatabase, stop: &std::cell::Cell<bool>) -> Vec<u64> {
    let mut committed = Vec::new();
    let mut next = 0;
    while !stop.get() {
        let numbers: Vec<u64> = (next..next + 5).collect();
        next += 5;
        let transaction = test.database.begin().await.unwrap();
        enqueue_many(&transaction, numbers.iter().copied().map(ready))
            .await
            .unwrap();
        if next % 7 == 0 {
            transaction.rollback().await.unwrap();
        } else {
            transaction.commit().await.unwrap();
            committed.extend(numbers);
        }
        sleep(Duration::from_millis(1)).await;
    }
    committed
}

on_both! {
    async fn promise_06_what_is_committed_is_sent_once_whoever_dies_and_nothing_else_is(test: TestDatabase) {
        let redis = RedisServer::start();
        let mut relays: Vec<Child> = (0..3).map(|_| relay(test, &redis)).collect();
        let stop = std::cell::Cell::new(false);
        let blows = async {
            let mut stopped: Option<usize> = None;
            for blow in 0..BLOWS {
                sleep(Duration::from_millis(50 + blow * 37 % 200)).await;
                let at = usize::try_from(blow % 3).unwrap();
                // One that was stopped for longer than its lease believes that it has it still.
                if let Some(at) = stopped.take() {
                    sleep(Duration::from_millis(600)).await;
                    relays[at].signal(Signal::CONT);
                }
                if blow % 4 == 0 {
                    relays[at].signal(Signal::STOP);
                    stopped = Some(at);
                } else {
                    relays[at].kill();
                    relays[at] = relay(test, &redis);
                }
            }
            if let Some(at) = stopped {
                relays[at].signal(Signal::CONT);
            }
            stop.set(true);
        };
        let (committed, ()) = tokio::join!(write(test, &stop), blows);
        let emptied = async {
            while depth(test.database.reader()).await.unwrap().waiting > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, emptied).await.expect("what was committed is sent");
        let mut sent: BTreeMap<u64, u32> = BTreeMap::new();
        for raw in redis.waiting("q") {
            *sent.entry(String::from_utf8(raw).unwrap().parse().unwrap()).or_default() += 1;
        }
        let twice: Vec<_> = sent.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "sent more than once: {twice:?}");
        let sent: Vec<u64> = sent.into_keys().collect();
        assert_eq!(sent, committed);
        assert!(committed.len() > 500, "only {} were written", committed.len());
    }

    async fn lovage_keeper_sends_what_was_committed_and_stops_when_it_is_told(test: TestDatabase) {
        let redis = RedisServer::start();
        let mut keeper = KeeperProcess::start(&redis.url(), &test.url());
        let transaction = test.database.begin().await.unwrap();
        enqueue_many(&transaction, (0..20).map(ready)).await.unwrap();
        transaction.rollback().await.unwrap();
        let transaction = test.database.begin().await.unwrap();
        enqueue_many(&transaction, (20..40).map(ready)).await.unwrap();
        // Nothing before it is committed, though the keeper looks.
        assert_eq!(redis.depth("q"), 0);
        transaction.commit().await.unwrap();
        let emptied = async {
            while depth(test.database.reader()).await.unwrap().waiting > 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, emptied).await.expect("what was committed is sent");
        let wanted: Vec<Vec<u8>> = (20..40_u64).map(|number| number.to_string().into_bytes()).collect();
        assert_eq!(redis.waiting("q"), wanted, "in order");
        keeper.stop();
        // Whoever comes next has the outbox at once.
        let mut next = KeeperProcess::start(&redis.url(), &test.url());
        let transaction = test.database.begin().await.unwrap();
        enqueue_many(&transaction, [ready(40)]).await.unwrap();
        transaction.commit().await.unwrap();
        let sent = async {
            while redis.depth("q") < 21 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, sent).await.expect("the next keeper sends");
        next.stop();
    }
}
