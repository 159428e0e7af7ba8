//! What Python sees of a Rust task while it runs.

use lovage_integration_tests::{LovageWorker, RedisServer, ResultFeed, Stage, TaskMessage};
use serde_json::{Value, json};

#[test]
fn python_sees_progress_with_its_meta() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        seen = []
        result = app.send_task("demo.progress", (3,))
        value = result.get(timeout=10, on_message=lambda message: seen.append([message["status"], message["result"]]))
        answer({"seen": seen, "value": value, "state": result.state})
        "#,
    );
    assert_eq!(seen["state"], "SUCCESS");
    let seen = seen["seen"].as_array().expect("a list").clone();
    let progress: Vec<&Value> = seen
        .iter()
        .filter(|message| message[0] == "PROGRESS")
        .map(|message| &message[1])
        .collect();
    assert!(!progress.is_empty(), "{seen:?}");
    for (index, meta) in progress.iter().enumerate() {
        assert!(
            meta["current"].is_number() && meta["total"] == 3,
            "message {index}: {meta}"
        );
    }
}

#[test]
fn every_state_is_announced_in_order() {
    let redis = RedisServer::start();
    let mut feed = ResultFeed::of(&redis);
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    redis.publish(
        "celery",
        &TaskMessage::new("demo.progress", &json!([2]), &json!({})),
    );
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "SUCCESS") {
        states.push(
            feed.next_record()["status"]
                .as_str()
                .expect("a state is text")
                .to_owned(),
        );
    }
    assert_eq!(
        states.first().map(String::as_str),
        Some("STARTED"),
        "{states:?}"
    );
    let between = &states[1..states.len() - 1];
    assert!(
        !between.is_empty() && between.iter().all(|state| state == "PROGRESS"),
        "{states:?}"
    );
}

#[test]
fn a_started_task_names_its_worker() {
    let mut stage = Stage::with(|worker| worker.variable("CELERY_TASK_TRACK_STARTED", "1"));
    let pid = stage.worker.pid();
    let started = stage.python.run(
        r#"
        import time
        result = app.send_task("demo.sleep", (1.0,))
        while result.state == "PENDING":
            time.sleep(0.01)
        answer({"state": result.state, "info": result.info})
        "#,
    );
    assert_eq!(started["state"], "STARTED");
    assert_eq!(started["info"]["pid"], pid);
    assert!(
        started["info"]["hostname"]
            .as_str()
            .is_some_and(|name| name.starts_with("lovage@")),
        "{started}"
    );
}

#[test]
fn without_tracking_a_running_task_is_pending() {
    let stage = Stage::new();
    let message = TaskMessage::new("demo.sleep", &json!([0.5]), &json!({}));
    stage.redis.publish("celery", &message);
    let mut states = std::collections::BTreeSet::new();
    lovage_integration_tests::eventually("the end of the task", || {
        states.insert(stage.redis.state(&message.id));
        states.contains("SUCCESS")
    });
    assert_eq!(
        states.into_iter().collect::<Vec<_>>(),
        ["PENDING", "SUCCESS"]
    );
}
