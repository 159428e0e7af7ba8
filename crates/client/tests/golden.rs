//! Messages against those that Celery 5.7 wrote: the same keys, of the same types, and the same values where they
//! are not of the moment.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use lovage_client::{
    ClientOptions, Composer, Moment, Outgoing, OwnOptions, Prepared,
    retry::{self, RetryOptions},
    signature::{Follow, publish_of},
};
use lovage_protocol::{
    Body, DecodeOptions, Map, Message, QueueName, Serializer, Signature, TaskId, Value,
};

/// Ids, tags, times and names of processes.
const OF_THE_MOMENT: [&str; 9] = [
    "lang",
    "id",
    "root_id",
    "correlation_id",
    "origin",
    "reply_to",
    "delivery_tag",
    "eta",
    "expires",
];

fn capture(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/captures/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(path).unwrap();
    let capture: serde_json::Value = serde_json::from_slice(&file).unwrap();
    capture["raw"].as_str().unwrap().as_bytes().to_vec()
}

fn value(raw: &[u8]) -> Value {
    Value::from_json_plain(raw).unwrap()
}

fn composer() -> Composer {
    Composer::new(ClientOptions::default())
}

fn compose(call: Outgoing) -> Prepared {
    composer().compose(call).unwrap()
}

fn kind(value: &Value) -> std::mem::Discriminant<Value> {
    std::mem::discriminant(value)
}

#[track_caller]
fn check_object(at: &str, ours: &Value, theirs: &Value, varying: &[&str]) {
    let (ours, theirs) = (ours.as_map().unwrap(), theirs.as_map().unwrap());
    let keys = |map: &Map| {
        let mut keys: Vec<_> = map.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    assert_eq!(keys(ours), keys(theirs), "keys of {at}");
    for (key, theirs) in theirs {
        let ours = &ours[key.as_str()];
        if varying.contains(&key.as_str()) {
            assert_eq!(
                kind(ours),
                kind(theirs),
                "type of {at}.{key}: {ours:?}, Celery has {theirs:?}"
            );
        } else {
            assert_eq!(ours, theirs, "{at}.{key}");
        }
    }
}

#[track_caller]
fn check(name: &str, ours: &Prepared, also_varying: &[&str]) {
    let theirs = value(&capture(name));
    let ours = value(&ours.publish.payload);
    let varying = [&OF_THE_MOMENT[..], also_varying].concat();
    check_object("envelope", &ours, &theirs, &["headers", "properties"]);
    for part in ["headers", "properties"] {
        check_object(
            part,
            ours.get(part).unwrap(),
            theirs.get(part).unwrap(),
            &varying,
        );
    }
}

#[test]
fn plain_call() {
    let mut call = Outgoing::new("t.add");
    call.args = vec![2.into(), 3.into()];
    call.ignore_result = Some(false);
    check("01-task-basic", &compose(call), &[]);
}

#[test]
fn every_option() {
    let mut call = Outgoing::new("t.add");
    call.args = vec![1.into()];
    call.kwargs.insert("y".to_owned(), "ü☃".into());
    call.ignore_result = Some(false);
    call.eta = Moment::after_seconds(60.25);
    call.expires = Moment::after_seconds(120.0);
    call.priority = Some(5);
    call.queue = Some(QueueName::parse("other").unwrap());
    call.time_limit = Some(30.0);
    call.soft_time_limit = Some(20.0);
    call.shadow = Some("nice name".to_owned());
    call.headers.insert("x-mine".to_owned(), "v".into());
    call.headers.insert("n".to_owned(), 1.into());
    let prepared = compose(call);
    check("01-task-options", &prepared, &[]);
    assert_eq!(prepared.publish.priority, 5);

    let headers = value(&prepared.publish.payload);
    let text = |name: &str| {
        headers
            .get("headers")
            .and_then(|all| all.get(name)?.as_str())
            .unwrap()
    };
    let eta: DateTime<Utc> = text("eta").parse().unwrap();
    let expires: DateTime<Utc> = text("expires").parse().unwrap();
    assert_eq!((expires - eta).num_milliseconds(), 59_750);
}

#[test]
fn call_by_name() {
    let mut call = Outgoing::new("other.module.task");
    call.args = vec!["a".into()];
    call.kwargs.insert("k".to_owned(), Value::Null);
    // Python was given a list and shows one; ours are shown as Python's usual tuple.
    check("01-task-send-task", &compose(call), &["argsrepr"]);
}

#[test]
fn ignored_result() {
    let mut call = Outgoing::new("t.add");
    call.args = vec![1.into(), 1.into()];
    call.ignore_result = Some(true);
    let prepared = compose(call);
    assert!(prepared.ignores_result);
    check("01-task-ignore-result", &prepared, &[]);
}

#[test]
fn an_id_given_is_root_and_correlation_too() {
    let mut call = Outgoing::new("t.add");
    call.id = Some(TaskId::from("my-id"));
    let prepared = compose(call);
    assert_eq!(prepared.id, "my-id");
    let message = Message::parse(&prepared.publish.payload).unwrap();
    assert_eq!(message.headers.id, "my-id");
    assert_eq!(message.headers.root_id.unwrap(), "my-id");
    assert_eq!(message.properties.correlation_id.unwrap(), "my-id");
}

#[test]
fn what_a_task_says_of_itself_holds_when_the_call_is_silent() {
    let own = OwnOptions {
        queue: Some(QueueName::parse("hot").unwrap()),
        priority: Some(6),
        expires: Some(std::time::Duration::from_secs(60)),
        ..OwnOptions::default()
    };
    let options = ClientOptions {
        own: HashMap::from([("t.add".into(), own)]),
        ..ClientOptions::default()
    };
    let composer = Composer::new(options);
    let message = |call| {
        let prepared = composer.compose(call).unwrap();
        Message::parse(&prepared.publish.payload).unwrap()
    };
    let silent = message(Outgoing::new("t.add"));
    assert_eq!(silent.properties.delivery_info.routing_key, "hot");
    assert_eq!(silent.properties.priority, 6);
    assert!(silent.headers.expires.is_some());

    let mut call = Outgoing::new("t.add");
    call.queue = Some(QueueName::parse("cold").unwrap());
    call.priority = Some(0);
    let told = message(call);
    assert_eq!(told.properties.delivery_info.routing_key, "cold");
    assert_eq!(told.properties.priority, 0);

    let other = message(Outgoing::new("t.mul"));
    assert_eq!(other.properties.delivery_info.routing_key, "celery");
    assert!(other.headers.expires.is_none());
}

#[test]
fn compressed_bodies_decode() {
    for method in ["gzip", "bzip2", "lzma", "zstd", "brotli"] {
        let mut call = Outgoing::new("t.add");
        call.args = vec!["x".repeat(10_000).into()];
        call.compression = Some(method.to_owned());
        let prepared = compose(call);
        assert!(prepared.publish.payload.len() < 2_500, "{method}");
        let message = Message::parse(&prepared.publish.payload).unwrap();
        let body = message.decode_body(&DecodeOptions::default()).unwrap();
        assert_eq!(
            body.args,
            Value::List(vec!["x".repeat(10_000).into()]),
            "{method}"
        );
    }
}

#[test]
fn what_would_harm_a_worker_is_refused() {
    let refuse = |change: &dyn Fn(&mut Outgoing)| {
        let mut call = Outgoing::new("t.add");
        change(&mut call);
        composer().compose(call).unwrap_err().to_string()
    };
    assert!(refuse(&|call| _ = call.headers.insert("id".to_owned(), 5.into())).contains("\"id\""));
    let limits = refuse(&|call| {
        call.time_limit = Some(1.0);
        call.soft_time_limit = Some(2.0);
    });
    assert!(limits.contains("above"), "{limits}");
    assert!(refuse(&|call| call.time_limit = Some(f64::NAN)).contains("NaN"));
    assert!(refuse(&|call| call.compression = Some("rot13".to_owned())).contains("rot13"));
    assert!(refuse(&|call| call.eta = Some(Moment::Text("soon".to_owned()))).contains("soon"));
}

/// What the worker received before it sent the captured retry.
fn first_attempt() -> Message {
    let mut message = Message::parse(&capture("07-retry-republish")).unwrap();
    message.headers.retries = 0;
    message.headers.parent_id = None;
    message.headers.eta = None;
    message.properties.extra.clear();
    message
}

#[test]
fn retry() {
    let mut message = first_attempt();
    message
        .headers
        .extra
        .insert("x-death-count".to_owned(), 1.into());
    message
        .headers
        .extra
        .insert("redelivered".to_owned(), true.into());
    let body = message.decode_body(&DecodeOptions::default()).unwrap();
    let options = RetryOptions {
        eta: Moment::after_seconds(180.5),
        ..RetryOptions::default()
    };
    let prepared = retry::prepare(&composer(), &message, &body, options).unwrap();
    check("07-retry-republish", &prepared, &[]);

    let again = Message::parse(&prepared.publish.payload).unwrap();
    assert_eq!(again.headers.id, message.headers.id);
    assert_eq!(again.headers.origin, message.headers.origin);
    assert_eq!(again.properties.reply_to, message.properties.reply_to);
    assert_ne!(
        again.properties.delivery_tag,
        message.properties.delivery_tag
    );
}

#[test]
fn a_retry_keeps_what_the_message_carried() {
    let mut message = first_attempt();
    message.headers.retries = 2;
    message.headers.parent_id = Some(TaskId::from("parent"));
    message.headers.expires = Some("2099-01-01T00:00:00+05:30".to_owned());
    message
        .headers
        .extra
        .insert("x-mine".to_owned(), "kept".into());
    message.headers.timelimit.hard = Some(30.0);
    message.properties.priority = 7;
    message.properties.delivery_info.routing_key = "slow".to_owned();
    let body = message.decode_body(&DecodeOptions::default()).unwrap();
    let options = RetryOptions {
        args: Some(vec![8.into()]),
        ..RetryOptions::default()
    };
    let prepared = retry::prepare(&composer(), &message, &body, options).unwrap();

    let again = Message::parse(&prepared.publish.payload).unwrap();
    assert_eq!(again.headers.retries, 3);
    // Celery 5.7: only a task without a parent becomes its own.
    assert_eq!(again.headers.parent_id.as_ref().unwrap(), "parent");
    assert_eq!(again.headers.expires, message.headers.expires);
    assert!(again.properties.expiration.is_some());
    assert_eq!(again.headers.extra["x-mine"], "kept".into());
    assert_eq!(again.headers.timelimit.hard, Some(30.0));
    assert_eq!(again.headers.argsrepr.as_deref(), Some("(8,)"));
    assert_eq!(
        (again.properties.priority, prepared.publish.priority),
        (7, 7)
    );
    let body = again.decode_body(&DecodeOptions::default()).unwrap();
    assert_eq!(body.args, Value::List(vec![8.into()]));
    let queue = QueueName::parse("slow").unwrap();
    assert_eq!(
        prepared.publish.destination,
        lovage_broker::Destination::Queue(queue)
    );
}

#[test]
fn a_retry_keeps_the_serializer_of_its_message() {
    for serializer in [Serializer::Msgpack, Serializer::Yaml] {
        let options = DecodeOptions {
            accept: vec![serializer],
            ..DecodeOptions::default()
        };
        let first = first_attempt();
        let body = Body::new(vec![Value::Bytes(vec![0xff])], Map::new());
        let (headers, properties) = (first.headers, first.properties);
        let message = Message::written(headers, properties, &body, serializer).unwrap();
        let unchanged = RetryOptions::default();
        let changed = RetryOptions {
            args: Some(vec![8.into()]),
            ..RetryOptions::default()
        };
        let bytes = Value::Bytes(vec![0xff]);
        for (options_of_retry, argument) in [(unchanged, bytes), (changed, 8.into())] {
            let prepared = retry::prepare(&composer(), &message, &body, options_of_retry).unwrap();
            let again = Message::parse(&prepared.publish.payload).unwrap();
            assert_eq!(again.serializer(), Some(serializer));
            assert_eq!(again.content_encoding, serializer.content_encoding());
            let body = again.decode_body(&options).unwrap();
            assert_eq!(body.args, Value::List(vec![argument]));
        }
    }
}

fn signature(json: &str) -> Signature {
    Signature::from_value(Value::from_json(json.as_bytes()).unwrap()).unwrap()
}

#[test]
fn callback_in_a_group() {
    let callback = signature(
        r#"{"task": "t.mul", "args": [3], "kwargs": {}, "options": {"ignore_result": false, "priority": null},
            "subtask_type": null, "immutable": false}"#,
    );
    let parent = TaskId::from("00000000-0000-4000-9000-000000000034");
    let follow = Follow {
        parent_id: Some(parent.clone()),
        root_id: Some(parent.clone()),
        prepend: Some(2.into()),
        group: Some(("88666cb0-4100-46fd-ae54-5e39ec88cdf8".to_owned(), 0)),
        ..Follow::default()
    };
    let prepared = publish_of(&composer(), &callback, follow).unwrap();
    check("06-run-link-1", &prepared, &[]);
    let message = Message::parse(&prepared.publish.payload).unwrap();
    assert_eq!(message.headers.root_id, Some(parent));
}

#[test]
fn next_step_of_a_chain() {
    let step = signature(
        r#"{"task": "t.add", "args": [3], "kwargs": {}, "subtask_type": null, "immutable": false,
            "options": {"task_id": "3d3010c5-60cd-4774-9f64-7d66ccc7e5e6", "reply_to": "r", "ignore_result": false}}"#,
    );
    let last = signature(
        r#"{"task": "t.mul", "args": [4], "kwargs": {}, "subtask_type": null, "immutable": false,
            "options": {"task_id": "00000000-0000-4000-9000-000000000030",
                        "reply_to": "d8a04707-264c-3271-893a-7a56bc514265"}}"#,
    );
    let follow = Follow {
        parent_id: Some(TaskId::from("c352e7a7-ba23-4cc6-8192-63e29a757d67")),
        root_id: Some(TaskId::from("c352e7a7-ba23-4cc6-8192-63e29a757d67")),
        prepend: Some(3.into()),
        chain: vec![last],
        ..Follow::default()
    };
    let prepared = publish_of(&composer(), &step, follow).unwrap();
    assert_eq!(prepared.id, "3d3010c5-60cd-4774-9f64-7d66ccc7e5e6");
    check("06-run-chain-2", &prepared, &[]);
}

#[test]
fn merging_follows_celery() {
    let composer = composer();
    let immutable = signature(
        r#"{"task": "t.add", "args": [1, 2], "options": {"countdown": 3, "queue": "q", "group_id": "g",
            "group_index": 4, "stamped_headers": ["customer"], "customer": "c1", "add_to_parent": false,
            "custom": 5}, "immutable": true}"#,
    );
    let follow = Follow {
        prepend: Some(9.into()),
        group: Some(("other".to_owned(), 0)),
        ..Follow::default()
    };
    let prepared = publish_of(&composer, &immutable, follow).unwrap();
    let message = Message::parse(&prepared.publish.payload).unwrap();
    let body = message.decode_body(&DecodeOptions::default()).unwrap();
    assert_eq!(body.args, Value::List(vec![1.into(), 2.into()]));
    let headers = message.headers;
    assert!(headers.eta.is_some());
    assert_eq!(
        (headers.group.as_deref(), headers.group_index),
        (Some("g"), Some(4))
    );
    assert_eq!(headers.stamped_headers, Some(vec!["customer".to_owned()]));
    assert_eq!(headers.stamps["customer"], "c1".into());
    assert_eq!(message.properties.delivery_info.routing_key, "q");
    assert_eq!(message.properties.extra["custom"], 5.into());
    assert!(!message.properties.extra.contains_key("add_to_parent"));

    for broken in [
        r#"{"queue": ""}"#,
        r#"{"expires": [1]}"#,
        r#"{"serializer": "cloudpickle"}"#,
        r#"{"task_id": 1}"#,
    ] {
        let broken = signature(&format!(
            r#"{{"task": "t.add", "args": [], "options": {broken}}}"#
        ));
        assert!(publish_of(&composer, &broken, Follow::default()).is_err());
    }
    let chord = signature(r#"{"task": "celery.chord", "subtask_type": "chord", "kwargs": {}}"#);
    assert!(publish_of(&composer, &chord, Follow::default()).is_err());
}
