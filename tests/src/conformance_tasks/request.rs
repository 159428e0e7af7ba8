//! What a task sees of its own message.

use lovage::protocol::{Map, Value};
use lovage::{Context, RawTask, TaskOptions};
use std::time::Duration;

use super::named;
use super::parameters::{Bound, task};

fn id(of: Option<impl ToString>) -> Value {
    of.map_or(Value::Null, |id| Value::Str(id.to_string()))
}

fn ids(context: &Context, own: Value) -> Value {
    let headers = &context.message().headers;
    Value::List(vec![
        id(headers.root_id.as_ref()),
        id(headers.parent_id.as_ref()),
        own,
    ])
}

fn priority(context: &Context) -> i64 {
    context.message().properties.priority
}

fn limits(bound: &Bound, hard: Option<f64>, soft: Option<f64>) -> Value {
    let said = bound.context.message().headers.timelimit;
    let number = |seconds: Option<f64>| match seconds {
        #[expect(clippy::cast_possible_truncation, reason = "it is a whole number")]
        Some(seconds) if seconds.fract() == 0.0 => Value::Int(seconds as i64),
        Some(seconds) => Value::Float(seconds),
        None => Value::Null,
    };
    Value::Map(Map::from_iter([
        ("time_limit".to_owned(), number(said.hard.or(hard))),
        ("soft_time_limit".to_owned(), number(said.soft.or(soft))),
    ]))
}

fn properties(context: &Context) -> Value {
    let properties = &context.message().properties;
    let mut map = properties.extra.clone();
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Str);
    map.insert(
        "correlation_id".to_owned(),
        text(&properties.correlation_id),
    );
    map.insert("reply_to".to_owned(), text(&properties.reply_to));
    map.insert("priority".to_owned(), Value::Int(properties.priority));
    Value::Map(map)
}

pub(super) fn tasks() -> Vec<RawTask> {
    let seconds = Duration::from_secs;
    vec![
        task(&named("ids"), "i", |mut bound| async move {
            let own = bound.take(0);
            Ok(ids(&bound.context, own))
        }),
        task(&named("collect_ids"), "res, i", |mut bound| async move {
            let own = bound.take(1);
            let ids = ids(&bound.context, own);
            Ok(Value::List(vec![bound.take(0), ids]))
        }),
        task(&named("return_priority"), "*args", |bound| async move {
            Ok(Value::Str(format!(
                "Priority: {}",
                priority(&bound.context)
            )))
        }),
        task(&named("return_properties"), "", |bound| async move {
            Ok(properties(&bound.context))
        }),
        task(&named("return_request_eta"), "", |bound| async move {
            Ok(id(bound.context.message().headers.eta.as_ref()))
        }),
        task(
            &named("return_request_time_limits"),
            "",
            |bound| async move { Ok(limits(&bound, None, None)) },
        ),
        task(
            &named("task_with_declared_time_limits"),
            "",
            |bound| async move { Ok(limits(&bound, Some(60.0), Some(45.0))) },
        )
        .options(
            TaskOptions::new()
                .time_limit(seconds(60))
                .soft_time_limit(seconds(45)),
        ),
        task(
            &named("soft_time_limit_must_exceed_time_limit"),
            "",
            |_| async { Ok(Value::Null) },
        )
        .options(
            TaskOptions::new()
                .time_limit(seconds(1))
                .soft_time_limit(seconds(2)),
        ),
    ]
}
