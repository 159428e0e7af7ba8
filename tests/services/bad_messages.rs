//! Every damaged message that ends or disturbs a Python worker (`07-bad-messages`, `07-missing-fields` of the captures):
//! it is kept byte for byte with its reason, and the worker goes on.

use lovage_integration_tests::{LovageWorker, RedisServer, TaskMessage, dead_letters, eventually};
use serde_json::{Value, json};

use crate::{add, assert_works};

/// Publishes the damaged messages to one worker, then a good one, and checks that exactly the damaged ones are among the
/// dead letters, as they were sent.
fn are_kept(cases: &[(&str, Vec<u8>)]) {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    for (index, (name, raw)) in cases.iter().enumerate() {
        redis.publish_raw("celery", raw);
        // The message after it is what a poisoned worker never reaches.
        let good = add();
        redis.publish("celery", &good);
        let mut alive = true;
        eventually(&format!("a good task to run after: {name}"), || {
            alive = worker.is_running();
            !alive || redis.state(&good.id) == "SUCCESS"
        });
        assert!(alive, "the worker died of: {name}");
        eventually(&format!("the broker to be clean after: {name}"), || {
            redis.unacked() == 0 && redis.depth("celery") == 0
        });
        let letters = dead_letters(&redis);
        assert_eq!(
            letters.len(),
            index + 1,
            "not among the dead letters: {name}; the newest is {:?}",
            letters.first()
        );
        let letter = letters.iter().find(|letter| letter.raw == *raw);
        let letter =
            letter.unwrap_or_else(|| panic!("changed on its way to the dead letters: {name}"));
        assert!(
            !letter.code.is_empty() && !letter.detail.is_empty(),
            "no reason given for: {name}: {letter:?}"
        );
    }
    assert_works(&redis);
}

fn cases(cases: Vec<(&'static str, TaskMessage)>) -> Vec<(&'static str, Vec<u8>)> {
    cases
        .into_iter()
        .map(|(name, message)| (name, message.to_json().into_bytes()))
        .collect()
}

#[test]
fn bodies_of_the_wrong_shape_are_kept() {
    let body = |text: &[u8]| add().body(text);
    are_kept(&cases(vec![
        ("two elements", body(b"[[2, 3], {}]")),
        ("four elements", body(b"[[2, 3], {}, {}, {}]")),
        ("a number", body(b"17")),
        ("kwargs a list", body(b"[[2, 3], [], {}]")),
        ("kwargs null", body(b"[[2, 3], null, {}]")),
        ("embed a text", body(br#"[[2, 3], {}, "embed"]"#)),
        ("not JSON", body(b"not json")),
        ("empty", body(b"")),
        ("trailing garbage", body(b"[[2,3],{},{}] x")),
        ("invalid UTF-8", body(b"[[\"\xff\", 3], {}, {}]")),
        (
            "unknown __type__",
            body(br#"[[{"__type__": "nope", "__value__": 1}, 3], {}, {}]"#),
        ),
        ("cut off", body(b"[[2, 3], {}, {\"callbacks\": nu")),
    ]));
}

#[test]
fn broken_transport_encodings_are_kept() {
    use std::io::Write;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"[[2, 3], {}, {}]")
        .expect("a vector can be written to");
    let gzip = gzip.finish().expect("a vector can be written to");
    are_kept(&cases(vec![
        ("body is not base64", add().set("body", json!("***"))),
        (
            "base64 cut off",
            add().set("body", json!("W1syLCAzXSwge30sIHt9X")),
        ),
        ("body a number", add().set("body", json!(17))),
        (
            "no body_encoding for a base64 body",
            add().without("properties.body_encoding"),
        ),
        (
            "unknown body_encoding",
            add().set("properties.body_encoding", json!("rot13")),
        ),
        (
            "compression header but a plain body",
            add().set("headers.compression", json!("application/x-gzip")),
        ),
        (
            "real gzip where zlib is meant",
            add().set("headers.compression", json!("gzip")).body(&gzip),
        ),
        (
            "unknown compression",
            add().set("headers.compression", json!("application/x-nope")),
        ),
        (
            "zstd header, other bytes",
            add().set("headers.compression", json!("application/zstd")),
        ),
        (
            "brotli header, other bytes",
            add().set("headers.compression", json!("application/x-brotli")),
        ),
        (
            "lzma header, other bytes",
            add().set("headers.compression", json!("application/x-lzma")),
        ),
        (
            "bzip2 header, other bytes",
            add().set("headers.compression", json!("application/x-bz2")),
        ),
    ]));
}

#[test]
fn content_types_that_are_not_accepted_are_kept() {
    let typed = |content_type: &str| add().set("content-type", json!(content_type));
    are_kept(&cases(vec![
        ("pickle", typed("application/x-python-serialize")),
        ("unknown", typed("application/x-unknown")),
        ("text", typed("text/plain")),
        ("raw data", typed("application/data")),
    ]));
}

#[test]
fn headers_that_make_no_sense_are_kept() {
    let header = |name: &str, value: Value| add().set(&format!("headers.{name}"), value);
    are_kept(&cases(vec![
        ("eta not ISO 8601", header("eta", json!("yesterday"))),
        ("eta a number", header("eta", json!(1_577_836_800))),
        ("expires not ISO 8601", header("expires", json!("never"))),
        (
            "timelimit with one element",
            header("timelimit", json!([5])),
        ),
        ("timelimit of texts", header("timelimit", json!(["a", "b"]))),
        ("id a number", header("id", json!(12345))),
        ("id null", header("id", Value::Null)),
        ("headers a list", add().set("headers", json!([]))),
    ]));
}

#[test]
fn messages_without_a_required_field_are_kept() {
    let without = |path: &str| add().without(path);
    are_kept(&cases(vec![
        ("headers.task", without("headers.task")),
        ("headers.id", without("headers.id")),
        (
            "properties.delivery_info",
            without("properties.delivery_info"),
        ),
        (
            "properties.delivery_tag",
            without("properties.delivery_tag"),
        ),
        (
            "properties.delivery_info.exchange",
            without("properties.delivery_info.exchange"),
        ),
        (
            "properties.delivery_info.routing_key",
            without("properties.delivery_info.routing_key"),
        ),
        ("body", without("body")),
        ("content-type", without("content-type")),
        ("headers", without("headers")),
        ("properties", without("properties")),
        (
            "protocol 1 without task",
            TaskMessage::with_body("x", br#"{"id": "x", "args": []}"#).set("headers", json!({})),
        ),
    ]));
}

#[test]
fn what_is_no_message_at_all_is_kept() {
    let raw: Vec<(&str, &[u8])> = vec![
        ("garbage", b"garbage"),
        ("a list", b"[1, 2]"),
        ("an empty object", b"{}"),
        ("null", b"null"),
        ("nothing", b""),
        ("binary", b"\x00\xff\xfe\x80"),
        ("JSON in UTF-16", b"{\x00}\x00"),
        ("two messages in one", b"{}{}"),
    ];
    are_kept(
        &raw.into_iter()
            .map(|(name, raw)| (name, raw.to_vec()))
            .collect::<Vec<_>>(),
    );
}

/// As Python does it: these messages are well formed, so the producer gets an answer.
#[test]
fn arguments_that_do_not_fit_are_answered_with_a_type_error() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let bodies: [&[u8]; 6] = [
        br#"[{"x": 2}, {}, {}]"#,
        br#"[null, {"x": 2, "y": 3}, {}]"#,
        br#"[[[], []], {"z": {"__type__": "datetime", "__value__": "2024-01-01", "x": 1}}, {}]"#,
        br#"[["a", 3], {}, {}]"#,
        br"[[2, 3, 4], {}, {}]",
        br"[[2], {}, {}]",
    ];
    for body in bodies {
        let message = add().body(body);
        redis.publish("celery", &message);
        let record = redis.wait_for_state(&message.id, "FAILURE");
        let body = String::from_utf8_lossy(body);
        assert_eq!(
            (
                &record["result"]["exc_type"],
                &record["result"]["exc_module"]
            ),
            (&json!("TypeError"), &json!("builtins")),
            "{body}"
        );
    }
    assert_works(&redis);
}

#[test]
fn an_unknown_task_is_answered_and_kept() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = add().set("headers.task", json!("no.such.task"));
    redis.publish("celery", &message);
    let record = redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "NotRegistered");
    let letters = dead_letters(&redis);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].raw, message.to_json().as_bytes());
    assert_eq!(
        (letters[0].code.as_str(), letters[0].task.as_deref()),
        ("unknown-task", Some("no.such.task"))
    );
    assert_works(&redis);
}
