//! Tasks that are replaced, that add to their chords, and that run others in place.

use std::sync::{Arc, Mutex};

use lovage_client::canvas::{chain, chord, group, link};
use lovage_client::{Client, Error};
use lovage_protocol::{Map, Signature, State, Value};
use lovage_worker::{Module, RawTask, signal};

use crate::stage::{PATIENCE, Stage};

fn task(name: &str, args: Vec<Value>) -> Signature {
    Signature::new(name, args, Map::new())
}

fn sum(number: i64) -> Signature {
    task("sum", vec![Value::Int(number)])
}

/// Tasks that are replaced by what they are given, add what they are given to their chord, and echo.
fn tasks() -> Module {
    let read = |value: &Value| Signature::from_value(value.clone()).expect("it is a signature");
    let replaced = RawTask::new("replaced", move |call| async move {
        Err(signal::replace(read(&call.args[call.args.len() - 1])))
    });
    let adds = RawTask::new("adds", move |call| async move {
        let added = call.context.add_to_chord(read(&call.args[0]));
        added.map_err(|error| signal::raise("ValueError", error.to_string()))?;
        Ok(Value::Int(0))
    });
    let echo = RawTask::new("echo", |call| async move { Ok(Value::List(call.args)) });
    let nesting = RawTask::new("nesting", |call| async move {
        let nesting = call.context.message().headers.replaced_task_nesting;
        Ok(Value::Int(nesting))
    });
    Module::new("replacing")
        .raw(replaced)
        .raw(adds)
        .raw(echo)
        .raw(nesting)
}

fn replaced(by: &Signature) -> Signature {
    task("replaced", vec![by.to_value()])
}

async fn outcome(client: &Client, whole: &Signature) -> Result<Value, Error> {
    let plan = client.apply(whole).await.expect("it is sent");
    let id = plan.id().expect("something was sent");
    client.handle::<Value>(id).get(PATIENCE).await
}

async fn check(whole: Signature, expected: &str) {
    let stage = Stage::start(tasks()).await;
    let found = outcome(&stage.client, &whole).await.expect("it succeeds");
    assert_eq!(found.to_json(), expected);
    stage.stop().await;
}

#[tokio::test]
async fn what_replaces_a_task_has_its_id_and_its_place_in_a_chain() {
    check(replaced(&sum(3)), "3").await;
    check(replaced(&chain([sum(3), sum(4)])), "7").await;
    check(
        chain([replaced(&chain([sum(3), sum(4)])), sum(10), sum(20)]),
        "37",
    )
    .await;
}

#[tokio::test]
async fn a_group_that_replaces_a_task_gives_the_list_of_its_results() {
    check(replaced(&group([sum(1), sum(2)])), "[1, 2]").await;
    let ends = chain([sum(1), group([sum(1), sum(2)])]);
    check(chain([replaced(&ends), task("echo", vec![])]), "[[2, 3]]").await;
}

#[tokio::test]
async fn what_replaces_a_member_of_a_chord_is_counted_in_its_place() {
    let body = task("echo", vec![]);
    let header = [
        sum(1),
        replaced(&group([sum(2), sum(3)])),
        replaced(&sum(4)),
    ];
    check(chord(header, &body), "[[1, [2, 3], 4]]").await;
    check(chord([sum(1)], &replaced(&sum(5))), "5").await;
}

#[tokio::test]
async fn how_often_a_task_was_replaced_is_told() {
    check(replaced(&replaced(&task("nesting", vec![]))), "2").await;
}

#[tokio::test]
async fn callbacks_of_a_replaced_task_are_called_once_by_what_replaces_it() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&calls);
    let listen = RawTask::new("listen", move |call| {
        heard.lock().unwrap().push(call.args);
        async { Ok(Value::Null) }
    });
    let stage = Stage::start(tasks().raw(listen)).await;
    let mut whole = replaced(&chain([sum(1), sum(2)]));
    let mut after = task("listen", vec![]);
    after.options.insert("task_id".to_owned(), "after".into());
    link(&mut whole, "link", &[after]).unwrap();
    assert_eq!(outcome(&stage.client, &whole).await.unwrap(), Value::Int(3));
    let after = stage.client.handle::<Value>("after").get(PATIENCE).await;
    after.unwrap();
    stage.stop().await;
    assert_eq!(*calls.lock().unwrap(), [vec![Value::Int(3)]]);
}

#[tokio::test]
async fn nothing_can_be_replaced_by_a_chain_without_steps() {
    let stage = Stage::start(tasks()).await;
    let outcome = outcome(&stage.client, &replaced(&chain([]))).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, message, .. })
            if exc_type == "ImproperlyConfigured" && message.contains("empty chain")),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_chord_waits_for_what_its_members_add() {
    let adds = |what: &Signature| task("adds", vec![what.to_value()]);
    let inner = chord([sum(2), sum(3)], &task("echo", vec![]));
    let stage = Stage::start(tasks()).await;
    let whole = chord([sum(1), adds(&sum(5)), adds(&inner)], &task("echo", vec![]));
    let found = outcome(&stage.client, &whole).await.unwrap();
    let members = found.as_list().unwrap()[0].as_list().unwrap();
    // What is added stands beside its member, before or after it.
    let mut members: Vec<String> = members.iter().map(Value::to_json).collect();
    members.sort();
    assert_eq!(members, ["0", "0", "1", "5", "[[2, 3]]"]);
    stage.stop().await;
}

#[tokio::test]
async fn a_task_outside_of_a_chord_has_nothing_to_add_to() {
    let stage = Stage::start(tasks()).await;
    let outcome = outcome(&stage.client, &task("adds", vec![sum(1).to_value()])).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "ValueError"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn celerys_own_tasks_run_others_in_place() {
    let items = |json: &str| Value::from_json(json.as_bytes()).unwrap();
    let map = |name: &str, inner: &str, it: &str| {
        let kwargs = [
            ("task".to_owned(), task(inner, vec![]).to_value()),
            ("it".to_owned(), items(it)),
        ];
        Signature::new(name, vec![], Map::from_iter(kwargs))
    };
    check(map("celery.starmap", "sum", "[[1, 2], [3, 4]]"), "[3, 7]").await;
    check(map("celery.map", "echo", "[1, [2]]"), "[[1], [[2]]]").await;
    let stage = Stage::start(tasks()).await;
    for (whole, class) in [
        (map("celery.map", "fail", "[1]"), "ValueError"),
        (map("celery.map", "no.such", "[1]"), "NotRegistered"),
        (task("celery.chain", vec![]), "NotImplementedError"),
    ] {
        let outcome = outcome(&stage.client, &whole).await;
        assert!(
            matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == class),
            "{class}: {outcome:?}"
        );
    }
    stage.stop().await;
}

#[tokio::test]
async fn celerys_own_tasks_send_what_they_are_given() {
    let stage = Stage::start(tasks()).await;
    let list = |of: Vec<Signature>| Value::List(of.iter().map(Signature::to_value).collect());
    let mut body = task("echo", vec![]);
    body.options.insert("task_id".to_owned(), "body".into());
    let arguments = vec![
        list(vec![sum(1), sum(2)]),
        body.to_value(),
        Value::List(vec![Value::Int(10)]),
    ];
    outcome(&stage.client, &task("celery.chord", arguments))
        .await
        .unwrap();
    let body = stage.client.handle::<Value>("body").get(PATIENCE).await;
    assert_eq!(body.unwrap().to_json(), "[[11, 12]]");

    let pieces = vec![
        task("sum", vec![]).to_value(),
        Value::from_json(b"[[1, 1], [2, 2], [3, 3]]").unwrap(),
        Value::Int(2),
    ];
    let sent = outcome(&stage.client, &task("celery.chunks", pieces))
        .await
        .unwrap();
    let members = sent.as_list().unwrap()[1].as_list().unwrap();
    let mut results = Vec::new();
    for member in members {
        let id = member.as_list().unwrap()[0].as_list().unwrap()[0]
            .as_str()
            .unwrap();
        let result = stage
            .client
            .handle::<Value>(id)
            .get(PATIENCE)
            .await
            .unwrap();
        results.push(result.to_json());
    }
    assert_eq!(results, ["[2, 4]", "[6]"]);
    stage.stop().await;
}

#[tokio::test]
async fn a_replaced_task_stores_nothing_of_its_own() {
    let stage = Stage::start(tasks()).await;
    let mut whole = replaced(&task("no.such.task", vec![]));
    whole.options.insert("task_id".to_owned(), "it".into());
    let outcome = outcome(&stage.client, &whole).await;
    assert!(
        matches!(&outcome, Err(Error::Failed { exc_type, .. }) if exc_type == "NotRegistered"),
        "{outcome:?}"
    );
    assert_eq!(
        stage.client.handle::<Value>("it").state().await.unwrap(),
        State::Failure
    );
    stage.stop().await;
}
