//! The platform's own chores, as schedules that do something.

use lovage_database::{
    Kind,
    store::outbox::{Outgoing, enqueue},
    testing::TestDatabase,
};
use lovage_integration_tests::{
    LovageWorker, RedisServer, beat::LovageBeat, eventually, lovage, lovage_command,
    lovage_worker::lovage_json,
};
use lovage_protocol::{TaskId, TaskName};
use serde_json::json;
use tokio::runtime::Runtime;

use super::sleep;

/// Every worker has died: the beat that leads gives back what they held, to whoever comes.
#[test]
fn a_beat_gives_back_what_dead_workers_held() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .concurrency(1)
        .variable("LOVAGE_LEASE", "1s")
        .start();
    redis.publish("celery", &sleep(600.0));
    eventually("a worker holds it", || redis.unacked() == 1);
    worker.kill();
    let mut beat = LovageBeat::with(&redis, &[], &[("LOVAGE_LEASE", "1s")]);
    beat.wait_until_it_leads();
    let shown = lovage_json(&redis, &["schedule", "show", "lovage.reap", "--json"]);
    assert_eq!(
        (&shown["source"], &shown["every"]),
        (&json!("builtin"), &json!("30s"))
    );
    // Now, or at the next tick.
    eventually("it is back in its queue", || {
        lovage_json(&redis, &["schedule", "run", "lovage.reap", "--json"]);
        redis.depth("celery") == 1
    });
    assert_eq!(redis.unacked(), 0);
    eventually("it is told what was done", || {
        let text = beat.log().text();
        text.contains(r#"counts={"abandoned":0,"left":0,"messages":1,"workers":1}"#)
    });
    // The chore itself is no message, and nobody waits for its result.
    let history = lovage_json(&redis, &["schedule", "history", "lovage.reap", "--json"]);
    assert_eq!(history[0]["state"], json!(null));
    let refused = lovage(&redis, &["schedule", "remove", "lovage.reap", "-f"]);
    assert!(!refused.status.success());
    assert!(beat.stop().success());
    let mut worker = LovageWorker::on(&redis);
    eventually("a new worker has it", || redis.unacked() == 1);
    worker.kill();
}

/// Where schedules are in a database, the beat that leads sweeps its outbox.
#[test]
fn a_beat_sweeps_the_outbox() {
    let redis = RedisServer::start();
    let runtime = Runtime::new().unwrap();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        let test = runtime.block_on(TestDatabase::new(kind));
        let mut bad = Outgoing::call(TaskId::from("bad"), TaskName::from("t"));
        bad.args = "{".to_owned();
        let enqueued = enqueue(test.database.writer(), bad);
        runtime.block_on(enqueued).unwrap();
        let url = test.url();
        let variables = [("DATABASE_URL", url.as_str())];
        let mut beat = LovageBeat::with(&redis, &[], &variables);
        beat.wait_until_it_leads();
        eventually("it is told what stays", || {
            let mut run = lovage_command(&redis, &["schedule", "run", "lovage.outbox"]);
            assert!(run.envs(variables).output().unwrap().status.success());
            let text = beat.log().text();
            text.contains(r#"counts={"refused":1,"sent":0,"waiting":0}"#)
        });
        assert!(beat.stop().success());
        runtime.block_on(test.end());
    }
}
