//! Failures and errors, as Sentry gets them.

use std::fs;
use std::process::Command;
use std::time::Duration;

use lovage_database::{
    Kind,
    store::outbox::{Outgoing, enqueue},
    testing::TestDatabase,
};
use lovage_integration_tests::child::Child;
use lovage_integration_tests::lovage_worker::lovage_at;
use lovage_integration_tests::sentry_stub::SentryStub;
use lovage_integration_tests::{
    ApiServer, KeeperProcess, LovageWorker, RedisServer, Role, TaskMessage, eventually,
};
use lovage_protocol::{TaskId, TaskName};
use redis::Commands;
use serde_json::{Value, json};

fn worker(redis: &RedisServer, sentry: &SentryStub, more: &[(&str, &str)]) -> LovageWorker {
    let builder = LovageWorker::builder(redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .hostname("lovage@here")
        .variable("SENTRY_DSN", &sentry.dsn());
    let builder = more.iter().fold(builder, |builder, (name, value)| {
        builder.variable(name, value)
    });
    builder.start()
}

fn send(redis: &RedisServer, task: &str, args: &Value) -> String {
    let message = TaskMessage::new(task, args, &json!({}));
    redis.publish("celery", &message);
    message.id
}

fn of_task<'a>(id: &'a str) -> impl Fn(&Value) -> bool + 'a {
    move |event| event["tags"]["task_id"] == id
}

#[test]
fn a_failure_for_good_is_told_and_nothing_else() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    let variables = [
        ("SENTRY_ENVIRONMENT", "staging"),
        ("SENTRY_RELEASE", "shop@7"),
    ];
    let mut worker = worker(&redis, &sentry, &variables);
    let retried = send(&redis, "demo.retry_then_succeed", &json!([2]));
    redis.wait_for_state(&retried, "SUCCESS");
    send(&redis, "test.ignore", &json!([]));
    send(&redis, "test.reject", &json!([]));
    eventually("a task that was ignored and one that was rejected", || {
        let told = worker.log().text();
        ["task ended without a result", "exception=Reject"]
            .iter()
            .all(|ending| told.contains(ending))
    });
    let late = TaskMessage::new("demo.noop", &json!([]), &json!({}));
    let late = late.set("headers.expires", json!("2020-01-01T00:00:00Z"));
    redis.publish("celery", &late);
    redis.wait_for_state(&late.id, "REVOKED");

    let failed = send(&redis, "demo.fail", &json!(["out of paper"]));
    let event = sentry.wait_for("the failure", of_task(&failed));
    assert_eq!(event["transaction"], "demo.fail");
    assert_eq!(event["environment"], "staging");
    assert_eq!(event["release"], "shop@7");
    assert_eq!(event["tags"]["queue"], "celery");
    assert_eq!(event["tags"]["worker"], "lovage@here");
    let exception = &event["exception"]["values"][0];
    assert_eq!(exception["value"], "out of paper", "{event}");
    assert_eq!(event["extra"].get("celery-job"), None, "no arguments");

    // A panic of a task is its failure, and is told once.
    let panicked = send(&redis, "test.panic", &json!(["on paper"]));
    let event = sentry.wait_for("the panic", of_task(&panicked));
    let value = event["exception"]["values"][0]["value"].as_str();
    assert!(
        value.is_some_and(|value| value.contains("on paper")),
        "{event}"
    );
    let gives_up = send(&redis, "test.always_retries", &json!([]));
    sentry.wait_for("the last retry", of_task(&gives_up));
    assert_eq!(worker.stop().code(), Some(0));
    assert_eq!(sentry.events().len(), 3, "{:#?}", sentry.events());
}

#[test]
fn arguments_are_told_only_when_that_is_asked_for_and_secrets_never() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    let _worker = worker(&redis, &sentry, &[("SENTRY_SEND_DEFAULT_PII", "true")]);
    let body = json!([7, {"user": "ada", "password": "sesame"}]);
    let refused = TaskMessage::new("test.always_fails", &body, &json!({"token": "tok_1"}));
    redis.publish("celery", &refused);
    let event = sentry.wait_for("the failure", of_task(&refused.id));
    let told = &event["extra"]["celery-job"];
    assert_eq!(told["task_name"], "test.always_fails");
    assert_eq!(
        told["args"],
        json!([7, {"user": "ada", "password": "[Filtered]"}])
    );
    assert_eq!(told["kwargs"], json!({"token": "[Filtered]"}));
}

#[test]
fn a_failure_in_a_child_process_is_told_once() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    let mut worker = worker(&redis, &sentry, &[("CELERY_WORKER_POOL", "prefork")]);
    let failed = send(&redis, "demo.fail", &json!([]));
    sentry.wait_for("the failure", of_task(&failed));
    assert_eq!(worker.stop().code(), Some(0));
    assert_eq!(sentry.events().len(), 1);
}

#[test]
fn an_error_that_a_task_logs_names_the_task() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    let _worker = worker(&redis, &sentry, &[]);
    let logs = send(&redis, "test.logs_error", &json!([]));
    let event = sentry.wait_for("the line", of_task(&logs));
    assert_eq!(event["transaction"], "test.logs_error");
    assert_eq!(event["message"], "something is odd");
    assert_eq!(event["extra"]["reason"], "rain");
    assert_eq!(event["extra"]["api_key"], "[Filtered]");
}

/// A role that cannot reach its broker says so as an error.
fn tells_of_its_errors(role: &str, more: &[(&str, &str)]) {
    let sentry = SentryStub::start();
    let dsn = sentry.dsn();
    let variables = [
        &[
            ("CELERY_BROKER_URL", "redis://127.0.0.1:1"),
            ("LOVAGE_DEMO_TASKS", "1"),
            ("SENTRY_DSN", &dsn),
        ],
        more,
    ];
    let mut command: Command = lovage_at(&variables.concat());
    let mut process = Child::start(role, command.arg(role), "cargo build -p lovage");
    let event = sentry.wait_for("the broker", |event| event["message"].is_string());
    let logger = event["logger"].as_str().expect("a module");
    assert!(logger.starts_with("lovage"), "{event}");
    process.signal(rustix::process::Signal::TERM);
    process.wait(Duration::from_secs(20));
}

#[test]
fn a_worker_tells_of_its_errors() {
    tells_of_its_errors("worker", &[]);
}

#[test]
fn a_beat_tells_of_its_errors() {
    tells_of_its_errors("beat", &[]);
}

#[test]
fn an_api_tells_of_its_errors() {
    tells_of_its_errors("api", &[("LOVAGE_API_BIND", "127.0.0.1:0")]);
}

#[tokio::test]
async fn a_keeper_tells_of_a_message_that_it_cannot_send() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    let test = TestDatabase::new(Kind::Sqlite).await;
    // As a program that writes to the table by itself may do.
    let mut wrong = Outgoing::call(TaskId::from("4711"), TaskName::from("shop.order"));
    wrong.args = "no list".to_owned();
    enqueue(test.database.writer(), wrong).await.unwrap();
    let dsn = sentry.dsn();
    let told = [("SENTRY_DSN", dsn.as_str())];
    let mut keeper = KeeperProcess::with(&redis.url(), &test.url(), &told);
    let event = sentry.wait_for("the message", |event| {
        event["message"] == "a message of the outbox cannot be sent and was put aside"
    });
    assert_eq!(event["extra"]["task.id"], "4711", "{event}");
    assert_eq!(event["extra"]["task.name"], "shop.order", "{event}");
    let logger = event["logger"].as_str().unwrap();
    assert!(logger.starts_with("lovage_keeper"), "{event}");
    keeper.stop();
    assert_eq!(sentry.events().len(), 1, "{:#?}", sentry.events());
}

#[test]
fn a_beat_tells_of_a_schedule_that_it_cannot_send() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    // Somebody's key, where the queue is to be.
    let _: () = redis.connection().set("celery", "no list").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schedule.toml");
    let schedule = "[[schedule]]\nname = \"often\"\ntask = \"demo.noop\"\nevery = \"1s\"\n";
    fs::write(&file, schedule).unwrap();
    let (broker, dsn, file) = (redis.url(), sentry.dsn(), file.display().to_string());
    let variables = [
        ("CELERY_BROKER_URL", broker.as_str()),
        ("LOVAGE_DEMO_TASKS", "1"),
        ("LOVAGE_SCHEDULE_FILE", &file),
        ("SENTRY_DSN", &dsn),
    ];
    let (_beat, _) = Role::start("beat", &variables);
    let event = sentry.wait_for("the schedule", |event| {
        event["extra"]["schedule"] == "often"
    });
    let said = event["message"].as_str().unwrap();
    assert!(said.contains("another kind of key"), "{event}");
}

#[test]
fn an_api_tells_of_a_request_that_it_could_not_answer() {
    let (redis, sentry) = (RedisServer::start(), SentryStub::start());
    let api = ApiServer::with(&redis, &[("SENTRY_DSN", &sentry.dsn())]);
    let admin = api.admin();
    let file = api.database().trim_start_matches("sqlite://");
    let gone = Command::new("sqlite3")
        .args([file, "ALTER TABLE task_run RENAME TO lost"])
        .status();
    assert!(gone.expect("sqlite3 is there").success());
    let answer = admin.get("/api/v1/task-runs");
    assert_eq!(answer.status, 500, "{}", answer.text);
    let event = sentry.wait_for("the request", |event| {
        event["message"] == "a request failed"
    });
    let cause = event["extra"]["error"].as_str().unwrap();
    assert!(cause.contains("task_run"), "{event}");
    // Why stays here: whoever asked is told an id to ask for.
    assert!(!answer.text.contains("task_run"), "{}", answer.text);
}
