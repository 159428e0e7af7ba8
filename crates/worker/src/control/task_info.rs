//! A task as `active`, `reserved`, `scheduled` and `query_task` show it (`celery/worker/request.py`, `info`).

use lovage_protocol::{Body, DecodeOptions, Map, Message, Value, args_repr, kwargs_repr};

use super::object;
use crate::running::Runs;

/// One that has not begun, or runs.
pub(super) fn info(
    message: &Message,
    node: &str,
    runs: Option<&Runs>,
    safe: bool,
    decode: &DecodeOptions,
) -> Value {
    let headers = &message.headers;
    let body = || message.decode_body(decode).ok();
    let (args, kwargs) = if safe {
        texts(message, body)
    } else {
        match body() {
            Some(body) => (body.args, Value::Map(body.kwargs)),
            // It cannot be read, and will be refused; it is shown all the same.
            None => (Value::List(Vec::new()), Value::Map(Map::new())),
        }
    };
    let info = &message.properties.delivery_info;
    let name = headers.shadow.as_deref().filter(|name| !name.is_empty());
    object([
        ("id", headers.id.as_str().into()),
        ("name", name.unwrap_or(headers.task.as_str()).into()),
        ("args", args),
        ("kwargs", kwargs),
        ("type", headers.task.as_str().into()),
        ("hostname", node.into()),
        (
            "time_start",
            runs.map_or(Value::Null, |runs| Value::Float(runs.since)),
        ),
        (
            "acknowledged",
            runs.is_some_and(|runs| runs.acknowledged).into(),
        ),
        (
            "delivery_info",
            object([
                ("exchange", info.exchange.as_str().into()),
                ("routing_key", info.routing_key.as_str().into()),
                ("priority", message.properties.priority.into()),
                ("redelivered", message.redelivered().into()),
            ]),
        ),
        (
            "worker_pid",
            runs.map_or(Value::Null, |runs| i64::from(runs.pid).into()),
        ),
    ])
}

/// The arguments as the sender wrote them for people, or as he would have.
fn texts(message: &Message, body: impl Fn() -> Option<Body>) -> (Value, Value) {
    let headers = &message.headers;
    if let (Some(args), Some(kwargs)) = (&headers.argsrepr, &headers.kwargsrepr) {
        return (args.as_str().into(), kwargs.as_str().into());
    }
    let body = body();
    let args = body.as_ref().and_then(|body| body.args.as_list());
    let kwargs = body.as_ref().map(|body| kwargs_repr(&body.kwargs));
    (
        Value::Str(args_repr(args.unwrap_or_default())),
        Value::Str(kwargs.unwrap_or_else(|| "{}".to_owned())),
    )
}
