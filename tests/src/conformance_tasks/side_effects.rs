//! What tasks leave behind in Redis, and in the log.

use std::env;

use celery::error::TaskError;
use lovage::protocol::Value;
use lovage::{RawTask, signal};

use super::arithmetic::sum;
use super::named;
use super::parameters::{blocking, task};

fn broken(error: impl std::fmt::Display) -> TaskError {
    signal::raise("OSError", error.to_string())
}

/// Runs one command on the suite's Redis.
pub(super) fn redis(command: &str, arguments: &[Vec<u8>]) -> Result<(), TaskError> {
    let variable =
        |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.to_owned());
    let host = variable("REDIS_HOST", "localhost");
    let port = variable("REDIS_PORT", "6379");
    let client = redis::Client::open(format!("redis://{host}:{port}/0")).map_err(broken)?;
    let mut connection = client.get_connection().map_err(broken)?;
    redis::cmd(command)
        .arg(arguments)
        .exec(&mut connection)
        .map_err(broken)
}

pub(super) fn echo(
    message: impl Into<Vec<u8>>,
    key: impl Into<Vec<u8>>,
) -> Result<Value, TaskError> {
    redis("RPUSH", &[key.into(), message.into()])?;
    Ok(Value::Null)
}

pub(super) fn count(key: impl Into<Vec<u8>>) -> Result<(), TaskError> {
    redis("INCR", &[key.into()])
}

pub(super) fn tasks() -> Vec<RawTask> {
    vec![
        blocking(
            &named("redis_echo"),
            "message, redis_key=\"redis-echo\"",
            |bound| echo(bound.raw(0), bound.raw(1)),
        ),
        blocking(
            &named("redis_echo_group_id"),
            "ignored, redis_key=\"redis-group-ids\"",
            |bound| {
                let group = bound.context.message().headers.group.clone();
                echo(group.unwrap_or_default(), bound.raw(1))
            },
        ),
        blocking(
            &named("redis_count"),
            "redis_key=\"redis-count\"",
            |bound| count(bound.raw(0)).map(|()| Value::Null),
        ),
        blocking(&named("sum_and_record"), "values, redis_key", |bound| {
            let result = sum(&bound.items(0))?;
            redis(
                "RPUSH",
                &[
                    bound.raw(1),
                    bound.context.task_id().to_string().into_bytes(),
                ],
            )?;
            Ok(result)
        }),
        task(
            &named("print_unicode"),
            "log_message=\"h\u{e5}\u{e5}\u{ae}\u{192} valmuefr\u{f8}\", print_message=\"hi\u{f6}\u{e4}\u{fc}\u{df}\"",
            |bound| async move {
                tracing::warn!("{}", bound.text(0));
                tracing::info!("{}", bound.text(1));
                Ok(Value::Null)
            },
        ),
    ]
}
