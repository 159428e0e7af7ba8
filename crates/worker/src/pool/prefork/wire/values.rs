//! What a task told and how it ended, as JSON: the payload of two kinds of frames.

use std::time::Duration;

use chrono::DateTime;
use lovage_protocol::{ExceptionInfo, Map, Signature, Value};

use super::Report;
use crate::{
    context::Told,
    outcome::{Failure, Outcome, Retry, RetryChanges, When},
    pool::KillSignal,
    unlock::{Header, Unlocked},
};

pub(super) fn told_value(told: &Told) -> Value {
    let (word, name, value) = match told {
        Told::Event { kind, fields } => ("event", kind, Value::Map(fields.clone())),
        Told::State { state, meta } => ("state", state, meta.clone()),
    };
    Value::List(vec![word.into(), name.as_str().into(), value])
}

pub(super) fn read_told(json: &[u8]) -> Option<Told> {
    let Value::List(parts) = Value::from_json(json).ok()? else {
        return None;
    };
    let [word, name, value]: [Value; 3] = parts.try_into().ok()?;
    let name = name.as_str()?.to_owned();
    match (word.as_str()?, value) {
        ("event", Value::Map(fields)) => Some(Told::Event { kind: name, fields }),
        ("state", meta) => Some(Told::State { state: name, meta }),
        _ => None,
    }
}

pub(super) fn report_value(report: &Report) -> Value {
    let mut value = outcome_map(&report.outcome);
    let children = Value::List(report.children.clone());
    value.insert("children".to_owned(), children);
    if !report.added.is_empty() {
        let added = report.added.iter().map(Signature::to_value);
        value.insert("added".to_owned(), Value::List(added.collect()));
    }
    Value::Map(value)
}

/// A report that cannot be read is the failure of its task, which has run: it is not run again for it.
pub(super) fn read_report(job: u64, spent: bool, json: &[u8]) -> Report {
    let value = Value::from_json(json).ok();
    let list = |name: &str| value.as_ref().and_then(|value| value.get(name)?.as_list());
    let children = list("children").unwrap_or_default().to_vec();
    let added = list("added").unwrap_or_default().iter().cloned();
    let added = added
        .map(Signature::from_value)
        .filter_map(Result::ok)
        .collect();
    let outcome = value.and_then(read_outcome).unwrap_or_else(|| {
        Outcome::unreadable("the outcome of the task could not be read from its child process")
    });
    Report {
        job,
        outcome,
        children,
        added,
        spent,
    }
}

fn outcome_map(outcome: &Outcome) -> Map {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Str);
    let (word, fields): (&str, Vec<(&str, Value)>) = match outcome {
        Outcome::Success(value) => ("success", vec![("value", value.clone())]),
        Outcome::Failure(failure) => (
            "failure",
            vec![
                ("exception", failure.exception.to_value()),
                ("traceback", text(&failure.traceback)),
                ("timed_out", Value::Bool(failure.timed_out)),
                ("transient", Value::Bool(failure.transient)),
                ("from_outside", Value::Bool(failure.from_outside)),
            ],
        ),
        Outcome::Retry(retry) => {
            let cause = retry.cause.as_ref().map(ExceptionInfo::to_value);
            let (kind, micros) = match retry.when {
                None => ("own", 0),
                Some(When::Countdown(wait)) => (
                    "countdown",
                    i64::try_from(wait.as_micros()).unwrap_or(i64::MAX),
                ),
                Some(When::Eta(eta)) => ("eta", eta.timestamp_micros()),
            };
            (
                "retry",
                vec![
                    ("cause", cause.unwrap_or(Value::Null)),
                    ("traceback", text(&retry.traceback)),
                    ("when", kind.into()),
                    ("micros", Value::Int(micros)),
                    ("changes", changes_value(retry.changes.as_deref())),
                ],
            )
        }
        Outcome::Ignore => ("ignore", Vec::new()),
        Outcome::Replace(by) => ("replace", vec![("by", by.to_value())]),
        Outcome::Unlock(unlocked) => ("unlock", unlocked_fields(unlocked)),
        Outcome::Reject { requeue, reason } => (
            "reject",
            vec![
                ("requeue", Value::Bool(*requeue)),
                ("reason", reason.as_str().into()),
            ],
        ),
        Outcome::Terminated(_) => ("terminated", Vec::new()),
    };
    let fields = fields.into_iter();
    let mut map: Map = fields
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    map.insert("outcome".to_owned(), word.into());
    map
}

fn unlocked_fields(unlocked: &Unlocked) -> Vec<(&'static str, Value)> {
    let (header, member, value) = match &unlocked.header {
        Header::Succeeded(values) => ("succeeded", Value::Null, values.clone()),
        Header::Failed { member, recorded } => ("failed", member.as_str().into(), recorded.clone()),
        Header::GivenUp(exception) => ("given-up", Value::Null, exception.to_value()),
    };
    vec![
        ("body", unlocked.body.to_value()),
        ("header", header.into()),
        ("member", member),
        ("value", value),
    ]
}

fn read_unlocked(mut take: impl FnMut(&str) -> Value) -> Option<Unlocked> {
    let body = Signature::from_value(take("body")).ok()?;
    let (member, value) = (take("member"), take("value"));
    let header = match take("header").as_str()? {
        "succeeded" => Header::Succeeded(value),
        "failed" => Header::Failed {
            member: member.as_str()?.into(),
            recorded: value,
        },
        "given-up" => Header::GivenUp(ExceptionInfo::from_value(&value).ok()?),
        _ => return None,
    };
    Some(Unlocked { body, header })
}

fn changes_value(changes: Option<&RetryChanges>) -> Value {
    let Some(changes) = changes else {
        return Value::Null;
    };
    let mut map = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(name.to_owned(), value);
        }
    };
    put("args", changes.args.clone().map(Value::List));
    put("kwargs", changes.kwargs.clone().map(Value::Map));
    put(
        "max_retries",
        changes.max_retries.map(|max| Value::Int(max.into())),
    );
    let micros = |life: Duration| Value::Int(i64::try_from(life.as_micros()).unwrap_or(i64::MAX));
    put("expires", changes.expires.map(micros));
    Value::Map(map)
}

fn read_changes(value: Value) -> Option<Box<RetryChanges>> {
    let Value::Map(map) = value else {
        return None;
    };
    let number = |name: &str| map.get(name).and_then(Value::as_i64);
    let micros = number("expires").and_then(|micros| u64::try_from(micros).ok());
    Some(Box::new(RetryChanges {
        args: map
            .get("args")
            .and_then(Value::as_list)
            .map(<[Value]>::to_vec),
        kwargs: match map.get("kwargs") {
            Some(Value::Map(kwargs)) => Some(kwargs.clone()),
            _ => None,
        },
        max_retries: number("max_retries").and_then(|max| u32::try_from(max).ok()),
        expires: micros.map(Duration::from_micros),
    }))
}

fn read_outcome(value: Value) -> Option<Outcome> {
    let Value::Map(mut map) = value else {
        return None;
    };
    let mut take = |name: &str| map.shift_remove(name).unwrap_or(Value::Null);
    let text = |value: Value| value.as_str().map(str::to_owned);
    let word = text(take("outcome"))?;
    Some(match word.as_str() {
        "success" => Outcome::Success(take("value")),
        "failure" => Outcome::Failure(Failure {
            exception: ExceptionInfo::from_value(&take("exception")).ok()?,
            traceback: text(take("traceback")),
            timed_out: take("timed_out").as_bool()?,
            transient: take("transient").as_bool()?,
            from_outside: take("from_outside").as_bool()?,
        }),
        "retry" => {
            let micros = take("micros").as_i64()?;
            let when = match text(take("when"))?.as_str() {
                "countdown" => {
                    let micros = u64::try_from(micros).ok()?;
                    Some(When::Countdown(Duration::from_micros(micros)))
                }
                "eta" => Some(When::Eta(DateTime::from_timestamp_micros(micros)?)),
                _ => None,
            };
            Outcome::Retry(Retry {
                cause: ExceptionInfo::from_value(&take("cause")).ok(),
                traceback: text(take("traceback")),
                when,
                changes: read_changes(take("changes")),
            })
        }
        "ignore" => Outcome::Ignore,
        "replace" => Outcome::Replace(Box::new(Signature::from_value(take("by")).ok()?)),
        "unlock" => Outcome::Unlock(Box::new(read_unlocked(take)?)),
        "reject" => Outcome::Reject {
            requeue: take("requeue").as_bool()?,
            reason: text(take("reason"))?,
        },
        "terminated" => Outcome::Terminated(KillSignal::TERM),
        _ => return None,
    })
}
