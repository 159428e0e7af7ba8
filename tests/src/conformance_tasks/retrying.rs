//! Tasks that run again.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use celery::error::TaskError;
use lovage::protocol::{Map, Value};
use lovage::{RawTask, RetryChanges, TaskOptions, signal};

use super::arithmetic::plus;
use super::failing::exception;
use super::named;
use super::parameters::{Bound, task};

fn after(seconds: &Value) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds.as_f64()?).ok()
}

fn retries(bound: &Bound) -> Value {
    Value::Int(bound.context.retries().into())
}

/// Asks for another run with these options, the first time.
fn once(countdown: &Value, max_retries: &Value, expires: &Value) -> TaskError {
    let changes = RetryChanges {
        max_retries: max_retries.as_i64().and_then(|max| u32::try_from(max).ok()),
        expires: after(expires),
        ..RetryChanges::default()
    };
    // None is the task's own pause, Celery's three minutes.
    let pause = after(countdown).unwrap_or(Duration::from_secs(180));
    signal::retry_with(None, Some(pause), changes)
}

fn again(changes: RetryChanges) -> TaskError {
    signal::retry_with(None, Some(Duration::ZERO), changes)
}

fn told(bound: &Bound, names: &[&str]) -> Value {
    let values = names.iter().zip(&bound.values);
    let mut map: Map = values
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect();
    map.insert("retries".to_owned(), retries(bound));
    map.insert("is_eager".to_owned(), Value::Bool(false));
    Value::Map(map)
}

async fn retry(mut bound: Bound) -> Result<Value, TaskError> {
    static ATTEMPT: AtomicU32 = AtomicU32::new(0);
    if bound.values[0] != Value::Null {
        if ATTEMPT.load(Ordering::SeqCst) >= 3 {
            ATTEMPT.store(0, Ordering::SeqCst);
            return Ok(bound.take(0));
        }
        ATTEMPT.fetch_add(1, Ordering::SeqCst);
    }
    let cause = exception("ExpectedException", Vec::new());
    Err(signal::retry_because(cause, Some(Duration::from_secs(5))))
}

async fn retry_unpickleable(mut bound: Bound) -> Result<Value, TaskError> {
    let cause = exception("UnpickleableException", vec![bound.take(0)]);
    let said = bound.take(2);
    let option = |name: &str| said.get(name).cloned().unwrap_or(Value::Null);
    let max = option("max_retries").as_i64();
    let changes = RetryChanges {
        max_retries: max.and_then(|max| u32::try_from(max).ok()),
        ..RetryChanges::default()
    };
    let pause = after(&option("countdown")).unwrap_or(Duration::from_secs(1));
    Err(signal::retry_with(Some(cause), Some(pause), changes))
}

async fn with_args_after_kwargs(bound: Bound) -> Result<Value, TaskError> {
    if bound.context.retries() > 0 {
        return Ok(told(&bound, &["foo", "bar", "label"]));
    }
    let args = vec![
        plus(&bound.values[0], &Value::Int(1))?,
        plus(&bound.values[1], &Value::Int(1))?,
    ];
    // A task that takes its arguments as they come says itself which of them stay.
    let kwargs = Map::from_iter([("label".to_owned(), bound.values[2].clone())]);
    Err(again(RetryChanges {
        args: Some(args),
        kwargs: Some(kwargs),
        ..RetryChanges::default()
    }))
}

async fn with_kwargs_after_args(bound: Bound) -> Result<Value, TaskError> {
    if bound.context.retries() > 0 {
        return Ok(told(&bound, &["foo", "bar"]));
    }
    let kwargs = [
        ("foo".to_owned(), plus(&bound.values[0], &Value::Int(1))?),
        ("bar".to_owned(), bound.values[1].clone()),
    ];
    Err(again(RetryChanges {
        args: Some(Vec::new()),
        kwargs: Some(Map::from_iter(kwargs)),
        ..RetryChanges::default()
    }))
}

pub(super) fn tasks() -> Vec<RawTask> {
    let most = |retries| TaskOptions::new().max_retries(Some(retries));
    vec![
        task(&named("retry"), "return_value=null", retry),
        task(
            &named("retry_unpickleable"),
            "foo, bar, *, retry_kwargs",
            retry_unpickleable,
        ),
        task(
            &named("retry_once"),
            "*args, expires=null, max_retries=1, countdown=0.1",
            |bound| async move {
                if bound.context.retries() > 0 {
                    return Ok(retries(&bound));
                }
                Err(once(&bound.values[3], &bound.values[2], &bound.values[1]))
            },
        )
        .options(most(1)),
        task(
            &named("retry_once_priority"),
            "*args, expires=60.0, max_retries=1, countdown=0.1",
            |bound| async move {
                if bound.context.retries() > 0 {
                    return Ok(Value::Int(bound.context.message().properties.priority));
                }
                Err(once(&bound.values[3], &bound.values[2], &Value::Null))
            },
        )
        .options(most(1)),
        task(
            &named("retry_once_headers"),
            "*args, max_retries=1, countdown=0.1",
            |bound| async move {
                if bound.context.retries() > 0 {
                    return Ok(Value::Map(bound.context.message().headers.extra.clone()));
                }
                Err(once(&bound.values[2], &bound.values[1], &Value::Null))
            },
        )
        .options(most(1)),
        task(&named("retry_once_ignore_result"), "", |bound| async move {
            at_once(&bound)
        })
        .options(TaskOptions::new().ignore_result(true)),
        task(&named("retry_once_with_result"), "", |bound| async move {
            at_once(&bound)
        })
        .options(TaskOptions::new().ignore_result(false)),
        task(
            &named("retry_with_args_after_kwargs"),
            "foo, bar, label=null",
            with_args_after_kwargs,
        )
        .options(most(1)),
        task(
            &named("retry_with_kwargs_after_args"),
            "foo, bar",
            with_kwargs_after_args,
        )
        .options(most(1)),
        task("auto_retry_class_task", "", |bound| async move {
            if bound.context.retries() > 0 {
                return Ok(retries(&bound));
            }
            Err(signal::raise("ValueError", ""))
        })
        .options(most(1).retry_for(&["ValueError"])),
    ]
}

fn at_once(bound: &Bound) -> Result<Value, TaskError> {
    if bound.context.retries() > 0 {
        return Ok(retries(bound));
    }
    Err(again(RetryChanges::default()))
}
