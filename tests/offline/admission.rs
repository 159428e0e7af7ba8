//! Rows of the table "What becomes of a message" of ARCHITECTURE.md for tasks that do not run at once, or not at all: wrong
//! arguments, duplicates, limits. The others stand in `outcomes`.

use std::sync::Arc;
use std::time::Duration;

use lovage::{Limit, RateLimit, Unique};
use lovage_broker::{Broker, Destination, Publish};
use lovage_protocol::{QueueName, Value};
use lovage_worker::{Module, RawTask, TaskOptions, signal};
use tokio::sync::Semaphore;

use lovage_integration_tests::TaskMessage;

use crate::seen::{ID, NOTHING, Seen, call, exception, failed, look, revoked, traceback};
use crate::stage::{PATIENCE, Stage};

/// Adds two numbers.
#[lovage::task(name = "row.add")]
async fn add(x: i64, y: i64) -> celery::task::TaskResult<i64> {
    Ok(x + y)
}

/// A task that says that it has begun, and ends when it may.
fn gated(name: &str, begun: &Arc<Semaphore>, may_end: &Arc<Semaphore>) -> RawTask {
    let (begun, may_end) = (Arc::clone(begun), Arc::clone(may_end));
    RawTask::new(name, move |_| {
        let may_end = Arc::clone(&may_end);
        begun.add_permits(1);
        async move {
            may_end.acquire().await.expect("nobody closes it").forget();
            Ok(Value::from("done"))
        }
    })
}

fn gates() -> (Arc<Semaphore>, Arc<Semaphore>) {
    (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)))
}

async fn wait_for(gate: &Semaphore) {
    gate.acquire().await.expect("nobody closes it").forget();
}

#[tokio::test]
async fn wrong_arguments_are_a_failure_that_is_acked_and_told_to_error_callbacks() {
    let stage = Stage::start(Module::new("row").task::<add>()).await;
    let sent = call(&stage, "row.add").args((1,)).await.unwrap();
    sent.wait(PATIENCE).await.unwrap();
    let text = "add() missing 1 required positional argument: 'y'";
    let result = exception("builtins", "TypeError", &format!("[\"{text}\"]"));
    let expected = Seen {
        stored: failed(
            &result,
            &traceback("row.add", &format!("TypeError: {text}")),
        ),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn a_duplicate_is_acked_and_revoked_and_neither_callback_is_sent() {
    let (begun, may_end) = gates();
    let task =
        gated("alone", &begun, &may_end).options(TaskOptions::new().unique(Unique::by_all()));
    let stage = Stage::start(Module::new("row").raw(task)).await;
    let first = stage.client.send_task("alone").task_id("first");
    let first = first.await.unwrap();
    wait_for(&begun).await;
    // Sent past the client's own lock, as a Python producer sends.
    publish_raw(&stage, "alone").await;
    let second = stage.client.handle::<Value>(ID);
    second.wait(PATIENCE).await.unwrap();
    may_end.add_permits(1);
    first.wait(PATIENCE).await.unwrap();
    let expected = Seen {
        stored: revoked("duplicate of first"),
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn who_joins_ends_as_the_first_and_its_callback_is_sent() {
    let (begun, may_end) = gates();
    let task = gated("together", &begun, &may_end)
        .options(TaskOptions::new().unique(Unique::by_all().join()));
    let stage = Stage::start(Module::new("row").raw(task)).await;
    let first = stage.client.send_task("together").task_id("first");
    let first = first.await.unwrap();
    wait_for(&begun).await;
    publish_raw(&stage, "together").await;
    while stage.broker.lines().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    may_end.add_permits(1);
    first.wait(PATIENCE).await.unwrap();
    stage
        .client
        .handle::<Value>(ID)
        .wait(PATIENCE)
        .await
        .unwrap();
    let seen = look(stage).await;
    let stored = seen.stored.clone().unwrap();
    assert!(
        stored.starts_with(r#"{"status": "SUCCESS", "result": "done""#),
        "{stored}"
    );
    assert_eq!((seen.callbacks, seen.errbacks, seen.waiting), (1, 0, 0));
}

#[tokio::test]
async fn without_room_in_a_limit_a_message_waits_aside_and_nothing_is_stored_or_sent() {
    let (begun, may_end) = gates();
    let task =
        gated("narrow", &begun, &may_end).options(TaskOptions::new().limit(Limit::at_once(1)));
    let stage = Stage::start(Module::new("row").raw(task)).await;
    let first = stage
        .client
        .send_task("narrow")
        .task_id("first")
        .await
        .unwrap();
    wait_for(&begun).await;
    let second = call(&stage, "narrow").await.unwrap();
    while stage.broker.lines().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(
        second.wait(Duration::from_millis(50)).await.is_err(),
        "it does not run"
    );
    may_end.add_permits(1);
    first.wait(PATIENCE).await.unwrap();
    // Its turn has come.
    wait_for(&begun).await;
    may_end.add_permits(1);
    second.wait(PATIENCE).await.unwrap();
    let seen = look(stage).await;
    assert_eq!((seen.waiting, seen.callbacks, seen.errbacks), (0, 1, 0));
    let stored = seen.stored.unwrap();
    assert!(
        stored.starts_with(r#"{"status": "SUCCESS", "result": "done""#),
        "{stored}"
    );
}

#[tokio::test]
async fn who_waits_for_a_rate_limit_is_given_back_unstarted_when_the_worker_stops() {
    let hourly = RateLimit::parse("1/h").unwrap().unwrap();
    let task = RawTask::new("hourly", |_| async { Err(signal::ignore()) })
        .options(TaskOptions::new().rate_limit(hourly));
    let stage = Stage::start(Module::new("row").raw(task)).await;
    stage
        .client
        .send_task("hourly")
        .task_id("first")
        .await
        .unwrap();
    call(&stage, "hourly").await.unwrap();
    while crate::seen::depth(&stage, "celery").await > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let expected = Seen {
        waiting: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

/// Publishes a call with callbacks as somebody who knows nothing of unique tasks.
async fn publish_raw(stage: &Stage, task: &str) {
    let next = |task: &str, queue: &str| {
        serde_json::json!({"task": task, "args": [], "kwargs": {}, "options": {"queue": queue},
            "subtask_type": null, "immutable": true})
    };
    let embed = serde_json::json!({"callbacks": [next("callback", "callbacks")],
        "errbacks": [next("errback", "errbacks")], "chain": null, "chord": null});
    let body = serde_json::json!([[], {}, embed]).to_string();
    let mut message = TaskMessage::with_body(task, body.as_bytes());
    for path in ["headers.id", "headers.root_id", "properties.correlation_id"] {
        message = message.set(path, ID.into());
    }
    let publish = Publish {
        destination: Destination::Queue(QueueName::parse("celery").expect("it is a name")),
        priority: 0,
        payload: message.to_json().into(),
    };
    stage
        .broker
        .publish(&[publish])
        .await
        .expect("memory takes it");
}
