//! Values and times, compared with what Python wrote (`vectors/record.py`) and with captured `saferepr` output.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use chrono_tz::Tz;
use lovage_protocol::{
    ExceptionInfo, Value, args_repr, kwargs_repr, saferepr,
    time::{format_iso, parse_iso},
};

fn rows(json: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(json).unwrap()
}

fn text<'a>(row: &'a serde_json::Value, key: &str) -> &'a str {
    row[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} in {row}"))
}

#[test]
fn values_are_written_and_printed_as_python_does() {
    let rows = rows(include_str!("vectors/values.json"));
    assert!(rows.len() > 700, "the vectors are complete");
    let mut wrong = Vec::new();
    for row in &rows {
        let json = text(row, "json");
        let value =
            Value::from_json(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"));
        let exception = ExceptionInfo::new("builtins", "E", vec![value.clone()]);
        let pairs = [
            (value.to_json(), json.to_owned()),
            (exception.repr(), format!("E({})", text(row, "repr"))),
            (saferepr(&value), text(row, "saferepr").to_owned()),
        ];
        wrong.extend(pairs.into_iter().filter(|(ours, pythons)| ours != pythons));
    }
    assert!(
        wrong.is_empty(),
        "{} differ (ours, Python's): {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(10)]
    );
}

#[test]
fn times_are_read_as_dateutil_does() {
    let rows = rows(include_str!("vectors/times.json"));
    assert!(rows.len() > 80, "the vectors are complete");
    for row in &rows {
        let input = text(row, "text");
        for (key, zone) in [("UTC", Tz::UTC), ("Europe/Berlin", Tz::Europe__Berlin)] {
            let ours = parse_iso(input, zone).map(format_iso).ok();
            assert_eq!(ours.as_deref(), row[key].as_str(), "{input:?} in {key}");
        }
    }
}

#[test]
fn captured_reprs_are_met() {
    let capture: serde_json::Value =
        serde_json::from_str(include_str!("captures/01-vectors-repr.json")).unwrap();
    let args = capture["decoded"]["args"].as_array().unwrap();
    let kwargs = capture["decoded"]["kwargs"].as_array().unwrap();
    assert_eq!((args.len(), kwargs.len()), (13, 4));
    for row in args {
        let value = Value::from_json(text(row, "json").as_bytes()).unwrap();
        assert_eq!(
            args_repr(value.as_list().unwrap()),
            text(row, "args_as_tuple")
        );
        assert_eq!(saferepr(&value), text(row, "as_list"));
        assert_eq!(saferepr(&value), text(row, "result_1024"));
    }
    for row in kwargs {
        let value = Value::from_json(text(row, "json").as_bytes()).unwrap();
        assert_eq!(
            kwargs_repr(value.as_map().unwrap()),
            text(row, "kwargsrepr")
        );
    }
}

#[test]
fn the_captured_argsrepr_of_special_values_is_met() {
    let capture =
        Value::from_json_plain(include_bytes!("captures/01-json-special-types.json")).unwrap();
    let raw = capture.get("raw").unwrap().as_str().unwrap();
    let message = lovage_protocol::Message::parse(raw.as_bytes()).unwrap();
    let body = message
        .decode_body(&lovage_protocol::DecodeOptions::default())
        .unwrap();
    // The capture's tuple (1, 2) travels as a list.
    let expected = message
        .headers
        .argsrepr
        .unwrap()
        .replace("(1, 2), inf", "[1, 2], inf");
    assert_eq!(args_repr(body.args.as_list().unwrap()), expected);
}
