//! The forms in which Celery may write one and the same call.

use lovage_integration_tests::{Python, Stage, TaskMessage};
use serde_json::{Value, json};

#[test]
fn every_compression_that_python_has_here_is_read() {
    let mut stage = Stage::new();
    let lengths = stage.python.run(
        r#"
        text = "lovage " * 2000
        def echo(method):
            return app.send_task("demo.echo", (text,), compression=method).get(timeout=10)[0] == [text]
        answer({m: echo(m) for m in ["gzip", "zlib", "bzip2", "bzip", "lzma", "xz"]})
        "#,
    );
    assert_eq!(
        lengths,
        json!({"gzip": true, "zlib": true, "bzip2": true, "bzip": true, "lzma": true, "xz": true})
    );
}

/// Bodies as Celery 5.7 with the optional packages wrote them: `["zzz…", 200 of them], {}, embed`.
#[test]
fn zstd_and_brotli_written_by_python_are_read() {
    let stage = Stage::new();
    let captured = [
        (
            "application/zstd",
            "KLUv/WAXAP0BAAQDW1sieiJdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsLCAiZXJyY2hhaW5jaG9yZH1dBAAysyZq06jZPSIFiA==",
        ),
        (
            "application/x-brotli",
            "GxYBoI3TFfEjpLkHdbJU7bLYVLLtNaZ0utzgiAKjPEgTCjDShXVwyO12sbgFfSCCteh2j2gsg2t6UVLg2ka00h8=",
        ),
    ];
    for (content_type, body) in captured {
        let message = TaskMessage::new("demo.echo", &json!([]), &json!({}))
            .set("headers.compression", json!(content_type))
            .set("body", json!(body));
        stage.redis.publish("celery", &message);
        let record = stage.redis.wait_for_state(&message.id, "SUCCESS");
        assert_eq!(
            record["result"][0],
            json!(["z".repeat(200)]),
            "{content_type}"
        );
    }
}

#[test]
fn protocol_1_is_understood() {
    let mut stage = Stage::new();
    let mut old = Python::with_settings(&stage.redis, &json!({"task_protocol": 1}));
    let sum = old.run(
        r#"
        answer([app.send_task("demo.add", (2, 3)).get(timeout=10),
                app.send_task("demo.mul", (), {"x": 4, "y": 5}, countdown=0.2).get(timeout=10)])
        "#,
    );
    assert_eq!(sum, json!([5, 20]));
    // Its body alone decides; nothing but `task` and `id` is needed.
    let body = json!({"task": "demo.add", "id": "old", "args": [2, 3]}).to_string();
    stage.redis.publish(
        "celery",
        &TaskMessage::with_body("demo.add", body.as_bytes()).set("headers", json!({})),
    );
    assert_eq!(stage.redis.wait_for_state("old", "SUCCESS")["result"], 5);
    assert_eq!(stage.eval("app.AsyncResult('old').get(timeout=5)"), 5);
}

#[test]
fn protocol_1_body_under_protocol_2_headers_is_understood() {
    let stage = Stage::new();
    let message = TaskMessage::with_body(
        "demo.add",
        br#"{"task": "demo.add", "id": "other", "args": [2, 3], "kwargs": {}}"#,
    );
    stage.redis.publish("celery", &message);
    assert_eq!(
        stage.redis.wait_for_state(&message.id, "SUCCESS")["result"],
        5
    );
}

#[test]
fn the_smallest_message_that_python_runs_is_run() {
    let stage = Stage::new();
    let message = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}))
        .set("headers", json!({"task": "demo.add", "id": "smallest"}))
        .set("properties", json!({
            "delivery_info": {"exchange": "", "routing_key": "celery"}, "delivery_tag": "x", "body_encoding": "base64"}))
        .without("content-encoding");
    stage.redis.publish("celery", &message);
    assert_eq!(
        stage.redis.wait_for_state("smallest", "SUCCESS")["result"],
        5
    );
}

#[test]
fn a_message_without_any_one_optional_field_is_run() {
    let stage = Stage::new();
    let complete = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}));
    let headers = [
        "lang",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
    ];
    let properties = ["correlation_id", "reply_to", "delivery_mode", "priority"];
    let paths = headers
        .map(|name| format!("headers.{name}"))
        .into_iter()
        .chain(properties.map(|name| format!("properties.{name}")))
        .chain(["content-encoding".to_owned()]);
    for path in paths {
        let id = format!("without {path}");
        let message = complete.clone().set("headers.id", json!(id)).without(&path);
        stage.redis.publish("celery", &message);
        assert_eq!(
            stage.redis.wait_for_state(&id, "SUCCESS")["result"],
            5,
            "{id}"
        );
    }
}

#[test]
fn unusual_but_valid_messages_are_run() {
    let stage = Stage::new();
    let plain_body = json!([[2, 3], {}, {}]).to_string();
    let call = || TaskMessage::new("demo.add", &json!([2, 3]), &json!({}));
    let body = |text: &str| call().body(text.as_bytes());
    let cases: Vec<(&str, TaskMessage)> = vec![
        ("embed null", body("[[2, 3], {}, null]")),
        ("embed {}", body("[[2, 3], {}, {}]")),
        (
            "embed with an unknown key",
            body(r#"[[2, 3], {}, {"zzz": 1}]"#),
        ),
        (
            "chain []",
            body(r#"[[2, 3], {}, {"chain": [], "callbacks": [], "errbacks": [], "chord": null}]"#),
        ),
        (
            "plain body without body_encoding",
            call()
                .set("body", json!(plain_body))
                .without("properties.body_encoding"),
        ),
        (
            "plain body, utf-8",
            call()
                .set("body", json!(plain_body))
                .set("properties.body_encoding", json!("utf-8")),
        ),
        (
            "content-encoding binary",
            call().set("content-encoding", json!("binary")),
        ),
        (
            "eta in the past, naive",
            call().set("headers.eta", json!("2020-01-01T00:00:00")),
        ),
        (
            "eta with Z",
            call().set("headers.eta", json!("2020-01-01T00:00:00Z")),
        ),
        (
            "eta date only",
            call().set("headers.eta", json!("2020-01-01")),
        ),
        (
            "retries a string",
            call().set("headers.retries", json!("1")),
        ),
        (
            "timelimit null",
            call().set("headers.timelimit", Value::Null),
        ),
        (
            "any text as id",
            call().set("headers.id", json!("any string / allowed")),
        ),
        ("lang rust", call().set("headers.lang", json!("rust"))),
        (
            "priority null",
            call().set("properties.priority", Value::Null),
        ),
        (
            "priority out of bounds",
            call().set("properties.priority", json!(-11)),
        ),
        (
            "group without chord",
            call()
                .set("headers.group", json!("g1"))
                .set("headers.group_index", json!(0)),
        ),
        (
            "unknown headers and properties",
            call()
                .set("headers.tenant", json!({"a": [1]}))
                .set("properties.x", json!(1)),
        ),
        (
            "unknown key of the envelope",
            call().set("extra", json!({"deep": [null]})),
        ),
    ];
    for (name, message) in cases {
        let id = message.envelope["headers"]["id"]
            .as_str()
            .expect("the id is text")
            .to_owned();
        stage.redis.publish("celery", &message);
        assert_eq!(
            stage.redis.wait_for_state(&id, "SUCCESS")["result"],
            5,
            "{name}"
        );
    }
}
