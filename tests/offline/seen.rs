//! What is seen of a task once it has ended and its worker has stopped.

use std::sync::Arc;

use lovage_broker::{Broker, DeadLetters};
use lovage_client::SendBuilder;
use lovage_protocol::{QueueName, Signature, Value};

use crate::stage::Stage;

pub(crate) const ID: &str = "the-task";

/// The traces of one task.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    /// Acked messages are nowhere; `waiting` lie in the queue again, the others among the dead letters.
    pub(crate) waiting: u64,
    pub(crate) letters: Vec<String>,
    /// The record, with `DATE` for the time.
    pub(crate) stored: Option<String>,
    pub(crate) callbacks: u64,
    pub(crate) errbacks: u64,
}

/// Nothing happened to speak of: the message is acked.
pub(crate) const NOTHING: Seen = Seen {
    waiting: 0,
    letters: Vec::new(),
    stored: None,
    callbacks: 0,
    errbacks: 0,
};

/// Reads a signature.
pub(crate) fn signature(json: &str) -> Signature {
    let value = Value::from_json(json.as_bytes()).expect("it is JSON");
    Signature::from_value(value).expect("it is a signature")
}

fn to_queue(task: &str, queue: &str) -> Signature {
    signature(&format!(
        r#"{{"task": "{task}", "options": {{"queue": "{queue}"}}, "immutable": true}}"#
    ))
}

/// A call of a task with a callback and an error callback whose queues nobody consumes.
pub(crate) fn call(stage: &Stage, task: &str) -> SendBuilder<Value> {
    let call = stage.client.send_task(task).task_id(ID);
    call.link(to_queue("callback", "callbacks"))
        .link_error(to_queue("errback", "errbacks"))
}

/// How many messages wait in a queue.
pub(crate) async fn depth(stage: &Stage, queue: &str) -> u64 {
    let queue = QueueName::parse(queue).expect("it is a name");
    stage.broker.depth(&[queue]).await.expect("memory answers")[0]
}

/// Stops the worker and looks.
pub(crate) async fn look(stage: Stage) -> Seen {
    let broker = Arc::clone(&stage.broker);
    let key = format!("celery-task-meta-{ID}");
    let (callbacks, errbacks) = (
        depth(&stage, "callbacks").await,
        depth(&stage, "errbacks").await,
    );
    stage.stop().await;
    let letters = broker.list(0, 10).await.expect("memory answers");
    let celery = QueueName::parse("celery").expect("it is a name");
    let stored = broker.results().get(&key);
    Seen {
        waiting: broker.depth(&[celery]).await.expect("memory answers")[0],
        letters: letters
            .into_iter()
            .map(|letter| letter.reason.code)
            .collect(),
        stored: stored.map(|record| undated(&String::from_utf8_lossy(&record))),
        callbacks,
        errbacks,
    }
}

fn undated(record: &str) -> String {
    let Some((before, rest)) = record.split_once("\"date_done\": \"") else {
        return record.to_owned();
    };
    let (_, after) = rest.split_once('"').expect("a text ends");
    format!("{before}\"date_done\": \"DATE\"{after}")
}

/// The record of a task that ended so; `rest` stands between the result and the id.
pub(crate) fn record(status: &str, result: &str, rest: &str) -> Option<String> {
    Some(format!(
        r#"{{"status": "{status}", "result": {result}, {rest}, "task_id": "{ID}"}}"#
    ))
}

/// An exception as it is stored; the arguments as JSON.
pub(crate) fn exception(module: &str, class: &str, arguments: &str) -> String {
    format!(r#"{{"exc_type": "{class}", "exc_message": {arguments}, "exc_module": "{module}"}}"#)
}

/// The record of a failure without children; `traceback` as JSON.
pub(crate) fn failed(result: &str, traceback: &str) -> Option<String> {
    let rest = format!(r#""traceback": {traceback}, "children": [], "date_done": "DATE""#);
    record("FAILURE", result, &rest)
}

/// As [`failed`], for one that was retried: it has itself as its parent, as in Celery.
pub(crate) fn failed_again(result: &str, traceback: &str) -> Option<String> {
    let rest = format!(
        r#""traceback": {traceback}, "children": [], "date_done": "DATE", "parent_id": "{ID}""#
    );
    record("FAILURE", result, &rest)
}

/// A traceback as it is stored, as JSON.
pub(crate) fn traceback(task: &str, line: &str) -> String {
    format!(r#""Traceback (most recent call last):\n  File \"<rust>\", in {task}\n{line}\n""#)
}

/// The record of a task that was not run, or not to its end.
pub(crate) fn revoked(why: &str) -> Option<String> {
    let result = exception(
        "celery.exceptions",
        "TaskRevokedError",
        &format!("[\"{why}\"]"),
    );
    let rest = r#""traceback": null, "children": [], "date_done": "DATE""#;
    record("REVOKED", &result, rest)
}
