//! `lovage result --tree` on workflows that have ended and on one that runs.

use lovage_client::canvas::{chain, chord};
use lovage_integration_tests::lovage_worker::{lovage, lovage_json};
use lovage_integration_tests::{LovageWorker, RedisServer, TaskMessage, client_at};
use lovage_protocol::{Map, Signature, Value as Argument};
use serde_json::{Value, json};

use crate::unique::Door;

fn task(id: &str, name: &str, args: Vec<Argument>) -> Signature {
    let mut task = Signature::new(name, args, Map::new());
    task.options.insert("task_id".to_owned(), id.into());
    task
}

fn add(id: &str, number: i64) -> Signature {
    task(id, "demo.add", vec![number.into(), 1.into()])
}

fn send(redis: &RedisServer, canvas: &Signature) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    runtime.block_on(async {
        let client = client_at(&redis.url(), &redis.url()).await;
        let client = client.expect("Redis can be reached");
        client.apply(canvas).await.expect("Redis takes it");
    });
}

/// Depth, id, state and place of each part.
fn parts(redis: &RedisServer, id: &str) -> Vec<Value> {
    let told = lovage_json(redis, &["result", id, "--tree", "--json"]);
    let parts = told["parts"].as_array().expect("a list").iter();
    let told = parts.map(|part| {
        let id = if part["kind"] == "group" {
            &part["kind"]
        } else {
            &part["id"]
        };
        json!([part["depth"], id, part["state"], part["where"]])
    });
    told.collect()
}

#[test]
fn a_running_workflow_shows_what_has_ended_what_waits_and_what_is_to_come() {
    let redis = RedisServer::start();
    let worker = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .variable("CELERY_TASK_TRACK_STARTED", "1");
    let _worker = worker.start();
    let door = Door::closed();
    let path = door.path().display().to_string();
    let gate = task("gate", "test.unique", vec![1.into(), path.into()]);
    let mut last = task("last", "demo.echo", Vec::new());
    last.immutable = true;
    let header = [add("m1", 1), chain([gate, last])];
    send(
        &redis,
        &chord(header, &task("body", "demo.echo", Vec::new())),
    );
    redis.wait_for_state("m1", "SUCCESS");
    redis.wait_for_state("gate", "STARTED");
    let running = [
        json!([0, "gate", "STARTED", "in a worker's hands"]),
        json!([0, "group", null, null]),
        json!([1, "m1", "SUCCESS", null]),
        json!([1, "last", "PENDING", "not sent yet"]),
    ];
    let found = parts(&redis, "gate");
    for part in &running {
        assert!(found.contains(part), "{part} of {found:?}");
    }
    door.open("done");
    redis.wait_for_state("body", "SUCCESS");
    let text = lovage(&redis, &["result", "body", "--tree"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    for id in ["m1", "last", "body", "2 of 2 known members ended"] {
        assert!(text.contains(id), "{id}: {text}");
    }
    assert!(!text.contains("PENDING"), "{text}");
}

#[test]
fn a_chain_is_told_in_its_order_from_any_of_its_steps() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    send(
        &redis,
        &chain([
            add("a", 1),
            task("b", "demo.add", vec![1.into()]),
            task("c", "demo.add", vec![1.into()]),
        ]),
    );
    redis.wait_for_state("c", "SUCCESS");
    let expected = ["a", "b", "c"].map(|id| json!([0, id, "SUCCESS", null]));
    for id in ["a", "b", "c"] {
        assert_eq!(parts(&redis, id), expected);
    }
}

#[test]
fn a_workflow_that_waits_in_a_queue_is_found_by_its_last_step() {
    let redis = RedisServer::start();
    send(
        &redis,
        &chain([add("a", 1), task("b", "demo.add", vec![1.into()])]),
    );
    let expected = [
        json!([0, "a", "PENDING", "waits in its queue"]),
        json!([0, "b", "PENDING", "not sent yet"]),
    ];
    assert_eq!(parts(&redis, "b"), expected);
}

#[test]
fn a_task_that_nobody_knows_has_no_tree() {
    let redis = RedisServer::start();
    redis.publish(
        "celery",
        &TaskMessage::new("demo.add", &json!([1, 1]), &json!({})),
    );
    let told = lovage(&redis, &["result", "nobody", "--tree"]);
    assert_eq!(told.status.code(), Some(1), "{told:?}");
    let error = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(error.contains("nothing is known of task nobody"), "{error}");
}
