//! `lovage result`: what came of a task.

mod tree;

use std::time::Duration;

use clap::Args;
use lovage_protocol::{ExceptionInfo, State, TaskId, TaskMeta, Value, args_repr, saferepr};
use lovage_settings::Settings;

use crate::{
    command::{FOR_EVER, seconds},
    connect,
    failure::Failure,
    output,
};

/// Show or await a task's result.
///
/// Prints what the task returned. A task that failed, was revoked, or has not ended yet is told on standard error, with
/// exit code 1.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage result 3f2c… --wait --timeout 30
  lovage result 3f2c… --traceback
  lovage result 3f2c… --tree
  lovage result 3f2c… --json | jq .status")]
pub(crate) struct ResultArgs {
    /// The task's id
    #[arg(value_name = "ID")]
    id: String,
    /// Wait until it has ended
    #[arg(short, long)]
    wait: bool,
    /// How many seconds to wait [default: without end]
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "wait")]
    timeout: Option<Duration>,
    /// Print where it failed
    #[arg(long, conflicts_with = "json")]
    traceback: bool,
    /// Print the workflow that it belongs to, as it stands: the results that are stored, and the messages that are under way
    #[arg(long, conflicts_with_all = ["wait", "traceback"])]
    tree: bool,
    /// Print the whole record as it is stored
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: ResultArgs, settings: &Settings) -> Result<u8, Failure> {
    let id = TaskId::from(args.id.as_str());
    let results = connect::results(settings).await?;
    if args.tree {
        // Without a broker there are results all the same.
        let broker = match &settings.broker.url {
            Some(_) => Some(connect::broker(settings).await?),
            None => None,
        };
        return tree::show(&id, &*results, broker.as_deref(), args.json).await;
    }
    let meta = if args.wait {
        let watch = results.watch(&id).await?;
        watch.ready(Some(args.timeout.unwrap_or(FOR_EVER))).await?
    } else if let Some(meta) = results.load(&id).await? {
        meta
    } else {
        // Redis cannot tell a task that waits from one that never was.
        TaskMeta::new(id, State::Pending, Value::Null)
    };
    if !args.traceback {
        return show(&meta, args.json);
    }
    match &meta.traceback {
        Some(text) => {
            output::line(output::printable(text.trim_end()))?;
            Ok(0)
        }
        None => Err(Failure::failed(format!(
            "task {} ({}) has no traceback",
            meta.task_id,
            meta.status.as_str()
        ))),
    }
}

/// Prints a record: the value on standard output, anything else as an error.
pub(crate) fn show(meta: &TaskMeta, json: bool) -> Result<u8, Failure> {
    if json {
        let text = meta.to_json();
        // As stored it may hold NaN, which is Python's JSON and no one else's; then it is shown as it is.
        match serde_json::from_str(&text) {
            Ok(value) => output::json(&value)?,
            Err(_) => output::data(text)?,
        }
        return Ok(u8::from(meta.status != State::Success));
    }
    let (id, status) = (&meta.task_id, meta.status.as_str());
    match &meta.status {
        State::Success => {
            output::data(shown(&meta.result))?;
            Ok(0)
        }
        State::Failure => Err(Failure::failed(format!(
            "task {id} failed: {}",
            exception(&meta.result)
        ))),
        State::Revoked => Err(Failure::failed(format!(
            "task {id} was revoked: {}",
            exception(&meta.result)
        ))),
        State::Retry => Err(Failure::failed(format!(
            "task {id} will be tried again: {}",
            exception(&meta.result)
        ))),
        State::Pending => Err(Failure::failed(format!(
            "task {id} is PENDING: it waits, or its result has expired, or there is no such task"
        ))),
        _ if meta.result.is_null() => Err(Failure::failed(format!("task {id} is {status}"))),
        _ => Err(Failure::failed(format!(
            "task {id} is {status}: {}",
            output::one_line(&shown(&meta.result))
        ))),
    }
}

/// A value for people: text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => text.clone(),
        // JSON has no word for what is not finite; Python's form has.
        Value::Float(number) if !number.is_finite() => value.to_json(),
        _ => serde_json::to_string(value).unwrap_or_else(|_| value.to_json()),
    }
}

/// Why a task that has ended did not succeed, in one line.
pub(crate) fn reason(meta: &TaskMeta) -> String {
    match &meta.status {
        State::Failure => exception(&meta.result),
        other => format!("{}, {}", other.as_str(), exception(&meta.result)),
    }
}

/// A stored exception as the last line of Python's traceback has it.
fn exception(stored: &Value) -> String {
    let Ok(info) = ExceptionInfo::from_value(stored) else {
        return output::one_line(&saferepr(stored));
    };
    let message = match info.exc_message.as_slice() {
        [] => return info.exc_type,
        [Value::Str(text)] => text.clone(),
        [one] => saferepr(one),
        several => args_repr(several),
    };
    format!("{}: {}", info.exc_type, output::one_line(&message))
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{ExceptionInfo, Map, Value};

    use super::{exception, shown};

    #[test]
    fn values_are_text_or_json() {
        let check = |value: Value, expected: &str| assert_eq!(shown(&value), expected);
        check(Value::Str("zwölf\n".to_owned()), "zwölf\n");
        check(Value::Int(5), "5");
        check(Value::Float(1.5), "1.5");
        check(Value::Float(f64::NAN), "NaN");
        check(Value::Null, "null");
        check(
            Value::Map(Map::from_iter([(
                "a".to_owned(),
                Value::Str("é".to_owned()),
            )])),
            r#"{"a":"é"}"#,
        );
    }

    #[test]
    fn exceptions_read_as_in_python() {
        let check = |args: Vec<Value>, expected: &str| {
            let stored = ExceptionInfo::new("builtins", "ValueError", args).to_value();
            assert_eq!(exception(&stored), expected);
        };
        check(vec![Value::Str("boom".to_owned())], "ValueError: boom");
        check(vec![], "ValueError");
        check(vec![Value::Int(5)], "ValueError: 5");
        check(
            vec![Value::Int(2), Value::Str("No such".to_owned())],
            "ValueError: (2, 'No such')",
        );
        assert_eq!(exception(&Value::Str("odd".to_owned())), "'odd'");
    }
}
