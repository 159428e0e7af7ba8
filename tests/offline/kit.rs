//! The test kit: what a user's tests may rely on.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, TimeZone, Utc};
use lovage::testing::{Error, Harness};
use lovage::{Module, RawTask, TaskOptions, signal};
use lovage_protocol::{State, Value};
use tokio::sync::Notify;

use crate::stage::tasks;

const MINUTE: Duration = Duration::from_secs(60);

/// Adds, by name and with a default.
#[lovage::task(name = "kit.add", queue = "numbers")]
async fn add(x: i64, #[default = 10] y: i64) -> celery::task::TaskResult<i64> {
    Ok(x + y)
}

async fn start(module: Module) -> Harness {
    Harness::start(module).await.expect("the harness starts")
}

#[tokio::test]
async fn nothing_runs_between_two_calls_of_the_harness() {
    let harness = start(tasks()).await;
    let sum = harness.client().send_task("sum").args((2, 3)).await;
    let sum = sum.unwrap().returning::<i64>();
    tokio::task::yield_now().await;
    assert_eq!(harness.result(&sum).await.unwrap(), None);
    assert_eq!(harness.waiting("celery").len(), 1);
    harness.run_until_idle().await.unwrap();
    assert_eq!(harness.result(&sum).await.unwrap(), Some(5));
    assert_eq!(harness.stop().await.unwrap().received, 1);
}

#[tokio::test]
async fn a_countdown_runs_when_the_clock_says_so_and_not_before() {
    let harness = start(tasks()).await;
    let later = harness.client().send_task("sum").countdown(MINUTE * 60);
    let later = later.await.unwrap();
    harness.run_for(MINUTE * 59).await.unwrap();
    assert_eq!(later.state().await.unwrap(), State::Pending);
    assert_eq!(harness.scheduled()[0].id, *later.id());
    harness.run_for(MINUTE).await.unwrap();
    assert_eq!(later.state().await.unwrap(), State::Success);
    assert!(harness.scheduled().is_empty());
}

#[tokio::test]
async fn each_task_of_a_span_runs_at_its_own_time() {
    let tell = RawTask::new("tell", |call| async move {
        Ok(Value::from(call.context.now().to_rfc3339()))
    });
    let at = Utc.with_ymd_and_hms(2026, 3, 29, 0, 0, 0).unwrap();
    let harness = Harness::builder()
        .module(Module::new("tell").raw(tell))
        .at(at);
    let harness = harness.start().await.unwrap();
    let tell = |minutes: u32| {
        harness
            .client()
            .send_task("tell")
            .countdown(MINUTE * minutes)
    };
    let (second, first) = (tell(90).await.unwrap(), tell(30).await.unwrap());
    harness.run_for(MINUTE * 120).await.unwrap();
    let told = async |handle| harness.result::<Value>(handle).await.unwrap().unwrap();
    assert_eq!(told(&first).await, "2026-03-29T00:30:00+00:00".into());
    assert_eq!(told(&second).await, "2026-03-29T01:30:00+00:00".into());
    assert_eq!(harness.now(), at + TimeDelta::hours(2));
    let stored = harness.meta(first.id()).await.unwrap().unwrap();
    assert_eq!(
        stored.date_done.as_deref(),
        Some("2026-03-29T00:30:00+00:00")
    );
}

#[tokio::test]
async fn a_call_that_is_too_late_is_revoked() {
    let harness = start(tasks()).await;
    let late = harness.client().send_task("sum").expires(MINUTE);
    let late = late.await.unwrap();
    harness.advance(MINUTE * 2);
    harness.run_until_idle().await.unwrap();
    let refused = harness.result(&late).await.unwrap_err();
    assert_eq!(refused.revoked(), Some("expired"));
}

#[tokio::test]
async fn retries_and_their_back_off_are_followed() {
    let tired = RawTask::new("tired", |call| async move {
        match call.context.retries() {
            0..3 => Err(signal::retry(Some(MINUTE * 10))),
            retries => Ok(Value::from(retries)),
        }
    });
    let harness = start(Module::new("tired").raw(tired)).await;
    let began = harness.now();
    let call = harness.client().send_task("tired").returning::<u32>();
    assert_eq!(harness.finish(call).await.unwrap(), 3);
    assert_eq!(harness.now() - began, TimeDelta::minutes(30));
    let attempts = harness.sent_named("tired");
    let retries: Vec<u32> = attempts.iter().map(|sent| sent.retries).collect();
    assert_eq!(retries, [0, 1, 2, 3]);
    assert_eq!(attempts[1].eta, Some(began + TimeDelta::minutes(10)));
}

#[tokio::test]
async fn pauses_before_retries_double_up_to_the_longest() {
    let fails = RawTask::new("fails", |_| async { Err(signal::raise("OSError", "away")) }).options(
        TaskOptions::new()
            .retry_for(&["OSError"])
            .retry_backoff(2)
            .retry_backoff_max(MINUTE / 10)
            .retry_jitter(false)
            .max_retries(Some(4)),
    );
    let harness = start(Module::new("fails").raw(fails)).await;
    let began = harness.now();
    let call = harness.client().send_task("fails").returning::<u32>();
    harness.finish(call).await.unwrap_err();
    let sent = harness.sent_named("fails");
    let etas: Vec<i64> = sent
        .iter()
        .filter_map(|sent| sent.eta)
        .map(|eta| (eta - began).num_seconds())
        .collect();
    // 2, 4, then no longer than 6.
    assert_eq!(etas, [2, 6, 12, 18]);
}

#[tokio::test]
async fn a_failure_is_told_as_a_typed_value() {
    let harness = start(tasks()).await;
    let failed = harness.finish(harness.client().send_task("fail")).await;
    assert_eq!(failed.unwrap_err().failure(), Some(("ValueError", "boom")));
    let ignored = harness.client().send_task("sum").ignore_result(true);
    let ignored = harness.finish(ignored).await;
    assert!(
        matches!(ignored, Err(Error::NoResult { .. })),
        "{ignored:?}"
    );
    let endless = RawTask::new("endless", |_| async { Err(signal::retry(Some(MINUTE))) })
        .options(TaskOptions::new().max_retries(None));
    let harness = start(Module::new("endless").raw(endless)).await;
    let endless = harness.finish(harness.client().send_task("endless")).await;
    assert!(matches!(endless, Err(Error::Endless { .. })), "{endless:?}");
}

#[tokio::test]
async fn what_was_sent_can_be_compared_by_name() {
    let harness = start(Module::new("kit").task::<add>()).await;
    let call = harness.client().send(add::new(2, 3)).priority(6);
    let call = call.header("tenant", "acme").countdown(MINUTE);
    call.await.unwrap();
    harness
        .client()
        .send_task("python.mail")
        .queue("python")
        .kwarg("to", "Ada")
        .await
        .unwrap();
    let sent = harness.sent::<add>();
    assert_eq!(sent.len(), 1);
    assert_eq!(sent[0].queue, "numbers");
    assert_eq!(
        (sent[0].argument("x"), sent[0].argument("y")),
        (Some(2), Some(3))
    );
    assert_eq!(sent[0].priority, 6);
    assert_eq!(sent[0].headers["tenant"], "acme".into());
    assert_eq!(sent[0].eta, Some(harness.now() + MINUTE));
    // A queue that is not consumed here is left as it is.
    harness.run_for(MINUTE).await.unwrap();
    let mail = &harness.waiting("python")[0];
    assert_eq!(mail.argument::<String>("to").as_deref(), Some("Ada"));
    let lost = harness.client().send(add::new(1, 1)).queue("nowhere");
    let lost = harness.finish(lost).await.unwrap_err();
    assert!(lost.to_string().contains(r#".queue("nowhere")"#), "{lost}");
}

#[tokio::test]
async fn a_call_runs_at_once_with_what_follows_it() {
    let harness = Harness::builder()
        .module(tasks())
        .module(Module::new("kit").task::<add>());
    let harness = harness.start().await.unwrap();
    assert_eq!(harness.call(add::new(2, 3)).await.unwrap(), 5);
    let next = Value::from_json(br#"{"task": "kit.add", "args": [], "options": {}}"#).unwrap();
    let next = lovage_protocol::Signature::from_value(next).unwrap();
    let first = harness.client().send(add::new(1, 1)).link(next);
    assert_eq!(harness.finish(first).await.unwrap(), 2);
    let sent = harness.sent::<add>();
    let followed = sent.last().unwrap();
    assert_eq!(
        (followed.argument("x"), followed.argument("y")),
        (Some(2), Some(10))
    );
    let followed = harness.client().handle::<i64>(followed.id.clone());
    assert_eq!(harness.result(&followed).await.unwrap(), Some(12));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_come_to_rest_says_what_runs_and_what_waits() {
    let begun = Arc::new(Notify::new());
    let stuck = {
        let begun = Arc::clone(&begun);
        RawTask::new("stuck", move |_| {
            let begun = Arc::clone(&begun);
            async move {
                begun.notify_one();
                std::future::pending().await
            }
        })
    };
    let harness = start(Module::new("stuck").raw(stuck)).await;
    for id in ["first", "second"] {
        let call = harness.client().send_task("stuck").task_id(id);
        call.await.unwrap();
    }
    let busy = harness.run_until_idle().await.unwrap_err().to_string();
    begun.notified().await;
    assert!(
        busy.contains("`stuck` [first] of queue `celery` runs")
            && busy.contains("`stuck` [second] of queue `celery` is held"),
        "{busy}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_was_acked_at_its_start_is_waited_for() {
    let slow = RawTask::new("slow", |_| async {
        tokio::time::sleep(MINUTE / 60).await;
        Ok(Value::from("done"))
    });
    let module = Module::new("slow").raw(slow);
    let harness = Harness::builder().module(module);
    let harness = harness.setting("CELERY_TASK_ACKS_LATE", "0").start().await;
    let harness = harness.unwrap();
    let call = harness.client().send_task("slow").returning::<String>();
    assert_eq!(harness.finish(call).await.unwrap(), "done");
}

#[tokio::test]
async fn results_end_with_their_life() {
    let harness = Harness::builder().module(tasks());
    let harness = harness.setting("CELERY_RESULT_EXPIRES", "3600").start();
    let harness = harness.await.unwrap();
    let sum = harness.client().send_task("sum").await.unwrap();
    harness.run_until_idle().await.unwrap();
    assert_eq!(sum.state().await.unwrap(), State::Success);
    harness.advance(MINUTE * 61);
    assert_eq!(sum.state().await.unwrap(), State::Pending);
}

#[tokio::test]
async fn a_setting_that_is_none_is_a_mistake_of_the_test() {
    let harness = Harness::builder().module(tasks());
    let refused = harness.setting("CELERY_TASK_ACK_LATE", "0").start().await;
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("CELERY_TASK_ACK_LATE"), "{text}");
}
