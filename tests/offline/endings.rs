//! What becomes of a task in less usual cases.

use std::sync::Arc;
use std::time::Duration;

use lovage_broker::{Broker, ConsumerOptions};
use lovage_client::Error;
use lovage_protocol::{NodeName, QueueName, Signature, State, Value};
use lovage_worker::{Module, RawTask, TaskOptions, signal};
use tokio::sync::Semaphore;

use crate::stage::{PATIENCE, Stage};

fn signature(json: &str) -> Signature {
    let value = Value::from_json(json.as_bytes()).expect("it is JSON");
    Signature::from_value(value).expect("it is a signature")
}

#[tokio::test]
async fn a_message_that_expires_while_it_waits_for_a_slot_is_not_run() {
    let gate = Arc::new(Semaphore::new(0));
    let begun = Arc::new(Semaphore::new(0));
    let held = {
        let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
        RawTask::new("held", move |_| {
            let (gate, begun) = (Arc::clone(&gate), Arc::clone(&begun));
            async move {
                begun.add_permits(1);
                gate.acquire().await.expect("nobody closes it").forget();
                Ok(Value::Null)
            }
        })
    };
    let stage = Stage::start(Module::new("held").raw(held)).await;
    // The worker of this stage runs four at once.
    for _ in 0..4 {
        stage.client.send_task("held").await.unwrap();
    }
    begun.acquire_many(4).await.unwrap().forget();
    let late = stage
        .client
        .send_task("held")
        .expires(Duration::from_secs(60))
        .await
        .unwrap();
    stage.harness.advance(Duration::from_secs(61));
    gate.add_permits(5);
    let outcome = late.get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Revoked { reason, .. }) if reason == "expired"),
        "{outcome:?}"
    );
    assert_eq!(begun.available_permits(), 0, "it never began");
    stage.stop().await;
}

#[tokio::test]
async fn a_handler_that_panics_before_its_future_begins_fails_its_task() {
    let hasty = RawTask::new("hasty", |call| {
        let first = call.args[0].clone();
        async move { Ok(first) }
    });
    let stage = Stage::start(Module::new("hasty").raw(hasty)).await;
    let outcome = stage
        .client
        .send_task("hasty")
        .await
        .unwrap()
        .get(PATIENCE)
        .await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "RuntimeError"),
        "{outcome:?}"
    );
    let summary = stage.stop().await;
    assert_eq!(
        (summary.received, summary.returned),
        (1, 0),
        "nothing is left in its hands"
    );
}

#[tokio::test]
async fn an_error_that_was_handled_does_not_speak_for_a_later_one() {
    let careful = RawTask::new("careful", |_| async {
        let handled = signal::retry(None);
        Err(celery::error::TaskError::UnexpectedError(format!(
            "not {}",
            if matches!(handled, celery::error::TaskError::Retry(_)) {
                "again"
            } else {
                "so"
            }
        )))
    });
    let stage = Stage::start(Module::new("careful").raw(careful)).await;
    let outcome = stage
        .client
        .send_task("careful")
        .await
        .unwrap()
        .get(PATIENCE)
        .await;
    assert!(
        matches!(&outcome, Err(Error::Failed { message, .. }) if message == "not again"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn several_callbacks_are_one_child_a_group() {
    let stage = Stage::start(Module::new("nothing")).await;
    let sum = stage
        .client
        .send_task("sum")
        .args((2, 3))
        .link(signature(
            r#"{"task": "sum", "options": {"task_id": "one"}}"#,
        ))
        .link(signature(
            r#"{"task": "sum", "options": {"task_id": "two"}}"#,
        ))
        .await
        .unwrap();
    let children = sum.wait(PATIENCE).await.unwrap().children.unwrap();
    assert_eq!(children.len(), 1);
    let members = children[0].as_list().unwrap()[1].to_json();
    assert_eq!(members, r#"[[["one", null], null], [["two", null], null]]"#);
    stage.stop().await;
}

#[tokio::test]
async fn a_task_that_ignores_its_result_may_still_tell_of_its_progress() {
    let tell = RawTask::new("tell", |call| async move {
        call.context
            .update_state("PROGRESS", 7)
            .await
            .expect("the state is stored");
        Ok(Value::Null)
    });
    let stage = Stage::start(Module::new("tell").raw(tell)).await;
    let told = stage
        .client
        .send_task("tell")
        .ignore_result(true)
        .await
        .unwrap();
    let mut watch = stage.client.results().watch(told.id()).await.unwrap();
    let meta = tokio::time::timeout(PATIENCE, watch.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(meta.status, State::Custom("PROGRESS".to_owned()));
    assert_eq!(meta.result, Value::Int(7));
    stage.stop().await;
}

#[tokio::test]
async fn a_failed_step_fails_the_body_of_a_chord_further_on() {
    let stage = Stage::start(Module::new("nothing")).await;
    let mut call = stage.client.send_task("fail").outgoing().unwrap();
    call.embed = call.embed.with_chain(&[signature(
        r#"{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [{"task": "sum"}],
            "body": {"task": "sum", "options": {"task_id": "the-body"}}}}"#,
    )]);
    stage.client.send_outgoing::<()>(call).await.unwrap();
    let outcome = stage.client.handle::<Value>("the-body").get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "ValueError"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_retry_of_an_ignored_result_is_stored_as_an_error_is() {
    let settings = [("CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED", "1")];
    let stage = Stage::with(&settings, Module::new("nothing")).await;
    let call = stage.client.send_task("retry").ignore_result(true);
    let mut watch = stage.client.results().watch(&"again".into()).await.unwrap();
    call.task_id("again").await.unwrap();
    let meta = tokio::time::timeout(PATIENCE, watch.next()).await;
    let meta = meta.unwrap().unwrap();
    assert_eq!(meta.status, State::Retry);
    let itself = Value::from_json(br#"[[["again", null], null]]"#).unwrap();
    assert_eq!(meta.children.map(Value::List), Some(itself));
    stage.stop().await;
}

#[tokio::test]
async fn a_task_with_no_retries_left_says_where() {
    let tired = RawTask::new("tired", |_| async { Err(signal::retry(None)) })
        .options(TaskOptions::new().max_retries(Some(0)));
    let stage = Stage::start(Module::new("tired").raw(tired)).await;
    let outcome = stage.client.send_task("tired").await.unwrap();
    let meta = outcome.wait(PATIENCE).await.unwrap();
    assert_eq!(meta.status, State::Failure);
    let traceback = meta.traceback.expect("Flower shows one");
    assert!(traceback.contains("MaxRetriesExceededError"), "{traceback}");
    stage.stop().await;
}

#[tokio::test]
async fn an_unknown_task_is_forwarded_but_never_to_where_it_came_from() {
    let settings = [("LOVAGE_FORWARD_UNKNOWN", "other")];
    let stage = Stage::with(&settings, Module::new("nothing")).await;
    let other = QueueName::parse("other").unwrap();
    let node = NodeName::parse("peer@here").unwrap();
    let mut options = ConsumerOptions::new(node, vec![QueueName::parse("third").unwrap()]);
    options.tasks = vec!["elsewhere".to_owned()];
    let _peer = stage.broker.consumer(options).await.unwrap();

    let back = stage
        .client
        .send_task("elsewhere")
        .header("lovage_forwarded", Value::List(vec!["other".into()]));
    let outcome = back.await.unwrap().get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "NotRegistered"),
        "{outcome:?}"
    );
    assert_eq!(
        stage
            .broker
            .depth(std::slice::from_ref(&other))
            .await
            .unwrap(),
        [0]
    );

    stage.client.send_task("elsewhere").await.unwrap();
    let forwarded = async {
        while stage
            .broker
            .depth(std::slice::from_ref(&other))
            .await
            .unwrap()
            == [0]
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, forwarded).await.unwrap();
    stage.stop().await;
}
