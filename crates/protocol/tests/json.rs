//! The JSON that Python takes, and the JSON that it does not.

use lovage_protocol::{ExceptionInfo, Value, saferepr};

#[test]
fn json_that_python_refuses_is_refused() {
    let bad = [
        "",
        " ",
        "nul",
        "tru",
        "+1",
        "01",
        "-",
        "-01",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x1",
        "Nan",
        "infinity",
        "-Inf",
        "'a'",
        "\"a",
        "\"\n\"",
        "\"\t\"",
        "\"\\x41\"",
        "\"\\u12\"",
        "\"\\u12g4\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{\"a\":1,}",
        "{,}",
        "[1]]",
        "1 2",
        "\u{feff}1",
        "\u{a0}1",
        "{\"a\" 1}",
        "[",
        "{",
        "{\"a\"",
        "{\"a\":1",
    ];
    for text in bad {
        assert!(Value::from_json(text.as_bytes()).is_err(), "{text:?}");
    }
    let envelopes = [
        r#"{"__type__": "nope", "__value__": 1}"#,
        r#"{"__type__": 1, "__value__": 1}"#,
        r#"{"__type__": "datetime", "__value__": "soon"}"#,
        r#"{"__type__": "datetime", "__value__": 1}"#,
        r#"{"__type__": "base64", "__value__": "*"}"#,
        r#"{"__type__": "uuid", "__value__": {"hex": "1"}}"#,
        r#"{"__type__": "decimal", "__value__": "1,5"}"#,
        r#"{"__type__": "time", "__value__": "25:00"}"#,
        r#"{"__type__": "date", "__value__": "2026-02-30"}"#,
        r#"[{"__type__": "bytes", "__value__": null}]"#,
    ];
    for text in envelopes {
        assert!(Value::from_json(text.as_bytes()).is_err(), "{text}");
        assert!(Value::from_json_plain(text.as_bytes()).is_ok(), "{text}");
    }
}

#[test]
fn json_that_python_takes_is_taken() {
    let pairs = [
        (" [ 1 , 2 ] ", "[1, 2]"),
        ("1E2", "100.0"),
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("1e999", "Infinity"),
        ("{\"a\": 1, \"b\": 2, \"a\": 3}", "{\"a\": 3, \"b\": 2}"),
        ("\"\\/\\b\\f\\n\\r\\t\"", "\"/\\b\\f\\n\\r\\t\""),
        ("\"\\ud83d\\ude00\"", "\"\\ud83d\\ude00\""),
        ("\"\\ud83d\"", "\"\\ufffd\""),
        ("\"\\ude00x\"", "\"\\ufffdx\""),
        ("\"\\ud83d\\u0041\"", "\"\\ufffdA\""),
        ("9223372036854775808", "9223372036854775808"),
        ("\"\u{7f}\"", "\"\\u007f\""),
        ("[[],{}]", "[[], {}]"),
    ];
    for (text, written) in pairs {
        assert_eq!(
            Value::from_json(text.as_bytes()).unwrap().to_json(),
            written,
            "{text}"
        );
    }
}

#[test]
fn the_deepest_values_can_be_handled_on_a_small_stack() {
    let deepest = format!("{}{}", "[".repeat(512), "]".repeat(512));
    let work = move || {
        let value = Value::from_json(deepest.as_bytes()).unwrap();
        let copy = Value::from_serialize(&value.clone()).unwrap();
        assert_eq!(copy.clone().deserialize::<Value>().unwrap(), value);
        assert_eq!(copy.to_json(), deepest);
        assert_eq!(saferepr(&value), "[[[[...]]]]");
        let repr = ExceptionInfo::new("builtins", "E", vec![value]).repr();
        assert_eq!(repr.len(), deepest.len() + "E()".len());
    };
    // Half of what a worker thread of the runtime has, in a build without optimisation.
    std::thread::Builder::new()
        .stack_size(1 << 20)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap();
}
