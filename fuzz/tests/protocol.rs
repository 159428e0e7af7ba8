//! The wire format: nothing panics, and what is read is written and read again as the same.

use bolero::check;
use lovage_fuzz::{captures, edited};
use lovage_protocol::{
    Compression, DecodeOptions, ExceptionInfo, Map, Message, Serializer, Signature, TaskMeta,
    Value, compress, control::Reply, decompress, is_success_record, mark_deaths, mark_redelivered,
    parse_group, parse_stored, parse_stored_as, saferepr, time,
};

const LIMIT: usize = 1 << 20;

/// The longest list of edits; more of them leave nothing of the seed.
const ENTROPY: usize = 62;

fn everything() -> DecodeOptions {
    DecodeOptions {
        max_decompressed: LIMIT,
        ..DecodeOptions::any()
    }
}

/// The `raw` of the captures whose text is a message of this kind.
fn raw(wanted: &str) -> Vec<Vec<u8>> {
    let found: Vec<Vec<u8>> = captures()
        .iter()
        .filter_map(|file| Value::from_json_plain(file).ok())
        .filter_map(|file| Some(file.get("raw")?.as_str()?.as_bytes().to_vec()))
        .filter(|raw| String::from_utf8_lossy(raw).contains(wanted))
        .collect();
    assert!(!found.is_empty());
    found
}

fn bodies(serializer: Serializer) -> Vec<Vec<u8>> {
    let mut found: Vec<Vec<u8>> = raw("content-type")
        .iter()
        .filter_map(|raw| Message::parse_with(raw, &everything()).ok())
        .filter(|message| message.headers.compression.is_none())
        .filter(|message| message.serializer() == Some(serializer))
        .map(|message| message.body)
        .collect();
    let mut map = Map::new();
    for (key, value) in [
        ("k", Value::Bytes(vec![0xff; 90])),
        ("yes", Value::Float(1e100)),
        ("", Value::Int(i64::MIN)),
    ] {
        map.insert(key.to_owned(), value);
    }
    let list = Value::List(vec![
        Value::Map(map),
        "a\nb: 'ü'".into(),
        Value::Null,
        true.into(),
    ]);
    found.extend(list.write_as(serializer));
    found
}

/// Equal, though NaN is not and YAML sorts keys.
fn same(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Float(one), Value::Float(two)) => one == two || one.is_nan() && two.is_nan(),
        (Value::List(ones), Value::List(twos)) => {
            ones.len() == twos.len() && ones.iter().zip(twos).all(|(one, two)| same(one, two))
        }
        (Value::Map(ones), Value::Map(twos)) => {
            let there =
                |(key, one): (&String, &Value)| twos.get(key).is_some_and(|two| same(one, two));
            ones.len() == twos.len() && ones.iter().all(there)
        }
        _ => one == two,
    }
}

fn reads(serializer: Serializer) {
    let seeds = bodies(serializer);
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let Ok(value) = Value::read_as(serializer, &edited(&seeds, entropy), LIMIT) else {
            return;
        };
        let _ = saferepr(&value);
        for written in [Serializer::Json, Serializer::Msgpack, Serializer::Yaml] {
            let Ok(bytes) = value.write_as(written) else {
                continue;
            };
            match Value::read_as(written, &bytes, LIMIT * 16) {
                Ok(again) => {
                    // An object of two keys may be a type envelope in JSON, and nothing else.
                    let envelope = value.to_json().contains("__type__");
                    assert!(
                        same(&again, &value) || envelope,
                        "{written:?}\n{again:?}\n{value:?}"
                    );
                }
                Err(error) => {
                    let envelope = value.to_json().contains("__type__");
                    assert!(envelope, "{written:?}: {error}\n{value:?}");
                }
            }
        }
    });
}

#[test]
fn json_bodies() {
    reads(Serializer::Json);
}

#[test]
fn msgpack_bodies() {
    reads(Serializer::Msgpack);
}

#[test]
fn yaml_bodies() {
    reads(Serializer::Yaml);
}

#[test]
fn pickle_bodies() {
    reads(Serializer::Pickle);
}

#[test]
fn envelopes_and_their_bodies() {
    let seeds = raw("content-type");
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        let message = match Message::parse_with(&input, &everything()) {
            Ok(message) => message,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                return;
            }
        };
        let again = Message::parse_with(&message.to_json(), &everything()).unwrap();
        assert_eq!(again.headers.id, message.headers.id);
        assert_eq!(again.body, message.body);
        if let Ok(body) = message.decode_body(&everything()) {
            let _ = (
                body.embed.callbacks(),
                body.embed.errbacks(),
                body.embed.chain(),
                body.embed.chord(),
            );
            let _ = body.to_json();
        }
    });
}

#[test]
fn protocol_1() {
    let bodies = [br#"{"task": "t.add", "id": "x", "args": [1], "kwargs": {}, "taskset": "g", "utc": false, "chord": null}"#.to_vec()];
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let text = String::from_utf8_lossy(&edited(&bodies, entropy)).into_owned();
        let body = Value::Str(text).to_json();
        let raw = format!(
            r#"{{"body": {body}, "content-type": "application/json", "headers": {{}}, "properties":
                {{"delivery_info": {{"exchange": "", "routing_key": "q"}}, "delivery_tag": "x"}}}}"#
        );
        if let Ok(message) = Message::parse(raw.as_bytes()) {
            let _ = message.decode_body(&everything());
        }
    });
}

#[test]
fn compressed_data() {
    let methods = [
        Compression::Gzip,
        Compression::Bzip2,
        Compression::Lzma,
        Compression::Zstd,
        Compression::Brotli,
    ];
    let seeds: Vec<_> = methods
        .iter()
        .map(|method| compress(*method, &b"[[2, 3], {}, {}] ".repeat(40)).unwrap())
        .collect();
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        for method in methods {
            if let Ok(plain) = decompress(method, &input, 10_000) {
                assert!(plain.len() <= 10_000);
            }
        }
    });
}

#[test]
fn times() {
    let seeds: Vec<Vec<u8>> = [
        "2026-11-23T04:40:43.584608+00:00",
        "2024-W09-4",
        "20240229T123015Z",
        "2024-060T24:00",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        let text = String::from_utf8_lossy(&input);
        for zone in [chrono_tz::UTC, chrono_tz::Europe::Zurich] {
            if let Ok(at) = time::parse_iso(&text, zone) {
                assert_eq!(
                    time::parse_iso(&time::format_iso(at), zone)
                        .unwrap()
                        .timestamp_micros(),
                    at.timestamp_micros()
                );
            }
        }
    });
}

#[test]
fn signatures_and_exceptions() {
    let seeds: Vec<Vec<u8>> = [
        r#"{"task": "t", "args": [1], "kwargs": {"tasks": []}, "options": {"link": [], "serializer": "json", "expires": 5.5,
            "countdown": 1, "headers": {}, "stamped_headers": ["a"], "a": 1, "queue": "q", "chain": [{"task": "u"}]},
            "subtask_type": null, "immutable": false}"#,
        r#"{"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec();
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let Ok(value) = Value::from_json(&edited(&seeds, entropy)) else {
            return;
        };
        if let Ok(exception) = ExceptionInfo::from_value(&value) {
            let _ = (exception.repr(), exception.to_value());
        }
        if let Ok(signature) = Signature::from_value(value) {
            let again = Signature::from_value(signature.to_value()).unwrap();
            assert!(same(&again.to_value(), &signature.to_value()));
            let _ = lovage_client::signature::outgoing(&signature, Default::default());
        }
    });
}

#[test]
fn stored_results() {
    let mut seeds = raw("\"date_done\"");
    for seed in seeds.clone() {
        if let Ok(meta) = TaskMeta::parse(&seed) {
            seeds.extend(meta.to_bytes(Serializer::Msgpack));
            seeds.extend(meta.to_bytes(Serializer::Yaml));
        }
    }
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        let _ = (
            is_success_record(&input),
            parse_group(&input),
            parse_stored(&input),
            parse_stored_as(&input, Serializer::Json),
            parse_stored_as(&input, Serializer::Msgpack),
        );
        if let Ok(meta) = TaskMeta::parse(&input) {
            for serializer in [Serializer::Json, Serializer::Msgpack, Serializer::Yaml] {
                let Ok(bytes) = meta.to_bytes(serializer) else {
                    continue;
                };
                let success = meta.status.as_str() == "SUCCESS";
                assert_eq!(
                    is_success_record(&bytes),
                    success,
                    "{serializer:?} {meta:?}"
                );
            }
        }
    });
}

#[test]
fn control_replies() {
    let seeds = raw("pidbox");
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let _ = Reply::parse(&edited(&seeds, entropy));
    });
}

#[test]
fn marks_of_redelivery() {
    let seeds = raw("content-type");
    check!().with_max_len(ENTROPY).for_each(|entropy: &[u8]| {
        let input = edited(&seeds, entropy);
        let Some(marked) = mark_redelivered(&input) else {
            return;
        };
        assert_eq!(
            mark_redelivered(&marked).as_ref(),
            Some(&marked),
            "twice is once"
        );
        let deaths = mark_deaths(&marked, 3).unwrap();
        if let Ok(message) = Message::parse_with(&deaths, &everything()) {
            assert!(message.redelivered());
        }
    });
}
