//! What the parts of a workflow take over from each other, and what they do not.

use std::time::Duration;

use lovage::testing::Harness;
use lovage_client::canvas::{chain, chord};
use lovage_protocol::{Map, Signature, Value};
use lovage_worker::{Module, RawTask, signal};

use crate::stage::tasks;

fn sum(number: i64) -> Signature {
    Signature::new("sum", vec![number.into()], Map::new())
}

fn with(mut signature: Signature, option: &str, value: impl Into<Value>) -> Signature {
    signature.options.insert(option.to_owned(), value.into());
    signature
}

fn named(signature: Signature, id: &str) -> Signature {
    with(signature, "task_id", id)
}

/// Sends a workflow that is named in its first argument from inside of a task.
fn sender() -> Module {
    let send = RawTask::new("send", |call| async move {
        let canvas = Signature::from_value(call.args[0].clone());
        let canvas = canvas.map_err(|error| signal::raise("TypeError", error.to_string()))?;
        let sent = call.context.client().apply(&canvas).await;
        sent.map_err(|error| signal::raise("OSError", error.to_string()))?;
        Ok(Value::Null)
    });
    let echo = RawTask::new("echo", |call| async move { Ok(Value::List(call.args)) });
    Module::new("sender").raw(send).raw(echo)
}

async fn played(settings: &[(&str, &str)], canvas: &Signature) -> Harness {
    let mut builder = Harness::builder().module(tasks()).module(sender());
    for (name, value) in settings {
        builder = builder.setting(*name, *value);
    }
    let harness = builder.start().await.expect("the harness starts");
    harness.client().apply(canvas).await.expect("it is sent");
    harness.run_until_idle().await.expect("it comes to rest");
    harness
}

/// The priorities that were sent, by the ids of tasks.
fn priorities(harness: &Harness, ids: &[&str]) -> Vec<i64> {
    let sent = harness.all_sent();
    let of = |id: &&str| {
        let found = sent.iter().find(|one| one.id == **id);
        found.map_or(-1, |one| one.priority)
    };
    ids.iter().map(of).collect()
}

const INHERIT: (&str, &str) = ("CELERY_TASK_INHERIT_PARENT_PRIORITY", "1");

#[tokio::test]
async fn a_next_step_and_a_callback_take_the_priority_of_their_task_only_when_told_so() {
    let first = with(named(sum(1), "first"), "priority", 7);
    let own = with(named(sum(3), "own"), "priority", 3);
    let mut whole = chain([first, named(sum(2), "second"), own]);
    let callback = named(sum(5), "callback").to_value();
    let mut steps = lovage_client::canvas::subtasks(&whole).unwrap();
    steps[0] = with(steps[0].clone(), "link", Value::List(vec![callback]));
    lovage_client::canvas::set_subtasks(&mut whole, &steps);
    let ids = ["first", "second", "own", "callback"];
    let off = played(&[], &whole).await;
    assert_eq!(priorities(&off, &ids), [7, 0, 3, 0]);
    // What follows takes it even over its own (`celery/app/trace.py`).
    let on = played(&[INHERIT], &whole).await;
    assert_eq!(priorities(&on, &ids), [7, 7, 7, 7]);
}

#[tokio::test]
async fn what_a_task_sends_itself_takes_its_priority_where_it_has_none() {
    let inner = chain([
        with(named(sum(1), "own"), "priority", 3),
        named(sum(2), "next"),
    ]);
    let plain = named(sum(1), "plain");
    for (canvas, ids, expected) in [
        (inner, ["own", "next"], [3, 3]),
        (plain, ["plain", "none"], [6, -1]),
    ] {
        let send = Signature::new("send", vec![canvas.to_value()], Map::new());
        let harness = played(&[INHERIT], &with(send, "priority", 6)).await;
        assert_eq!(priorities(&harness, &ids), expected);
    }
}

#[tokio::test]
async fn a_body_takes_the_priority_of_the_member_that_finished_last_where_it_has_none() {
    let member = |id: &str| with(named(sum(1), id), "priority", 6);
    let echo = || Signature::new("echo", vec![], Map::new());
    let free = chord([member("a"), member("b")], &named(echo(), "free"));
    let own = with(named(echo(), "own"), "priority", 3);
    let own = chord([member("c"), member("d")], &own);
    let on = played(&[INHERIT], &free).await;
    assert_eq!(priorities(&on, &["free"]), [6]);
    let on = played(&[INHERIT], &own).await;
    assert_eq!(priorities(&on, &["own"]), [3]);
    let off = played(&[], &free).await;
    assert_eq!(priorities(&off, &["free"]), [0]);
}

#[tokio::test]
async fn the_expiry_of_a_chain_is_its_first_steps_and_that_of_a_step_begins_as_it_is_sent() {
    let whole = with(
        chain([
            named(sum(1), "first"),
            with(named(sum(2), "second"), "expires", 60),
        ]),
        "expires",
        30,
    );
    let builder = Harness::builder().module(tasks()).module(sender());
    let harness = builder.start().await.unwrap();
    let began = harness.now();
    harness
        .client()
        .apply(&with(whole, "countdown", 20))
        .await
        .unwrap();
    harness.run_for(Duration::from_secs(25)).await.unwrap();
    let sent = harness.all_sent();
    let expiry = |id: &str| {
        let one = sent.iter().find(|one| one.id == *id).unwrap();
        one.expires.map(|at| (at - began).num_seconds())
    };
    assert_eq!(expiry("first"), Some(30));
    // It was sent when the first had waited for its countdown.
    assert_eq!(expiry("second"), Some(80));
    assert_eq!(
        harness
            .meta(&"second".into())
            .await
            .unwrap()
            .unwrap()
            .result,
        Value::Int(3)
    );
}

#[tokio::test]
async fn a_step_that_expires_ends_its_chain_and_what_follows_never_runs() {
    let late = with(
        named(sum(2), "late"),
        "expires",
        Value::from("2020-01-01T00:00:00+00:00"),
    );
    let harness = played(
        &[],
        &chain([named(sum(1), "first"), late, named(sum(3), "never")]),
    )
    .await;
    let state = async |id: &str| {
        let meta = harness.meta(&id.into()).await.unwrap();
        meta.map(|meta| meta.status.as_str().to_owned())
    };
    assert_eq!(state("first").await.as_deref(), Some("SUCCESS"));
    assert_eq!(state("late").await.as_deref(), Some("REVOKED"));
    assert_eq!(
        state("never").await,
        None,
        "as in Celery, nobody tells of it"
    );
}

#[tokio::test]
async fn stamps_go_with_each_part_of_a_workflow_and_through_retries() {
    let stamped = |signature: Signature| {
        let names = Value::List(vec!["tenant".into()]);
        with(with(signature, "stamped_headers", names), "tenant", "acme")
    };
    let retries = named(Signature::new("retry", vec![], Map::new()), "retries");
    let body = stamped(named(Signature::new("echo", vec![], Map::new()), "body"));
    let mut retries = stamped(retries);
    retries.immutable = true;
    let whole = chain([
        stamped(named(sum(1), "first")),
        chord([stamped(named(sum(2), "member")), retries], &body),
    ]);
    let harness = played(&[], &whole).await;
    let sent = harness.all_sent();
    for id in ["first", "member", "retries", "body"] {
        let of_it = sent.iter().filter(|one| one.id == *id);
        let stamps: Vec<_> = of_it
            .map(|one| {
                let headers = &one.message.headers;
                (
                    headers.stamped_headers.clone(),
                    headers.stamps.get("tenant").cloned(),
                )
            })
            .collect();
        let expected = (Some(vec!["tenant".to_owned()]), Some(Value::from("acme")));
        assert!(
            stamps.iter().all(|stamp| *stamp == expected),
            "{id}: {stamps:?}"
        );
        assert_eq!(stamps.len(), if id == "retries" { 3 } else { 1 }, "{id}");
    }
}
