//! Tasks that have others take their place.

use celery::error::TaskError;
use lovage::client::canvas::{chain, group, link, set_subtasks, subtasks};
use lovage::protocol::{Signature, Value};
use lovage::{RawTask, signal};

use super::named;
use super::parameters::{Bound, blocking, task};
use super::side_effects::echo;
use super::signatures::{fixed, sig};

fn replace(by: Signature) -> Result<Value, TaskError> {
    Err(signal::replace(by))
}

/// The echo that a replaced task's chain is linked with: of a message of its own, or of what it is called with.
fn linked(mut by: Signature, option: &str, message: Value) -> Result<Signature, TaskError> {
    let echo = match message {
        Value::Null => sig("redis_echo", Vec::new()),
        message => fixed("redis_echo", vec![message]),
    };
    link(&mut by, option, &[echo])
        .map_err(|error| signal::raise("TypeError", error.to_string()))?;
    Ok(by)
}

fn second_order(
    mut bound: Bound,
    letter: &str,
    inner: Signature,
    own: &str,
) -> Result<Value, TaskError> {
    let key = || "redis-echo".to_owned();
    if bound.take(0) == Value::Bool(true) {
        return echo(format!("Out {letter}"), key());
    }
    echo(format!("In {letter}"), key())?;
    let mut after = fixed(own, Vec::new());
    after.kwargs.insert("state".to_owned(), Value::Bool(true));
    replace(chain([inner, after]))
}

const STAMP: (&str, &str) = ("StampOnReplace", "This is the replaced task");

fn stamp(signature: &mut Signature) {
    let options = &mut signature.options;
    options.insert(
        "stamped_headers".to_owned(),
        Value::List(vec![STAMP.0.into()]),
    );
    options.insert(STAMP.0.to_owned(), STAMP.1.into());
    if let Ok(mut members) = subtasks(signature)
        && !members.is_empty()
    {
        members.iter_mut().for_each(stamp);
        set_subtasks(signature, &members);
    }
}

fn nesting(mut bound: Bound) -> Result<Value, TaskError> {
    let mut seen = bound.items(1);
    seen.push(Value::Int(
        bound.context.message().headers.replaced_task_nesting,
    ));
    match bound.take(0).as_i64() {
        Some(left) if left > 0 => {
            let args = vec![Value::Int(left - 1), Value::List(seen)];
            replace(sig("record_replaced_task_nesting", args))
        }
        _ => Ok(Value::List(seen)),
    }
}

pub(super) fn tasks() -> Vec<RawTask> {
    vec![
        task(&named("fail_replaced"), "*args", |bound| async move {
            replace(fixed("fail", bound.items(0)))
        }),
        task(&named("add_replaced"), "x, y", |bound| async move {
            replace(sig("add", bound.values))
        }),
        task(
            &named("add_replaced_with_chain"),
            "x, y",
            |bound| async move {
                replace(chain([
                    sig("add", bound.values),
                    sig("identity", Vec::new()),
                ]))
            },
        ),
        task(
            &named("replace_with_chain"),
            "*args, link_msg=null",
            |mut bound| async move {
                let steps = [sig("identity", bound.items(0)), sig("identity", Vec::new())];
                replace(linked(chain(steps), "link", bound.take(1))?)
            },
        ),
        task(
            &named("replace_with_chain_which_raises"),
            "*args, link_msg=null",
            |mut bound| async move {
                let steps = [
                    sig("identity", bound.items(0)),
                    sig("raise_error", Vec::new()),
                ];
                replace(linked(chain(steps), "link_error", bound.take(1))?)
            },
        ),
        task(
            &named("replace_with_chain_which_contains_a_group"),
            "",
            |_| async {
                let one = || sig("add", vec![Value::Int(1)]);
                let first = sig("add", vec![Value::Int(1), Value::Int(2)]);
                replace(chain([first, group([one(), one()])]))
            },
        ),
        task(&named("replace_with_empty_chain"), "*args", |_| async {
            replace(chain([]))
        }),
        task(&named("add_to_all"), "nums, val", |bound| async move {
            let value = &bound.values[1];
            let numbers = bound.items(0).into_iter();
            replace(group(
                numbers.map(|number| sig("add", vec![number, value.clone()])),
            ))
        }),
        blocking(&named("second_order_replace1"), "state=false", |bound| {
            let inner = sig("second_order_replace2", Vec::new());
            second_order(bound, "A", inner, "second_order_replace1")
        }),
        blocking(&named("second_order_replace2"), "state=false", |bound| {
            let inner = sig("redis_echo", vec![Value::from("In/Out C")]);
            second_order(bound, "B", inner, "second_order_replace2")
        }),
        task(
            &named("record_replaced_task_nesting"),
            "replacements, nesting=null",
            |bound| async move { nesting(bound) },
        ),
        task(&named("replaced_with_me"), "", |_| async {
            Ok(Value::Bool(true))
        }),
        task(
            &named("replace_with_stamped_task"),
            "replace_with=null",
            |mut bound| async move {
                let mut by = match bound.take(0) {
                    Value::Null => sig("replaced_with_me", Vec::new()),
                    given => Signature::from_value(given)
                        .map_err(|error| signal::raise("TypeError", error.to_string()))?,
                };
                stamp(&mut by);
                replace(by)
            },
        ),
    ]
}
