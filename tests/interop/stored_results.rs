//! Stored results, key by key, against the `05-result-*` captures.

use lovage_integration_tests::{LovageWorker, Python, RedisServer, ResultFeed, Stage, TaskMessage};
use serde_json::{Value, json};

/// The keys of a stored record in their order.
fn keys(text: &str) -> Vec<String> {
    let record: Value = serde_json::from_str(text).expect("a record is JSON");
    let mut keys: Vec<(usize, String)> = record
        .as_object()
        .expect("a record is an object")
        .keys()
        .map(|key| {
            (
                text.find(&format!("\"{key}\": "))
                    .expect("Python's spacing"),
                key.clone(),
            )
        })
        .collect();
    keys.sort();
    keys.into_iter().map(|(_, key)| key).collect()
}

const PLAIN: [&str; 6] = [
    "status",
    "result",
    "traceback",
    "children",
    "date_done",
    "task_id",
];

fn assert_date(record: &Value) {
    let date = record["date_done"]
        .as_str()
        .unwrap_or_else(|| panic!("no date: {record}"));
    assert!(
        date.len() >= 25 && date.ends_with("+00:00") && date.as_bytes()[10] == b'T',
        "{date}"
    );
}

#[test]
fn success_has_the_form_that_celery_stores() {
    let stage = Stage::new();
    let message = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}));
    stage.redis.publish("celery", &message);
    let record = stage.redis.wait_for_state(&message.id, "SUCCESS");
    let text = stage.redis.result_text(&message.id).expect("it is stored");
    assert_eq!(keys(&text), PLAIN);
    assert!(text.starts_with(r#"{"status": "SUCCESS", "result": 5, "traceback": null, "children": [], "date_done": ""#), "{text}");
    assert_date(&record);
    assert_eq!(record["task_id"], message.id.as_str());
    let life: i64 = stage
        .redis
        .command(&["TTL", &format!("celery-task-meta-{}", message.id)]);
    assert!((86_390..=86_400).contains(&life), "{life}");
}

#[test]
fn failure_has_the_form_that_celery_stores() {
    let stage = Stage::new();
    let message = TaskMessage::new("demo.fail", &json!(["boom é"]), &json!({}));
    stage.redis.publish("celery", &message);
    let record = stage.redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!(
        keys(&stage.redis.result_text(&message.id).expect("it is stored")),
        PLAIN
    );
    assert_date(&record);
    let error = &record["result"];
    assert_eq!(
        error
            .as_object()
            .map(|error| error.keys().map(String::as_str).collect::<Vec<_>>()),
        Some(vec!["exc_message", "exc_module", "exc_type"])
    );
    assert!(
        error["exc_type"].is_string() && error["exc_module"].is_string(),
        "{error}"
    );
    assert!(
        error["exc_message"].as_array().is_some_and(|parts| parts
            .iter()
            .any(|part| part.as_str().is_some_and(|text| text.contains("boom é")))),
        "{error}"
    );
    let traceback = record["traceback"].as_str().expect("a traceback is text");
    assert!(traceback.contains("boom é"), "{traceback}");
}

#[test]
fn parent_and_group_are_named_when_there_are_any() {
    let stage = Stage::new();
    let message = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}))
        .set("headers.parent_id", json!("the-parent"))
        .set("headers.group", json!("the-group"));
    stage.redis.publish("celery", &message);
    let record = stage.redis.wait_for_state(&message.id, "SUCCESS");
    assert_eq!(
        (&record["parent_id"], &record["group_id"]),
        (&json!("the-parent"), &json!("the-group"))
    );
    let keys = keys(&stage.redis.result_text(&message.id).expect("it is stored"));
    assert_eq!(
        keys,
        [
            "status",
            "result",
            "traceback",
            "children",
            "date_done",
            "group_id",
            "parent_id",
            "task_id"
        ]
    );
}

#[test]
fn unfinished_states_have_no_date() {
    let redis = RedisServer::start();
    let mut feed = ResultFeed::of(&redis);
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .start();
    redis.publish(
        "celery",
        &TaskMessage::new("demo.progress", &json!([2]), &json!({})),
    );
    loop {
        let record = feed.next_record();
        if record["status"] == "SUCCESS" {
            break;
        }
        assert_eq!(record["date_done"], Value::Null, "{record}");
        assert_eq!(
            (&record["traceback"], &record["children"]),
            (&Value::Null, &json!([])),
            "{record}"
        );
    }
}

#[test]
fn revoked_and_not_registered_have_the_form_that_celery_stores() {
    let stage = Stage::new();
    let expired = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}))
        .set("headers.expires", json!("2020-01-01T00:00:00"));
    let unknown = TaskMessage::new("no.such.task", &json!([]), &json!({}));
    stage.redis.publish("celery", &expired);
    stage.redis.publish("celery", &unknown);
    let record = stage.redis.wait_for_state(&expired.id, "REVOKED");
    assert_eq!(
        record["result"],
        json!({"exc_type": "TaskRevokedError", "exc_message": ["expired"], "exc_module": "celery.exceptions"})
    );
    assert_eq!(
        (&record["traceback"], &record["children"]),
        (&Value::Null, &json!([]))
    );
    assert_date(&record);
    let record = stage.redis.wait_for_state(&unknown.id, "FAILURE");
    assert_eq!(
        record["result"],
        json!({"exc_type": "NotRegistered", "exc_message": ["no.such.task"], "exc_module": "celery.exceptions"})
    );
    assert_eq!(
        (&record["traceback"], &record["children"]),
        (&Value::Null, &json!([]))
    );
    assert_date(&record);
}

#[test]
fn a_success_is_never_overwritten() {
    let stage = Stage::new();
    let first = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}));
    stage.redis.publish("celery", &first);
    let stored = stage.redis.wait_for_state(&first.id, "SUCCESS");
    // A late copy of the same task fails, and another one expires.
    let copy = |task: &str| {
        TaskMessage::new(task, &json!(["late"]), &json!({})).set("headers.id", json!(first.id))
    };
    stage.redis.publish("celery", &copy("demo.fail"));
    stage.redis.publish(
        "celery",
        &copy("demo.fail").set("headers.expires", json!("2020-01-01T00:00:00")),
    );
    let last = TaskMessage::new("demo.add", &json!([1, 1]), &json!({}));
    stage.redis.publish("celery", &last);
    stage.redis.wait_for_state(&last.id, "SUCCESS");
    lovage_integration_tests::eventually("the copies to end", || {
        stage.redis.unacked() == 0 && stage.redis.depth("celery") == 0
    });
    assert_eq!(stage.redis.result(&first.id), Some(stored));
}

#[test]
fn extended_results_name_the_call() {
    let stage = Stage::with(|worker| worker.variable("CELERY_RESULT_EXTENDED", "1"));
    let message = TaskMessage::new("demo.add", &json!([2]), &json!({"y": 3}))
        .set("headers.stamped_headers", json!(["customer"]))
        .set("headers.stamps", json!({"customer": "c1"}));
    stage.redis.publish("celery", &message);
    let record = stage.redis.wait_for_state(&message.id, "SUCCESS");
    let keys = keys(&stage.redis.result_text(&message.id).expect("it is stored"));
    assert_eq!(
        keys,
        [
            "status",
            "result",
            "traceback",
            "children",
            "date_done",
            "name",
            "args",
            "kwargs",
            "worker",
            "retries",
            "queue",
            "stamped_headers",
            "customer",
            "task_id"
        ]
    );
    assert_eq!(
        (&record["name"], &record["args"], &record["kwargs"]),
        (&json!("demo.add"), &json!([2]), &json!({"y": 3}))
    );
    assert_eq!(
        (&record["retries"], &record["queue"], &record["customer"]),
        (&json!(0), &json!("celery"), &json!("c1"))
    );
    assert!(
        record["worker"]
            .as_str()
            .is_some_and(|name| name.starts_with("lovage@")),
        "{record}"
    );
}

#[test]
fn results_live_as_long_as_configured() {
    for (seconds, expected) in [("30", 25..=30), ("0", -1..=-1)] {
        let stage = Stage::with(|worker| worker.variable("CELERY_RESULT_EXPIRES", seconds));
        let message = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}));
        stage.redis.publish("celery", &message);
        stage.redis.wait_for_state(&message.id, "SUCCESS");
        let life: i64 = stage
            .redis
            .command(&["TTL", &format!("celery-task-meta-{}", message.id)]);
        assert!(
            expected.contains(&life),
            "CELERY_RESULT_EXPIRES={seconds}: {life}"
        );
    }
}

#[test]
fn compressed_results_are_read_by_python() {
    let stage = Stage::with(|worker| worker.variable("CELERY_RESULT_COMPRESSION", "gzip"));
    let mut python = Python::with_settings(&stage.redis, &json!({"result_compression": "gzip"}));
    let seen = python.run(
        r#"
        result = app.send_task("demo.echo", ("x" * 5000,))
        value = result.get(timeout=10)[0] == ["x" * 5000]
        answer([value, app.backend.client.get("celery-task-meta-" + result.id).startswith(b"\x00celery-compressed\x00")])
        "#,
    );
    assert_eq!(seen, json!([true, true]));
}

#[test]
fn python_finds_the_children_and_the_parent_of_a_chain() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        from celery import chain, signature
        last = chain(signature("demo.add", args=(1, 2), app=app), signature("demo.add", args=(10,), app=app)).apply_async()
        value = last.get(timeout=10)
        first = app.AsyncResult(last.parent.id)
        answer([value, first.get(timeout=5), [child.id for child in first.children] == [last.id]])
        "#,
    );
    assert_eq!(seen, json!([13, 3, true]));
}
