//! What is revoked does not run, wherever it waits, and whoever starts later knows of it.

use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, RedisServer, TaskMessage, dead_letters, eventually, lovage,
    lovage_worker::lovage_json, never_within, wait,
};
use serde_json::{Value, json};

use crate::{add, assert_works, sleep};

pub(crate) fn revoke(redis: &RedisServer, words: &[&str]) {
    let all: Vec<&str> = std::iter::once("revoke")
        .chain(words.iter().copied())
        .collect();
    let output = lovage(redis, &all);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
}

fn far() -> TaskMessage {
    add().set("headers.eta", json!("2099-01-01T00:00:00+00:00"))
}

fn stamped(message: TaskMessage, header: &str, value: Value) -> TaskMessage {
    message
        .set("headers.stamped_headers", json!([header]))
        .set(&format!("headers.stamps.{header}"), value)
}

#[track_caller]
fn assert_revoked(redis: &RedisServer, message: &TaskMessage, why: &str) {
    let result = redis.wait_for_state(&message.id, "REVOKED");
    let error = &result["result"];
    assert_eq!(error["exc_type"], "TaskRevokedError", "{result}");
    assert_eq!(error["exc_module"], "celery.exceptions", "{result}");
    assert_eq!(error["exc_message"], json!([why]), "{result}");
    assert_eq!(result["traceback"], Value::Null, "{result}");
}

#[test]
fn a_delayed_task_that_is_revoked_ends_at_once() {
    let redis = RedisServer::start();
    let worker = LovageWorker::on(&redis);
    let (doomed, other) = (far(), far());
    redis.publish("celery", &doomed);
    redis.publish("celery", &other);
    eventually("both to be put aside", || delayed(&redis) == 2);
    let answer = lovage_json(&redis, &["revoke", &doomed.id, "--json"]);
    assert_eq!(answer["revoked"], json!([doomed.id]));
    assert_revoked(&redis, &doomed, "revoked");
    // The state comes with the revocation, the message after it.
    eventually("the message to be gone", || delayed(&redis) == 1);
    eventually("nothing to be held", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
    assert_eq!(redis.state(&other.id), "PENDING");
    assert!(dead_letters(&redis).is_empty());
    drop(worker);
}

fn delayed(redis: &RedisServer) -> usize {
    redis::cmd("ZCARD")
        .arg("lovage:delayed")
        .query(&mut redis.connection())
        .expect("ZCARD works")
}

#[test]
fn a_task_that_waits_in_a_busy_worker_ends_before_its_turn() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .concurrency(1)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let (running, waiting) = (sleep(3.0), add());
    redis.publish("celery", &running);
    redis.wait_for_state(&running.id, "STARTED");
    redis.publish("celery", &waiting);
    eventually("both to be held", || redis.unacked() == 2);
    revoke(&redis, &[&waiting.id]);
    assert_revoked(&redis, &waiting, "revoked");
    eventually("its message to be acked", || redis.unacked() == 1);
    assert_eq!(
        redis.state(&running.id),
        "STARTED",
        "the other one still runs"
    );
    worker.wait_for(&format!(
        "Discarding revoked task: demo.add[{}]",
        waiting.id
    ));
    redis.wait_for_state(&running.id, "SUCCESS");
}

#[test]
fn a_running_task_is_left_alone_unless_it_is_terminated() {
    for pool in ["async", "threads"] {
        let redis = RedisServer::start();
        let _worker = LovageWorker::builder(&redis)
            .pool(pool)
            .concurrency(2)
            .start();
        let (kept, ended) = (sleep(1.0), sleep(30.0));
        redis.publish("celery", &kept);
        redis.publish("celery", &ended);
        eventually("both to run", || {
            redis.unacked() == 2 && redis.depth("celery") == 0
        });
        revoke(&redis, &[&kept.id]);
        redis.wait_for_state(&kept.id, "SUCCESS");
        revoke(&redis, &["--terminate", &ended.id]);
        assert_revoked(&redis, &ended, "terminated");
        eventually("both to be acked", || redis.unacked() == 0);
        assert_works(&redis);
    }
}

#[test]
fn a_task_that_runs_in_one_of_several_workers_is_not_marked_as_revoked() {
    let redis = RedisServer::start();
    let worker = |name: &str| {
        LovageWorker::builder(&redis)
            .hostname(name)
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start()
    };
    let mut workers = [worker("one@%h"), worker("two@%h")];
    let running = sleep(1.5);
    redis.publish("celery", &running);
    redis.wait_for_state(&running.id, "STARTED");
    revoke(&redis, &[&running.id]);
    for worker in &mut workers {
        worker.wait_for("flagged as revoked");
    }
    never_within(Duration::from_millis(300), "it is marked", || {
        redis.state(&running.id) == "REVOKED"
    });
    redis.wait_for_state(&running.id, "SUCCESS");
}

#[test]
fn a_revocation_outlives_every_worker() {
    let redis = RedisServer::start();
    let mut first = LovageWorker::on(&redis);
    let before = add();
    revoke(&redis, &[&before.id]);
    first.wait_for("flagged as revoked");
    first.kill();
    let (meanwhile, after, good) = (add(), add(), add());
    revoke(&redis, &[&meanwhile.id]);
    for message in [&before, &meanwhile, &after, &good] {
        redis.publish("celery", message);
    }
    revoke(&redis, &[&after.id]);
    let _second = LovageWorker::on(&redis);
    for message in [&before, &meanwhile, &after] {
        assert_revoked(&redis, message, "revoked");
    }
    redis.wait_for_state(&good.id, "SUCCESS");
    eventually("all to be acked", || redis.unacked() == 0);
}

#[test]
fn a_task_delayed_before_all_workers_were_gone_is_revoked_by_the_next() {
    let redis = RedisServer::start();
    let mut first = LovageWorker::on(&redis);
    let doomed = far();
    redis.publish("celery", &doomed);
    eventually("it to be put aside", || delayed(&redis) == 1);
    first.kill();
    revoke(&redis, &[&doomed.id]);
    let _second = LovageWorker::on(&redis);
    assert_revoked(&redis, &doomed, "revoked");
    assert_eq!(delayed(&redis), 0);
}

#[test]
fn a_stamp_revokes_every_task_that_carries_it() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let delayed_one = stamped(far(), "customer", json!("acme"));
    let delayed_other = stamped(far(), "customer", json!("other"));
    redis.publish("celery", &delayed_one);
    redis.publish("celery", &delayed_other);
    eventually("both to be put aside", || delayed(&redis) == 2);
    let running = stamped(sleep(30.0), "customer", json!(["first", "acme"]));
    redis.publish("celery", &running);
    eventually("it to run", || redis.unacked() == 1);
    revoke(&redis, &["--stamp", "customer=acme", "--terminate"]);
    assert_revoked(&redis, &delayed_one, "revoked");
    assert_revoked(&redis, &running, "terminated");
    let later = stamped(add(), "customer", json!(["acme"]));
    let undeclared = add().set("headers.stamps.customer", json!("acme"));
    redis.publish("celery", &later);
    redis.publish("celery", &undeclared);
    assert_revoked(&redis, &later, "revoked");
    redis.wait_for_state(&undeclared.id, "SUCCESS");
    assert_eq!(delayed(&redis), 1, "the other customer's task still waits");
}

#[test]
fn a_revoked_task_is_told_of_while_no_worker_meets_it() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis).queues("other").start();
    let (waiting, done) = (add(), add());
    let stored = format!(
        r#"{{"status": "SUCCESS", "result": 5, "traceback": null, "children": [], "date_done": "2026-01-01T00:00:00+00:00", "task_id": "{}"}}"#,
        done.id
    );
    redis.command::<()>(&["SET", &format!("celery-task-meta-{}", done.id), &stored]);
    redis.publish("celery", &waiting);
    revoke(&redis, &[&waiting.id, &done.id]);
    assert_revoked(&redis, &waiting, "revoked");
    assert_eq!(redis.depth("celery"), 1, "nobody has taken it");
    worker.wait_for("flagged as revoked");
    never_within(
        Duration::from_millis(300),
        "a result is overwritten",
        || redis.state(&done.id) != "SUCCESS",
    );
}

#[test]
fn a_forgotten_revocation_lets_the_task_run() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_WORKER_REVOKE_EXPIRES", "1")
        .start();
    let message = add();
    revoke(&redis, &[&message.id]);
    redis.wait_for_state(&message.id, "REVOKED");
    // Longer than it is remembered, and than the worker needs to look again.
    std::thread::sleep(Duration::from_millis(1100));
    revoke(&redis, &["another"]);
    wait::within(Duration::from_secs(5), "the other to be known", || {
        (redis.state("another") == "REVOKED").then_some(())
    });
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "SUCCESS");
}
