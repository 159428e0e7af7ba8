//! The promises of the product that hold so far, each under its number. The second is in the offline tests, since it needs
//! a worker without state.

use std::process::{Command, Output};
use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, RedisServer, TaskMessage, dead_letters, eventually, lovage, never_within, place,
};
use serde_json::json;

use crate::sleep;

/// Runs `lovage` with nothing in its environment but these.
fn run(words: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(place::lovage())
        .args(words)
        .env_clear()
        .envs(variables.iter().copied())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the lovage binary can be started")
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn promise_01_every_fault_of_the_settings_is_told_at_once_before_anything_starts() {
    // Name, value, and what its complaint must contain: a URL is not shown, as it may hold a password.
    let faulty = [
        ("CELERY_BROKER_URL", "redis://localhost:port/0", "port"),
        ("CELERY_WORKER_CONCURRENCY", "many", "many"),
        ("LOVAGE_MAX_DEATHS", "-1", "-1"),
    ];
    let variables = faulty.map(|(name, value, _)| (name, value));
    for command in [&["config", "check"][..], &["worker"]] {
        let output = run(command, &variables);
        assert_eq!(output.status.code(), Some(78), "{}", complaint(&output));
        for (name, _, word) in faulty {
            let told = complaint(&output);
            assert!(told.contains(name) && told.contains(word), "{name}: {told}");
        }
    }
}

#[test]
fn promise_03_an_error_is_a_failure_and_never_a_success_that_says_error() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = TaskMessage::new("demo.fail", &json!(["no route"]), &json!({}));
    redis.publish("celery", &message);
    let record = redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!(record["result"]["exc_message"], json!(["no route"]));
    assert!(
        record["traceback"]
            .as_str()
            .is_some_and(|text| text.contains("no route"))
    );
}

#[test]
fn promise_12_a_task_that_nobody_registered_is_kept_and_its_producer_is_told() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = TaskMessage::new("not.here", &json!([1]), &json!({}));
    redis.publish("celery", &message);
    let record = redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "NotRegistered");
    let letters = dead_letters(&redis);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].code, "unknown-task");
    assert_eq!(letters[0].raw, message.to_json().into_bytes());
}

#[test]
fn promise_13_a_duration_without_its_unit_is_refused_and_a_mistyped_name_is_named() {
    let broker = ("CELERY_BROKER_URL", "redis://localhost:6379/0");
    let output = run(&["config", "check"], &[broker, ("LOVAGE_LEASE", "600")]);
    assert_eq!(output.status.code(), Some(78));
    let told = complaint(&output);
    assert!(
        told.contains("LOVAGE_LEASE") && told.contains("unit"),
        "{told}"
    );

    let output = run(&["config", "check"], &[broker, ("LOVAGE_LAESE", "6s")]);
    assert_eq!(output.status.code(), Some(0), "{}", complaint(&output));
    let told = complaint(&output);
    assert!(
        told.contains("LOVAGE_LAESE") && told.contains("LOVAGE_LEASE"),
        "{told}"
    );
}

#[test]
fn promise_15_a_broker_that_may_evict_is_refused_in_production_and_warned_of_elsewhere() {
    let redis = RedisServer::start();
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let url = redis.url();
    let production = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("LOVAGE_ENV", "production"),
        ("LOVAGE_DEMO_TASKS", "1"),
    ];
    let output = run(&["worker"], &production);
    assert_eq!(output.status.code(), Some(78), "{}", complaint(&output));
    assert!(
        complaint(&output).contains("allkeys-lru"),
        "{}",
        complaint(&output)
    );

    let mut worker = LovageWorker::on(&redis);
    worker.wait_for("allkeys-lru");
    assert!(worker.is_running());
}

#[test]
fn promise_16_a_task_longer_than_the_visibility_timeout_runs_once() {
    let redis = RedisServer::start();
    let worker = |name: &str| {
        LovageWorker::builder(&redis)
            .hostname(name)
            .variable(
                "CELERY_BROKER_TRANSPORT_OPTIONS",
                r#"{"visibility_timeout": 1}"#,
            )
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start()
    };
    let (_first, _second) = (worker("first@%h"), worker("second@%h"));
    let message = sleep(4.0);
    redis.publish("celery", &message);
    let began = redis.wait_for_state(&message.id, "STARTED")["result"].clone();
    // Neither does the message appear in the queue again, nor does another worker begin it.
    never_within(Duration::from_millis(3500), "a second run", || {
        let record = redis.result(&message.id).unwrap_or_default();
        let moved = record["status"] == "STARTED" && record["result"] != began;
        moved || redis.depth("celery") > 0
    });
    redis.wait_for_state(&message.id, "SUCCESS");
    eventually("the message to be settled", || redis.unacked() == 0);
    // Administration has commands: nobody has to delete keys by hand.
    let output = lovage(&redis, &["purge", "-Q", "celery", "-f"]);
    assert!(output.status.success(), "{}", complaint(&output));
}
