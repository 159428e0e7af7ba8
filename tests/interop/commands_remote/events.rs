//! `lovage events` as text.

use std::process::Command;
use std::time::Duration;

use lovage_integration_tests::child::Child;
use lovage_integration_tests::{RedisServer, TaskMessage, lovage_command, place};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{Whose, well};

const PATIENCE: Duration = Duration::from_secs(20);

fn events(redis: &RedisServer, words: &[&str]) -> Child {
    let words: Vec<&str> = ["events"].iter().chain(words).copied().collect();
    Child::start(
        "lovage events",
        &mut lovage_command(redis, &words),
        "build it",
    )
}

/// The lines of a dump that are of a task, without the moment at which this dump heard of it.
fn lines_of(log: &str, id: &str) -> Vec<String> {
    let lines = log.lines().filter(|line| line.contains(id));
    let other = |field: &&str| !field.contains("local_received=");
    lines
        .map(|line| {
            line.split(", ")
                .filter(other)
                .collect::<Vec<_>>()
                .join(", ")
        })
        .collect()
}

#[test]
fn a_dump_of_a_python_worker_is_what_celery_dumps() {
    a_dump_is_what_celery_dumps(Whose::Celery);
}

#[test]
fn a_dump_of_our_worker_is_what_celery_dumps() {
    a_dump_is_what_celery_dumps(Whose::Ours);
}

fn a_dump_is_what_celery_dumps(whose: Whose) {
    let redis = RedisServer::start();
    let mut theirs = Command::new(place::python());
    theirs
        .args(["-m", "celery", "-A", "app", "events", "--dump"])
        .current_dir(place::python_sources())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONUNBUFFERED", "1")
        .env("CELERY_BROKER_URL", redis.url())
        .env("CELERY_RESULT_BACKEND", redis.url());
    let mut theirs = Child::start("celery events", &mut theirs, "run scripts/setup");
    let mut ours = events(&redis, &["--dump"]);
    let cast = whose.start(&redis, &[("-c", "1")], true);
    // Both hear.
    theirs.wait_for("heartbeat: active=0", PATIENCE);
    ours.wait_for("heartbeat: active=0", PATIENCE);
    let good = TaskMessage::new(cast.add, &json!([2, 3]), &json!({}))
        .set("headers.argsrepr", json!("(2, 'é')"));
    let bad = TaskMessage::new(cast.fail, &json!(["no"]), &json!({}));
    for message in [&good, &bad] {
        redis.publish("celery", message);
    }
    for dump in [&mut theirs, &mut ours] {
        dump.wait_for("task failed", PATIENCE);
    }
    assert!(
        ours.log()
            .text()
            .starts_with("-> evdump: starting capture...\n")
    );
    let lines = lines_of(&theirs.log().text(), &good.id);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines_of(&ours.log().text(), &good.id), lines);
    assert_eq!(
        lines_of(&ours.log().text(), &bad.id),
        lines_of(&theirs.log().text(), &bad.id)
    );
    // It ends well when it is interrupted.
    ours.signal(Signal::INT);
    assert_eq!(ours.wait(PATIENCE).code(), Some(0));
}

#[test]
fn json_lines_end_after_so_many() {
    for whose in [Whose::Celery, Whose::Ours] {
        json_lines_end(whose);
    }
}

fn json_lines_end(whose: Whose) {
    let redis = RedisServer::start();
    // Without -E: it tells of tasks because it is asked to.
    let cast = whose.start(&redis, &[("-c", "1")], false);
    let mut events = events(&redis, &["--json", "--enable", "--count", "12"]);
    events.wait_for("worker-heartbeat", PATIENCE);
    // The request was sent after the heartbeat's, and requests are served in their order.
    well(&redis, "inspect ping");
    for _ in 0..4 {
        redis.publish(
            "celery",
            &TaskMessage::new(cast.add, &json!([2, 3]), &json!({})),
        );
    }
    assert_eq!(events.wait(PATIENCE).code(), Some(0));
    let text = events.log().text();
    let parsed: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert_eq!(parsed.len(), 12);
    let of = |kind: &str| parsed.iter().filter(|event| event["type"] == kind).count();
    assert!(
        of("task-received") > 0 && of("worker-heartbeat") > 0,
        "{text}"
    );
    assert!(
        parsed.iter().all(|event| event["hostname"] == "w1@box"),
        "{text}"
    );
}

#[test]
fn events_end_after_their_time() {
    let redis = RedisServer::start();
    let started = std::time::Instant::now();
    assert_eq!(well(&redis, "events --json --duration 0.3"), "");
    assert!(started.elapsed() >= Duration::from_millis(300));
}
