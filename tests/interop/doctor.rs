//! `lovage doctor` in a fleet whose workers are Celery's: what it sends is understood by them too.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::process::Stdio;
use std::time::Duration;

use lovage_integration_tests::lovage_worker::{lovage, lovage_command};
use lovage_integration_tests::{LovageWorker, PythonWorker, RedisServer, TaskMessage, processes};
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
    let repair = ["doctor", "--only", "chords", "--quiet-for", "0", "--fix"];
    let fixed = lovage(redis, &repair);
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

/// What the doctor says of events, while a Python worker runs a task now and then.
fn events_off(redis: &RedisServer) -> Vec<Value> {
    let mut asking = lovage_command(redis, &["doctor", "--json", "--only", "events"]);
    let asking = asking.stdout(Stdio::piped()).spawn().unwrap();
    let pid = i32::try_from(asking.id()).unwrap();
    while processes::lives(pid) {
        redis.publish(
            "celery",
            &TaskMessage::new("py.add", &json!([1, 2]), &json!({})),
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let told = asking.wait_with_output().unwrap();
    assert!(told.status.success(), "hints are no faults: {told:?}");
    let said: Value = serde_json::from_slice(&told.stdout).unwrap();
    said["findings"].as_array().unwrap().clone()
}

#[test]
fn a_python_worker_that_runs_tasks_and_tells_nothing_is_named() {
    let redis = RedisServer::start();
    let _python = PythonWorker::on(&redis);
    let found = events_off(&redis);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0]["check"], "events-off");
    let node = found[0]["subject"].as_str().unwrap();
    assert!(node.starts_with("python@"), "{node}");
    let enabled = lovage(&redis, &["control", "-d", node, "enable_events"]);
    assert!(enabled.status.success(), "{enabled:?}");
    assert_eq!(events_off(&redis), Vec::<Value>::new());
}
