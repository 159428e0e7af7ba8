//! From a call to its result.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use lovage_broker::Broker;
use lovage_client::Error;
use lovage_protocol::{Signature, State, Value};
use lovage_worker::{Module, RawTask};
use tokio::sync::Notify;

use crate::stage::{PATIENCE, Stage};

fn nothing_more() -> Module {
    Module::new("nothing")
}

#[tokio::test]
async fn a_call_returns_its_value() {
    let stage = Stage::start(nothing_more()).await;
    let sum = stage
        .client
        .send_task("sum")
        .args((2, 3))
        .await
        .unwrap()
        .returning::<i64>();
    assert_eq!(sum.get(PATIENCE).await.unwrap(), 5);
    assert_eq!(sum.state().await.unwrap(), State::Success);
    stage.stop().await;
}

#[tokio::test]
async fn a_failure_and_a_panic_are_told() {
    let stage = Stage::start(nothing_more()).await;
    for (task, message) in [("fail", "boom"), ("panics", "oh no")] {
        let failed = stage.client.send_task(task).await.unwrap();
        match failed.get(PATIENCE).await {
            Err(Error::Failed { message: told, .. }) => assert!(told.contains(message), "{told}"),
            other => panic!("{task}: {other:?}"),
        }
    }
    stage.stop().await;
}

#[tokio::test]
async fn a_retried_task_succeeds_in_the_end() {
    let stage = Stage::start(nothing_more()).await;
    let retried = stage
        .client
        .send_task("retry")
        .await
        .unwrap()
        .returning::<u32>();
    assert_eq!(retried.get(PATIENCE).await.unwrap(), 2);
    stage.stop().await;
}

#[tokio::test]
async fn an_expired_task_is_revoked() {
    let stage = Stage::start(nothing_more()).await;
    let late = stage
        .client
        .send_task("sum")
        .expires(Utc::now() - TimeDelta::seconds(5));
    let outcome = late.await.unwrap().get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Revoked { reason, .. }) if reason == "expired"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn an_unknown_task_is_answered_and_kept() {
    let stage = Stage::start(nothing_more()).await;
    let lost = stage.client.send_task("no.such.task").await.unwrap();
    let outcome = lost.get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "NotRegistered"),
        "{outcome:?}"
    );
    let letters = stage.broker.dead_letters().list(0, 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason.task.as_deref(), Some("no.such.task"));
    stage.stop().await;
}

#[tokio::test]
async fn a_link_gets_the_result_of_its_task() {
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let listen = RawTask::new("listen", move |call| {
        let sender = sender.clone();
        async move {
            sender
                .send((call.args, call.context.parent_id().map(ToString::to_string)))
                .expect("somebody listens");
            Ok(Value::Null)
        }
    });
    let stage = Stage::start(Module::new("listener").raw(listen)).await;
    let signature = Value::Map(
        [
            ("task".to_owned(), Value::from("listen")),
            ("args".to_owned(), Value::List(vec![])),
        ]
        .into_iter()
        .collect(),
    );
    let link = Signature::from_value(signature).expect("it is a signature");
    let sum = stage
        .client
        .send_task("sum")
        .args((2, 3))
        .link(link)
        .await
        .unwrap();
    let (args, parent) = tokio::time::timeout(PATIENCE, heard.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(args, [Value::Int(5)]);
    assert_eq!(parent.as_deref(), Some(sum.id().as_str()));
    stage.stop().await;
}

#[tokio::test]
async fn a_warm_shutdown_waits_for_what_runs() {
    let begun = Arc::new(Notify::new());
    let go_on = Arc::new(Notify::new());
    let task = {
        let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
        RawTask::new("held", move |_| {
            let (begun, go_on) = (Arc::clone(&begun), Arc::clone(&go_on));
            async move {
                begun.notify_one();
                go_on.notified().await;
                Ok(Value::from("done"))
            }
        })
    };
    let stage = Stage::start(Module::new("held").raw(task)).await;
    let held = stage
        .client
        .send_task("held")
        .await
        .unwrap()
        .returning::<String>();
    begun.notified().await;
    let stopping = tokio::spawn(stage.stop());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!stopping.is_finished(), "it waits for its task");
    go_on.notify_one();
    let summary = stopping.await.unwrap();
    assert_eq!(summary.received, 1);
    assert_eq!(held.get(PATIENCE).await.unwrap(), "done");
}

#[tokio::test]
async fn a_hundred_calls_are_all_answered() {
    let stage = Stage::start(nothing_more()).await;
    let calls = (0..100).map(|i| stage.client.send_task("sum").args((i, 1)));
    let handles = stage.client.send_many(calls).await.unwrap();
    for (i, handle) in (0..100_i64).zip(handles) {
        assert_eq!(
            handle.returning::<i64>().get(PATIENCE).await.unwrap(),
            i + 1
        );
    }
    let summary = stage.stop().await;
    assert_eq!(summary.received, 100);
}
