//! Argument binding says exactly what Python says: every small signature is called every small way, by both.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is the failed test"
)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use lovage_protocol::{Map, Value};
use lovage_registry::{Binder, Param, TaskSpec, bind};
use serde_json::json;

/// Calls each case as `celery/app/trace.py` does, and writes what came of it.
const CALL: &str = r#"
import datetime, decimal, json, sys, uuid
for case in json.load(sys.stdin):
    scope = {"__name__": case["module"]}
    params = ", ".join(n if d is None else f"{n}={d}" for n, d in case["params"])
    exec(f"def {case['function']}({params}): return locals()", scope)
    try:
        outcome = {"bound": scope[case["function"]](*eval(case["args"]), **dict(case["kwargs"]))}
    except TypeError as error:
        outcome = {"error": str(error)}
    print(json.dumps(outcome))
"#;

fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = std::env::var_os("LOVAGE_TEST_PYTHON")
        .map_or_else(|| root.join(".venv/bin/python"), PathBuf::from);
    assert!(
        python.exists(),
        "this test compares with a real Python: {} is not there; create .venv or set LOVAGE_TEST_PYTHON",
        python.display()
    );
    python
}

/// One call: a task with its parameters (and defaults), `args` for Rust and as a Python expression, `kwargs`.
struct Call {
    task: &'static str,
    params: Vec<(&'static str, Option<i64>)>,
    args: Value,
    python_args: String,
    kwargs: Vec<(&'static str, i64)>,
}

impl Call {
    fn by_python(&self) -> serde_json::Value {
        let (module, function) = self
            .task
            .rsplit_once('.')
            .expect("tasks here have two parts");
        json!({
            "module": module, "function": function, "params": self.params,
            "args": self.python_args, "kwargs": self.kwargs,
        })
    }

    fn by_rust(&self) -> serde_json::Value {
        let spec =
            self.params
                .iter()
                .fold(TaskSpec::variadic(self.task), |spec, (name, default)| {
                    let param = Param::new(name, json!(true));
                    spec.with_param(match default {
                        Some(value) => param.with_default(value),
                        None => param,
                    })
                });
        let kwargs: Map = self
            .kwargs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
            .collect();
        match Binder::new(&spec).bind(self.args.clone(), kwargs) {
            Ok(bound) => json!({ "bound": Value::Map(bound) }),
            Err(error) => json!({ "error": error.to_string() }),
        }
    }
}

fn check(calls: &[Call]) {
    let cases: Vec<_> = calls.iter().map(Call::by_python).collect();
    let mut child = Command::new(python())
        .args(["-c", CALL])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let input = serde_json::to_vec(&cases).unwrap();
    child
        .stdin
        .take()
        .expect("stdin is piped")
        .write_all(&input)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "python failed: {}", output.status);
    let output = String::from_utf8(output.stdout).unwrap();
    let outcomes: Vec<serde_json::Value> = output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(outcomes.len(), calls.len());
    for ((call, case), expected) in calls.iter().zip(&cases).zip(&outcomes) {
        assert_eq!(&call.by_rust(), expected, "{case}");
    }
}

#[test]
fn every_small_call_ends_as_in_python() {
    const NAMES: [&str; 4] = ["x", "y", "a_b", "d"];
    let mut calls = Vec::new();
    for count in 0..=NAMES.len() {
        for defaults in 0..=count {
            let params: Vec<_> = NAMES[..count]
                .iter()
                .enumerate()
                .map(|(at, name)| (*name, (at + defaults >= count).then_some(100)))
                .collect();
            for given in 0..=count + 2 {
                for chosen in 0..1_u32 << count {
                    let named = NAMES[..count]
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| chosen & (1 << at) != 0)
                        .map(|(_, name)| (*name, 7));
                    let kwargs: Vec<_> = named.collect();
                    let unknown_first = [vec![("z", 9)], kwargs.clone()].concat();
                    let unknown_last = [kwargs.clone(), vec![("z", 9)]].concat();
                    for kwargs in [kwargs, unknown_first, unknown_last] {
                        let args: Vec<i64> =
                            (0..given).map(|n| i64::try_from(n).unwrap()).collect();
                        calls.push(Call {
                            task: "demo.add",
                            params: params.clone(),
                            python_args: format!("{args:?}"),
                            args: Value::List(args.into_iter().map(Value::from).collect()),
                            kwargs,
                        });
                    }
                }
            }
        }
    }
    assert!(calls.len() > 1000);
    check(&calls);
}

#[test]
fn args_that_are_no_list_are_unpacked_or_refused_as_in_python() {
    let call = |args: Value, python_args: &str| Call {
        task: "shop.orders.ship",
        params: vec![("x", None), ("y", Some(1))],
        args,
        python_args: python_args.to_owned(),
        kwargs: vec![],
    };
    let map = Map::from_iter([
        ("k".to_owned(), Value::from(1)),
        ("é".to_owned(), Value::Null),
    ]);
    check(&[
        call(Value::Null, "None"),
        call(Value::Bool(true), "True"),
        call(Value::from(5), "5"),
        call(Value::Big("9".repeat(30)), &"9".repeat(30)),
        call(Value::Float(2.5), "2.5"),
        call(Value::from("aé"), "'aé'"),
        call(Value::from(""), "''"),
        call(Value::from("abc"), "'abc'"),
        call(Value::Map(map), "{'k': 1, 'é': None}"),
        call(Value::Bytes(vec![1, 255]), r"b'\x01\xff'"),
        call(
            Value::DateTime("2026-01-01T00:00:00".to_owned()),
            "datetime.datetime(2026, 1, 1)",
        ),
        call(
            Value::Date("2026-01-01".to_owned()),
            "datetime.date(2026, 1, 1)",
        ),
        call(Value::Time("00:00:00".to_owned()), "datetime.time()"),
        call(Value::Decimal("1.5".to_owned()), "decimal.Decimal('1.5')"),
        call(Value::Uuid(Default::default()), "uuid.UUID(int=0)"),
    ]);
}

#[test]
fn a_task_name_of_one_part_is_its_function() {
    let error =
        Binder::new(&TaskSpec::variadic("add")).bind(Value::List(vec![1.into()]), Map::new());
    assert_eq!(
        error.unwrap_err().to_string(),
        "add() takes 0 positional arguments but 1 was given"
    );
}

#[test]
fn an_optional_parameter_stays_out_when_it_is_not_given() {
    let bound = |args: Vec<Value>| {
        let defaults = |name: &str| (name == "y").then(|| Value::from(5));
        let optional = |name: &str| name == "z";
        bind(
            "demo.add",
            &["x", "y", "z"],
            &defaults,
            &optional,
            Value::List(args),
            Map::new(),
        )
    };
    let keys = |map: &Map| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&bound(vec![1.into()]).unwrap()), ["x", "y"]);
    assert_eq!(
        keys(&bound(vec![1.into(), 2.into(), Value::Null]).unwrap()),
        ["x", "y", "z"]
    );
    assert_eq!(
        bound(vec![]).unwrap_err().to_string(),
        "add() missing 1 required positional argument: 'x'"
    );
    assert_eq!(
        bound(vec![Value::Null; 4]).unwrap_err().to_string(),
        "add() takes from 1 to 3 positional arguments but 4 were given"
    );
}
