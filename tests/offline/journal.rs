//! What the journal is told of each outcome, in the step that makes it: one record an attempt, with all there is to know.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use lovage_broker::{Broker, Budget};
use lovage_protocol::Value;
use lovage_protocol::event::Event;
use lovage_worker::{Module, RawTask, TaskOptions, signal};
use tokio::sync::Semaphore;

use crate::stage::{PATIENCE, Stage};

const BUDGET: Budget = Budget {
    bytes: 1 << 20,
    life: Duration::from_secs(3600),
};

/// A worker whose journal is kept.
async fn kept(settings: &[(&str, &str)], module: Module) -> Stage {
    let stage = Stage::with(settings, module).await;
    let epoch = stage.broker.journal().keep(BUDGET).await;
    epoch.expect("memory answers");
    stage
}

/// The records about a task, once there is one of this kind.
async fn records(stage: &Stage, id: &str, last: &str) -> Vec<Event> {
    let reading = async {
        loop {
            let page = stage.broker.journal().read(None, usize::MAX).await;
            let page = page.expect("memory answers").expect("it is kept");
            let records: Vec<Event> = page
                .entries
                .iter()
                .flat_map(|entry| {
                    assert_eq!(entry.node, "test@harness");
                    &entry.records
                })
                .map(|record| Event::from_json(record).expect("a record is an event"))
                .filter(|record| record.text("uuid") == Some(id))
                .collect();
            if records.iter().any(|record| record.kind == last) {
                return records;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let read = tokio::time::timeout(PATIENCE, reading).await;
    read.unwrap_or_else(|_| panic!("no {last} was told"))
}

fn kinds(records: &[Event]) -> Vec<&str> {
    records.iter().map(|record| record.kind.as_str()).collect()
}

/// Runs a task and gives its records, which are to be of these kinds.
async fn check(module: Module, name: &str, expected: &[&str]) -> Vec<Event> {
    let stage = kept(&[], module).await;
    let sent = stage
        .client
        .send_task(name)
        .args((2, "é"))
        .task_id("x")
        .await;
    sent.expect("memory takes it");
    let told = records(&stage, "x", expected.last().expect("one at least")).await;
    assert_eq!(kinds(&told), expected);
    for record in &told {
        assert_eq!(record.text("name"), Some(name));
        assert_eq!(
            (record.text("args"), record.text("kwargs")),
            (Some("(2, 'é')"), Some("{}"))
        );
        assert_eq!(
            (record.text("root_id"), record.text("queue")),
            (Some("x"), Some("celery"))
        );
    }
    stage.stop().await;
    told
}

fn module(task: RawTask) -> Module {
    Module::new("journal").raw(task)
}

fn number(record: &Event, name: &str) -> Option<f64> {
    record.fields.get(name).and_then(Value::as_f64)
}

#[tokio::test]
async fn success_is_one_record() {
    let done = RawTask::new("done", |_| async { Ok(Value::from(true)) });
    let told = check(module(done), "done", &["task-succeeded"]).await;
    let [record] = told.as_slice() else {
        panic!("one record")
    };
    assert_eq!(record.text("result"), Some("True"));
    let (received, started) = (number(record, "received"), number(record, "started"));
    assert!(received.is_some() && received <= started, "{record:?}");
    assert!(started <= Some(record.timestamp) && number(record, "runtime").is_some());
    assert_eq!(number(record, "retries"), Some(0.0));
    // What there is nothing to say of takes no room.
    assert!(!record.fields.contains_key("eta") && !record.fields.contains_key("parent_id"));
}

#[tokio::test]
async fn failure_and_each_attempt_are_a_record() {
    let told = check(Module::new("journal"), "fail", &["task-failed"]).await;
    assert_eq!(told[0].text("exception"), Some("ValueError('boom')"));
    assert!(told[0].text("traceback").is_some());
    let expected = ["task-retried", "task-retried", "task-succeeded"];
    let told = check(Module::new("journal"), "retry", &expected).await;
    let retries: Vec<_> = told
        .iter()
        .map(|record| number(record, "retries"))
        .collect();
    assert_eq!(retries, [Some(0.0), Some(1.0), Some(2.0)]);
}

#[tokio::test]
async fn an_end_that_no_event_tells_is_told_too() {
    let ignores = RawTask::new("ignores", |_| async { Err(signal::ignore()) });
    check(module(ignores), "ignores", &["task-ignored"]).await;
    let refuses = RawTask::new("refuses", |_| async {
        Err(signal::reject("no thanks", false))
    });
    // One message, one record: what is told of its refusal stands in it.
    let told = check(module(refuses), "refuses", &["task-failed"]).await;
    assert_eq!(told[0].fields.get("requeue"), Some(&Value::from(false)));
}

#[tokio::test]
async fn what_is_not_run_and_what_nobody_knows_is_told() {
    let stage = kept(&[], Module::new("journal")).await;
    let past = Utc::now() - TimeDelta::seconds(5);
    let sent = stage.client.send_task("sum").expires(past).task_id("late");
    sent.await.unwrap();
    let told = records(&stage, "late", "task-revoked").await;
    assert_eq!(told[0].fields.get("expired"), Some(&Value::from(true)));
    let sent = stage.client.send_task("no.such.task").task_id("unknown");
    sent.await.unwrap();
    let told = records(&stage, "unknown", "task-failed").await;
    assert_eq!(
        told[0].text("exception"),
        Some("NotRegistered('no.such.task')")
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_delayed_task_is_told_as_it_leaves_and_as_it_ends() {
    let stage = kept(&[], Module::new("journal")).await;
    let soon = Duration::from_millis(300);
    let sent = stage
        .client
        .send_task("sum")
        .args((1,))
        .countdown(soon)
        .task_id("x");
    sent.await.unwrap();
    let told = records(&stage, "x", "task-received").await;
    assert!(told[0].text("eta").is_some());
    stage.harness.advance(soon);
    let told = records(&stage, "x", "task-succeeded").await;
    assert_eq!(kinds(&told), ["task-received", "task-succeeded"]);
    stage.stop().await;
}

#[tokio::test]
async fn what_runs_longer_than_a_moment_is_told_while_it_runs() {
    for (acks_late, settings) in [
        (true, vec![]),
        (false, vec![("CELERY_TASK_ACKS_LATE", "0")]),
    ] {
        let end = Arc::new(Semaphore::new(0));
        let ends = Arc::clone(&end);
        let waits = RawTask::new("waits", move |_| {
            let ends = Arc::clone(&ends);
            async move {
                ends.acquire().await.unwrap().forget();
                Ok(Value::Null)
            }
        });
        let options = TaskOptions::new().blocking(false);
        let stage = kept(&settings, module(waits.options(options))).await;
        stage.client.send_task("waits").task_id("x").await.unwrap();
        records(&stage, "x", "task-started").await;
        end.add_permits(1);
        let told = records(&stage, "x", "task-succeeded").await;
        // Once, whether it was told in the step of an early ack or in the round.
        assert_eq!(
            kinds(&told),
            ["task-started", "task-succeeded"],
            "late ack: {acks_late}"
        );
        stage.stop().await;
    }
}

#[tokio::test]
async fn progress_is_told() {
    let step = RawTask::new("step", |call| async move {
        let at = Value::Map([("current".to_owned(), Value::Int(3))].into());
        call.context.update_state("PROGRESS", &at).await.unwrap();
        Ok(Value::Null)
    });
    let stage = kept(&[], module(step)).await;
    stage.client.send_task("step").task_id("x").await.unwrap();
    let told = records(&stage, "x", "task-progress").await;
    let progress = told.iter().find(|record| record.kind == "task-progress");
    assert_eq!(progress.unwrap().text("result"), Some("{'current': 3}"));
    stage.stop().await;
}

#[tokio::test]
async fn nothing_is_told_while_nobody_keeps_a_journal() {
    let stage = Stage::start(Module::new("journal")).await;
    let sent = stage.client.send_task("sum").args((1,)).await.unwrap();
    sent.wait(PATIENCE).await.unwrap();
    let read = stage.broker.journal().read(None, usize::MAX).await;
    assert_eq!(read.unwrap(), None);
    let epoch = stage.broker.journal().keep(BUDGET).await;
    epoch.unwrap();
    let page = stage.broker.journal().read(None, usize::MAX).await;
    assert_eq!(page.unwrap().unwrap().written, 0);
    stage.stop().await;
}
