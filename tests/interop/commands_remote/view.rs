//! `lovage events` on a terminal.

use lovage_integration_tests::{RedisServer, TaskMessage, Terminal, lovage_command};
use rustix::process::Signal;
use serde_json::json;

use super::Whose;

fn view(redis: &RedisServer, words: &[&str]) -> Terminal {
    let words: Vec<&str> = ["events"].iter().chain(words).copied().collect();
    Terminal::start(lovage_command(redis, &words))
}

#[test]
fn tasks_of_a_python_worker_are_seen_looked_into_and_ended() {
    are_seen_looked_into_and_ended(Whose::Celery);
}

#[test]
fn tasks_of_our_worker_are_seen_looked_into_and_ended() {
    are_seen_looked_into_and_ended(Whose::Ours);
}

fn are_seen_looked_into_and_ended(whose: Whose) {
    let redis = RedisServer::start();
    let cast = whose.start(&redis, &[("-c", "1")], false);
    let mut view = view(&redis, &[]);
    let software = match whose {
        Whose::Celery => "py-celery 5.7.0",
        Whose::Ours => "lovage ",
    };
    view.wait_for(&["w1@box", "online", software]);
    view.wait_for(&["No task heard of yet"]);
    view.press("e");
    view.wait_for(&["asked all workers"]);

    let bad = TaskMessage::new(cast.fail, &json!(["too bad"]), &json!({}));
    let long = TaskMessage::new(cast.sleep, &json!([600]), &json!({}));
    redis.publish("celery", &bad);
    view.wait_for(&[&bad.id, cast.fail, "w1@box", "FAILURE"]);
    redis.publish("celery", &long);
    view.wait_for(&[&long.id, cast.sleep, "w1@box", "STARTED"]);

    view.press("/FAIL\r");
    view.wait_for(&["Tasks: 1 of 2"]);
    assert!(view.line_with(&long.id).is_none(), "{}", view.text());
    view.press("\r");
    view.wait_for(&["exception", "Error('too bad')"]);
    view.wait_for(&["Traceback (most recent call last):"]);
    view.press("q\u{1b}");
    view.wait_for(&["Tasks: 2"]);

    view.press("j");
    view.press("t");
    view.wait_for(&["End the task", &long.id]);
    view.press("y");
    view.wait_for(&[&long.id, "REVOKED"]);
    redis.wait_for_state(&long.id, "REVOKED");

    assert!(view.is_taken_over());
    view.press("q");
    assert_eq!(view.wait().code(), Some(0));
    assert!(!view.is_taken_over(), "the terminal is as it was");
}

#[test]
fn a_revoked_task_is_not_run() {
    let redis = RedisServer::start();
    let cast = Whose::Celery.start(&redis, &[("-c", "1")], true);
    let mut view = view(&redis, &[]);
    view.wait_for(&["w1@box", "online"]);
    let later = TaskMessage::new(cast.add, &json!([2, 3]), &json!({}))
        .set("headers.eta", json!("2100-01-01T00:00:00+00:00"));
    redis.publish("celery", &later);
    view.wait_for(&[&later.id, "RECEIVED"]);
    view.press("jr");
    view.wait_for(&["revoked", &later.id]);
    redis.wait_for_state(&later.id, "REVOKED");
}

#[test]
fn whatever_ends_it_the_terminal_is_as_it_was() {
    let redis = RedisServer::start();
    let mut ended = view(&redis, &["--duration", "0.5"]);
    ended.wait_for(&["No heartbeat"]);
    assert_eq!(ended.wait().code(), Some(0));
    let mut signalled = view(&redis, &[]);
    signalled.wait_for(&["No heartbeat"]);
    signalled.signal(Signal::TERM);
    assert_eq!(signalled.wait().code(), Some(0));
    let mut interrupted = view(&redis, &[]);
    interrupted.wait_for(&["No heartbeat"]);
    interrupted.press("\u{3}");
    assert_eq!(interrupted.wait().code(), Some(0));
    for view in [ended, signalled, interrupted] {
        assert!(!view.is_taken_over());
    }
}
