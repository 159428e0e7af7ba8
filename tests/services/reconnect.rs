//! The broker goes away and comes back.

use std::time::Duration;

use lovage_integration_tests::child::Child;
use lovage_integration_tests::lovage_worker::lovage_at;
use lovage_integration_tests::{LovageWorker, RedisServer, eventually, wait};
use rustix::process::Signal;

use crate::{add, assert_works, sleep};

/// After an outage a worker may need its back-off, and one whole lease before it trusts what it sees.
const RECOVERY: Duration = Duration::from_secs(30);

#[test]
fn a_worker_finds_a_restarted_broker_again() {
    let mut redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    assert_works(&redis);
    for _ in 0..2 {
        redis.stop();
        std::thread::sleep(Duration::from_millis(500));
        assert!(worker.is_running(), "it waits");
        redis.restart();
        let message = add();
        redis.publish("celery", &message);
        wait::within(RECOVERY, "the result", || {
            (redis.state(&message.id) == "SUCCESS").then_some(())
        });
    }
}

#[test]
fn nothing_is_lost_when_a_durable_broker_is_killed() {
    let mut redis = RedisServer::durable();
    let mut worker = LovageWorker::builder(&redis)
        .concurrency(2)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    let messages: Vec<_> = (0..12).map(|_| sleep(0.4)).collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    redis.wait_for_state(&messages[0].id, "STARTED");
    redis.kill();
    std::thread::sleep(Duration::from_secs(1));
    redis.restart();
    for message in &messages {
        wait::within(RECOVERY, "every result", || {
            (redis.state(&message.id) == "SUCCESS").then_some(())
        });
    }
    assert!(worker.is_running());
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
}

#[test]
fn killed_connections_are_replaced() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    assert_works(&redis);
    let running = sleep(1.5);
    redis.publish("celery", &running);
    eventually("it to be taken", || redis.unacked() == 1);
    let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    let _: i64 = redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    assert_works(&redis);
    wait::within(RECOVERY, "the running task's result", || {
        (redis.state(&running.id) == "SUCCESS").then_some(())
    });
    eventually("a clean broker", || redis.unacked() == 0);
}

#[test]
fn a_worker_that_starts_before_its_broker_waits_for_it() {
    let mut redis = RedisServer::start();
    redis.stop();
    let mut worker = LovageWorker::builder(&redis).launch();
    std::thread::sleep(Duration::from_millis(800));
    assert!(worker.is_running(), "{}", worker.log().text());
    redis.restart();
    let message = add();
    redis.publish("celery", &message);
    wait::within(RECOVERY, "the result", || {
        (redis.state(&message.id) == "SUCCESS").then_some(())
    });
}

#[test]
fn a_worker_can_be_stopped_while_the_broker_is_away() {
    let mut redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    redis.stop();
    std::thread::sleep(Duration::from_millis(300));
    worker.stop();
}

#[test]
fn up_is_said_once_the_broker_answers_and_can_be_ended_before() {
    let mut redis = RedisServer::start();
    redis.stop();
    let data = tempfile::tempdir().expect("a folder can be made");
    let url = redis.url();
    let up = || {
        let variables = [
            ("CELERY_BROKER_URL", url.as_str()),
            ("LOVAGE_API_BIND", "127.0.0.1:0"),
        ];
        let mut command = lovage_at(&variables);
        command.args(["up", "--without-flower", "--data"]);
        command.arg(data.path());
        let mut up = Child::start("lovage up", &mut command, "cargo build -p lovage");
        up.wait_for("Trying again", RECOVERY);
        up
    };
    let mut given_up = up();
    given_up.signal(Signal::INT);
    assert!(given_up.wait(RECOVERY).success());

    let mut up = up();
    assert!(!up.log().text().contains("Lovage is up"));
    redis.restart();
    up.wait_for("Lovage is up", RECOVERY);
    up.signal(Signal::TERM);
    assert!(up.wait(RECOVERY).success());
}

#[test]
fn a_worker_goes_on_at_the_next_server_of_its_list_and_comes_back() {
    let (mut one, mut other) = (RedisServer::with_port(), RedisServer::with_port());
    let list = |first: &RedisServer, second: &RedisServer| {
        format!(
            "redis://127.0.0.1:{}/0;redis://127.0.0.1:{}/0",
            first.port(),
            second.port()
        )
    };
    let results = RedisServer::start();
    let mut worker = LovageWorker::at(&list(&one, &other), &results.url()).start();
    let runs_at = |server: &RedisServer| {
        let message = add();
        server.publish("celery", &message);
        wait::within(RECOVERY, "the result", || {
            (results.state(&message.id) == "SUCCESS").then_some(())
        });
    };
    runs_at(&one);
    one.kill();
    runs_at(&other);
    one.restart();
    other.kill();
    runs_at(&one);
    assert!(worker.is_running());
    assert_eq!(worker.stop().code(), Some(0));
}

#[test]
fn a_worker_waits_longer_and_longer_for_a_broker_that_stays_away() {
    let mut redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    assert_works(&redis);
    redis.stop();
    worker.wait_for("trying again");
    std::thread::sleep(Duration::from_secs(6));
    assert!(worker.is_running(), "it waits");
    let tries = worker.log().count("trying again");
    assert!(tries < 40, "{tries} lines in six seconds");
    redis.restart();
    let message = add();
    redis.publish("celery", &message);
    wait::within(RECOVERY, "the result", || {
        (redis.state(&message.id) == "SUCCESS").then_some(())
    });
}
