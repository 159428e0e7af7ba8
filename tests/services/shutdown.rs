//! SIGTERM: what runs ends, what does not run goes back.

use std::time::Duration;

use lovage_integration_tests::{LovageWorker, RedisServer, eventually, never_within};
use rustix::process::Signal;
use serde_json::json;

use crate::sleep;

#[test]
fn a_running_task_ends_before_its_worker() {
    for pool in ["async", "threads", "prefork"] {
        let redis = RedisServer::start();
        let mut worker = LovageWorker::builder(&redis)
            .pool(pool)
            .concurrency(2)
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start();
        let message = sleep(1.5);
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "STARTED");
        let status = worker.stop();
        assert_eq!(status.code(), Some(0), "{}", worker.log().text());
        assert_eq!(redis.state(&message.id), "SUCCESS");
        assert_eq!(redis.unacked(), 0);
    }
}

#[test]
fn unstarted_tasks_are_back_in_their_queue_at_once_and_in_order() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .concurrency(1)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let running = sleep(2.5);
    redis.publish("celery", &running);
    redis.wait_for_state(&running.id, "STARTED");
    let waiting: Vec<String> = (0..3)
        .map(|i| {
            let message = crate::add().set("headers.id", json!(format!("waiting-{i}")));
            redis.publish("celery", &message);
            format!("waiting-{i}")
        })
        .collect();
    eventually("the worker to hold all four", || redis.unacked() == 4);
    worker.terminate();
    eventually("the three to be back", || redis.depth("celery") == 3);
    assert_eq!(
        redis.state(&running.id),
        "STARTED",
        "they are back while the other still runs"
    );
    let ids: Vec<String> = redis
        .waiting_json("celery")
        .iter()
        .map(|message| message["headers"]["id"].as_str().expect("an id").to_owned())
        .collect();
    assert_eq!(ids, waiting);
    for message in redis.waiting_json("celery") {
        assert_eq!(
            message["properties"]["delivery_info"]["redelivered"], true,
            "{message}"
        );
        assert_eq!(message["headers"]["redelivered"], true, "{message}");
    }
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(redis.state(&running.id), "SUCCESS");
}

#[test]
fn waiting_eta_tasks_go_back_when_the_last_worker_stops() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    let message = crate::add().set("headers.eta", json!("2099-01-01T00:00:00+00:00"));
    redis.publish("celery", &message);
    eventually("the message to be taken", || redis.depth("celery") == 0);
    crate::assert_works(&redis);
    assert_eq!(worker.stop().code(), Some(0));
    assert_eq!(
        redis.depth("celery"),
        1,
        "a Python worker must find it in the queue"
    );
    assert_eq!(redis.unacked(), 0);
}

#[test]
fn several_sigterms_are_one() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let message = sleep(1.5);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    for _ in 0..3 {
        worker.terminate();
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(redis.state(&message.id), "SUCCESS");
}

#[test]
fn nothing_new_is_taken_after_sigterm() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let running = sleep(1.5);
    redis.publish("celery", &running);
    redis.wait_for_state(&running.id, "STARTED");
    worker.terminate();
    // The time a worker may need to notice.
    std::thread::sleep(Duration::from_millis(300));
    redis.publish("celery", &crate::add());
    never_within(Duration::from_millis(600), "a new message is taken", || {
        redis.depth("celery") == 0
    });
    worker.wait();
}

#[test]
fn an_idle_worker_ends_at_once() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    let started = std::time::Instant::now();
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait().code(), Some(0));
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn a_result_that_cannot_be_stored_before_a_cold_end_leaves_its_message() {
    let broker = RedisServer::start();
    let mut results = RedisServer::start();
    let mut worker = LovageWorker::at(&broker.url(), &results.url()).start();
    broker.publish("celery", &sleep(0.5));
    eventually("the message to be taken", || broker.unacked() == 1);
    results.kill();
    worker.wait_for("the result store is away");
    worker.signal(Signal::QUIT);
    worker.wait();
    assert_eq!(broker.depth("celery"), 1, "{}", worker.log().text());
    assert_eq!(broker.unacked(), 0);
}
