//! Layers around tasks and around sending, hooks at a worker's start and end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use lovage::client::{Outgoing, Prepared, PublishLayer};
use lovage::layer::{self, Ended, Layer, Metrics};
use lovage::testing::{Error, Harness};
use lovage::{Module, Outcome, RawTask, State, TaskOptions, signal};
use lovage_protocol::Value;
use lovage_worker::Error as WorkerError;

use crate::stage::tasks;

/// What was seen, in order.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, line: impl Into<String>) {
        self.0.lock().expect("nobody panics here").push(line.into());
    }

    fn lines(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("nobody panics here"))
    }

    /// A layer that notes what passes.
    fn layer(&self, name: &'static str) -> impl Layer {
        let diary = self.clone();
        layer::from_fn(move |call, next| {
            let diary = diary.clone();
            async move {
                diary.note(format!(
                    "{name} before {}{}",
                    call.name(),
                    call.args().to_json()
                ));
                let outcome = next.run(call).await;
                diary.note(format!("{name} after"));
                outcome
            }
        })
    }
}

/// Notes how attempts end.
struct Ends(Diary);

impl Layer for Ends {
    fn ended(&self, ended: &Ended<'_>) {
        let (task, retries) = (&ended.message.headers.task, ended.message.headers.retries);
        let ran = if ended.ran.is_some() { "" } else { ", not run" };
        let end = ended.end.word();
        self.0.note(format!("{task}#{retries} {end}{ran}"));
    }
}

async fn start(module: Module) -> Harness {
    Harness::start(module).await.expect("the harness starts")
}

/// The outcome of `sum` behind a layer that answers in its stead.
async fn instead(
    answer: impl Fn() -> Outcome + Send + Sync + 'static,
) -> (Harness, Result<i64, Error>) {
    let answer = Arc::new(answer);
    let module = tasks().layer(layer::from_fn(move |call, next| {
        let answer = Arc::clone(&answer);
        async move {
            if call.name() == "sum" && call.retries() == 0 {
                return answer();
            }
            next.run(call).await
        }
    }));
    let harness = start(module).await;
    let call = harness.client().send_task("sum").args((2, 3));
    let ended = harness.finish(call.returning::<i64>()).await;
    (harness, ended)
}

#[tokio::test]
async fn layers_stand_around_the_task_the_first_outermost() {
    let diary = Diary::default();
    let other = RawTask::new("other", |_| async { Ok(Value::Null) });
    let harness = Harness::builder()
        .module(
            tasks()
                .layer(diary.layer("first"))
                .layer(diary.layer("second")),
        )
        .module(
            Module::new("other")
                .raw(other)
                .layer_all(diary.layer("all")),
        );
    let harness = harness.start().await.unwrap();
    let sum = harness.client().send_task("sum").args((2, 3));
    assert_eq!(harness.finish(sum).await.unwrap(), Value::Int(5));
    assert_eq!(
        diary.lines(),
        [
            "all before sum[2, 3]",
            "first before sum[2, 3]",
            "second before sum[2, 3]",
            "second after",
            "first after",
            "all after"
        ]
    );
    let other = harness.client().send_task("other");
    harness.finish(other).await.unwrap();
    assert_eq!(diary.lines(), ["all before other[]", "all after"]);
}

#[tokio::test]
async fn a_layer_may_answer_in_the_tasks_stead() {
    let (_, failed) = instead(|| Outcome::failure("ValueError", "not today")).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.failure(), Some(("ValueError", "not today")));

    let (_, ignored) = instead(|| Outcome::Ignore).await;
    assert!(
        matches!(ignored, Err(Error::NoResult { .. })),
        "{ignored:?}"
    );

    let (harness, retried) = instead(|| Outcome::retry(Some(Duration::from_secs(60)))).await;
    assert_eq!(retried.unwrap(), 5);
    assert_eq!(harness.sent_named("sum").len(), 2);

    let reject = || Outcome::Reject {
        requeue: false,
        reason: "no".to_owned(),
    };
    let (harness, rejected) = instead(reject).await;
    assert_eq!(rejected.unwrap_err().failure().unwrap().0, "Reject");
    let letters = harness.dead_letters().await.unwrap();
    assert_eq!(letters[0].reason.code, "rejected");
}

#[tokio::test]
async fn a_layer_that_panics_fails_the_attempt() {
    let module = tasks().layer(layer::from_fn(|_, _| async { panic!("a bad layer") }));
    let harness = start(module).await;
    let failed = harness.finish(harness.client().send_task("sum")).await;
    let failed = failed.unwrap_err();
    let (class, text) = failed.failure().unwrap();
    assert_eq!(class, "RuntimeError");
    assert!(text.contains("a bad layer"), "{text}");
}

/// Cannot bear to hear of an end.
struct Nervous;

impl Layer for Nervous {
    fn ended(&self, _: &Ended<'_>) {
        panic!("not now");
    }
}

#[tokio::test]
async fn a_layer_that_panics_when_told_of_an_end_does_not_keep_the_message_from_it() {
    let harness = start(tasks().layer(Nervous)).await;
    let sum = harness.client().send_task("sum").args((2, 3));
    assert_eq!(harness.finish(sum).await.unwrap(), Value::Int(5));
}

#[tokio::test(start_paused = true)]
async fn the_end_of_every_attempt_is_told_as_the_worker_decided_it() {
    let diary = Diary::default();
    let tired = RawTask::new("tired", |_| async { Err(signal::retry(None)) })
        .options(TaskOptions::new().max_retries(Some(1)));
    let slow = RawTask::new("slow", |_| async {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok(Value::Null)
    });
    let skip = RawTask::new("skip", |_| async { Err(signal::ignore()) });
    let module = tasks().raw(tired).raw(slow).raw(skip);
    let harness = start(module.layer(Ends(diary.clone()))).await;
    let client = harness.client();
    let _ = harness.finish(client.send_task("sum")).await;
    let _ = harness.finish(client.send_task("tired")).await;
    let _ = harness.finish(client.send_task("skip")).await;
    let slow = client.send_task("slow").time_limit(Duration::from_secs(1));
    let _ = harness.finish(slow).await;
    client
        .send_task("sum")
        .expires(Duration::from_secs(1))
        .await
        .unwrap();
    harness.advance(Duration::from_secs(2));
    harness.run_until_idle().await.unwrap();
    assert_eq!(
        diary.lines(),
        [
            "sum#0 success",
            "tired#0 retry",
            "tired#1 failure",
            "skip#0 ignored",
            "slow#0 failure",
            "sum#0 revoked, not run"
        ]
    );
}

#[tokio::test]
async fn metrics_count_tasks_by_outcome() {
    let mut registry = prometheus_client::registry::Registry::default();
    let harness = start(tasks().layer_all(Metrics::register(&mut registry))).await;
    for task in ["sum", "sum", "fail"] {
        let _ = harness.finish(harness.client().send_task(task)).await;
    }
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    for line in [
        r#"lovage_tasks_ended_total{task="sum",outcome="success"} 2"#,
        r#"lovage_tasks_ended_total{task="fail",outcome="failure"} 1"#,
        r#"lovage_task_runtime_seconds_count{task="sum",outcome="success"} 2"#,
        r#"lovage_tasks_running{task="sum"} 0"#,
    ] {
        assert!(page.contains(line), "{line} is missing in\n{page}");
    }
}

/// Marks calls, refuses one name, and notes what was sent.
struct Tenant(Diary);

impl PublishLayer for Tenant {
    fn before_publish(&self, call: &mut Outgoing) -> Result<(), String> {
        if call.task == "forbidden" {
            return Err("nobody may call it".to_owned());
        }
        call.headers.insert("tenant".to_owned(), "acme".into());
        Ok(())
    }

    fn after_publish(&self, sent: &Prepared, outcome: Result<(), &lovage::client::Error>) {
        self.0.note(format!("{} {}", sent.id, outcome.is_ok()));
    }
}

#[tokio::test]
async fn a_publish_layer_changes_refuses_and_hears_what_tasks_send() {
    let diary = Diary::default();
    let send = RawTask::new("send", |call| async move {
        let name = call.args[0].as_str().unwrap_or_default().to_owned();
        match call.context.client().send_task(name).task_id("child").await {
            Ok(_) => Ok(Value::Null),
            Err(refused) => Err(signal::raise("RuntimeError", refused.to_string())),
        }
    });
    let harness = start(tasks().raw(send).publish_layer(Tenant(diary.clone()))).await;
    let send = |name: &str| harness.client().send_task("send").arg(name);
    harness.finish(send("sum")).await.unwrap();
    assert_eq!(
        harness.sent_named("sum")[0].headers["tenant"],
        "acme".into()
    );
    assert_eq!(diary.lines(), ["child true"]);
    let refused = harness.finish(send("forbidden")).await.unwrap_err();
    let (_, text) = refused.failure().unwrap();
    assert!(text.contains("nobody may call it"), "{text}");
    assert!(harness.sent_named("forbidden").is_empty());
}

#[tokio::test]
async fn hooks_run_before_the_first_message_and_after_the_last_task() {
    let diary = Diary::default();
    let note = |line: &'static str| {
        let diary = diary.clone();
        move |worker: lovage::Started| async move {
            let greeting: Option<State<String>> = worker.state();
            diary.note(format!("{line} {}", greeting.map_or(0, |text| text.len())));
            Ok(())
        }
    };
    let first = tasks()
        .state("hello".to_owned())
        .layer(diary.layer("task"))
        .on_start(note("start one"))
        .on_stop(note("stop one"));
    let second = Module::new("second")
        .on_start(note("start two"))
        .on_stop(note("stop two"));
    let harness = Harness::builder().module(first).module(second);
    let harness = harness.free_running().start().await.unwrap();
    assert_eq!(diary.lines(), ["start one 5", "start two 5"]);
    harness.client().send_task("sum").await.unwrap();
    harness.run_until_idle().await.unwrap();
    harness.stop().await.unwrap();
    assert_eq!(
        diary.lines(),
        [
            "task before sum[]",
            "task after",
            "stop two 5",
            "stop one 5"
        ]
    );
}

#[tokio::test]
async fn a_start_hook_that_fails_refuses_the_start() {
    let module =
        tasks().on_start(|_| async { Err(std::io::Error::other("no mail server").into()) });
    let refused = Harness::start(module).await.unwrap_err();
    let Error::Worker(WorkerError::Hook { module, source }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(module, "offline");
    assert_eq!(source.to_string(), "no mail server");
}
