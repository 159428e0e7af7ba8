//! Spans and log lines of a worker, as a collector and whoever reads the log get them.

use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use lovage_integration_tests::collector::Collector;
use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::wait::{PATIENCE, within};
use lovage_integration_tests::{
    ApiServer, LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage, never_within,
};
use serde_json::{Value, json};

use crate::add;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

fn worker(redis: &RedisServer, pool: &str) -> LovageWorkerBuilder {
    LovageWorker::builder(redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .pool(pool)
        .bare_flag("--json-logs")
        .variable("OTEL_BSP_SCHEDULE_DELAY", "50")
}

fn traced(message: TaskMessage, flags: &str) -> TaskMessage {
    let parent = format!("00-{TRACE}-{SENDER}-{flags}");
    message.set("headers.traceparent", json!(parent))
}

/// The line of the worker's log with this message.
fn line(worker: &LovageWorker, message: &str) -> Value {
    within(PATIENCE, message, || {
        let text = worker.log().text();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines
            .into_iter()
            .find(|line| line["fields"]["message"] == message)
    })
}

fn a_line_in_a_task_carries_its_ids(pool: &str) {
    let (redis, collector) = (RedisServer::start(), Collector::start());
    let worker = worker(&redis, pool)
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .start();
    let message = TaskMessage::new("test.logs", &json!(["by hand"]), &json!({}));
    let message = traced(message, "01").set("headers.root_id", json!("root-1"));
    redis.publish("celery", &message);
    let line = line(&worker, "at work");
    assert_eq!(line["task_id"], message.id.as_str(), "{line}");
    assert_eq!(line["root_id"], "root-1");
    assert_eq!(line["trace_id"], TRACE);
    assert_eq!(line["span"]["word"], "by hand", "spans are there as ever");

    // The span that the task's code opened is in the trace, too.
    let ran = collector.wait_for_one("lovage-worker", "run/test.logs");
    assert_eq!((ran.trace.as_str(), ran.parent.as_str()), (TRACE, SENDER));
    let inside = collector.wait_for_one("lovage-worker", "work");
    assert_eq!((&inside.trace, &inside.parent), (&ran.trace, &ran.id));
    assert_eq!(inside.attribute("word"), "by hand");
}

#[test]
fn a_line_in_an_async_task_carries_its_ids() {
    a_line_in_a_task_carries_its_ids("async");
}

#[test]
fn a_line_in_a_task_on_a_thread_carries_its_ids() {
    a_line_in_a_task_carries_its_ids("threads");
}

#[test]
fn a_line_in_a_child_process_carries_its_ids() {
    a_line_in_a_task_carries_its_ids("prefork");
}

#[test]
fn without_a_collector_there_is_no_trace_and_no_thread_for_it() {
    let redis = RedisServer::start();
    let worker = worker(&redis, "async").start();
    let message = TaskMessage::new("test.logs", &json!(["alone"]), &json!({}));
    let message = traced(message, "01");
    redis.publish("celery", &message);
    let line = line(&worker, "at work");
    assert_eq!(line["task_id"], message.id.as_str());
    assert_eq!(line["root_id"], message.id.as_str());
    assert_eq!(line.get("trace_id"), None);
    let parent = TaskMessage::new("test.parent", &json!(["others"]), &json!({}));
    redis.publish("celery", &parent);
    redis.wait_for_state(&parent.id, "SUCCESS");
    let headers = &redis.waiting_json("others")[0]["headers"];
    assert_eq!(headers.get("traceparent"), None, "{headers}");
    let threads = fs::read_dir(format!("/proc/{}/task", worker.pid())).expect("it runs");
    for thread in threads.map_while(Result::ok) {
        let name = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        let told = ["OpenTelemetry", "sentry"]
            .iter()
            .any(|of| name.contains(of));
        assert!(!told, "{name}");
    }
}

#[test]
fn what_the_sender_did_not_sample_is_not_told_and_goes_on_so() {
    let (redis, collector) = (RedisServer::start(), Collector::start());
    let _worker = worker(&redis, "async")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .start();
    let parent = TaskMessage::new("test.parent", &json!(["others"]), &json!({}));
    redis.publish("celery", &traced(parent.clone(), "00"));
    redis.wait_for_state(&parent.id, "SUCCESS");
    let headers = redis.waiting_json("others")[0]["headers"].clone();
    let on = headers["traceparent"].as_str().expect("it goes on");
    assert!(
        on.starts_with(&format!("00-{TRACE}-")) && on.ends_with("-00"),
        "{on}"
    );
    never_within(Duration::from_millis(300), "a span", || {
        !collector.spans().is_empty()
    });
}

#[test]
fn a_collector_that_is_away_costs_its_spans_and_one_line() {
    let redis = RedisServer::start();
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let port = port.expect("a port is free").port();
    let url = format!("http://127.0.0.1:{port}");
    let mut worker = worker(&redis, "async")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .start();
    let run = || {
        let message = add();
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "SUCCESS");
    };
    run();
    worker.wait_for("spans cannot be sent to OTEL_EXPORTER_OTLP_ENDPOINT");
    run();
    let collector = Collector::at_port(port);
    within(PATIENCE, "spans", || {
        run();
        (!collector.spans().is_empty()).then_some(())
    });
    worker.wait_for("spans are sent again");
    let told = worker.log().text().matches("spans cannot be sent").count();
    assert_eq!(told, 1);
    assert_eq!(worker.stop().code(), Some(0));
}

#[test]
fn what_is_left_is_sent_at_the_end() {
    let (redis, collector) = (RedisServer::start(), Collector::start());
    let mut worker = worker(&redis, "async")
        .without("OTEL_BSP_SCHEDULE_DELAY")
        .variable("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .variable("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url())
        .variable("OTEL_EXPORTER_OTLP_HEADERS", "x-key=one%20two")
        .variable("OTEL_SERVICE_NAME", "billing")
        .start();
    let message = add();
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "SUCCESS");
    assert!(collector.spans().is_empty());
    assert_eq!(worker.stop().code(), Some(0));
    collector.wait_for_one("billing", "run/demo.add");
    assert_eq!(collector.stub().posted()[0].headers["x-key"], "one two");
}

#[test]
fn addresses_that_cannot_be_are_refused_together() {
    let variables = [
        ("CELERY_BROKER_URL", "redis://127.0.0.1:1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_TRACES_SAMPLER", "some"),
        ("SENTRY_DSN", "https://cafe5eed@sentry.example"),
    ];
    let refused = lovage_with(&variables, &["worker"]);
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(78), "{text}");
    for (name, _) in &variables[1..] {
        assert!(text.contains(name), "{text}");
    }
    assert!(!text.contains("cafe5eed"), "{text}");
}

#[test]
fn a_request_to_the_api_is_a_span_that_its_task_follows() {
    let (redis, collector) = (RedisServer::start(), Collector::start());
    let url = collector.url();
    let api = ApiServer::with(
        &redis,
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &url),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ],
    );
    let call = json!({"task": "demo.add", "args": [1, 2]}).to_string();
    let parent = format!("00-{TRACE}-{SENDER}-01");
    let headers = [("traceparent", parent.as_str())];
    let sent = api.admin().send("POST", "/api/v1/tasks", &headers, &call);
    assert_eq!(sent.status, 202, "{}", sent.text);
    let request = collector.wait_for_one("lovage-api", "POST /api/v1/tasks");
    assert_eq!(
        (request.trace.as_str(), request.parent.as_str()),
        (TRACE, SENDER)
    );
    assert_eq!(request.kind, "Server");
    assert_eq!(request.attribute("http.response.status_code"), "202");
    let task = collector.wait_for_one("lovage-api", "apply_async/demo.add");
    assert_eq!((&task.trace, &task.parent), (&request.trace, &request.id));
    let headers = &redis.waiting_json("celery")[0]["headers"];
    let handed_on = format!("00-{TRACE}-{}-01", task.id);
    assert_eq!(headers["traceparent"], handed_on.as_str(), "{headers}");
}
