//! Messages and results captured from Celery 5.7.0, read, written again and compared.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use lovage_protocol::{
    Compression, DecodeOptions, ExceptionInfo, Map, Message, Serializer, Signature, State,
    TaskMeta, Value, compress_result, decompress, is_success_record, mark_redelivered,
};

/// One capture file: its name, raw bytes and what they mean.
struct Capture {
    name: String,
    raw: Vec<u8>,
    decoded: Value,
}

fn captures(prefix: &str) -> Vec<Capture> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut found: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    found.sort();
    let mut captures = Vec::new();
    for path in found {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let file = Value::from_json_plain(&fs::read(&path).unwrap()).unwrap();
        let Some(raw) = file
            .get("raw")
            .and_then(Value::as_str)
            .filter(|_| name.starts_with(prefix))
        else {
            continue;
        };
        let base64 = file.get("raw_encoding").and_then(Value::as_str) == Some("base64");
        let raw = if base64 {
            STANDARD.decode(raw).unwrap()
        } else {
            raw.as_bytes().to_vec()
        };
        captures.push(Capture {
            name,
            raw,
            decoded: file.get("decoded").unwrap().clone(),
        });
    }
    captures
}

/// Envelopes of protocol 2 among the captures.
fn messages() -> Vec<Capture> {
    let mut found = captures("01-");
    found.extend(captures("07-"));
    found.retain(|capture| capture.decoded.get("envelope").is_some());
    assert!(found.len() >= 18, "only {} messages", found.len());
    found
}

/// Compares as JSON, where a NaN equals a NaN.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Float(one), Value::Float(two)) => one == two || (one.is_nan() && two.is_nan()),
        (Value::List(one), Value::List(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| same(one, two))
        }
        (Value::Map(one), Value::Map(two)) => {
            one.len() == two.len()
                && one
                    .iter()
                    .all(|(key, one)| two.get(key).is_some_and(|two| same(one, two)))
        }
        _ => ours == theirs,
    }
}

fn check_same(name: &str, ours: &Value, theirs: &Value) {
    assert!(
        same(ours, theirs),
        "{name}:\nours   {}\ntheirs {}",
        ours.to_json(),
        theirs.to_json()
    );
}

#[test]
fn every_captured_message_is_read_and_written_alike() {
    for capture in messages()
        .iter()
        .filter(|capture| capture.name != "01-protocol1")
    {
        let message = Message::parse(&capture.raw)
            .unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        let written = Value::from_json_plain(&message.to_json()).unwrap();
        check_same(
            &capture.name,
            &written,
            capture.decoded.get("envelope").unwrap(),
        );
        assert_eq!(
            Message::parse(&message.to_json()).unwrap(),
            message,
            "{}",
            capture.name
        );
    }
}

#[test]
fn most_captured_messages_are_written_byte_for_byte() {
    let mut differing = Vec::new();
    for capture in messages() {
        let message = Message::parse(&capture.raw).unwrap();
        if message.to_json() != capture.raw {
            differing.push(capture.name);
        }
    }
    // The first is rewritten as protocol 2; in the other Python keeps `origin` among the properties, in another place.
    assert_eq!(differing, ["01-protocol1", "07-retry-republish"]);
}

#[test]
fn every_captured_body_is_read_and_written_alike() {
    for capture in messages() {
        let message = Message::parse(&capture.raw).unwrap();
        let options = DecodeOptions::default();
        if message.content_type != "application/json" {
            let error = message.decode_body(&options).unwrap_err();
            assert_eq!(error.code(), "content-type", "{}", capture.name);
            let name = capture.name.trim_start_matches("01-serializer-");
            assert!(error.to_string().contains(name), "{error}");
            assert_eq!(error.task_id().unwrap(), &message.headers.id);
            continue;
        }
        let body = message
            .decode_body(&options)
            .unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        if capture.name == "01-protocol1" {
            continue;
        }
        let written = Value::from_json_plain(&body.to_json()).unwrap();
        let decoded = capture.decoded.get("body").unwrap();
        // A few captures hold the body as text, because it was compressed or holds what JSON lacks.
        let decoded = match decoded.as_str() {
            Some(text) => &Value::from_json_plain(text.as_bytes()).unwrap(),
            None => decoded,
        };
        check_same(&capture.name, &written, decoded);
        if message.headers.compression.is_none() {
            assert_eq!(
                body.to_json(),
                message.body,
                "{} byte for byte",
                capture.name
            );
        }
    }
}

#[test]
fn protocol_1_becomes_protocol_2() {
    let capture = captures("01-protocol1").remove(0);
    let message = Message::parse(&capture.raw).unwrap();
    assert_eq!(message.headers.task, "t.add");
    assert_eq!(message.headers.id, "00000000-0000-4000-8000-000000000014");
    assert_eq!(
        message.headers.eta.as_deref(),
        Some("2026-11-23T04:39:58.987818+00:00")
    );
    // With `args` in the body Python leaves these empty.
    assert_eq!(
        (&message.headers.argsrepr, &message.headers.root_id),
        (&None, &None)
    );
    let body = message.decode_body(&DecodeOptions::default()).unwrap();
    assert_eq!(body.args.to_json(), "[1, 2]");
    let callbacks = body.embed.callbacks().unwrap();
    assert_eq!(callbacks[0].task, "t.mul");
    assert_eq!(Message::parse(&message.to_json()).unwrap(), message);
}

#[test]
fn links_are_read_as_signatures() {
    let capture = captures("01-task-links").remove(0);
    let body = Message::parse(&capture.raw)
        .unwrap()
        .decode_body(&DecodeOptions::default())
        .unwrap();
    let names = |list: Vec<Signature>| {
        list.iter()
            .map(|one| (one.task.to_string(), one.immutable))
            .collect::<Vec<_>>()
    };
    let own = |list: &[(&str, bool)]| {
        list.iter()
            .map(|one| (one.0.to_owned(), one.1))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(body.embed.callbacks().unwrap()),
        own(&[("t.mul", false), ("t.add", true)])
    );
    assert_eq!(
        names(body.embed.errbacks().unwrap()),
        own(&[("t.err_new", false), ("t.err_old", false)])
    );
    assert!(!body.embed.is_empty());
    let copy = lovage_protocol::Embed::default()
        .with_callbacks(&body.embed.callbacks().unwrap())
        .with_errbacks(&body.embed.errbacks().unwrap());
    assert_eq!(copy.to_value(), body.embed.to_value());
}

#[test]
fn every_kind_of_signature_is_written_alike() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures/06-signature-json.json");
    let file = Value::from_json_plain(&fs::read(path).unwrap()).unwrap();
    let kinds = file.get("decoded").unwrap().as_map().unwrap();
    assert!(kinds.len() >= 8);
    for (name, json) in kinds {
        let signature =
            Signature::from_value(json.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(signature.to_value().to_json(), json.to_json(), "{name}");
    }
    let small = Value::from_json(br#"{"task": "t.add"}"#).unwrap();
    let signature = Signature::from_value(small).unwrap();
    assert_eq!(signature, Signature::new("t.add", Vec::new(), Map::new()));
    for bad in [
        "null",
        "[]",
        "{}",
        r#"{"task": 1}"#,
        r#"{"task": "t", "args": {}}"#,
        r#"{"task": "t", "kwargs": []}"#,
    ] {
        assert!(
            Signature::from_value(Value::from_json(bad.as_bytes()).unwrap()).is_err(),
            "{bad}"
        );
    }
}

#[test]
fn every_captured_result_is_written_byte_for_byte() {
    let found = captures("05-result-");
    let mut read = 0;
    for capture in found
        .iter()
        .filter(|capture| capture.raw.starts_with(b"{\"status\""))
    {
        let meta = TaskMeta::parse(&capture.raw)
            .unwrap_or_else(|error| panic!("{}: {error}", capture.name));
        assert_eq!(meta.to_json().as_bytes(), capture.raw, "{}", capture.name);
        if meta.status.is_exception() && !meta.result.is_null() {
            let info = ExceptionInfo::from_value(&meta.result).unwrap();
            assert_eq!(info.to_value(), meta.result, "{}", capture.name);
        }
        read += 1;
    }
    assert!(read >= 30, "only {read} results");
}

#[test]
fn exceptions_are_printed_as_python_does() {
    let repr = |name: &str| {
        let capture = captures(name).remove(0);
        ExceptionInfo::from_value(&TaskMeta::parse(&capture.raw).unwrap().result)
            .unwrap()
            .repr()
    };
    assert_eq!(repr("05-result-fail-failure"), "ValueError('boom é')");
    assert_eq!(
        repr("05-result-unregistered"),
        "NotRegistered('no.such.task')"
    );
    assert_eq!(
        repr("05-result-soft-limit-failure"),
        "SoftTimeLimitExceeded()"
    );
    assert_eq!(
        repr("05-result-reject-failure"),
        "Reject('no thanks', False)"
    );
}

#[test]
fn a_compressed_result_is_recognised_by_its_first_bytes() {
    let capture = captures("05-result-compressed").remove(0);
    let meta = TaskMeta::parse(&capture.raw).unwrap();
    check_same(
        &capture.name,
        &Value::from_json(meta.to_json().as_bytes()).unwrap(),
        capture.decoded.get("json").unwrap(),
    );
    let packed = compress_result(Compression::Zstd, meta.to_json().as_bytes()).unwrap();
    assert_eq!(TaskMeta::parse(&packed).unwrap(), meta);
    for end in 0..capture.raw.len() {
        assert!(
            TaskMeta::parse(&capture.raw[..end]).is_err(),
            "cut at {end}"
        );
    }
}

#[test]
fn results_in_msgpack_and_yaml_are_read_and_written() {
    for serializer in [Serializer::Msgpack, Serializer::Yaml] {
        let name = format!("05-result-serializer-{}", serializer.name());
        let found = captures(&name);
        assert!(!found.is_empty());
        for capture in found {
            let meta = TaskMeta::parse(&capture.raw).unwrap();
            let written = meta.to_bytes(serializer).unwrap();
            // PyYAML folds the lines of a traceback.
            if serializer == Serializer::Msgpack {
                assert_eq!(written, capture.raw, "{}", capture.name);
            }
            assert_eq!(TaskMeta::parse(&written).as_ref(), Ok(&meta));
            let success = meta.status == State::Success;
            assert_eq!(is_success_record(&capture.raw), success);
        }
    }
}

#[test]
fn a_pickled_result_is_refused() {
    let capture = captures("05-result-serializer-pickle").remove(0);
    let error = TaskMeta::parse(&capture.raw).unwrap_err().to_string();
    assert!(error.contains("result_serializer"), "{error}");
}

#[test]
fn the_captured_streams_are_decompressed() {
    let found = captures("01-compression");
    assert_eq!(found.len(), 5);
    for capture in found {
        let message = Message::parse(&capture.raw).unwrap();
        let method =
            Compression::from_name(message.headers.compression.as_deref().unwrap()).unwrap();
        let plain = decompress(method, &message.body, 1 << 20).unwrap();
        assert!(plain.starts_with(b"[["), "{}", capture.name);
        let small = DecodeOptions {
            max_decompressed: plain.len() - 1,
            ..DecodeOptions::default()
        };
        assert_eq!(
            message.decode_body(&small).unwrap_err().code(),
            "undecodable",
            "{}",
            capture.name
        );
    }
}

#[test]
fn a_cut_message_is_refused_wherever_it_is_cut() {
    for capture in messages() {
        for end in 0..capture.raw.len() {
            let cut = &capture.raw[..end];
            let error = Message::parse(cut).unwrap_err();
            assert_eq!(error.code(), "undecodable", "{} cut at {end}", capture.name);
            assert_eq!(mark_redelivered(cut), None);
        }
    }
}

#[test]
fn a_cut_body_is_refused_wherever_it_is_cut() {
    for capture in messages() {
        let whole = Message::parse(&capture.raw).unwrap();
        if whole.content_type != "application/json" {
            continue;
        }
        for end in 0..whole.body.len() {
            let cut = Message {
                body: whole.body[..end].to_vec(),
                ..whole.clone()
            };
            // A compressed stream may lose its checksum and still hold the whole text.
            let read = cut.decode_body(&DecodeOptions::default());
            assert!(
                read.is_err() || whole.headers.compression.is_some(),
                "{} cut at {end}",
                capture.name
            );
        }
    }
}

#[test]
fn a_redelivered_message_differs_by_its_marks_only() {
    for capture in messages() {
        let marked = mark_redelivered(&capture.raw).unwrap();
        let message = Message::parse(&marked).unwrap();
        assert!(message.redelivered(), "{}", capture.name);
        let mut before = Message::parse(&capture.raw).unwrap();
        before
            .headers
            .extra
            .insert("redelivered".to_owned(), Value::Bool(true));
        before
            .properties
            .delivery_info
            .extra
            .insert("redelivered".to_owned(), Value::Bool(true));
        assert_eq!(message, before, "{}", capture.name);
    }
}

#[test]
fn group_results_are_plain_values() {
    let capture = captures("05-group-meta").remove(0);
    let value = Value::from_json(&capture.raw).unwrap();
    assert_eq!(value, capture.decoded);
    assert_eq!(value.to_json().as_bytes(), capture.raw);
}
