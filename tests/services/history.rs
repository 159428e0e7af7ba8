//! What workers do, as rows: by the journal, on both databases, while keepers and workers are killed.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::time::{Duration, Instant};

use lovage_database::{
    Database,
    store::{
        history_gap,
        task_event::{self, Recorded},
        task_run::{self, TaskRun},
        worker,
    },
    testing::{TestDatabase, number, on_both},
};
use lovage_integration_tests::{KeeperProcess, LovageWorker, RedisServer, TaskMessage, wait};
use lovage_protocol::{State, TaskId};
use serde_json::json;

use crate::{add, eta, sleep};

/// Nothing that is to happen takes longer, on a machine where all tests run at once.
const LIMIT: Duration = Duration::from_secs(60);

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < LIMIT, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn run(database: &Database, id: &str) -> Option<TaskRun> {
    let found = task_run::find(database.reader(), &TaskId::from(id)).await;
    found.expect("the database answers")
}

async fn run_in(database: &Database, id: &str, state: State) -> TaskRun {
    until(&format!("{state} of {id}"), async || {
        run(database, id).await.filter(|run| run.state == state)
    })
    .await
}

async fn trail(database: &Database, id: &str) -> Vec<Recorded> {
    let recorded = task_event::of_task(database.reader(), &TaskId::from(id), 1000).await;
    recorded.expect("the database answers")
}

async fn count(database: &Database, sql: &str) -> i64 {
    number(database.reader(), sql).await
}

async fn gaps(database: &Database) -> Vec<history_gap::Gap> {
    let gaps = history_gap::newest(database.reader(), 100).await;
    gaps.expect("the database answers")
}

fn publish(redis: &RedisServer, messages: &[TaskMessage]) {
    let mut pipeline = redis::pipe();
    for message in messages {
        pipeline.lpush("celery", message.to_json()).ignore();
    }
    pipeline.exec(&mut redis.connection()).expect("LPUSH works");
}

fn noops(count: usize) -> Vec<TaskMessage> {
    (0..count)
        .map(|_| TaskMessage::new("demo.noop", &json!([]), &json!({})))
        .collect()
}

fn waiting(redis: &RedisServer) -> usize {
    redis::Commands::llen(&mut redis.connection(), "celery").expect("LLEN works")
}

fn journal(redis: &RedisServer) -> usize {
    let mut ask = redis::cmd("XLEN");
    let length = ask.arg("lovage:journal").query(&mut redis.connection());
    length.expect("XLEN works")
}

const SUCCEEDED: &str = "SELECT count(*) FROM task_event WHERE kind = 'task-succeeded'";
const RUNS: &str = "SELECT count(*) FROM task_run WHERE state = 'SUCCESS'";

on_both! {
    async fn what_a_worker_does_becomes_rows(test: TestDatabase) {
        let (redis, database) = (RedisServer::start(), &test.database);
        let _keeper = KeeperProcess::with(
            &redis.url(),
            &test.url(),
            &[("LOVAGE_HISTORY_REDACT", r#"{"demo.add": ["1"]}"#)],
        );
        let _worker = LovageWorker::builder(&redis).hostname("w@here").start();
        let good = add().set("headers.group", json!("g")).set("headers.parent_id", json!("p"));
        let bad = TaskMessage::new("demo.fail", &json!(["no luck"]), &json!({}))
            .set("headers.argsrepr", json!("('no luck',)"));
        let again = TaskMessage::new("demo.retry_then_succeed", &json!([2]), &json!({}))
            .set("headers.argsrepr", json!("(2,)"));
        let later = add().set("headers.eta", json!(eta(3600)));
        let long = sleep(3.0);
        let unknown = TaskMessage::new("no.such.task", &json!([]), &json!({}));
        let all = [&good, &bad, &again, &later, &long, &unknown];
        publish(&redis, &all.map(Clone::clone));

        // Shown as running while it runs, and as received until it does.
        let running = run_in(database, &long.id, State::Started).await;
        assert!(running.started_at.is_some() && running.finished_at.is_none());
        let waits = run_in(database, &later.id, State::Received).await;
        assert!(waits.eta.is_some());

        let run = run_in(database, &good.id, State::Success).await;
        assert_eq!(run.name.as_deref(), Some("demo.add"));
        assert_eq!((run.worker.as_deref(), run.queue.as_deref()), (Some("w@here"), Some("celery")));
        assert_eq!((run.args.as_deref(), run.kwargs.as_deref()), (Some("(2, '***')"), Some("{}")));
        assert_eq!((run.result.as_deref(), run.group_id.as_deref()), (Some("5"), Some("g")));
        assert_eq!(run.root_id, Some(TaskId::from(good.id.as_str())));
        assert_eq!(run.parent_id, Some(TaskId::from("p")));
        let (received, started, finished) = (run.received_at, run.started_at, run.finished_at);
        assert!(received.is_some() && received <= started && started <= finished, "{run:?}");
        assert!(run.runtime.is_some_and(|runtime| (0.0..1.0).contains(&runtime)));

        let run = run_in(database, &bad.id, State::Failure).await;
        assert!(run.exception.as_deref().is_some_and(|text| text.contains("no luck")), "{run:?}");
        assert!(run.traceback.is_some());
        run_in(database, &unknown.id, State::Failure).await;

        let run = run_in(database, &again.id, State::Success).await;
        assert!(run.retries.is_some_and(|retries| retries > 0), "{run:?}");
        let trail = trail(database, &again.id).await;
        let retried = trail.iter().filter(|one| one.event.kind == "task-retried").count();
        assert_eq!(Some(i32::try_from(retried).unwrap()), run.retries);
        run_in(database, &long.id, State::Success).await;

        let worker = until("the worker with its queues", async || {
            let workers = worker::all(database.reader(), 99).await.unwrap();
            workers.into_iter().find(|worker| worker.heard.name == "w@here" && worker.heard.queues.is_some())
        }).await;
        assert!(worker.heard.online);
        assert_eq!(worker.heard.queues, Some(vec!["celery".to_owned()]));
        assert_eq!(gaps(database).await, []);
        until("an empty journal", async || (journal(&redis) == 0).then_some(())).await;
    }

    async fn a_keeper_that_is_killed_again_and_again_leaves_neither_gap_nor_double(test: TestDatabase) {
        const ROUNDS: u64 = 3;
        const TASKS: usize = 1500;
        let (redis, database) = (RedisServer::start(), &test.database);
        let mut keeper = KeeperProcess::start(&redis.url(), &test.url());
        let _worker = LovageWorker::on(&redis);
        let mut known = 0;
        for round in 0..ROUNDS {
            publish(&redis, &noops(TASKS));
            until("rows of this round", async || (count(database, RUNS).await > known).then_some(())).await;
            // In the midst of its work, at another moment each time.
            tokio::time::sleep(Duration::from_millis(7 * round)).await;
            keeper.kill();
            known = count(database, RUNS).await;
            keeper = KeeperProcess::launch(&redis.url(), &test.url(), &[]);
        }
        let wanted = i64::try_from(TASKS).unwrap() * i64::try_from(ROUNDS).unwrap();
        until("every run", async || (count(database, RUNS).await == wanted).then_some(())).await;
        assert_eq!(count(database, SUCCEEDED).await, wanted);
        assert_eq!(gaps(database).await, []);
        keeper.process().wait_for("keeper ready", LIMIT);
    }

    async fn two_keepers_write_once(test: TestDatabase) {
        const TASKS: usize = 1000;
        let (redis, database) = (RedisServer::start(), &test.database);
        let mut first = KeeperProcess::start(&redis.url(), &test.url());
        let _second = KeeperProcess::start(&redis.url(), &test.url());
        let _worker = LovageWorker::builder(&redis).bare_flag("-E").start();
        publish(&redis, &noops(TASKS / 2));
        wait::eventually("half of the tasks", || waiting(&redis) == 0);
        // In order: the other one has its duties at once.
        first.stop();
        publish(&redis, &noops(TASKS / 2));
        let wanted = i64::try_from(TASKS).unwrap();
        until("every run", async || (count(database, RUNS).await == wanted).then_some(())).await;
        // What a worker of ours tells as events is not written beside what it tells the journal.
        assert_eq!(count(database, SUCCEEDED).await, wanted);
        let received = "SELECT count(*) FROM task_event WHERE kind = 'task-received' AND source LIKE '%/%'";
        assert_eq!(count(database, received).await, 0);
        assert_eq!(gaps(database).await, []);
    }

    async fn a_worker_that_is_killed_leaves_no_gap(test: TestDatabase) {
        const TASKS: usize = 60;
        let (redis, database) = (RedisServer::start(), &test.database);
        let _keeper = KeeperProcess::start(&redis.url(), &test.url());
        let worker = |name: &str| {
            LovageWorker::builder(&redis)
                .hostname(name)
                .concurrency(10)
                .variable("LOVAGE_LEASE", "1s")
        };
        let mut doomed = worker("doomed@here").start();
        let messages: Vec<TaskMessage> = (0..TASKS).map(|_| sleep(0.4)).collect();
        publish(&redis, &messages);
        until("a running task", async || {
            let started = "SELECT count(*) FROM task_run WHERE state = 'STARTED'";
            (count(database, started).await > 0).then_some(())
        })
        .await;
        doomed.kill();
        let _heir = worker("heir@here").start();
        let wanted = i64::try_from(TASKS).unwrap();
        until("every run", async || (count(database, RUNS).await == wanted).then_some(())).await;
        assert_eq!(count(database, SUCCEEDED).await, wanted);
        let back = "SELECT count(*) FROM task_event WHERE kind = 'task-redelivered'";
        assert!(count(database, back).await > 0, "who put the messages back has told of it");
        assert_eq!(gaps(database).await, []);
    }

    async fn a_task_that_was_acked_as_it_began_and_died_with_its_worker_is_known(test: TestDatabase) {
        let (redis, database) = (RedisServer::start(), &test.database);
        let _keeper = KeeperProcess::start(&redis.url(), &test.url());
        let mut worker = LovageWorker::builder(&redis)
            .variable("CELERY_TASK_ACKS_LATE", "0")
            .start();
        let message = sleep(60.0);
        redis.publish("celery", &message);
        wait::eventually("an early ack", || waiting(&redis) == 0 && redis.unacked() == 0);
        worker.kill();
        let run = run_in(database, &message.id, State::Started).await;
        assert_eq!(run.name.as_deref(), Some("demo.sleep"));
    }

    async fn what_the_journal_has_no_room_for_is_a_gap(test: TestDatabase) {
        const TASKS: usize = 2000;
        let (redis, database) = (RedisServer::start(), &test.database);
        let small = [("LOVAGE_JOURNAL_BYTES", "100kB")];
        let mut keeper = KeeperProcess::with(&redis.url(), &test.url(), &small);
        let _worker = LovageWorker::on(&redis);
        publish(&redis, &noops(10));
        until("the first runs", async || (count(database, RUNS).await == 10).then_some(())).await;
        keeper.stop();
        publish(&redis, &noops(TASKS));
        wait::eventually("every task", || waiting(&redis) == 0 && redis.unacked() == 0);
        let _keeper = KeeperProcess::with(&redis.url(), &test.url(), &small);
        let gap = until("the gap", async || gaps(database).await.pop()).await;
        assert!(gap.lost > 0 && gap.began_at < gap.ended_at, "{gap:?}");
        assert!(gap.reason.contains("LOVAGE_JOURNAL_BYTES"), "{gap:?}");
        until("an empty journal", async || (journal(&redis) == 0).then_some(())).await;
        // Every record is a row, or is counted. On a slow machine a task may tell of its begin too, and late, which may be another gap.
        let rows = "SELECT count(*) FROM task_event WHERE source NOT LIKE '%/%'";
        let told = until("every record", async || {
            let written: i64 = redis.command(&["HGET", "lovage:journal:state", "records"]);
            let lost: i64 = gaps(database).await.iter().map(|gap| gap.lost).sum();
            (count(database, rows).await + lost == written).then_some(written)
        });
        let told = told.await;
        assert!(told >= 10 + i64::try_from(TASKS).unwrap(), "{told}");
    }
}

/// No row anywhere, no stream: a worker without a keeper writes nothing.
#[test]
fn without_a_keeper_there_is_no_journal() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    publish(&redis, &noops(200));
    wait::eventually("every task", || {
        waiting(&redis) == 0 && redis.unacked() == 0
    });
    let keys: Vec<String> =
        redis::Commands::keys(&mut redis.connection(), "lovage:journal*").expect("KEYS works");
    assert_eq!(keys, Vec::<String>::new());
}

/// And then it is by itself.
#[tokio::test]
async fn promise_20_a_keeper_is_not_ready_before_its_tables_are_there() {
    let test = TestDatabase::unmigrated(lovage_database::Kind::Sqlite).await;
    let redis = RedisServer::start();
    let mut keeper = KeeperProcess::launch(&redis.url(), &test.url(), &[]);
    keeper.process().wait_for("lovage migrate up", LIMIT);
    let variables = [("DATABASE_URL", test.url())];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let migrated =
        lovage_integration_tests::lovage_worker::lovage_with(&variables, &["migrate", "up"]);
    assert!(migrated.status.success(), "{migrated:?}");
    keeper.process().wait_for("keeper ready", LIMIT);
    keeper.stop();
}
