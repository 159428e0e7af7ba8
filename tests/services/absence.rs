//! What Celery's `worker_cancel_long_running_tasks_on_connection_loss` and `worker_enable_prefetch_count_reduction` are for:
//! nothing runs twice for long, and nothing is taken too much, when a connection or the broker is lost.

use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, LovageWorkerBuilder, RedisServer, ResultFeed, TaskMessage, Wire, eventually,
    never_within, wait,
};
use serde_json::json;

use crate::{add, sleep, unique::Door};

const RECOVERY: Duration = Duration::from_secs(30);
const CANCELLED: &str = "the task is cancelled";

fn configured(builder: LovageWorkerBuilder, name: &str) -> LovageWorkerBuilder {
    builder
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .hostname(&format!("{name}@%h"))
        .concurrency(2)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .variable("LOVAGE_LEASE", "1s")
        .variable(
            "CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS",
            "1",
        )
}

fn narrow(door: &Door) -> TaskMessage {
    TaskMessage::new("test.narrow", &json!([door.path()]), &json!({}))
}

/// One that is cut off drops what others may have been given; what ends elsewhere counts, and it works on when it is back.
fn drops_what_runs_elsewhere(pool: &str) {
    let redis = RedisServer::with_port();
    let wire = Wire::to(redis.port());
    let worker = LovageWorker::at(&wire.url(), &wire.url());
    let mut cut_off = configured(worker, "cut-off").pool(pool).start();
    let door = Door::closed();
    let message = narrow(&door);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    let mut feed = ResultFeed::of(&redis);
    wire.cut();
    cut_off.wait_for(CANCELLED);
    let mut heir = configured(LovageWorker::builder(&redis), "heir").start();
    let started = feed.next_record();
    assert_eq!(started["status"], "STARTED", "{started}");
    wire.mend();
    door.open("by the heir");
    let ended = feed.next_record();
    assert_eq!(
        ended["status"], "SUCCESS",
        "nothing else was stored: {ended}"
    );
    assert!(heir.stop().success());
    let again = add();
    redis.publish("celery", &again);
    wait::within(RECOVERY, "a result of the one that was away", || {
        (redis.state(&again.id) == "SUCCESS").then_some(())
    });
    eventually("a clean broker", || redis.unacked() == 0);
    assert_eq!(cut_off.log().count(CANCELLED), 1);
}

#[test]
fn a_worker_that_was_cut_off_for_a_lease_drops_what_runs_elsewhere() {
    drops_what_runs_elsewhere("async");
}

#[test]
fn a_worker_that_was_cut_off_for_a_lease_ends_its_child_processes() {
    drops_what_runs_elsewhere("prefork");
}

#[test]
fn a_task_that_was_cancelled_when_its_broker_was_lost_runs_again_and_new_ones_do() {
    let mut redis = RedisServer::durable();
    let mut worker = configured(LovageWorker::builder(&redis), "w").start();
    let door = Door::closed();
    let message = narrow(&door);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    redis.kill();
    worker.wait_for(CANCELLED);
    redis.restart();
    let mut feed = ResultFeed::of(&redis);
    let other = add();
    redis.publish("celery", &other);
    wait::within(RECOVERY, "a new task", || {
        (redis.state(&other.id) == "SUCCESS").then_some(())
    });
    wait::within(RECOVERY, "the other to run again", || {
        let record = feed.next_record();
        (record["task_id"] == message.id && record["status"] == "STARTED").then_some(())
    });
    door.open("the second time");
    let record = redis.wait_for_state(&message.id, "SUCCESS");
    assert_eq!(record["result"], "the second time");
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
}

#[test]
fn what_nobody_else_can_be_given_is_not_cancelled() {
    let mut redis = RedisServer::durable();
    let mut worker = configured(LovageWorker::builder(&redis), "w")
        .variable("CELERY_TASK_ACKS_LATE", "0")
        .start();
    let door = Door::closed();
    let message = narrow(&door);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    redis.kill();
    worker.wait_for("trying again");
    // Two leases.
    never_within(Duration::from_secs(2), "it is cancelled", || {
        worker.log().has(CANCELLED)
    });
    redis.restart();
    door.open("once");
    wait::within(RECOVERY, "the result", || {
        (redis.state(&message.id) == "SUCCESS").then_some(())
    });
    assert!(worker.is_running());
}

#[test]
fn after_a_lost_connection_no_more_is_taken_than_the_prefetch_and_all_of_it_later() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .concurrency(2)
        .flag("--prefetch-multiplier", "2")
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .variable("CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION", "1")
        .start();
    let messages: Vec<TaskMessage> = (0..12).map(|_| sleep(1.0)).collect();
    let mut feed = ResultFeed::of(&redis);
    for message in &messages {
        redis.publish("celery", message);
    }
    eventually("the prefetch to be full", || redis.unacked() == 4);
    let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let (mut started, mut ended) = (Vec::new(), 0);
    while ended < messages.len() {
        let record = feed.next_record();
        match record["status"].as_str() {
            Some("STARTED") => started.push(record["task_id"].clone()),
            Some("SUCCESS") => ended += 1,
            other => panic!("a task ended in {other:?}"),
        }
        let held = redis.unacked();
        assert!(held <= 4, "{held} are held");
        if ended == 4 {
            eventually("the prefetch to be full again", || redis.unacked() == 4);
        }
    }
    assert_eq!(started.len(), messages.len(), "each ran once");
    started.sort_by_key(ToString::to_string);
    started.dedup();
    assert_eq!(started.len(), messages.len());
    assert!(worker.is_running());
}
