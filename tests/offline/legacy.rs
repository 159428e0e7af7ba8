//! Messages of protocol 1, as old producers write them, with what is to follow them (`celery/worker/strategy.py`,
//! `proto1_to_proto2`).

use lovage_broker::{Broker, Destination, Publish, ResultPlace, ResultWrite};
use lovage_client::Error;
use lovage_protocol::{QueueName, Value};
use lovage_worker::{Module, RawTask};
use serde_json::{Value as Json, json};

use crate::stage::{PATIENCE, Stage};

fn bodies() -> Module {
    let echo = RawTask::new("echo", |call| async move { Ok(Value::List(call.args)) });
    Module::new("bodies").raw(echo)
}

/// A signature of a task with an id.
fn signature(task: &str, id: &str) -> Json {
    json!({"task": task, "args": [], "kwargs": {}, "options": {"task_id": id}, "subtask_type": null, "immutable": false})
}

/// Publishes a message whose whole content is its body.
async fn publish(stage: &Stage, id: &str, task: &str, args: &Json, more: &Json) {
    let mut body = json!({"task": task, "id": id, "args": args, "kwargs": {}, "retries": 0, "eta": null, "expires": null,
                          "utc": true, "callbacks": null, "errbacks": null, "timelimit": [null, null], "taskset": null,
                          "chord": null});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    let envelope = json!({
        "body": body.to_string(), "content-encoding": "utf-8", "content-type": "application/json", "headers": {},
        "properties": {"correlation_id": id, "reply_to": "", "delivery_mode": 2, "priority": 0, "delivery_tag": id,
                       "delivery_info": {"exchange": "", "routing_key": "celery"}}});
    let publish = Publish {
        destination: Destination::Queue(QueueName::parse("celery").expect("it is a name")),
        priority: 0,
        payload: envelope.to_string().into(),
    };
    let published = stage.broker.publish(&[publish]).await;
    published.expect("memory does not fail");
}

async fn result(stage: &Stage, id: &str) -> Result<Value, Error> {
    stage.client.handle::<Value>(id).get(PATIENCE).await
}

#[tokio::test]
async fn callbacks_are_sent_with_the_result() {
    let stage = Stage::start(bodies()).await;
    let links = json!({"callbacks": [signature("echo", "one"), signature("sum", "two")]});
    publish(&stage, "task", "sum", &json!([2, 3]), &links).await;
    assert_eq!(result(&stage, "task").await.unwrap(), Value::Int(5));
    assert_eq!(result(&stage, "one").await.unwrap().to_json(), "[5]");
    assert_eq!(result(&stage, "two").await.unwrap(), Value::Int(5));
    stage.stop().await;
}

#[tokio::test]
async fn error_callbacks_are_sent_with_the_id() {
    let stage = Stage::start(bodies()).await;
    let links = json!({"errbacks": [signature("echo", "told")]});
    publish(&stage, "task", "fail", &json!([]), &links).await;
    assert_eq!(
        result(&stage, "told").await.unwrap().to_json(),
        r#"["task"]"#
    );
    stage.stop().await;
}

#[tokio::test]
async fn members_of_a_chord_are_counted() {
    let stage = Stage::start(bodies()).await;
    stage.broker.results().set(&ResultWrite {
        key: "celery-taskset-meta-old.s".to_owned(),
        value: "2".into(),
        expires: None,
        place: ResultPlace::Memory,
    });
    for (id, number) in [("a", 1), ("b", 2)] {
        // An old producer knows no index.
        let seat = json!({"group": "old", "taskset": "old", "chord": signature("echo", "body")});
        publish(&stage, id, "sum", &json!([number, number]), &seat).await;
    }
    let body = result(&stage, "body").await.unwrap();
    let members = body.as_list().unwrap()[0].as_list().unwrap();
    let mut members: Vec<i64> = members.iter().filter_map(Value::as_i64).collect();
    members.sort_unstable();
    assert_eq!(members, [2, 4]);
    stage.stop().await;
}

#[tokio::test]
async fn a_retry_keeps_what_is_to_follow() {
    let stage = Stage::start(bodies()).await;
    let links = json!({"callbacks": [signature("echo", "after")]});
    publish(&stage, "task", "retry", &json!([]), &links).await;
    assert_eq!(result(&stage, "after").await.unwrap().to_json(), "[2]");
    stage.stop().await;
}
