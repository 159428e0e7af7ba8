//! Celery's own tasks, called as tasks (`celery/app/builtins.py`).

use lovage_client::canvas::group;
use lovage_client::{Error, Outgoing};
use lovage_protocol::{Map, Signature, Value};
use lovage_worker::Module;

use crate::stage::{PATIENCE, Stage};

async fn called(stage: &Stage, task: &str, args: &[Value], kwargs: &str) -> Result<Value, Error> {
    let mut call = Outgoing::new(task);
    call.args = args.to_vec();
    let Ok(Value::Map(kwargs)) = Value::from_json(kwargs.as_bytes()) else {
        panic!("{kwargs} is an object");
    };
    call.kwargs = kwargs;
    let handle = stage.client.send_outgoing::<Value>(call).await?;
    handle.get(PATIENCE).await
}

fn sum(number: i64) -> Signature {
    Signature::new("sum", vec![number.into()], Map::new())
}

#[tokio::test]
async fn accumulate_gives_its_arguments_back_or_one_of_them() {
    let stage = Stage::start(Module::new("nothing")).await;
    let args = [Value::Int(4), Value::from("five"), Value::Null];
    for (kwargs, expected) in [
        ("{}", r#"[4, "five", null]"#),
        (r#"{"index": null}"#, r#"[4, "five", null]"#),
        (r#"{"index": 1}"#, r#""five""#),
        (r#"{"index": -3}"#, "4"),
        (r#"{"other": 1}"#, r#"[4, "five", null]"#),
    ] {
        let found = called(&stage, "celery.accumulate", &args, kwargs).await;
        assert_eq!(found.unwrap().to_json(), expected, "{kwargs}");
    }
    for (kwargs, class) in [
        (r#"{"index": 3}"#, "IndexError"),
        (r#"{"index": -4}"#, "IndexError"),
        (r#"{"index": "1"}"#, "TypeError"),
    ] {
        let found = called(&stage, "celery.accumulate", &args, kwargs).await;
        assert!(
            matches!(&found, Err(Error::Failed { exc_type, .. }) if exc_type == class),
            "{kwargs}: {found:?}"
        );
    }
    stage.stop().await;
}

#[tokio::test]
async fn the_old_group_task_sends_its_members_with_what_is_partial() {
    let stage = Stage::start(Module::new("nothing")).await;
    let members = group([sum(1), sum(2)]);
    let members = members.kwargs.get("tasks").cloned().unwrap();
    let partial = Value::List(vec![Value::Int(10)]);
    let args = [members, Value::Null, "the-group".into(), partial];
    let sent = called(&stage, "celery.group", &args, "{}").await.unwrap();
    let Some([own, children]) = sent.as_list() else {
        panic!("it gives a reference: {sent:?}");
    };
    assert_eq!(own.as_list().unwrap()[0], Value::from("the-group"));
    let mut results = Vec::new();
    for child in children.as_list().unwrap() {
        let id = child.as_list().unwrap()[0].as_list().unwrap()[0].as_str();
        let handle = stage.client.handle::<i64>(id.unwrap());
        results.push(handle.get(PATIENCE).await.unwrap());
    }
    assert_eq!(results, [11, 12]);
    stage.stop().await;
}

#[tokio::test]
async fn backend_cleanup_has_nothing_to_do_where_results_end_by_themselves() {
    let stage = Stage::start(Module::new("nothing")).await;
    let kept = called(&stage, "sum", &[Value::Int(2)], "{}").await.unwrap();
    let done = called(&stage, "celery.backend_cleanup", &[], "{}").await;
    assert_eq!((kept, done.unwrap()), (Value::Int(2), Value::Null));
    stage.stop().await;
}

#[tokio::test]
async fn a_map_ends_as_the_task_that_fails_and_runs_none_after_it() {
    let stage = Stage::start(Module::new("nothing")).await;
    let task = Signature::new("panics", vec![], Map::new());
    let list = |items: &[i64]| Value::List(items.iter().copied().map(Value::Int).collect());
    let nested = Value::List(vec![list(&[1]), list(&[2])]);
    for (name, items) in [("celery.map", list(&[1, 2])), ("celery.starmap", nested)] {
        let found = called(&stage, name, &[task.to_value(), items.clone()], "{}").await;
        assert!(
            matches!(&found, Err(Error::Failed { exc_type, .. }) if exc_type == "RuntimeError"),
            "{found:?}"
        );
    }
    let nothing = Value::List(Vec::new());
    let found = called(&stage, "celery.map", &[task.to_value(), nothing], "{}").await;
    assert_eq!(found.unwrap().to_json(), "[]");
    stage.stop().await;
}
