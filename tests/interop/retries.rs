//! A retry on the wire, against `07-retry-republish` of the captures.

use lovage_integration_tests::{
    LovageWorker, RedisServer, ResultFeed, Stage, TaskMessage, eventually,
};
use serde_json::{Value, json};

#[test]
fn python_waits_through_the_retries_of_a_rust_task() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        seen = []
        result = app.send_task("demo.retry_then_succeed", (2, 0.4))
        value = result.get(timeout=20, on_message=lambda message: seen.append(message["status"]))
        answer({"state": result.state, "retries": seen.count("RETRY"), "last": seen[-1]})
        "#,
    );
    assert_eq!(
        seen,
        json!({"state": "SUCCESS", "retries": 2, "last": "SUCCESS"})
    );
}

/// Lets a worker retry once and returns what it published and the RETRY record. The message names another queue as its
/// own, one that nobody consumes: there the retry stays to be looked at.
fn one_retry(sent: &TaskMessage) -> (Value, Value) {
    let redis = RedisServer::start();
    let mut feed = ResultFeed::of(&redis);
    let _worker = LovageWorker::on(&redis);
    redis.publish("celery", &parked(sent.clone()));
    let record = feed.next_record();
    assert_eq!(record["status"], "RETRY", "{record}");
    eventually("the retry", || redis.depth("parking") == 1);
    (redis.waiting_json("parking")[0].clone(), record)
}

fn parked(message: TaskMessage) -> TaskMessage {
    message.set("properties.delivery_info.routing_key", json!("parking"))
}

#[test]
fn a_retry_changes_what_celery_changes_and_nothing_else() {
    let expires = "2099-01-01T00:00:00+05:30";
    let sent = TaskMessage::new("demo.retry_then_succeed", &json!([1, 60]), &json!({}))
        .set("headers.expires", json!(expires))
        .set("headers.shadow", json!("shown"))
        .set("headers.group", json!("the-group"))
        .set("headers.group_index", json!(3))
        .set("headers.timelimit", json!([90, 60.5]))
        .set("headers.root_id", json!("the-root"))
        .set("headers.stamped_headers", json!(["customer"]))
        .set("headers.stamps", json!({"customer": "c1"}))
        .set("headers.tenant", json!({"name": "é", "list": [1, null]}))
        .set("headers.origin", json!("gen7@producer"))
        .set("properties.priority", json!(0))
        .set(
            "properties.reply_to",
            json!("9a2439c8-e439-3d73-8a96-6ad9b0a2c2f0"),
        );
    let (retry, _) = one_retry(&sent);
    let (before, after) = (&sent.envelope["headers"], &retry["headers"]);
    assert_eq!(after["retries"], 1);
    assert_eq!(
        after["parent_id"],
        sent.id.as_str(),
        "it was sent from inside itself"
    );
    let eta = after["eta"].as_str().expect("a retry has an eta");
    assert!(eta.contains('T') && eta.ends_with("+00:00"), "{eta}");
    let unchanged = [
        "task",
        "id",
        "shadow",
        "expires",
        "group",
        "group_index",
        "timelimit",
        "root_id",
        "origin",
        "argsrepr",
        "kwargsrepr",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "tenant",
    ];
    for name in unchanged {
        assert_eq!(after[name], before[name], "header {name}");
    }
    let (before, after) = (&sent.envelope["properties"], &retry["properties"]);
    for name in [
        "correlation_id",
        "reply_to",
        "delivery_mode",
        "priority",
        "body_encoding",
    ] {
        assert_eq!(after[name], before[name], "property {name}");
    }
    assert_eq!(after["delivery_info"]["routing_key"], "parking");
    assert_eq!(after["delivery_info"]["exchange"], "");
    assert_ne!(
        after["delivery_tag"], before["delivery_tag"],
        "each publish has a tag of its own"
    );
    assert_eq!(retry["content-type"], "application/json");
    assert_eq!(
        body_of(&retry),
        body_of(&sent.envelope),
        "the same arguments, callbacks and chain"
    );
}

#[test]
fn callbacks_chain_and_chord_survive_a_retry() {
    let signature = json!({"task": "py.echo", "args": [], "kwargs": {}, "options": {"queue": "elsewhere"},
        "subtask_type": null, "immutable": false});
    let embed = json!({"callbacks": [signature], "errbacks": [signature], "chain": [signature, signature], "chord": null});
    let body = json!([[1, 60], {}, embed]);
    let sent = TaskMessage::with_body("demo.retry_then_succeed", body.to_string().as_bytes());
    let (retry, _) = one_retry(&sent);
    assert_eq!(body_of(&retry), body);
}

#[test]
fn the_retry_record_has_the_form_that_celery_stores() {
    let sent = TaskMessage::new("demo.retry_then_succeed", &json!([1, 60]), &json!({}));
    let (_, record) = one_retry(&sent);
    assert_eq!(record["date_done"], Value::Null, "{record}");
    assert_eq!(record["task_id"], sent.id.as_str());
    // Its own next run is its child.
    assert_eq!(record["children"], json!([[[sent.id, null], null]]));
    let cause = &record["result"];
    assert!(
        cause.is_null() || cause["exc_type"].is_string(),
        "the cause, or null: {record}"
    );
}

#[test]
fn a_python_worker_can_run_the_retry_of_a_rust_worker() {
    let mut stage = Stage::new();
    let message = TaskMessage::new("demo.retry_then_succeed", &json!([1, 0]), &json!({}));
    let message = parked(message);
    stage.redis.publish("celery", &message);
    stage.redis.wait_for_state(&message.id, "RETRY");
    let code = r#"
        @app.task(name="demo.retry_then_succeed", bind=True)
        def finish(self, *args):
            return [self.request.retries, list(args)]
        from celery.contrib.testing.worker import start_worker
        with start_worker(app, perform_ping_check=False, pool="solo", loglevel="error", queues=["parking"],
                          shutdown_timeout=20):
            import time
            deadline = time.time() + 20
            result = app.AsyncResult("MESSAGE")
            while result.state == "RETRY" and time.time() < deadline:
                time.sleep(0.05)
        answer([result.state, result.result])
        "#;
    let seen = stage.python.run(&code.replace("MESSAGE", &message.id));
    assert_eq!(seen, json!(["SUCCESS", [1, [1, 0]]]));
}

#[test]
fn a_retry_beyond_the_limit_is_a_failure() {
    let mut stage = Stage::new();
    // The demo task allows a thousand retries; this message has had them.
    let message = TaskMessage::new("demo.retry_then_succeed", &json!([2000]), &json!({}))
        .set("headers.retries", json!(1000));
    stage.redis.publish("celery", &message);
    let seen = stage.python.run(&format!(
        r#"
        from celery.exceptions import MaxRetriesExceededError
        result = app.AsyncResult("{}")
        error = result.get(timeout=10, propagate=False)
        answer([result.state, type(error) is MaxRetriesExceededError, "demo.retry_then_succeed" in str(error)])
        "#,
        message.id
    ));
    assert_eq!(seen, json!(["FAILURE", true, true]));
}

fn body_of(envelope: &Value) -> Value {
    use base64::Engine;
    let text = envelope["body"].as_str().expect("the body is text");
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("the body is base64");
    serde_json::from_slice(&bytes).expect("the body is JSON")
}
