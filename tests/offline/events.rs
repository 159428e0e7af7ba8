//! The last column of the table "What becomes of a message" of ARCHITECTURE.md: what is told of each outcome, in order.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::StreamExt;
use futures::stream::BoxStream;
use lovage_broker::{Broadcast, Broker};
use lovage_client::Revocation;
use lovage_protocol::Value;
use lovage_protocol::event::{EXCHANGE, Event};
use lovage_worker::layer::WorkerMetrics;
use lovage_worker::{KillSignal, Module, RawTask, TaskOptions, signal};
use tokio::sync::Semaphore;

use crate::stage::{PATIENCE, Stage};

const ON: (&str, &str) = ("CELERY_WORKER_SEND_TASK_EVENTS", "1");

/// Who listens.
struct Ear(BoxStream<'static, Broadcast>);

impl Ear {
    async fn on(stage: &Stage) -> Self {
        let heard = stage.broker.subscribe(EXCHANGE, "#").await;
        Self(heard.expect("memory answers"))
    }

    /// Hears events until one of this kind, that one included.
    async fn until(&mut self, last: &str) -> Vec<Event> {
        let hearing = async {
            let mut heard: Vec<Event> = Vec::new();
            while heard.last().is_none_or(|event| event.kind != last) {
                let message = self.0.next().await.expect("the stream goes on");
                heard.extend(Event::parse(&message.payload).expect("these are events"));
            }
            heard
        };
        let heard = tokio::time::timeout(PATIENCE, hearing).await;
        heard.unwrap_or_else(|_| panic!("no {last} was told"))
    }
}

fn kinds(events: &[Event]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

fn field(event: &Event, name: &str) -> String {
    let value = event.fields.get(name);
    value.map_or_else(|| "(absent)".to_owned(), Value::to_json)
}

/// Sends a task of the module and hears until the last of these kinds, which are to be all.
async fn check(module: Module, name: &str, expected: &[&str]) -> Vec<Event> {
    let stage = Stage::with(&[ON], module).await;
    let mut ear = Ear::on(&stage).await;
    let sent = stage.client.send_task(name).args((2, "é")).await;
    sent.expect("memory takes it");
    let heard = ear.until(expected.last().expect("one at least")).await;
    assert_eq!(kinds(&heard), expected);
    let mut clock = 0;
    for event in &heard {
        assert_eq!(field(event, "name"), format!("\"{name}\""));
        assert_eq!(event.text("args"), Some("(2, 'é')"), "{}", event.kind);
        assert_eq!(event.text("kwargs"), Some("{}"));
        assert_eq!(event.hostname, "test@harness");
        assert!(event.clock > Some(clock), "the clock goes on");
        clock = event.clock.unwrap_or(clock);
    }
    stage.stop().await;
    heard
}

fn module(task: RawTask) -> Module {
    Module::new("events").raw(task)
}

#[tokio::test]
async fn success_is_told_with_result_and_runtime() {
    let done = RawTask::new("done", |_| async {
        Ok(Value::List(vec![true.into(), Value::Null, "x".into()]))
    });
    let heard = check(
        module(done),
        "done",
        &["task-received", "task-started", "task-succeeded"],
    )
    .await;
    let [received, _, succeeded] = heard.as_slice() else {
        panic!("three events")
    };
    assert_eq!(field(received, "retries"), "0");
    assert_eq!(field(received, "eta"), "null");
    assert_eq!(field(received, "parent_id"), "null");
    assert_eq!(succeeded.text("result"), Some("[True, None, 'x']"));
    let runtime = succeeded.fields["runtime"].as_f64().unwrap();
    assert!((0.0..5.0).contains(&runtime), "{runtime}");
}

#[tokio::test]
async fn failure_is_told_with_exception_and_traceback() {
    let heard = check(
        Module::new("events"),
        "fail",
        &["task-received", "task-started", "task-failed"],
    )
    .await;
    assert_eq!(heard[2].text("exception"), Some("ValueError('boom')"));
    let traceback = heard[2].text("traceback").unwrap();
    assert!(traceback.ends_with("ValueError: boom\n"), "{traceback}");
}

#[tokio::test]
async fn each_attempt_of_a_retried_task_is_told() {
    let expected = [
        "task-received",
        "task-started",
        "task-retried",
        "task-received",
        "task-started",
        "task-retried",
        "task-received",
        "task-started",
        "task-succeeded",
    ];
    let heard = check(Module::new("events"), "retry", &expected).await;
    let retries: Vec<String> = heard
        .iter()
        .filter(|event| event.kind == "task-received")
        .map(|event| field(event, "retries"))
        .collect();
    assert_eq!(retries, ["0", "1", "2"]);
}

#[tokio::test]
async fn a_refused_message_is_told_as_rejected_and_when_given_up_as_failed_too() {
    let refuses = RawTask::new("refuses", |_| async {
        Err(signal::reject("no thanks", false))
    });
    let heard = check(
        module(refuses),
        "refuses",
        &[
            "task-received",
            "task-started",
            "task-failed",
            "task-rejected",
        ],
    )
    .await;
    let exception = heard[2].text("exception");
    assert_eq!(exception, Some("reject requeue=False: no thanks"));
    assert_eq!(field(&heard[3], "requeue"), "false");
}

#[tokio::test]
async fn an_ignored_end_is_not_told() {
    let ignores = RawTask::new("ignores", |_| async { Err(signal::ignore()) });
    let stage = Stage::with(&[ON], module(ignores)).await;
    let mut ear = Ear::on(&stage).await;
    stage.client.send_task("ignores").await.unwrap();
    stage.client.send_task("sum").args((1,)).await.unwrap();
    let heard = ear.until("task-succeeded").await;
    let of_it: Vec<&str> = heard
        .iter()
        .filter(|event| event.text("name") == Some("ignores"))
        .map(|event| event.kind.as_str())
        .collect();
    assert_eq!(of_it, ["task-received", "task-started"]);
    stage.stop().await;
}

#[tokio::test]
async fn time_limits_are_told_by_their_names() {
    let options = || TaskOptions::new().blocking(false);
    let endless =
        |name: &str, options| RawTask::new(name, |_| std::future::pending()).options(options);
    let soft = endless("soft", options().soft_time_limit(Duration::from_millis(20)));
    let heard = check(
        module(soft),
        "soft",
        &["task-received", "task-started", "task-failed"],
    )
    .await;
    let exception = heard[2].text("exception");
    assert_eq!(exception, Some("SoftTimeLimitExceeded()"));
    let hard = endless("hard", options().time_limit(Duration::from_secs(1)));
    let heard = check(
        module(hard),
        "hard",
        &["task-received", "task-started", "task-failed"],
    )
    .await;
    assert_eq!(heard[2].text("exception"), Some("TimeLimitExceeded(1,)"));
}

#[tokio::test]
async fn what_is_not_run_is_told_as_revoked_and_not_as_received() {
    let stage = Stage::with(&[ON], Module::new("events")).await;
    let mut ear = Ear::on(&stage).await;
    let past = Utc::now() - TimeDelta::seconds(5);
    stage.client.send_task("sum").expires(past).await.unwrap();
    let heard = ear.until("task-revoked").await;
    assert_eq!(kinds(&heard), ["task-revoked"]);
    assert_eq!(field(&heard[0], "expired"), "true");
    assert_eq!(field(&heard[0], "terminated"), "false");
    assert_eq!(field(&heard[0], "signum"), "null");
    let revocation = Revocation::of_tasks(["gone"]);
    stage.client.revoke(&revocation).await.unwrap();
    stage.client.send_task("sum").task_id("gone").await.unwrap();
    let heard = ear.until("task-revoked").await;
    assert_eq!(heard.last().unwrap().text("uuid"), Some("gone"));
    assert_eq!(field(heard.last().unwrap(), "expired"), "false");
    stage.stop().await;
}

#[tokio::test]
async fn a_terminated_task_is_told_with_its_signal() {
    let begun = Arc::new(Semaphore::new(0));
    let begins = Arc::clone(&begun);
    let endless = RawTask::new("endless", move |_| {
        begins.add_permits(1);
        std::future::pending()
    });
    let stage = Stage::with(&[ON], module(endless)).await;
    let mut ear = Ear::on(&stage).await;
    let sent = stage.client.send_task("endless").await.unwrap();
    begun.acquire().await.unwrap().forget();
    stage.handle.terminate(sent.id(), KillSignal::KILL).await;
    let heard = ear.until("task-revoked").await;
    assert_eq!(
        kinds(&heard),
        ["task-received", "task-started", "task-revoked"]
    );
    assert_eq!(field(&heard[2], "terminated"), "true");
    assert_eq!(field(&heard[2], "signum"), "9");
    stage.stop().await;
}

#[tokio::test]
async fn an_unknown_task_is_told_as_failed() {
    let stage = Stage::with(&[ON], Module::new("events")).await;
    let mut ear = Ear::on(&stage).await;
    stage.client.send_task("no.such.task").await.unwrap();
    let heard = ear.until("task-failed").await;
    assert_eq!(kinds(&heard), ["task-failed"]);
    let exception = heard[0].text("exception");
    assert_eq!(exception, Some("NotRegistered('no.such.task')"));
    assert_eq!(field(&heard[0], "traceback"), "(absent)");
    stage.stop().await;
}

#[tokio::test]
async fn the_reception_of_a_delayed_task_is_told_once() {
    let stage = Stage::with(&[ON], Module::new("events")).await;
    let mut ear = Ear::on(&stage).await;
    let soon = Duration::from_millis(300);
    let sent = stage.client.send_task("sum").args((1,)).countdown(soon);
    sent.await.unwrap();
    let heard = ear.until("task-received").await;
    assert_eq!(heard.len(), 1);
    assert_ne!(field(&heard[0], "eta"), "null");
    stage.harness.advance(soon);
    let heard = ear.until("task-succeeded").await;
    assert_eq!(kinds(&heard), ["task-started", "task-succeeded"]);
    stage.stop().await;
}

#[tokio::test]
async fn what_waits_for_a_slot_is_told_as_received() {
    let (begun, end) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let waits = {
        let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
        RawTask::new("waits", move |_| {
            let (begun, end) = (Arc::clone(&begun), Arc::clone(&end));
            async move {
                begun.add_permits(1);
                end.acquire().await.unwrap().forget();
                Ok(Value::Null)
            }
        })
    };
    let stage = Stage::with(&[ON], module(waits)).await;
    let mut ear = Ear::on(&stage).await;
    for number in 0..6 {
        let id = format!("{number}");
        stage.client.send_task("waits").task_id(id).await.unwrap();
    }
    begun.acquire_many(4).await.unwrap().forget();
    let hearing = async {
        let mut received = 0;
        while received < 6 {
            let message = ear.0.next().await.unwrap();
            let events = Event::parse(&message.payload).unwrap();
            received += kinds(&events)
                .iter()
                .filter(|kind| **kind == "task-received")
                .count();
        }
    };
    tokio::time::timeout(PATIENCE, hearing)
        .await
        .expect("all six are told");
    assert_eq!(begun.available_permits(), 0, "two of them have not begun");
    end.add_permits(6);
    stage.stop().await;
}

#[tokio::test]
async fn the_last_event_alone_has_all_fields_where_that_is_asked_for() {
    let settings = [ON, ("LOVAGE_EVENTS_FINAL_ONLY", "1")];
    let stage = Stage::with(&settings, Module::new("events")).await;
    let mut ear = Ear::on(&stage).await;
    stage.client.send_task("sum").args((1, 2)).await.unwrap();
    let heard = ear.until("task-succeeded").await;
    assert_eq!(kinds(&heard), ["task-succeeded"]);
    for name in [
        "uuid", "name", "args", "kwargs", "root_id", "retries", "result", "runtime",
    ] {
        assert_ne!(field(&heard[0], name), "(absent)", "{name}");
    }
    let time = |name: &str| heard[0].fields[name].as_f64().unwrap();
    assert!(time("received") > 0.0 && time("started") > 0.0);
    stage.stop().await;
}

#[tokio::test]
async fn progress_and_events_of_a_task_s_own_are_told_as_they_happen() {
    let step = RawTask::new("step", |call| async move {
        let context = &call.context;
        let at = [("current", 3), ("total", 9)];
        let at = Value::Map(at.map(|(name, n)| (name.to_owned(), Value::Int(n))).into());
        context.update_state("PROGRESS", &at).await.unwrap();
        context.send_event("task-checkpoint", &at).unwrap();
        assert!(context.send_event("", &at).is_err());
        assert!(context.send_event("task-x", "no map").is_err());
        Ok(Value::Null)
    });
    let stage = Stage::with(&[ON], module(step)).await;
    let mut ear = Ear::on(&stage).await;
    stage.client.send_task("step").await.unwrap();
    let heard = ear.until("task-succeeded").await;
    let expected = [
        "task-received",
        "task-started",
        "task-progress",
        "task-checkpoint",
        "task-succeeded",
    ];
    assert_eq!(kinds(&heard), expected);
    let result = heard[2].text("result");
    assert_eq!(result, Some("{'current': 3, 'total': 9}"));
    assert_eq!(field(&heard[3], "current"), "3");
    assert_eq!(field(&heard[3], "name"), "(absent)", "as Celery sends it");
    stage.stop().await;
}

#[tokio::test]
async fn a_task_s_own_event_is_told_also_where_task_events_are_off() {
    let step = RawTask::new("step", |call| async move {
        call.context.send_event("task-checkpoint", ()).unwrap();
        Ok(Value::Null)
    });
    let stage = Stage::start(module(step)).await;
    let mut ear = Ear::on(&stage).await;
    stage.client.send_task("step").await.unwrap();
    assert_eq!(
        kinds(&ear.until("task-checkpoint").await),
        ["task-checkpoint"]
    );
    stage.stop().await;
}

#[tokio::test]
async fn sending_is_told_where_that_is_asked_for() {
    let settings = [("CELERY_TASK_SEND_SENT_EVENT", "1"), ON];
    let stage = Stage::with(&settings, Module::new("events")).await;
    let mut ear = Ear::on(&stage).await;
    stage.client.send_task("sum").args((1,)).await.unwrap();
    let heard = ear.until("task-sent").await;
    let sent = heard.last().unwrap();
    assert_eq!(field(sent, "queue"), "\"celery\"");
    assert_eq!(field(sent, "exchange"), "\"\"");
    assert_eq!(field(sent, "routing_key"), "\"celery\"");
    assert_eq!(sent.text("args"), Some("(1,)"));
    assert!(sent.hostname.starts_with("gen"), "{}", sent.hostname);
    stage.client.send_task("retry").await.unwrap();
    let mut sent = Vec::new();
    while sent.len() < 3 {
        let heard = ear.until("task-sent").await;
        sent.extend(heard.into_iter().filter(|event| event.kind == "task-sent"));
    }
    let retries: Vec<String> = sent.iter().map(|event| field(event, "retries")).collect();
    assert_eq!(retries, ["0", "1", "2"], "a retry is sent too");
    stage.stop().await;
}

#[tokio::test]
async fn what_is_beyond_the_cap_is_lost_and_counted() {
    let settings = [ON, ("LOVAGE_EVENTS_MAX_RATE", "2")];
    let stage = Stage::with(&settings, Module::new("events")).await;
    for _ in 0..5 {
        let sent = stage.client.send_task("sum").await.unwrap();
        sent.wait(PATIENCE).await.unwrap();
    }
    let lost = stage.handle.events_lost();
    assert!(lost > 0, "fifteen events within a moment, two were allowed");
    let mut registry = prometheus_client::registry::Registry::default();
    let metrics = WorkerMetrics::new(stage.handle.clone());
    registry.register_collector(Box::new(metrics));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    let counted = page
        .lines()
        .find_map(|line| line.strip_prefix("lovage_events_lost_total "));
    let counted: u64 = counted.expect("the count is told").parse().unwrap();
    assert!(counted >= lost, "{page}");
    assert!(page.contains("lovage_slots 4"), "{page}");
    stage.stop().await;
}

#[tokio::test]
async fn texts_of_arguments_and_results_are_as_long_as_is_asked_for() {
    let echo = || RawTask::new("echo", |call| async move { Ok(call.args[0].clone()) });
    for (limit, longest) in [("20", 40), ("5000", 3_100)] {
        let settings = [ON, ("LOVAGE_REPR_LIMIT", limit)];
        let stage = Stage::with(&settings, module(echo())).await;
        let mut ear = Ear::on(&stage).await;
        let long = "x".repeat(3_000);
        stage.client.send_task("echo").args((long,)).await.unwrap();
        let heard = ear.until("task-succeeded").await;
        for text in [heard[0].text("args"), heard[2].text("result")] {
            let length = text.unwrap().len();
            assert!(
                (longest / 3..=longest).contains(&length),
                "{limit}: {length}"
            );
        }
        stage.stop().await;
    }
}
