//! The worker on a real Redis, with messages made by hand: what it takes, in which order, and what it never loses.

mod absence;
mod acks;
mod api;
mod backups;
mod bad_messages;
mod beats;
mod children;
mod chords;
mod chores;
mod commands;
mod concurrency;
mod connections;
mod crash;
mod dashboards;
mod dead_letters;
mod delays;
mod deploying;
mod doctor;
mod doctor_checks;
mod encryption;
mod errors;
mod fleet_limits;
mod history;
mod hostile_input;
mod limits;
mod monitoring;
mod outbox;
mod pools;
mod promises;
mod queues;
mod reconnect;
mod redelivery;
mod revokes;
mod schedules;
mod sentinels;
mod shutdown;
mod tracing;
mod tree;
mod unique;

use lovage_integration_tests::{RedisServer, TaskMessage};
use serde_json::json;

/// A good task.
fn add() -> TaskMessage {
    TaskMessage::new("demo.add", &json!([2, 3]), &json!({}))
}

/// A task that takes its time.
fn sleep(seconds: f64) -> TaskMessage {
    TaskMessage::new("demo.sleep", &json!([seconds]), &json!({}))
}

/// Publishes a good task and waits for its result: the worker lives and works.
fn assert_works(redis: &RedisServer) {
    let message = add();
    redis.publish("celery", &message);
    assert_eq!(redis.wait_for_state(&message.id, "SUCCESS")["result"], 5);
}

/// A time so many seconds from now, as Python writes it.
fn eta(seconds: i64) -> String {
    let time = chrono::Utc::now() + chrono::TimeDelta::seconds(seconds);
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, false)
}
