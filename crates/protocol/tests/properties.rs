//! Round trips and serde conversions, for any values.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use lovage_protocol::{
    Body, BodyEncoding, DecodeOptions, DeliveryInfo, Embed, Headers, Map, Message, Properties,
    Signature, State, TaskId, TaskMeta, TaskName, TimeLimit, Value, mark_redelivered, time, typed,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

fn key() -> impl Strategy<Value = String> {
    // An object with exactly the two keys of a type envelope means something else.
    any::<String>().prop_filter("no envelope", |key| key != "__type__" && key != "__value__")
}

fn moment() -> impl Strategy<Value = DateTime<Utc>> {
    (-62_000_000_000_i64..253_000_000_000, 0..1_000_000_u32)
        .prop_map(|(seconds, micros)| DateTime::from_timestamp(seconds, micros * 1000).unwrap())
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        "-?[1-9][0-9]{19,40}".prop_map(Value::Big),
        any::<f64>().prop_map(Value::Float),
        any::<f64>()
            .prop_filter("finite", |float| float.is_finite())
            .prop_map(Value::Float),
        any::<String>().prop_map(Value::Str),
        vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any::<String>().prop_map(|text| Value::Bytes(text.into_bytes())),
        moment().prop_map(|at| Value::DateTime(time::format_iso(at))),
        moment().prop_map(|at| Value::Date(at.date_naive().to_string())),
        moment().prop_map(|at| Value::Time(at.format("%H:%M:%S%.6f").to_string())),
        "-?[0-9]{1,9}(\\.[0-9]{1,9})?(E[+-]?[0-9]{1,3})?".prop_map(Value::Decimal),
        any::<u128>().prop_map(|bits| Value::Uuid(uuid::Uuid::from_u128(bits))),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::List),
            vec((key(), inner), 0..6).prop_map(|members| Value::Map(members.into_iter().collect())),
        ]
    })
}

fn map() -> impl Strategy<Value = Map> {
    vec((key(), value()), 0..5).prop_map(|members| members.into_iter().collect())
}

/// JSON in its plain form: what headers hold.
fn plain_map() -> impl Strategy<Value = Map> {
    map().prop_map(|map| {
        match Value::from_json_plain(Value::Map(map).to_json().as_bytes()).unwrap() {
            Value::Map(map) => map,
            other => panic!("{other:?}"),
        }
    })
}

fn text() -> impl Strategy<Value = Option<String>> {
    option::of(any::<String>())
}

fn headers() -> impl Strategy<Value = Headers> {
    let names = (
        any::<String>(),
        any::<String>(),
        any::<String>(),
        text(),
        text(),
        text(),
        text(),
    );
    let times = (
        option::of(moment()),
        option::of(moment()),
        option::of(0.001..1e6_f64),
        option::of(1..1_000_000_u32),
    );
    let numbers = (
        option::of(any::<i64>()),
        any::<u32>(),
        option::of(any::<bool>()),
        any::<i64>(),
    );
    let rest = (
        option::of(vec(any::<String>(), 0..3)),
        plain_map(),
        plain_map(),
        text(),
    );
    (names, times, numbers, rest).prop_map(|(names, times, numbers, rest)| {
        let mut headers = Headers::new(TaskName::from(names.0), TaskId::from(names.1));
        headers.lang = names.2;
        headers.shadow = names.3;
        headers.group = names.4;
        headers.argsrepr = names.5;
        headers.parent_id = names.6.map(TaskId::from);
        headers.eta = times.0.map(time::format_iso);
        headers.expires = times.1.map(time::format_iso);
        headers.timelimit = TimeLimit {
            hard: times.2,
            soft: times.3.map(f64::from),
        };
        headers.group_index = numbers.0;
        headers.retries = numbers.1;
        headers.ignore_result = numbers.2;
        headers.replaced_task_nesting = numbers.3;
        headers.stamped_headers = rest.0;
        headers.stamps = rest.1;
        headers.extra = rest
            .2
            .into_iter()
            .map(|(key, value)| (format!("x-{key}"), value))
            .collect();
        headers.origin = rest.3;
        headers
    })
}

fn message() -> impl Strategy<Value = Message> {
    let address = (any::<String>(), any::<String>(), plain_map());
    let rest = (text(), text(), any::<i64>(), any::<String>(), any::<bool>());
    (headers(), vec(value(), 0..4), map(), address, rest).prop_map(
        |(headers, args, kwargs, address, rest)| {
            let properties = Properties {
                correlation_id: rest.0,
                reply_to: rest.1,
                priority: rest.2,
                delivery_tag: rest.3,
                body_encoding: if rest.4 {
                    BodyEncoding::Base64
                } else {
                    BodyEncoding::Plain
                },
                delivery_info: DeliveryInfo {
                    exchange: address.0,
                    routing_key: address.1,
                    extra: address
                        .2
                        .into_iter()
                        .map(|(key, value)| (format!("x-{key}"), value))
                        .collect(),
                },
                ..Properties::new("", "")
            };
            Message::new(headers, properties, &Body::new(args, kwargs))
        },
    )
}

/// Compares in a way that a NaN equals itself.
fn same_text(one: &Value, two: &Value) -> Result<(), TestCaseError> {
    prop_assert_eq!(one.to_json(), two.to_json());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn values_survive_json(value in value()) {
        let json = value.to_json();
        let read = Value::from_json(json.as_bytes()).unwrap();
        same_text(&read, &value)?;
        prop_assert!(json.is_ascii());
        if !json.contains("NaN") {
            prop_assert_eq!(read, value);
        }
    }

    #[test]
    fn other_parsers_read_what_is_written(value in value()) {
        let json = value.to_json();
        if !json.contains("NaN") && !json.contains("Infinity") {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
        }
    }

    #[test]
    fn values_survive_serde(value in value()) {
        let written = Value::from_serialize(&value).unwrap();
        same_text(&written, &value)?;
        let read: Value = written.deserialize().unwrap();
        same_text(&read, &value)?;
        let inside: Vec<Option<Value>> = Value::List(vec![value.clone()]).deserialize().unwrap();
        same_text(&inside[0].clone().unwrap_or(Value::Null), &value)?;
    }

    #[test]
    fn messages_survive_the_wire(message in message()) {
        let raw = message.to_json();
        let read = Message::parse(&raw).unwrap();
        prop_assert_eq!(Value::from_json_plain(&read.to_json()).unwrap().to_json(), String::from_utf8(raw.clone()).unwrap());
        prop_assert_eq!(&read.body, &message.body);
        let marked = Message::parse(&mark_redelivered(&raw).unwrap()).unwrap();
        prop_assert!(marked.redelivered());
        prop_assert_eq!(&marked.body, &message.body);
        let body = read.decode_body(&DecodeOptions::default()).unwrap();
        prop_assert_eq!(body.to_json(), message.body);
    }

    #[test]
    fn noise_never_panics(noise in vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), message in message()) {
        let _ = Message::parse(&noise);
        let _ = Value::from_json(&noise);
        let _ = TaskMeta::parse(&noise);
        let mut raw = message.to_json();
        let at = at.index(raw.len());
        raw[at] = noise.first().copied().unwrap_or(0);
        if let Ok(message) = Message::parse(&raw) {
            let _ = message.decode_body(&DecodeOptions::default());
        }
        let _ = mark_redelivered(&raw);
        let body = Message { body: noise, ..message };
        let _ = body.decode_body(&DecodeOptions::default());
    }

    #[test]
    fn any_text_may_be_a_time(text in any::<String>(), digits in "[0-9TZW:.,+ -]{0,30}") {
        for text in [text, digits] {
            if let Ok(at) = time::parse_iso(&text, chrono_tz::Tz::Europe__Berlin) {
                prop_assert_eq!(time::parse_iso(&time::format_iso(at), chrono_tz::UTC).unwrap(), at);
            }
        }
    }

    #[test]
    fn results_survive_json(result in value(), state in "[A-Z]{1,8}", id in any::<String>(), texts in vec(text(), 4)) {
        let mut meta = TaskMeta::new(TaskId::from(id), State::from(state.as_str()), result);
        [meta.traceback, meta.group_id, meta.parent_id, meta.date_done] = texts.try_into().unwrap();
        let json = meta.to_json();
        prop_assert_eq!(TaskMeta::parse(json.as_bytes()).unwrap().to_json(), json);
    }

    #[test]
    fn signatures_survive(task in any::<String>(), args in vec(value(), 0..3), kwargs in map(), immutable in any::<bool>()) {
        let signature = Signature { immutable, ..Signature::new(task, args, kwargs) };
        let value = signature.to_value();
        same_text(&Signature::from_value(value.clone()).unwrap().to_value(), &value)?;
        let embed = Embed::default().with_chain(std::slice::from_ref(&signature)).with_chord(Some(&signature));
        same_text(&embed.chain().unwrap()[0].to_value(), &value)?;
        same_text(&embed.chord().unwrap().unwrap().to_value(), &value)?;
    }
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    id: u64,
    price: f64,
    lines: Vec<Line>,
    note: Option<String>,
    kind: Kind,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Line(String, u8);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Gift(String),
    Split { parts: u32 },
    Pair(i8, i8),
}

fn order(kind: Kind) -> Order {
    Order {
        id: u64::MAX,
        price: 1.5,
        lines: vec![Line("a".to_owned(), 1)],
        note: None,
        kind,
    }
}

#[test]
fn structs_and_enums_convert_both_ways() {
    for kind in [
        Kind::Plain,
        Kind::Gift("x".to_owned()),
        Kind::Split { parts: 3 },
        Kind::Pair(-1, 1),
    ] {
        let order = order(kind);
        let value = Value::from_serialize(&order).unwrap();
        assert_eq!(value.get("id"), Some(&Value::Big(u64::MAX.to_string())));
        let through_json = Value::from_json(value.to_json().as_bytes()).unwrap();
        assert_eq!(through_json.deserialize::<Order>().unwrap(), order);
    }
}

#[test]
fn every_integer_fits() {
    let big = i128::MIN;
    let value = Value::from_serialize(&(big, u128::MAX, u64::MAX, i64::MIN)).unwrap();
    assert_eq!(
        value
            .clone()
            .deserialize::<(i128, u128, u64, i64)>()
            .unwrap(),
        (big, u128::MAX, u64::MAX, i64::MIN)
    );
    let floats: (f64, f64, f64, f64) = value.deserialize().unwrap();
    assert!(floats.0 < -1e38 && floats.3 < -9e18);
    let huge = Value::Big("1".repeat(60));
    assert_eq!(
        huge.clone().deserialize::<String>().unwrap(),
        "1".repeat(60)
    );
    let error = huge.clone().deserialize::<i64>().unwrap_err().to_string();
    assert_eq!(error, "expected i64, got an integer out of range");
    assert!(huge.deserialize::<u128>().is_err());
    assert!(
        Value::Float(1.0).deserialize::<i64>().is_err(),
        "a whole float stays a float"
    );
    assert_eq!(Value::Int(1).deserialize::<f64>().unwrap().to_string(), "1");
    assert!(Value::Int(300).deserialize::<u8>().is_err());
    assert!(Value::Bool(true).deserialize::<i64>().is_err());
}

#[test]
fn an_error_says_where_and_what() {
    let json = br#"{"id": 1, "price": 2, "lines": [["a", 1], ["b", "two"]], "kind": "Plain"}"#;
    let error = Value::from_json(json)
        .unwrap()
        .deserialize::<Order>()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "lines[1][1]: expected u8, got string \"two\""
    );
    assert_eq!(error.path(), "lines[1][1]");
    let error = Value::from_json(br#"[1, 2, 3]"#)
        .unwrap()
        .deserialize::<(i64, i64)>()
        .unwrap_err();
    assert_eq!(error.to_string(), "expected a list of 2 elements, got 3");
    let error = Value::from(" ".repeat(1000))
        .deserialize::<i64>()
        .unwrap_err()
        .to_string();
    assert!(
        error.len() < 100 && error.starts_with("expected i64, got string"),
        "{error}"
    );
    let error = Value::Null.deserialize::<i64>().unwrap_err();
    assert_eq!(error.to_string(), "expected i64, got null");
    assert!(
        Value::Bytes(b"text".to_vec())
            .deserialize::<String>()
            .is_err(),
        "bytes are not text"
    );
    assert!(
        Value::from("Plane")
            .deserialize::<Kind>()
            .unwrap_err()
            .to_string()
            .contains("unknown variant")
    );
}

#[test]
fn keys_that_are_no_text_are_written_as_json_dumps_does() {
    let numbers = HashMap::from([(1_u8, "a")]);
    let value = Value::from_serialize(&numbers).unwrap();
    assert_eq!(value.to_json(), r#"{"1": "a"}"#);
    assert_eq!(
        value.deserialize::<HashMap<u8, String>>().unwrap(),
        HashMap::from([(1, "a".to_owned())])
    );
    let flags = BTreeMap::from([(false, 0), (true, 1)]);
    let value = Value::from_serialize(&flags).unwrap();
    assert_eq!(value.to_json(), r#"{"false": 0, "true": 1}"#);
    assert_eq!(value.deserialize::<BTreeMap<bool, i32>>().unwrap(), flags);
    assert!(Value::from_serialize(&BTreeMap::from([(vec![1], 1)])).is_err());
}

#[test]
fn typed_wrappers_are_pythons_types() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct All {
        bytes: typed::Bytes,
        at: typed::DateTime,
        day: typed::Date,
        clock: typed::Time,
        price: typed::Decimal,
        id: typed::Uuid,
    }
    let all = All {
        bytes: typed::Bytes(vec![0xff, 0]),
        at: typed::DateTime(DateTime::from_timestamp(1_709_209_815, 123_456_000).unwrap()),
        day: typed::Date(NaiveDate::from_ymd_opt(2024, 2, 29).unwrap()),
        clock: typed::Time(NaiveTime::from_hms_micro_opt(1, 2, 3, 4).unwrap()),
        price: typed::Decimal("1.50".to_owned()),
        id: typed::Uuid(uuid::Uuid::from_u128(
            0x1234_5678_1234_5678_1234_5678_1234_5678,
        )),
    };
    let value = Value::from_serialize(&all).unwrap();
    let json = concat!(
        r#"{"bytes": {"__type__": "base64", "__value__": "/wA="}, "#,
        r#""at": {"__type__": "datetime", "__value__": "2024-02-29T12:30:15.123456+00:00"}, "#,
        r#""day": {"__type__": "date", "__value__": "2024-02-29"}, "#,
        r#""clock": {"__type__": "time", "__value__": "01:02:03.000004"}, "#,
        r#""price": {"__type__": "decimal", "__value__": "1.50"}, "#,
        r#""id": {"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}}"#
    );
    assert_eq!(value.to_json(), json);
    assert_eq!(
        Value::from_json(json.as_bytes())
            .unwrap()
            .deserialize::<All>()
            .unwrap(),
        all
    );
    let plain = serde_json::to_value(&all).unwrap();
    assert_eq!(
        plain["at"], "2024-02-29T12:30:15.123456+00:00",
        "other formats get plain text"
    );
    assert_eq!(serde_json::from_value::<All>(plain).unwrap(), all);
    let texts: BTreeMap<String, Value> = value.clone().deserialize().unwrap();
    assert_eq!(texts["price"], Value::Decimal("1.50".to_owned()));
    assert_eq!(
        value
            .get("id")
            .unwrap()
            .clone()
            .deserialize::<String>()
            .unwrap(),
        all.id.0.to_string()
    );
    assert_eq!(
        value
            .get("id")
            .unwrap()
            .clone()
            .deserialize::<uuid::Uuid>()
            .unwrap(),
        all.id.0
    );
    assert_eq!(
        value
            .get("bytes")
            .unwrap()
            .clone()
            .deserialize::<Vec<u8>>()
            .unwrap(),
        [0xff, 0]
    );
    assert_eq!(
        value
            .get("at")
            .unwrap()
            .clone()
            .deserialize::<DateTime<Utc>>()
            .unwrap(),
        all.at.0
    );
    assert!(
        Value::from("soon")
            .deserialize::<typed::DateTime>()
            .is_err()
    );
}

#[test]
fn values_pass_through_other_formats_as_plain_json() {
    let value =
        Value::from_json(br#"{"a": [1, 2.5, null, true, "x"], "b": {"c": 18446744073709551615}}"#)
            .unwrap();
    let json = serde_json::to_string(&value).unwrap();
    let read: Value =
        serde_json::from_str(&json.replace("\"18446744073709551615\"", "18446744073709551615"))
            .unwrap();
    assert_eq!(read, value);
}
