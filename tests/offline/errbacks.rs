//! Error callbacks that are called where a task failed.

use lovage_client::canvas::{chord, group, link};
use lovage_protocol::{Map, Signature, Value};
use lovage_worker::{Failed, Module, RawTask};
use tokio::sync::mpsc;

use crate::stage::{PATIENCE, Stage};

fn task(name: &str, args: Vec<Value>) -> Signature {
    Signature::new(name, args, Map::new())
}

fn named(mut signature: Signature, id: &str) -> Signature {
    signature.options.insert("task_id".to_owned(), id.into());
    signature
}

async fn stage() -> (Stage, mpsc::UnboundedReceiver<Failed>) {
    let (sender, heard) = mpsc::unbounded_channel();
    let callback = RawTask::error_callback("on_error", move |failed| {
        let sender = sender.clone();
        async move {
            sender.send(failed).expect("somebody listens");
            Ok(Value::Null)
        }
    });
    let panics = RawTask::error_callback("panics_on_error", |_| async { panic!("oh no") });
    let module = Module::new("callbacks").raw(callback).raw(panics);
    (Stage::start(module).await, heard)
}

async fn next(heard: &mut mpsc::UnboundedReceiver<Failed>) -> Failed {
    let failed = tokio::time::timeout(PATIENCE, heard.recv()).await;
    failed
        .expect("it is called in time")
        .expect("the stage stands")
}

#[tokio::test]
async fn it_gets_the_failure_and_the_arguments_stored_with_it() {
    let (stage, mut heard) = stage().await;
    let mut failing = named(task("fail", vec![]), "failed");
    let callbacks = [
        task("panics_on_error", vec![]),
        task("on_error", vec!["label".into()]),
    ];
    link(&mut failing, "link_error", &callbacks).unwrap();
    stage.client.apply(&failing).await.unwrap();
    let failed = next(&mut heard).await;
    assert_eq!(failed.task.id, "failed");
    assert_eq!(failed.task.name, "fail");
    assert_eq!(failed.task.exception.exc_type, "ValueError");
    assert_eq!(failed.args, [Value::from("label")]);
    stage.stop().await;
    assert!(heard.try_recv().is_err(), "it is called once");
}

#[tokio::test]
async fn it_is_called_for_a_chord_whose_header_failed_with_the_bodys_id() {
    let (stage, mut heard) = stage().await;
    let mut body = named(task("sum", vec![]), "body");
    link(&mut body, "link_error", &[task("on_error", vec![])]).unwrap();
    let whole = chord([task("fail", vec![]), task("sum", vec![])], &body);
    stage.client.apply(&whole).await.unwrap();
    let failed = next(&mut heard).await;
    assert_eq!(failed.task.id, "body");
    assert_eq!(failed.task.exception.exc_type, "ChordError");
    stage.stop().await;
    assert!(heard.try_recv().is_err(), "it is called once");
}

#[tokio::test]
async fn it_is_called_for_each_member_of_a_group_that_is_the_body() {
    let (stage, mut heard) = stage().await;
    let members = ["one", "two"].map(|id| named(task("sum", vec![]), id));
    let mut body = group(members);
    link(&mut body, "link_error", &[task("on_error", vec![])]).unwrap();
    stage
        .client
        .apply(&chord([task("fail", vec![])], &body))
        .await
        .unwrap();
    let mut ids =
        [next(&mut heard).await, next(&mut heard).await].map(|failed| failed.task.id.to_string());
    ids.sort();
    assert_eq!(ids, ["one", "two"]);
    stage.stop().await;
}

#[tokio::test]
async fn sent_as_a_task_it_fails_for_lack_of_a_failure() {
    let (stage, _heard) = stage().await;
    let sent = stage
        .client
        .send_task("on_error")
        .args(("id",))
        .await
        .unwrap();
    let outcome = sent.get(PATIENCE).await;
    assert!(
        matches!(&outcome, Err(lovage_client::Error::Failed { exc_type, .. }) if exc_type == "TypeError"),
        "{outcome:?}"
    );
    stage.stop().await;
}

#[tokio::test]
async fn a_failure_that_an_inner_chord_has_told_of_is_not_told_again_further_out() {
    let (stage, mut heard) = stage().await;
    let callbacks = [task("on_error", vec![])];
    let mut inner_body = named(task("sum", vec![]), "inner");
    link(&mut inner_body, "link_error", &callbacks).unwrap();
    let mut body = named(task("sum", vec![]), "outer");
    link(&mut body, "link_error", &callbacks).unwrap();
    let inner = chord([task("fail", vec![])], &inner_body);
    stage
        .client
        .apply(&chord([inner, task("sum", vec![])], &body))
        .await
        .unwrap();
    let outcome = stage.client.handle::<Value>("outer").get(PATIENCE).await;
    assert!(
        matches!(outcome, Err(lovage_client::Error::Failed { .. })),
        "{outcome:?}"
    );
    assert_eq!(next(&mut heard).await.task.id, "inner");
    stage.stop().await;
    assert!(heard.try_recv().is_err(), "it is called once");
}

#[tokio::test]
async fn a_chord_in_a_body_that_is_a_group_is_told_by_its_own_bodys_callbacks() {
    let (stage, mut heard) = stage().await;
    let mut inner = chord([task("sum", vec![])], &named(task("sum", vec![]), "inner"));
    link(&mut inner, "link_error", &[task("on_error", vec![])]).unwrap();
    let body = group([inner, named(task("sum", vec![]), "plain")]);
    stage
        .client
        .apply(&chord([task("fail", vec![])], &body))
        .await
        .unwrap();
    assert_eq!(next(&mut heard).await.task.id, "inner");
    stage.stop().await;
}

#[tokio::test]
async fn what_is_sent_for_a_failed_chord_is_a_child_of_its_body() {
    let (stage, _heard) = stage().await;
    let told = named(task("sum", vec![]), "told");
    let mut body = named(task("sum", vec![]), "body");
    link(&mut body, "link_error", &[told]).unwrap();
    let whole = chord([task("fail", vec![]), task("sum", vec![])], &body);
    stage.client.apply(&whole).await.unwrap();
    let body = stage.client.handle::<Value>("body");
    body.get(PATIENCE).await.unwrap_err();
    let meta = body.meta().await.unwrap().unwrap();
    let children = meta.children.unwrap();
    let [group] = children.as_slice() else {
        panic!("it has one child, the group of what is sent: {children:?}");
    };
    let members = group.as_list().unwrap()[1].as_list().unwrap();
    let member = members[0].as_list().unwrap()[0].as_list().unwrap();
    assert_eq!(member[0], Value::from("told"));
    stage.stop().await;
}
