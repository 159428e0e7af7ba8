//! SIGTERM: what runs ends, what does not run goes back.

use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage, eventually, never_within,
    processes,
};
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

/// A worker of two slots that tells when a task begins.
fn worker(redis: &RedisServer, variables: &[(&str, &str)]) -> LovageWorker {
    let builder = LovageWorker::builder(redis)
        .concurrency(2)
        .variable("CELERY_TASK_TRACK_STARTED", "1");
    let with =
        |builder: LovageWorkerBuilder, (name, value): &(&str, &str)| builder.variable(name, value);
    variables.iter().fold(builder, with).start()
}

fn begin(redis: &RedisServer, seconds: f64) -> TaskMessage {
    let message = sleep(seconds);
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "STARTED");
    message
}

/// The task did not end, and its message is where another worker takes it.
#[track_caller]
fn assert_given_back(redis: &RedisServer, message: &TaskMessage) {
    assert_eq!(redis.state(&message.id), "STARTED", "no result is stored");
    assert_eq!(redis.unacked(), 0);
    let waiting = redis.waiting_json("celery");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["headers"]["id"], message.id.as_str());
    assert_eq!(
        waiting[0]["properties"]["delivery_info"]["redelivered"],
        true
    );
}

#[test]
fn cold_shutdown_ends_without_finishing_the_task() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, &[]);
    let message = begin(&redis, 420.0);
    worker.signal(Signal::QUIT);
    worker.wait_for("Cold shutdown (MainProcess)");
    assert_eq!(worker.wait().code(), Some(0));
    assert_given_back(&redis, &message);
    worker.wait_for("Restoring 1 unacknowledged message(s)");
}

#[test]
fn cold_shutdown_gives_back_what_runs_in_every_pool() {
    for pool in ["threads", "prefork", "solo"] {
        let redis = RedisServer::start();
        let mut worker = LovageWorker::builder(&redis)
            .program(env!("CARGO_BIN_EXE_test-tasks"))
            .pool(pool)
            .concurrency(1)
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start();
        let message = TaskMessage::new("test.block", &json!([420]), &json!({}));
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "STARTED");
        let children = processes::children_of(worker.pid());
        let asked = std::time::Instant::now();
        worker.signal(Signal::QUIT);
        assert_eq!(worker.wait().code(), Some(0), "{pool}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{pool}");
        assert_given_back(&redis, &message);
        let left = children.iter().filter(|child| processes::lives(**child));
        assert_eq!(left.count(), 0, "{pool}: nothing runs on");
    }
}

#[test]
fn a_task_that_was_acked_early_and_is_dropped_is_stored_as_celery_stores_it() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, &[("CELERY_TASK_ACKS_LATE", "0")]);
    let message = begin(&redis, 420.0);
    worker.signal(Signal::QUIT);
    assert_eq!(worker.wait().code(), Some(0));
    let record = redis.wait_for_state(&message.id, "RETRY");
    assert_eq!(record["result"]["exc_type"], "Retry", "{record}");
    assert_eq!(redis.unacked() + redis.depth("celery"), 0);
}

#[test]
fn several_tasks_that_do_not_end_in_a_soft_shutdown_all_go_back() {
    let redis = RedisServer::start();
    let mut first = worker(&redis, &[("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "0.5")]);
    let slow = [begin(&redis, 3.0), begin(&redis, 3.0)];
    first.signal(Signal::QUIT);
    assert_eq!(first.wait().code(), Some(0));
    first.wait_for("Restoring 2 unacknowledged message(s)");
    assert_eq!((redis.depth("celery"), redis.unacked()), (2, 0));
    let _second = worker(&redis, &[]);
    for message in &slow {
        redis.wait_for_state(&message.id, "SUCCESS");
    }
}

#[test]
fn a_time_limit_holds_during_a_soft_shutdown() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, &[("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "60")]);
    let within = sleep(0.8).set("headers.timelimit", json!([30, 20]));
    let beyond = sleep(420.0).set("headers.timelimit", json!([1.2, null]));
    for message in [&within, &beyond] {
        redis.publish("celery", message);
        redis.wait_for_state(&message.id, "STARTED");
    }
    worker.signal(Signal::QUIT);
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(redis.state(&within.id), "SUCCESS");
    let record = redis.wait_for_state(&beyond.id, "FAILURE");
    assert_eq!(
        record["result"]["exc_type"], "TimeLimitExceeded",
        "{record}"
    );
}

#[test]
fn a_second_remapped_sigterm_ends_at_once() {
    let redis = RedisServer::start();
    let remapped = [
        ("REMAP_SIGTERM", "SIGQUIT"),
        ("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "300"),
    ];
    let mut worker = worker(&redis, &remapped);
    let message = begin(&redis, 420.0);
    worker.terminate();
    worker.wait_for("Initiating Soft Shutdown");
    worker.terminate();
    assert_eq!(worker.wait().code(), Some(0));
    assert_given_back(&redis, &message);
}

#[test]
fn a_cold_shutdown_that_hangs_is_ended_by_one_more_signal() {
    let mut redis = RedisServer::start();
    let mut worker = worker(&redis, &[]);
    let message = begin(&redis, 420.0);
    redis.kill();
    worker.signal(Signal::QUIT);
    worker.wait_for("Cold shutdown");
    let asked = std::time::Instant::now();
    worker.signal(Signal::QUIT);
    assert_eq!(worker.wait().code(), Some(1));
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    drop(message);
}

#[test]
fn who_waits_in_a_worker_that_is_stopped_runs_at_once_in_another() {
    let redis = RedisServer::start();
    let mut first = LovageWorker::builder(&redis)
        .concurrency(1)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let running = begin(&redis, 6.0);
    let waiting: Vec<TaskMessage> = (0..3).map(|_| crate::add()).collect();
    for message in &waiting {
        redis.publish("celery", message);
    }
    eventually("the worker to hold all", || redis.unacked() == 4);
    let _other = LovageWorker::builder(&redis).hostname("other@%h").start();
    first.terminate();
    for message in &waiting {
        redis.wait_for_state(&message.id, "SUCCESS");
    }
    assert_eq!(
        redis.state(&running.id),
        "STARTED",
        "they did not wait for it"
    );
    first.kill();
}

#[test]
fn a_second_sigquit_ends_at_once_whatever_runs_and_others_take_over() {
    for first in [Signal::TERM, Signal::QUIT] {
        let redis = RedisServer::start();
        let mut worker = worker(&redis, &[("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "300")]);
        let message = begin(&redis, 420.0);
        for signal in [first, Signal::QUIT, Signal::QUIT, Signal::QUIT] {
            worker.signal(signal);
            // Signals of one kind that come at once are one.
            std::thread::sleep(Duration::from_millis(50));
        }
        worker.wait();
        assert_eq!(redis.state(&message.id), "STARTED");
        assert_eq!(redis.unacked() + redis.depth("celery"), 1, "it is not lost");
    }
}

#[test]
fn remapped_sigterm_is_a_cold_shutdown() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, &[("REMAP_SIGTERM", "SIGQUIT")]);
    let message = begin(&redis, 420.0);
    worker.terminate();
    assert_eq!(worker.wait().code(), Some(0));
    assert_given_back(&redis, &message);
}

#[test]
fn soft_shutdown_lets_a_task_that_is_quick_enough_complete() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, &[("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "60")]);
    let message = begin(&redis, 1.0);
    let asked = std::time::Instant::now();
    worker.signal(Signal::QUIT);
    worker.wait_for("Initiating Soft Shutdown, terminating in 60 seconds");
    assert_eq!(worker.wait().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_secs(20),
        "it waits no longer than there is need"
    );
    assert_eq!(redis.state(&message.id), "SUCCESS");
    assert_eq!(redis.unacked() + redis.depth("celery"), 0);
}

#[test]
fn soft_shutdown_that_runs_out_gives_back_at_once_and_the_next_worker_finishes() {
    let redis = RedisServer::start();
    let mut first = worker(&redis, &[("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "0.5")]);
    let (quick, slow) = (begin(&redis, 0.2), begin(&redis, 2.0));
    first.signal(Signal::QUIT);
    assert_eq!(first.wait().code(), Some(0));
    assert_given_back(&redis, &slow);
    assert_eq!(redis.state(&quick.id), "SUCCESS");
    let _second = worker(&redis, &[]);
    redis.wait_for_state(&slow.id, "SUCCESS");
}

#[test]
fn soft_shutdown_on_idle_waits_although_nothing_runs() {
    let redis = RedisServer::start();
    let soft = ("CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "1");
    let mut leaves = worker(&redis, &[soft]);
    let asked = std::time::Instant::now();
    leaves.signal(Signal::QUIT);
    assert_eq!(leaves.wait().code(), Some(0));
    assert!(
        asked.elapsed() < Duration::from_millis(900),
        "{:?}",
        asked.elapsed()
    );
    let on_idle = ("CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE", "1");
    let mut stays = worker(&redis, &[soft, on_idle]);
    let message = crate::add().set("headers.eta", json!("2099-01-01T00:00:00+00:00"));
    redis.publish("celery", &message);
    eventually("the message to be taken", || redis.depth("celery") == 0);
    let asked = std::time::Instant::now();
    stays.signal(Signal::QUIT);
    assert_eq!(stays.wait().code(), Some(0));
    assert!(
        asked.elapsed() >= Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(
        redis.depth("celery"),
        1,
        "what is delayed is back in its queue"
    );
}

#[test]
fn a_bounded_drain_gives_back_what_takes_longer() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, &[("LOVAGE_DRAIN_TIMEOUT", "800ms")]);
    let (quick, slow) = (begin(&redis, 0.4), begin(&redis, 420.0));
    worker.terminate();
    assert_eq!(worker.wait().code(), Some(0));
    assert_eq!(redis.state(&quick.id), "SUCCESS");
    assert_given_back(&redis, &slow);
}

#[test]
fn what_finished_during_a_warm_shutdown_is_acked_before_a_later_sigkill() {
    let redis = RedisServer::start();
    let mut first = worker(&redis, &[]);
    let (quick, slow) = (begin(&redis, 0.3), begin(&redis, 2.0));
    first.terminate();
    redis.wait_for_state(&quick.id, "SUCCESS");
    eventually("the quick one to be acked", || redis.unacked() == 1);
    first.kill();
    let ended = redis.result(&quick.id).expect("it is stored")["date_done"].clone();
    let _second = worker(&redis, &[]);
    redis.wait_for_state(&slow.id, "SUCCESS");
    eventually("all to be acked", || redis.unacked() == 0);
    let again = redis.result(&quick.id).expect("it is stored")["date_done"].clone();
    assert_eq!(ended, again, "it ran once");
}

#[test]
fn a_task_that_outlives_the_lease_in_a_long_drain_is_acked_and_not_given_to_others() {
    let redis = RedisServer::start();
    let lease = ("LOVAGE_LEASE", "1s");
    let mut first = worker(&redis, &[lease]);
    let message = begin(&redis, 3.5);
    let mut other = worker(&redis, &[lease]);
    first.terminate();
    assert_eq!(first.wait().code(), Some(0));
    assert_eq!(redis.state(&message.id), "SUCCESS");
    assert_eq!(redis.unacked() + redis.depth("celery"), 0);
    other.stop();
    assert!(
        !other.log().text().contains("given back"),
        "{}",
        other.log().text()
    );
}

#[test]
fn what_a_cold_shutdown_gave_back_is_finished_by_the_next_worker() {
    let redis = RedisServer::start();
    let mut first = worker(&redis, &[]);
    let message = begin(&redis, 2.0);
    first.signal(Signal::QUIT);
    assert_eq!(first.wait().code(), Some(0));
    let _second = worker(&redis, &[]);
    redis.wait_for_state(&message.id, "SUCCESS");
    assert_eq!(redis.unacked() + redis.depth("celery"), 0);
}
