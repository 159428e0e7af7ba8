//! Child processes as their surroundings see them: layers, log lines, the pool's size, results, limits.

use std::time::Duration;

use lovage_integration_tests::{LovageWorker, RedisServer, TaskMessage, eventually, processes};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::pools::{lost, pid_of, prefork, send, started_pid};

#[test]
fn layers_stand_around_a_task_in_its_child_and_hear_of_its_end_once_in_the_worker() {
    let redis = RedisServer::start();
    let mut worker = prefork(&redis, 2).start();
    let id = send(&redis, "test.layered", &json!(["said"]));
    assert_eq!(redis.wait_for_state(&id, "SUCCESS")["result"], "<said>");
    let told = format!("test.layered ended as success, in {}", worker.pid());
    worker.wait_for(&told);
    assert_eq!(worker.log().count("the layer hears"), 1);
}

#[test]
fn each_line_of_a_task_names_it_wherever_it_runs() {
    for pool in ["async", "threads", "prefork"] {
        let redis = RedisServer::start();
        let mut worker = LovageWorker::builder(&redis)
            .program(env!("CARGO_BIN_EXE_test-tasks"))
            .pool(pool)
            .variable("LOVAGE_LOG_FORMAT", "json")
            .start();
        let id = send(&redis, "test.panic", &json!(["oh no"]));
        redis.wait_for_state(&id, "FAILURE");
        worker.wait_for("task failed");
        let text = worker.log().text();
        let line = text
            .lines()
            .find(|line| line.contains("task failed"))
            .expect("it is there");
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let span = &line["span"];
        assert_eq!(span["task.id"], id.as_str(), "{pool}: {line}");
        assert_eq!(span["task.name"], "test.panic", "{pool}");
        assert_eq!(span["task.retries"], 0, "{pool}");
        assert_eq!(span["queue"], "celery", "{pool}");
    }
}

#[test]
fn a_pool_that_is_needed_again_soon_keeps_its_children() {
    let redis = RedisServer::start();
    let worker = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .flag("--pool", "prefork")
        .flag("--autoscale", "3,1")
        .variable("AUTOSCALE_KEEPALIVE", "3")
        .start();
    let burst = || {
        let ids: Vec<String> = (0..6)
            .map(|_| send(&redis, "demo.sleep", &json!([0.4])))
            .collect();
        for id in &ids {
            redis.wait_for_state(id, "SUCCESS");
        }
        let mut children = processes::children_of(worker.pid());
        children.sort_unstable();
        children
    };
    burst();
    let second = burst();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(burst(), second, "the same children");
}

#[test]
fn a_result_store_that_is_away_holds_up_no_other_task_and_gets_its_results_later() {
    let broker = RedisServer::start();
    let mut results = RedisServer::start();
    let mut worker = LovageWorker::at(&broker.url(), &results.url())
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .pool("prefork")
        .concurrency(2)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .variable("CELERY_TASK_REJECT_ON_WORKER_LOST", "0")
        .start();
    let doomed = send(&broker, "test.block", &json!([420]));
    let child = started_pid(&results, &doomed);
    results.kill();
    processes::signal(child, Signal::KILL);
    worker.wait_for("a child process died with its task");
    let other = send(&broker, "demo.sleep", &json!([0.1]));
    worker.wait_for("the result store is away");
    assert!(worker.is_running());
    results.restart();
    assert!(lost(&results, &doomed).contains("SIGKILL"));
    results.wait_for_state(&other, "SUCCESS");
    eventually("both to be settled", || broker.unacked() == 0);
}

#[test]
fn after_a_hard_limit_there_is_a_new_child_and_the_log_says_what_became_of_the_old_one() {
    let redis = RedisServer::start();
    let mut worker = prefork(&redis, 1).start();
    let first = pid_of(&redis, &send(&redis, "test.pid", &json!([])));
    let message = TaskMessage::new("test.block", &json!([420]), &json!({}))
        .set("headers.timelimit", json!([0.5, null]));
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "FAILURE");
    worker.wait_for("Hard time limit (0.5s) exceeded for test.block");
    let second = pid_of(&redis, &send(&redis, "test.pid", &json!([])));
    assert_ne!(first, second);
    assert!(!processes::lives(first));
}
