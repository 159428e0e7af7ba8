//! Which queues are served, and in which order. `test.turn` tells its place in the order of the runs.

use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, RedisServer, TaskMessage, eventually, never_within, wait,
};
use serde_json::json;

use crate::add;

/// The separator between a queue's name and its priority step.
const SEPARATOR: &str = "\u{6}\u{16}";

fn named(id: &str) -> TaskMessage {
    add().set("headers.id", json!(id))
}

/// Publishes one `test.turn` with this id.
fn publish_turn(redis: &RedisServer, list: &str, id: &str, priority: i64) {
    let message = TaskMessage::new("test.turn", &json!([]), &json!({}))
        .set("headers.id", json!(id))
        .set("properties.priority", json!(priority));
    redis.publish(list, &message);
}

/// A worker that takes and runs one message at a time; what waits already shows the order in which it takes it.
fn one_by_one(redis: &RedisServer, queues: &str) -> LovageWorker {
    LovageWorker::builder(redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .queues(queues)
        .concurrency(1)
        .variable("CELERY_WORKER_PREFETCH_MULTIPLIER", "1")
        .start()
}

/// The ids in the order of their runs.
fn in_order_of_runs(redis: &RedisServer, ids: &[String]) -> Vec<String> {
    let turn = |id: &String| {
        redis
            .result(id)
            .as_ref()
            .and_then(|record| record["result"].as_u64())
    };
    let mut turns: Vec<(u64, String)> = ids
        .iter()
        .map(|id| (wait::within(wait::PATIENCE, id, || turn(id)), id.clone()))
        .collect();
    turns.sort();
    turns.into_iter().map(|(_, id)| id).collect()
}

fn texts<const N: usize>(ids: [&str; N]) -> Vec<String> {
    ids.map(str::to_owned).to_vec()
}

#[test]
fn only_the_named_queues_are_consumed() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).queues("a,b").start();
    for queue in ["a", "b", "c", "celery"] {
        redis.publish(queue, &named(queue));
    }
    redis.wait_for_state("a", "SUCCESS");
    redis.wait_for_state("b", "SUCCESS");
    never_within(
        Duration::from_millis(300),
        "another queue is consumed",
        || redis.depth("c") + redis.depth("celery") != 2,
    );
}

#[test]
fn the_default_queue_can_be_renamed() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_DEFAULT_QUEUE", "other")
        .start();
    redis.publish("other", &named("other"));
    redis.wait_for_state("other", "SUCCESS");
}

#[test]
fn consumed_queues_are_declared_as_kombu_does() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).queues("a,b").start();
    for queue in ["a", "b"] {
        let member = format!("{queue}{SEPARATOR}{SEPARATOR}{queue}");
        for table in ["_kombu.binding", "_kombu.binding_permanent"] {
            let members: Vec<String> = redis.command(&["SMEMBERS", &format!("{table}.{queue}")]);
            assert_eq!(members, [member.as_str()], "{table}.{queue}");
        }
    }
}

#[test]
fn lower_priority_numbers_are_served_first() {
    let redis = RedisServer::start();
    // Everything waits before the worker comes; 0 is the highest priority on Redis.
    let steps = [
        (9, "\u{6}\u{16}9"),
        (6, "\u{6}\u{16}6"),
        (3, "\u{6}\u{16}3"),
        (0, ""),
    ];
    for (step, suffix) in steps {
        for i in 0..3 {
            publish_turn(
                &redis,
                &format!("celery{suffix}"),
                &format!("{step}-{i}"),
                step,
            );
        }
    }
    let _worker = one_by_one(&redis, "celery");
    let expected = texts([
        "0-0", "0-1", "0-2", "3-0", "3-1", "3-2", "6-0", "6-1", "6-2", "9-0", "9-1", "9-2",
    ]);
    assert_eq!(in_order_of_runs(&redis, &expected), expected);
}

#[test]
fn priorities_are_compared_across_queues() {
    let redis = RedisServer::start();
    for queue in ["a", "b"] {
        publish_turn(
            &redis,
            &format!("{queue}{SEPARATOR}9"),
            &format!("{queue}-late"),
            9,
        );
        publish_turn(&redis, queue, &format!("{queue}-first"), 0);
    }
    let _worker = one_by_one(&redis, "a,b");
    let order = in_order_of_runs(&redis, &texts(["a-late", "b-late", "a-first", "b-first"]));
    assert!(
        order[..2].iter().all(|id| id.ends_with("-first")),
        "{order:?}"
    );
    assert!(
        order[2..].iter().all(|id| id.ends_with("-late")),
        "{order:?}"
    );
}

#[test]
fn a_full_queue_does_not_starve_another() {
    let redis = RedisServer::start();
    let full: Vec<String> = (0..200).map(|i| format!("full-{i}")).collect();
    let small: Vec<String> = (0..10).map(|i| format!("small-{i}")).collect();
    for id in &full {
        publish_turn(&redis, "full", id, 0);
    }
    for id in &small {
        publish_turn(&redis, "small", id, 0);
    }
    let _worker = one_by_one(&redis, "full,small");
    let order = in_order_of_runs(&redis, &[full, small].concat());
    let last = order.iter().rposition(|id| id.starts_with("small"));
    let last = last.expect("the small queue was served");
    assert!(
        last < 40,
        "ten messages of the small queue took {last} turns"
    );
}

#[test]
fn other_priority_steps_and_separator_are_honoured() {
    let redis = RedisServer::start();
    publish_turn(&redis, "celery:5", "late", 7);
    publish_turn(&redis, "celery", "first", 4);
    let options = r#"{"priority_steps": [0, 5], "sep": ":"}"#;
    let _worker = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .concurrency(1)
        .variable("CELERY_BROKER_TRANSPORT_OPTIONS", options)
        .start();
    assert_eq!(
        in_order_of_runs(&redis, &texts(["late", "first"])),
        texts(["first", "late"])
    );
}

#[test]
fn messages_of_one_queue_are_served_in_order() {
    let redis = RedisServer::start();
    let ids: Vec<String> = (0..100).map(|i| format!("{i:03}")).collect();
    for id in &ids {
        publish_turn(&redis, "celery", id, 0);
    }
    // The default prefetch: a batch keeps its order too.
    let _worker = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .concurrency(1)
        .start();
    assert_eq!(in_order_of_runs(&redis, &ids), ids);
    eventually("an empty broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
}

#[test]
fn a_worker_may_have_a_queue_of_its_own() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .hostname("direct@here")
        .variable("CELERY_WORKER_DIRECT", "1")
        .start();
    let message = add();
    redis.publish("direct@here.dq2", &message);
    redis.wait_for_state(&message.id, "SUCCESS");
    crate::assert_works(&redis);
    let members: Vec<String> = redis.command(&["SMEMBERS", "_kombu.binding.C.dq2"]);
    assert_eq!(
        members,
        [format!("direct@here{SEPARATOR}{SEPARATOR}direct@here.dq2")]
    );
}

#[test]
fn concurrency_auto_follows_the_cores_that_the_process_may_use() {
    let redis = RedisServer::start();
    let url = redis.url();
    let mut command = std::process::Command::new("taskset");
    command
        .args([
            "-c",
            "0",
            env!("CARGO_BIN_EXE_test-tasks"),
            "worker",
            "-P",
            "prefork",
        ])
        .env("CELERY_BROKER_URL", &url)
        .env("CELERY_RESULT_BACKEND", &url);
    let mut worker =
        lovage_integration_tests::child::Child::start("pinned", &mut command, "the banner");
    worker.wait_for("1 (prefork)", Duration::from_secs(20));
    worker.signal(rustix::process::Signal::TERM);
    worker.wait(Duration::from_secs(20));
}
