//! Soft and hard time limits, whatever runs the task.

use lovage_integration_tests::{
    LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage, eventually, processes,
};
use serde_json::{Value, json};

const POOLS: [&str; 3] = ["async", "threads", "prefork"];

fn own(redis: &RedisServer) -> LovageWorkerBuilder {
    LovageWorker::builder(redis).program(env!("CARGO_BIN_EXE_test-tasks"))
}

/// Sends a task with a hard and a soft limit.
fn send(redis: &RedisServer, task: &str, args: &Value, limits: &Value) -> String {
    let message = TaskMessage::new(task, args, &json!({})).set("headers.timelimit", limits.clone());
    redis.publish("celery", &message);
    message.id
}

fn failure(redis: &RedisServer, id: &str) -> Value {
    let record = redis.wait_for_state(id, "FAILURE");
    assert_eq!(
        record["result"]["exc_module"], "billiard.exceptions",
        "{record}"
    );
    json!([
        record["result"]["exc_type"],
        record["result"]["exc_message"]
    ])
}

#[test]
fn a_task_can_clean_up_at_its_soft_limit() {
    for pool in POOLS {
        let redis = RedisServer::start();
        let _worker = own(&redis).pool(pool).concurrency(2).start();
        let limits = json!([20, 0.3]);
        let cleans = send(&redis, "test.heeds", &json!([]), &limits);
        let blocks = send(&redis, "test.heeds_blocking", &json!([]), &limits);
        let record = redis.wait_for_state(&cleans, "SUCCESS");
        assert_eq!(record["result"], "cleaned up", "pool {pool}");
        assert_eq!(
            failure(&redis, &blocks),
            json!(["SoftTimeLimitExceeded", []]),
            "pool {pool}"
        );
    }
}

#[test]
fn a_task_that_does_not_listen_is_ended_at_its_soft_limit_and_any_task_at_its_hard_one() {
    for pool in POOLS {
        let redis = RedisServer::start();
        let mut worker = own(&redis).pool(pool).concurrency(4).start();
        let deaf = send(&redis, "test.block", &json!([60]), &json!([null, 0.3]));
        let asleep = send(&redis, "demo.sleep", &json!([60]), &json!([50, 0.3]));
        let stubborn = send(&redis, "test.stubborn", &json!([]), &json!([0.75, 0.3]));
        let blocks = send(&redis, "test.block", &json!([60]), &json!([1, null]));
        let soft = json!(["SoftTimeLimitExceeded", []]);
        assert_eq!(failure(&redis, &deaf), soft, "pool {pool}");
        assert_eq!(failure(&redis, &asleep), soft, "pool {pool}");
        let hard = |limit: f64| json!(["TimeLimitExceeded", [limit]]);
        assert_eq!(failure(&redis, &stubborn), hard(0.75), "pool {pool}");
        let record = redis.wait_for_state(&blocks, "FAILURE");
        assert_eq!(record["result"]["exc_message"], json!([1]), "pool {pool}");
        assert_eq!(record["traceback"], Value::Null);
        worker.wait_for("Hard time limit (1s) exceeded for test.block[");
        worker.wait_for("Soft time limit (0.3s) exceeded for test.block[");
        assert!(worker.is_running());
        crate::assert_works(&redis);
        eventually("the messages to be acknowledged", || redis.unacked() == 0);
    }
}

#[test]
fn the_hard_limit_ends_a_child_process_and_what_it_started() {
    let redis = RedisServer::start();
    let worker = own(&redis)
        .pool("prefork")
        .concurrency(1)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("pid");
    let id = send(&redis, "test.breeds", &json!([file]), &json!([2, null]));
    let started = redis.wait_for_state(&id, "STARTED");
    let child = i32::try_from(started["result"]["pid"].as_i64().expect("a number"));
    let child = child.expect("a process id");
    assert_eq!(processes::children_of(worker.pid()), [child]);
    let mut bred = 0;
    eventually("a process to be started by the task", || {
        bred = std::fs::read_to_string(&file)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_default();
        bred > 0
    });
    redis.wait_for_state(&id, "FAILURE");
    eventually("both processes to be gone", || {
        !processes::lives(child) && !processes::lives(bred)
    });
    crate::assert_works(&redis);
}

#[test]
fn a_worker_with_too_many_threads_left_behind_asks_to_be_started_again() {
    let redis = RedisServer::start();
    let mut worker = own(&redis).pool("threads").concurrency(4).start();
    let ids: Vec<String> = (0..17)
        .map(|_| send(&redis, "test.block", &json!([600]), &json!([0.1, null])))
        .collect();
    let status = worker.wait();
    assert_eq!(status.code(), Some(1), "{}", worker.log().text());
    let log = worker.log().text();
    for words in ["17 threads", "test.block", "-P prefork"] {
        assert!(log.contains(words), "{words}: {log}");
    }
    for id in ids {
        assert_eq!(redis.state(&id), "FAILURE");
    }
    assert_eq!(redis.unacked(), 0);
}

#[test]
fn the_settings_limits_hold_for_every_task() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TIME_LIMIT", "0.5")
        .start();
    let id = send(&redis, "demo.sleep", &json!([60]), &json!([0, null]));
    assert_eq!(failure(&redis, &id), json!(["TimeLimitExceeded", [0.5]]));
    let own = send(&redis, "demo.sleep", &json!([1]), &json!([5, null]));
    redis.wait_for_state(&own, "SUCCESS");
}
