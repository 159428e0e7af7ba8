//! Messages that come again although their task has succeeded (`worker_deduplicate_successful_tasks`).

use lovage_integration_tests::{
    LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage, eventually,
};
use serde_json::{Value, json};

/// A message as a worker gets it again after its first worker died.
fn redelivered(embed: &Value) -> TaskMessage {
    let body = json!([[2, 3], {}, embed]).to_string();
    TaskMessage::with_body("test.turn", body.as_bytes())
        .set("properties.delivery_info.redelivered", json!(true))
}

fn succeeded(redis: &RedisServer, id: &str, children: &Value) {
    let record = json!({"status": "SUCCESS", "result": "before", "traceback": null, "children": children, "task_id": id});
    // As Python writes it.
    let text = record.to_string().replace("\":", "\": ");
    let text = format!(
        "{{\"status\": \"SUCCESS\", {}",
        text.trim_start_matches('{')
            .replace("\"status\": \"SUCCESS\",", "")
    );
    redis.command::<()>(&["SET", &format!("celery-task-meta-{id}"), &text]);
}

fn worker(redis: &RedisServer) -> LovageWorkerBuilder {
    LovageWorker::builder(redis).program(env!("CARGO_BIN_EXE_test-tasks"))
}

/// A `test.turn` that comes again.
fn turn_again() -> TaskMessage {
    TaskMessage::new("test.turn", &json!([]), &json!({}))
        .set("properties.delivery_info.redelivered", json!(true))
}

fn settled(redis: &RedisServer) {
    eventually("the message to be settled", || {
        redis.depth("celery") == 0 && redis.unacked() == 0
    });
}

/// How often `test.turn` has run in this worker: it tells by its next result.
fn runs(redis: &RedisServer) -> i64 {
    let probe = TaskMessage::new("test.turn", &json!([]), &json!({}));
    redis.publish("celery", &probe);
    redis.wait_for_state(&probe.id, "SUCCESS")["result"]
        .as_i64()
        .expect("a number")
}

#[test]
fn a_redelivered_task_that_has_succeeded_is_not_run_again_when_the_setting_says_so() {
    let redis = RedisServer::start();
    let _worker = worker(&redis)
        .variable("CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS", "1")
        .start();
    let message = turn_again();
    succeeded(&redis, &message.id, &json!([]));
    redis.publish("celery", &message);
    settled(&redis);
    assert_eq!(runs(&redis), 0, "it was not run");
    assert_eq!(
        redis.wait_for_state(&message.id, "SUCCESS")["result"],
        "before"
    );
    // One that has not succeeded is run.
    let open = turn_again();
    redis.publish("celery", &open);
    assert_eq!(redis.wait_for_state(&open.id, "SUCCESS")["result"], 1);
}

#[test]
fn what_should_have_followed_a_task_that_succeeded_before_follows_once() {
    let redis = RedisServer::start();
    let _worker = worker(&redis)
        .variable("CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS", "1")
        .start();
    let next = |id: &str| json!({"task": "demo.echo", "args": [], "kwargs": {}, "options": {"task_id": id}, "subtask_type": null, "immutable": false});
    let embed =
        |id: &str| json!({"callbacks": [next(id)], "errbacks": null, "chain": null, "chord": null});
    let missed = redelivered(&embed("follows"));
    succeeded(&redis, &missed.id, &json!([]));
    redis.publish("celery", &missed);
    let record = redis.wait_for_state("follows", "SUCCESS");
    assert_eq!(record["result"], json!([["before"], {}]));
    let done = redelivered(&embed("followed-already"));
    succeeded(
        &redis,
        &done.id,
        &json!([[["followed-already", null], null]]),
    );
    redis.publish("celery", &done);
    settled(&redis);
    assert_eq!(redis.state("followed-already"), "PENDING");
}

#[test]
fn without_the_setting_it_runs_again_and_its_first_result_stands() {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let message = turn_again();
    succeeded(&redis, &message.id, &json!([]));
    redis.publish("celery", &message);
    settled(&redis);
    assert_eq!(runs(&redis), 1, "it was run");
    assert_eq!(
        redis.wait_for_state(&message.id, "SUCCESS")["result"],
        "before"
    );
}

#[test]
fn the_part_of_a_chord_is_returned_although_its_task_has_succeeded_before_and_sent_something() {
    let redis = RedisServer::start();
    let _worker = worker(&redis)
        .variable("CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS", "1")
        .start();
    let body = json!({"task": "demo.echo", "args": [], "kwargs": {}, "options": {"task_id": "the-body"},
        "subtask_type": null, "immutable": false, "chord_size": 1});
    let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": body});
    let member = redelivered(&embed).set("headers.group", json!("the-group"));
    redis.command::<()>(&["SET", "celery-taskset-meta-the-group.s", "1"]);
    // Its worker died between the result and the part.
    succeeded(&redis, &member.id, &json!([[["sent-by-it", null], null]]));
    redis.publish("celery", &member);
    let record = redis.wait_for_state("the-body", "SUCCESS");
    assert_eq!(record["result"], json!([[["before"]], {}]));
}
