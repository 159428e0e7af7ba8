use std::time::{Duration, Instant};

use chrono::Utc;
use lovage_protocol::{Map, Value};

use super::{UNROUTED, outgoing, parts, unserved_app};

mod tasks {
    #![allow(
        non_local_definitions,
        unused_braces,
        missing_docs,
        missing_debug_implementations,
        unreachable_pub,
        clippy::needless_pass_by_value,
        reason = "what rusty-celery's macro writes"
    )]

    #[celery::task(name = "t.add")]
    pub(super) fn add(x: i32, y: i32) -> celery::task::TaskResult<i32> {
        Ok(x + y)
    }

    #[celery::task(name = "t.greet", time_limit = 20, hard_time_limit = 30)]
    pub(super) async fn greet(
        name: String,
        when: lovage_protocol::typed::Bytes,
        note: Option<String>,
    ) -> celery::task::TaskResult<String> {
        drop((when, note));
        Ok(name)
    }
}

#[tokio::test]
async fn an_app_is_made_with_no_broker_within_50_ms() {
    let begun = Instant::now();
    let app = unserved_app().await.unwrap();
    assert!(
        begun.elapsed() < Duration::from_millis(50),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(app.default_queue, UNROUTED);
}

#[test]
fn parameters_come_in_their_order() {
    let call = outgoing(tasks::add::new(2, 3)).unwrap();
    assert_eq!(call.task, "t.add");
    assert_eq!(call.args, [Value::Int(2), Value::Int(3)]);
    assert_eq!(call.kwargs, Map::new());
    assert_eq!((call.id, call.queue, call.eta), (None, None, None));
}

#[test]
fn types_that_json_lacks_are_kept() {
    let bytes = lovage_protocol::typed::Bytes(vec![0, 255]);
    let parts = parts(tasks::greet::new("Zoë".to_owned(), bytes, None)).unwrap();
    let names: Vec<&str> = parts.params.keys().map(String::as_str).collect();
    assert_eq!(names, ["name", "when", "note"]);
    assert_eq!(parts.params["when"], Value::Bytes(vec![0, 255]));
    assert_eq!(parts.params["note"], Value::Null);
}

#[test]
fn options_of_task_and_signature_come_along() {
    let bytes = lovage_protocol::typed::Bytes(vec![]);
    let eta = Utc::now() + chrono::TimeDelta::seconds(60);
    let signature = tasks::greet::new("a".to_owned(), bytes, Some("b".to_owned()))
        .with_queue("greetings")
        .with_eta(eta)
        .with_time_limit(5);
    let call = outgoing(signature).unwrap();
    assert_eq!(call.queue.unwrap(), "greetings");
    assert_eq!(call.eta.unwrap(), eta.into());
    assert_eq!(
        (call.time_limit, call.soft_time_limit),
        (Some(30.0), Some(5.0))
    );
    assert!(outgoing(tasks::add::new(1, 1).with_queue("")).is_err());
}

#[tokio::test]
async fn signatures_are_read_inside_a_runtime_too() {
    let all = (0..50)
        .map(|number| tokio::task::spawn_blocking(move || outgoing(tasks::add::new(number, 1))));
    for (number, call) in (0..).zip(all) {
        assert_eq!(call.await.unwrap().unwrap().args[0], Value::Int(number));
    }
}
