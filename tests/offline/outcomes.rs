//! The table "What becomes of a message" of ARCHITECTURE.md, row by row: what becomes of the message, what is stored, and
//! what is sent. Rows that need a dying worker or another process stand with the tests of `services`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use lovage_broker::{Broker, DeadLetters, Destination, Publish};
use lovage_client::Revocation;
use lovage_protocol::{ExceptionInfo, QueueName, Value};
use lovage_worker::{Module, RawTask, TaskOptions, signal};
use tokio::sync::Semaphore;

use crate::seen::{
    ID, NOTHING, Seen, call, depth, exception, failed, failed_again, look, record, revoked,
    signature, traceback,
};
use crate::stage::{PATIENCE, Stage};

fn raising(name: &str, class: &'static str) -> RawTask {
    RawTask::new(
        name,
        move |_| async move { Err(signal::raise(class, "boom")) },
    )
}

/// Runs a task to its end and looks.
async fn outcome_of(settings: &[(&str, &str)], task: RawTask, name: &str) -> Seen {
    let stage = Stage::with(settings, Module::new("row").raw(task)).await;
    let sent = call(&stage, name).await.expect("memory takes it");
    sent.wait(PATIENCE).await.expect("it ends");
    look(stage).await
}

#[tokio::test]
async fn success_is_acked_stored_and_followed() {
    let done = RawTask::new("done", |_| async { Ok(Value::Int(5)) });
    let stage = Stage::start(Module::new("row").raw(done)).await;
    let link = r#"{"task": "callback", "options": {"queue": "callbacks", "task_id": "next"}}"#;
    let link = signature(link);
    let sent = stage.client.send_task("done").task_id(ID).link(link);
    sent.await
        .expect("memory takes it")
        .wait(PATIENCE)
        .await
        .expect("it ends");
    let rest = r#""traceback": null, "children": [[["next", null], null]], "date_done": "DATE""#;
    let expected = Seen {
        stored: record("SUCCESS", "5", rest),
        callbacks: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn failure_is_acked_stored_with_its_traceback_and_told_to_error_callbacks() {
    let seen = outcome_of(&[], raising("fails", "ValueError"), "fails").await;
    let result = exception("builtins", "ValueError", "[\"boom\"]");
    let expected = Seen {
        stored: failed(&result, &traceback("fails", "ValueError: boom")),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn failure_without_acks_on_failure_is_a_dead_letter_too() {
    let off = [("CELERY_TASK_ACKS_ON_FAILURE", "0")];
    let seen = outcome_of(&off, raising("fails", "ValueError"), "fails").await;
    assert_eq!(seen.letters, ["failed"]);
    assert_eq!((seen.waiting, seen.errbacks), (0, 1));
    assert!(
        seen.stored
            .expect("it is stored")
            .starts_with(r#"{"status": "FAILURE""#)
    );
}

#[tokio::test]
async fn panic_is_a_failure_that_names_the_place() {
    let panics = RawTask::new("panicking", |_| async { panic!("oh no") });
    let seen = outcome_of(&[], panics, "panicking").await;
    let stored = seen.stored.expect("it is stored");
    assert!(stored.contains(r#""exc_type": "RuntimeError""#), "{stored}");
    assert!(
        stored.contains("oh no") && stored.contains("outcomes.rs"),
        "{stored}"
    );
    assert_eq!((seen.waiting, seen.letters.len(), seen.errbacks), (0, 0, 1));
}

#[tokio::test]
async fn retry_is_acked_stored_and_sent_again_with_the_next_number() {
    let again = RawTask::new("again", |_| async {
        let cause = ExceptionInfo::new("builtins", "OSError", vec!["away".into()]);
        Err(signal::retry_because(
            cause,
            Some(Duration::from_secs(3600)),
        ))
    });
    let stage = Stage::start(Module::new("row").raw(again)).await;
    let mut watch = stage
        .client
        .results()
        .watch(&ID.into())
        .await
        .expect("memory answers");
    call(&stage, "again").await.expect("memory takes it");
    tokio::time::timeout(PATIENCE, watch.next())
        .await
        .expect("it is stored")
        .expect("it goes on");
    // The next attempt is delayed; the worker that stops gives it back.
    let seen = look(stage).await;
    let stored = seen.stored.expect("it is stored");
    assert!(
        stored.starts_with(r#"{"status": "RETRY", "result": {"exc_type": "OSError", "#),
        "{stored}"
    );
    assert!(
        stored.contains(r#""children": [[["the-task", null], null]], "date_done": null"#),
        "{stored}"
    );
    assert_eq!((seen.waiting, seen.callbacks, seen.errbacks), (1, 0, 0));
    assert_eq!(seen.letters, [""; 0]);
}

#[tokio::test]
async fn retries_used_up_are_a_failure_with_the_last_cause() {
    let tired = raising("tired", "OSError").options(
        TaskOptions::new()
            .retry_for(&["OSError"])
            .default_retry_delay(Duration::ZERO)
            .max_retries(Some(1)),
    );
    let seen = outcome_of(&[], tired, "tired").await;
    let result = exception("builtins", "OSError", "[\"boom\"]");
    let expected = Seen {
        stored: failed_again(&result, &traceback("tired", "OSError: boom")),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_error_that_is_to_be_retried_is_and_one_that_is_not_is_not() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = {
        let runs = Arc::clone(&runs);
        RawTask::new("counted", move |call| {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            let class = if run < 2 {
                "ConnectionResetError"
            } else {
                "ValueError"
            };
            async move { Err(signal::raise(class, call.context.retries().to_string())) }
        })
    };
    let options = TaskOptions::new()
        .retry_for(&["OSError"])
        .default_retry_delay(Duration::ZERO);
    let seen = outcome_of(&[], counted.options(options), "counted").await;
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    let result = exception("builtins", "ValueError", "[\"2\"]");
    assert_eq!(
        seen.stored,
        failed_again(&result, &traceback("counted", "ValueError: 2"))
    );
}

/// As [`outcome_of`], for a task of which nothing is stored: once it is taken, a warm stop waits for its end.
async fn outcome_unstored(task: RawTask, name: &str) -> Seen {
    let stage = Stage::start(Module::new("row").raw(task)).await;
    call(&stage, name).await.expect("memory takes it");
    while depth(&stage, "celery").await > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    look(stage).await
}

#[tokio::test]
async fn ignore_is_acked_and_nothing_else() {
    let ignores = RawTask::new("ignores", |_| async { Err(signal::ignore()) });
    assert_eq!(outcome_unstored(ignores, "ignores").await, NOTHING);
}

#[tokio::test]
async fn reject_with_requeue_goes_back_marked_and_nothing_is_stored() {
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let refuses = RawTask::new("refuses", move |call| {
        let run = counted.fetch_add(1, Ordering::SeqCst);
        let info = &call.context.message().properties.delivery_info;
        let redelivered = info.extra.get("redelivered") == Some(&Value::Bool(true));
        async move {
            match run {
                0 => Err(signal::reject("not now", true)),
                _ => Ok(Value::Bool(redelivered)),
            }
        }
    });
    let seen = outcome_of(&[], refuses, "refuses").await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert!(
        seen.stored
            .expect("it is stored")
            .starts_with(r#"{"status": "SUCCESS", "result": true"#)
    );
    assert_eq!(
        (
            seen.waiting,
            seen.letters.len(),
            seen.callbacks,
            seen.errbacks
        ),
        (0, 0, 1, 0)
    );
}

#[tokio::test]
async fn reject_without_requeue_is_a_dead_letter_and_a_failure() {
    let refuses = RawTask::new("refuses", |_| async { Err(signal::reject("never", false)) });
    let expected = Seen {
        letters: vec!["rejected".to_owned()],
        stored: failed(
            &exception("celery.exceptions", "Reject", "[\"never\", false]"),
            "null",
        ),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(outcome_of(&[], refuses, "refuses").await, expected);
}

fn endless(name: &str) -> RawTask {
    RawTask::new(name, |_| async { std::future::pending().await })
}

#[tokio::test]
async fn soft_limit_is_a_failure() {
    let stage = Stage::start(Module::new("row").raw(endless("endless"))).await;
    let sent = call(&stage, "endless").soft_time_limit(Duration::from_millis(20));
    sent.await
        .expect("memory takes it")
        .wait(PATIENCE)
        .await
        .expect("it ends");
    let result = exception("billiard.exceptions", "SoftTimeLimitExceeded", "[]");
    let expected = Seen {
        stored: failed(&result, "null"),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

/// A task that never ends when it is run first, and at once when it is run again.
fn slow_at_first(runs: &Arc<AtomicU32>) -> RawTask {
    let runs = Arc::clone(runs);
    RawTask::new("slow", move |_| {
        let first = runs.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            if first {
                std::future::pending::<()>().await;
            }
            Ok(Value::Null)
        }
    })
}

async fn run_into_the_limit(acks_on_timeout: &str, runs: &Arc<AtomicU32>) -> Stage {
    let settings = [("CELERY_TASK_ACKS_ON_TIMEOUT", acks_on_timeout)];
    let module = Module::new("row").raw(slow_at_first(runs));
    let stage = Stage::with(&settings, module).await;
    let sent = call(&stage, "slow").time_limit(Duration::from_secs(1));
    let sent = sent.await.expect("memory takes it");
    sent.wait(PATIENCE).await.expect("it ends");
    stage
}

#[tokio::test]
async fn hard_limit_is_a_failure() {
    let runs = Arc::default();
    let stage = run_into_the_limit("1", &runs).await;
    let result = exception("billiard.exceptions", "TimeLimitExceeded", "[1]");
    let expected = Seen {
        stored: failed(&result, "null"),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn hard_limit_without_acks_on_timeout_sends_the_message_back() {
    let runs = Arc::default();
    let stage = run_into_the_limit("0", &runs).await;
    while runs.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let seen = look(stage).await;
    assert_eq!((seen.waiting, seen.letters.len(), seen.errbacks), (0, 0, 1));
    let stored = seen.stored.expect("it is stored");
    assert!(stored.starts_with(r#"{"status": "SUCCESS""#), "{stored}");
}

#[tokio::test]
async fn expired_is_acked_and_revoked_and_neither_callback_is_sent() {
    let stage = Stage::start(Module::new("row").raw(endless("endless"))).await;
    let sent = call(&stage, "endless").expires(Utc::now() - TimeDelta::seconds(60));
    sent.await
        .expect("memory takes it")
        .wait(PATIENCE)
        .await
        .expect("it ends");
    let expected = Seen {
        stored: revoked("expired"),
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn revoked_is_acked_stored_and_neither_callback_is_sent() {
    let stage = Stage::start(Module::new("row").raw(endless("endless"))).await;
    stage
        .client
        .revoke(&Revocation::of_tasks([ID]))
        .await
        .expect("memory takes it");
    let sent = call(&stage, "endless").await.expect("memory takes it");
    sent.wait(PATIENCE).await.expect("it ends");
    let expected = Seen {
        stored: revoked("revoked"),
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn terminated_is_acked_stored_and_neither_callback_is_sent() {
    let begun = Arc::new(Semaphore::new(0));
    let told = Arc::clone(&begun);
    let runs = RawTask::new("runs", move |_| {
        told.add_permits(1);
        async { std::future::pending().await }
    });
    let stage = Stage::start(Module::new("row").raw(runs)).await;
    let sent = call(&stage, "runs").await.expect("memory takes it");
    begun.acquire().await.expect("nobody closes it").forget();
    let revocation = Revocation::of_tasks([ID]).terminate(None);
    stage
        .client
        .revoke(&revocation)
        .await
        .expect("memory takes it");
    sent.wait(PATIENCE).await.expect("it ends");
    let expected = Seen {
        stored: revoked("terminated"),
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn an_eta_ahead_is_kept_aside_and_nothing_is_stored_or_sent() {
    let stage = Stage::start(Module::new("row").raw(endless("endless"))).await;
    let sent = call(&stage, "endless").eta(Utc::now() + TimeDelta::hours(1));
    sent.await.expect("memory takes it");
    while depth(&stage, "celery").await > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let given_back = Seen {
        waiting: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, given_back);
}

#[tokio::test]
async fn unknown_task_is_a_dead_letter_and_a_failure() {
    let stage = Stage::start(Module::new("nothing")).await;
    let sent = call(&stage, "nobody.knows").await.expect("memory takes it");
    sent.wait(PATIENCE).await.expect("it ends");
    let result = exception("celery.exceptions", "NotRegistered", "[\"nobody.knows\"]");
    let expected = Seen {
        letters: vec!["unknown-task".to_owned()],
        stored: failed(&result, "null"),
        errbacks: 1,
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_dead_letter_and_nothing_else() {
    let stage = Stage::start(Module::new("nothing")).await;
    let garbage = Publish {
        destination: Destination::Queue(QueueName::parse("celery").expect("it is a name")),
        priority: 0,
        payload: "garbage".into(),
    };
    stage
        .broker
        .publish(&[garbage])
        .await
        .expect("memory takes it");
    while stage.broker.count().await.expect("memory answers") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let expected = Seen {
        letters: vec!["undecodable".to_owned()],
        ..NOTHING
    };
    assert_eq!(look(stage).await, expected);
}
