//! Values that JSON does not know travel to a Rust task and back without a change, seen with Python's eyes.

use lovage_integration_tests::Stage;

/// Sends a Python expression through `demo.echo` and compares type and value of what comes back.
fn comes_back(expressions: &[&str]) {
    let mut stage = Stage::new();
    stage.python.run(
        r#"
        import datetime as dt, decimal, uuid, math, zoneinfo
        def same(a, b):
            if isinstance(a, float) and math.isnan(a):
                return isinstance(b, float) and math.isnan(b)
            if isinstance(a, dict):
                return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
            if isinstance(a, list):
                return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
            if isinstance(a, dt.datetime):
                return isinstance(b, dt.datetime) and a.utcoffset() == b.utcoffset() and a == b
            return type(a) is type(b) and a == b
        def echo(value):
            got = app.send_task("demo.echo", (value,), {"named": value}).get(timeout=10)
            ok = same(value, got[0][0]) and same(value, got[1]["named"])
            return True if ok else repr(got)
        "#,
    );
    for expression in expressions {
        assert_eq!(
            stage.eval(&format!("echo({expression})")),
            true,
            "{expression}"
        );
    }
}

#[test]
fn dates_and_times_keep_their_type_and_zone() {
    comes_back(&[
        "dt.datetime(2024, 2, 29, 12, 30, 15, 123456)",
        "dt.datetime(2024, 2, 29, 12, 30, 15)",
        "dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=dt.timezone.utc)",
        "dt.datetime(2024, 2, 29, 12, 30, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))",
        "dt.date(2024, 2, 29)",
        "dt.time(1, 2, 3, 4)",
    ]);
}

#[test]
fn decimals_uuids_and_bytes_keep_their_type() {
    comes_back(&[
        "decimal.Decimal('1.50')",
        "decimal.Decimal('1E+3')",
        "decimal.Decimal('-0.000000000000000000000000001')",
        "uuid.UUID('12345678-1234-5678-1234-567812345678')",
        "b'abc'",
        "b''",
        r"b'\xff\x00'",
        "bytes(range(256))",
    ]);
}

#[test]
fn numbers_beyond_json_survive() {
    comes_back(&[
        "float('nan')",
        "float('inf')",
        "float('-inf')",
        "2**63",
        "-(2**64)",
        "10**400",
        "2**63 - 1",
        "-(2**63)",
        "1e100",
        "1e16",
        "5e-324",
        "0.1 + 0.2",
        "1.0",
        "-0.0",
        "True",
        "0",
    ]);
}

#[test]
fn text_of_every_script_survives() {
    comes_back(&[
        r"'caf\u00e9 \u4e2d\u6587 \U0001F33F'",
        r#"'quote " backslash \\ slash / newline \n tab \t nul \x00 del \x7f'"#,
        "'x' * 100_000",
        "''",
        "{'': {'__type__': 'datetime', '__value__': '2024-01-01', 'third': 1}}",
        "{'__type__': 'datetime'}",
    ]);
}

#[test]
fn structures_keep_order_and_nesting() {
    comes_back(&[
        "[]",
        "{}",
        "[[], [[]], {'a': {}, 'b': [None]}]",
        "[{'when': dt.date(2024, 2, 29), 'sums': [decimal.Decimal('1.10'), None, b'\\x80']}]",
        "__import__('functools').reduce(lambda inner, _: [inner], range(100), 'deep')",
    ]);
}

#[test]
fn keys_come_back_in_the_order_they_were_sent() {
    let mut stage = Stage::new();
    let order = stage.python.run(
        r#"
        sent = {k: i for i, k in enumerate(["z", "a", "m", "B", "9", "1"])}
        got = app.send_task("demo.echo", (sent,)).get(timeout=10)[0][0]
        answer(list(got) == list(sent))
        "#,
    );
    assert_eq!(order, true);
}
