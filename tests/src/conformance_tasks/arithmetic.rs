//! Sums, of whatever Python can add.

use std::io::Write;
use std::time::Duration;

use celery::error::TaskError;
use lovage::protocol::{Map, Value};
use lovage::{RawTask, TaskOptions, signal};

use super::named;
use super::parameters::{Bound, blocking, task};

/// Python's `+`.
pub(super) fn plus(left: &Value, right: &Value) -> Result<Value, TaskError> {
    Ok(match (left, right) {
        (Value::Int(a), Value::Int(b)) => Value::Int(a + b),
        (Value::Str(a), Value::Str(b)) => Value::Str(format!("{a}{b}")),
        (Value::List(a), Value::List(b)) => Value::List([a.as_slice(), b].concat()),
        (a, b) => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => Value::Float(a + b),
            _ => {
                let text = "unsupported operand type(s) for +";
                return Err(signal::raise("TypeError", text));
            }
        },
    })
}

/// Python's `sum`.
pub(super) fn sum(items: &[Value]) -> Result<Value, TaskError> {
    let mut total = Value::Int(0);
    for item in items {
        total = plus(&total, item)?;
    }
    Ok(total)
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Str(text) => !text.is_empty(),
        Value::List(items) => !items.is_empty(),
        number => number.as_f64() != Some(0.0),
    }
}

async fn add(bound: Bound) -> Result<Value, TaskError> {
    let both = plus(&bound.values[0], &bound.values[1])?;
    match bound.values.get(2) {
        Some(third) if truthy(third) => plus(&both, third),
        _ => Ok(both),
    }
}

async fn pause(bound: &Bound, place: usize) {
    let seconds = bound.values[place].as_f64().unwrap_or_default();
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn of_model(mut bound: Bound) -> Result<Value, TaskError> {
    let data = bound.take(0);
    let field = |name: &str| data.get(name).cloned().unwrap_or(Value::Null);
    let result = plus(&field("x"), &field("y"))?;
    let map = Map::from_iter([("result".to_owned(), result)]);
    Ok(Value::Map(map))
}

pub(super) fn tasks() -> Vec<RawTask> {
    let ignoring = |ignore| TaskOptions::new().ignore_result(ignore);
    vec![
        task(&named("identity"), "x", |mut bound| async move {
            Ok(bound.take(0))
        }),
        task(&named("add"), "x, y, z=null", add),
        task(&named("add_with_result"), "x, y", add).options(ignoring(false)),
        task(&named("add_ignore_result"), "x, y", add).options(ignoring(true)),
        task(&named("add_not_typed"), "x, y", add),
        task(&named("mul"), "x, y", |bound| async move {
            let number = |place: usize| bound.values[place].as_i64().unwrap_or_default();
            Ok(Value::Int(number(0) * number(1)))
        }),
        task(&named("tsum"), "nums", |bound| async move {
            sum(&bound.items(0))
        }),
        task(&named("xsum"), "nums", |bound| async move {
            let mut total = Value::Int(0);
            for item in bound.items(0) {
                let item = match item {
                    Value::List(inner) => sum(&inner)?,
                    number => number,
                };
                total = plus(&total, &item)?;
            }
            Ok(total)
        }),
        task(
            &named("delayed_sum"),
            "numbers, pause_time=1",
            |bound| async move {
                pause(&bound, 1).await;
                sum(&bound.items(0))
            },
        ),
        task(
            &named("delayed_sum_with_soft_guard"),
            "numbers, pause_time=1",
            |bound| async move {
                let limit = bound.context.soft_limit();
                tokio::select! {
                    () = pause(&bound, 1) => sum(&bound.items(0)),
                    () = limit => Ok(Value::Int(0)),
                }
            },
        ),
        task(&named("sleeping"), "i, **others", |bound| async move {
            pause(&bound, 0).await;
            Ok(Value::Null)
        }),
        blocking(
            &named("write_to_file_and_return_int"),
            "file_name, i",
            |mut bound| {
                let opened = std::fs::OpenOptions::new()
                    .append(true)
                    .create(true)
                    .open(bound.text(0));
                let written = opened.and_then(|mut file| writeln!(file, "{}", bound.text(1)));
                written.map_err(|error| signal::raise("OSError", error.to_string()))?;
                Ok(bound.take(1))
            },
        ),
        task(&named("add_pydantic"), "data", |bound| async {
            of_model(bound)
        }),
        task(
            &named("add_pydantic_string_annotations"),
            "data",
            |bound| async { of_model(bound) },
        ),
    ]
}
