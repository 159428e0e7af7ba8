//! `lovage doctor` in a fleet whose workers are Celery's: what it sends is understood by them too.

use lovage_integration_tests::lovage_worker::lovage;
use lovage_integration_tests::{LovageWorker, PythonWorker, RedisServer, TaskMessage};
use serde_json::{Value, json};

const BODY: &str = "the-body";

fn key(suffix: &str) -> String {
    format!("celery-taskset-meta-the-group{suffix}")
}

/// A member of a chord of two, whose first part was returned by a worker of ours that is gone.
fn half_a_chord(redis: &RedisServer) {
    let _: () = redis.command(&["SET", &key(".s"), "2", "EX", "86400"]);
    let body = json!({"task": "py.echo", "args": [], "kwargs": {}, "subtask_type": null, "immutable": false,
                      "options": {"task_id": BODY, "reply_to": "nobody"}});
    let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": body});
    let member = json!([[2, 3], {}, embed]).to_string();
    let member = TaskMessage::with_body("demo.add", member.as_bytes())
        .set("headers.group", json!("the-group"))
        .set("headers.group_index", json!(0));
    let mut worker = LovageWorker::on(redis);
    redis.publish("celery", &member);
    redis.wait_for_state(&member.id, "SUCCESS");
    assert!(worker.stop().success());
}

fn ended(redis: &RedisServer, state: &str) -> Value {
    let _python = PythonWorker::on(redis);
    let fixed = lovage(redis, &["doctor", "--quiet-for", "0", "--fix"]);
    assert!(fixed.status.success(), "{fixed:?}");
    redis.wait_for_state(BODY, state)
}

#[test]
fn a_python_worker_fails_a_chord_whose_member_is_lost() {
    let redis = RedisServer::start();
    half_a_chord(&redis);
    let record = ended(&redis, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "ChordError", "{record}");
}

#[test]
fn a_python_worker_finishes_a_chord_whose_last_result_was_never_counted() {
    let redis = RedisServer::start();
    half_a_chord(&redis);
    let stored = json!({"status": "SUCCESS", "result": "from elsewhere", "traceback": null, "children": [],
                        "date_done": null, "group_id": "the-group", "task_id": "second"});
    let _: () = redis.command(&["SET", "celery-task-meta-second", &stored.to_string()]);
    let record = ended(&redis, "SUCCESS");
    assert_eq!(
        record["result"],
        json!({"args": [[5, "from elsewhere"]], "kwargs": {}})
    );
}
