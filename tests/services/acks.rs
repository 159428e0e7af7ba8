//! When a message leaves the broker.

use lovage_integration_tests::{LovageWorker, RedisServer, TaskMessage, eventually};
use serde_json::json;

use crate::sleep;

#[test]
fn late_ack_is_the_default_and_holds_the_message_while_it_runs() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let message = sleep(1.0);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    assert_eq!(redis.unacked(), 1);
    redis.wait_for_state(&message.id, "SUCCESS");
    assert_eq!(redis.unacked(), 0, "the result and the ack are one step");
    let index: usize = redis.command(&["ZCARD", "unacked_index"]);
    assert_eq!(index, 0);
}

#[test]
fn early_ack_settles_the_message_when_it_starts() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_ACKS_LATE", "0")
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let message = sleep(1.0);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    assert_eq!(redis.unacked(), 0);
    redis.wait_for_state(&message.id, "SUCCESS");
}

#[test]
fn a_held_message_looks_as_kombu_writes_it() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = sleep(1.0);
    redis.publish("celery", &message);
    eventually("the message to be held", || redis.unacked() == 1);
    let held: Vec<String> = redis.command(&["HGETALL", "unacked"]);
    let entry: serde_json::Value = serde_json::from_str(&held[1]).expect("an entry is JSON");
    assert_eq!(entry, json!([message.envelope, "", "celery"]));
    let score: f64 = redis.command(&["ZSCORE", "unacked_index", &held[0]]);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("the clock is past 1970");
    assert!((score - now.as_secs_f64()).abs() < 10.0, "{score}");
}

#[test]
fn a_failed_task_is_acked() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = TaskMessage::new("demo.fail", &json!(["boom"]), &json!({}));
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!((redis.unacked(), redis.depth("celery")), (0, 0));
}

#[test]
fn the_result_can_be_ignored_by_the_message() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).concurrency(1).start();
    let ignored = crate::add().set("headers.ignore_result", json!(true));
    redis.publish("celery", &ignored);
    crate::assert_works(&redis);
    eventually("both messages to be acked", || redis.unacked() == 0);
    assert_eq!(redis.state(&ignored.id), "PENDING");
}

#[test]
fn results_can_be_disabled() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::at(&redis.url(), "disabled://").start();
    let message = crate::add();
    redis.publish("celery", &message);
    eventually("the message to be done", || {
        redis.depth("celery") == 0 && redis.unacked() == 0
    });
    assert_eq!(redis.state(&message.id), "PENDING");
}

#[test]
fn a_failed_chain_calls_its_errback_though_results_are_disabled() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::at(&redis.url(), "disabled://").start();
    let to = |task: &str, id: &str| {
        json!({
            "task": task, "args": [], "kwargs": {}, "immutable": true, "subtask_type": null,
            "options": {"queue": "answers", "task_id": id}})
    };
    let mut fails = to("demo.fail", "it-fails");
    fails["args"] = json!(["boom"]);
    fails["options"]["queue"] = json!("celery");
    fails["options"]["link_error"] = json!([to("demo.echo", "the-errback")]);
    // The next step is the last of the list.
    let chain = json!([to("demo.echo", "never"), fails]);
    let embed = json!({"callbacks": null, "errbacks": null, "chain": chain, "chord": null});
    let body = json!([[2, 3], {}, embed]).to_string();
    redis.publish(
        "celery",
        &TaskMessage::with_body("demo.add", body.as_bytes()),
    );
    eventually("the errback to be called", || redis.depth("answers") == 1);
    let called = redis.waiting_json("answers");
    assert_eq!(called[0]["headers"]["id"], "the-errback");
    eventually("a clean broker", || {
        redis.depth("celery") == 0 && redis.unacked() == 0
    });
    assert_eq!(
        redis.depth("answers"),
        1,
        "the step after the failed one is not sent"
    );
    assert_eq!(redis.state("it-fails"), "PENDING", "nothing is stored");
}

#[test]
fn results_may_live_in_another_database() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::at(&redis.url(), &redis.database_url(3)).start();
    let message = crate::add();
    redis.publish("celery", &message);
    eventually("the result in database 3", || {
        let key = format!("celery-task-meta-{}", message.id);
        redis::Commands::get::<_, Option<String>>(&mut redis.connection_to(3), key)
            .expect("GET works")
            .is_some()
    });
    assert_eq!(redis.state(&message.id), "PENDING", "nothing in database 0");
}
