//! What goes over the pipe between a worker and its child: frames of a length, a letter and a payload.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chrono::DateTime;
use lovage_protocol::{ExceptionInfo, Map, Signature, Value};

use crate::{
    context::Told,
    outcome::{Failure, Outcome, Retry, RetryChanges, When},
    pool::KillSignal,
    unlock::{Header, Unlocked},
};

/// No frame is longer; a length beyond it means that somebody else writes into the pipe.
const LONGEST: usize = 1 << 30;
/// Length and letter.
const HEAD: usize = 5;

/// One message between parent and child.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    /// To the child: run this message.
    Run {
        job: u64,
        queue: String,
        /// The span that the task runs in, as W3C writes it; empty: none.
        trace: String,
        raw: Bytes,
    },
    /// To the child: the soft limit of this job is over.
    Soft { job: u64 },
    /// To the child: end.
    Stop,
    /// To the parent: it can take a first job.
    Ready,
    /// To the parent: it cannot begin, and why.
    Refused(String),
    /// To the parent: what the task of a job tells.
    Told { job: u64, told: Told },
    /// To the parent: how a job ended.
    Done(Report),
}

/// How a job ended.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) job: u64,
    pub(crate) outcome: Outcome,
    /// The tasks that it sent.
    pub(crate) children: Vec<Value>,
    /// What it added to the chord that it belongs to.
    pub(crate) added: Vec<Signature>,
    /// The child cannot be used again: a thread of it still runs the task.
    pub(crate) spent: bool,
}

/// Says that the other side writes something else.
#[derive(Debug, thiserror::Error)]
#[error("the pipe to a child process carries something else: {0}")]
pub(crate) struct WireError(&'static str);

impl Frame {
    pub(crate) fn write(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_u32(0);
        match self {
            Self::Run {
                job,
                queue,
                trace,
                raw,
            } => {
                out.put_u8(b'R');
                out.put_u64(*job);
                put_text(out, queue);
                put_text(out, trace);
                out.put_slice(raw);
            }
            Self::Soft { job } => {
                out.put_u8(b'L');
                out.put_u64(*job);
            }
            Self::Stop => out.put_u8(b'S'),
            Self::Ready => out.put_u8(b'Y'),
            Self::Refused(why) => {
                out.put_u8(b'N');
                out.put_slice(why.as_bytes());
            }
            Self::Told { job, told } => {
                out.put_u8(b'T');
                out.put_u64(*job);
                out.put_slice(told_value(told).to_json().as_bytes());
            }
            Self::Done(report) => {
                out.put_u8(b'D');
                out.put_u64(report.job);
                out.put_u8(u8::from(report.spent));
                out.put_slice(report_value(report).to_json().as_bytes());
            }
        }
        let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }

    /// The end of a job that failed.
    #[cfg(feature = "testing")]
    pub(crate) fn done_for_tests() -> Self {
        Self::Done(Report {
            job: 1,
            outcome: Outcome::unreadable("boom"),
            children: vec![Value::from("2")],
            added: Vec::new(),
            spent: false,
        })
    }

    /// Takes one frame off the front; `None` while it is not complete.
    pub(crate) fn read(from: &mut BytesMut) -> Result<Option<Self>, WireError> {
        let Some(head) = from.first_chunk::<4>() else {
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*head)).unwrap_or(usize::MAX);
        if length == 0 || length > LONGEST {
            return Err(WireError("a length that cannot be"));
        }
        if from.len() < 4 + length {
            from.reserve(4 + length - from.len());
            return Ok(None);
        }
        from.advance(HEAD - 1);
        let mut frame = from.split_to(length).freeze();
        let letter = frame.get_u8();
        Ok(Some(match letter {
            b'R' => Self::Run {
                job: get_u64(&mut frame)?,
                queue: get_text(&mut frame)?,
                trace: get_text(&mut frame)?,
                raw: frame,
            },
            b'L' => Self::Soft {
                job: get_u64(&mut frame)?,
            },
            b'S' => Self::Stop,
            b'Y' => Self::Ready,
            b'N' => Self::Refused(String::from_utf8_lossy(&frame).into_owned()),
            b'T' => {
                let job = get_u64(&mut frame)?;
                let told = read_told(&frame).ok_or(WireError("an event that is none"))?;
                Self::Told { job, told }
            }
            b'D' => {
                let job = get_u64(&mut frame)?;
                if frame.is_empty() {
                    return Err(WireError("a report that is cut off"));
                }
                let spent = frame.get_u8() != 0;
                Self::Done(read_report(job, spent, &frame))
            }
            _ => return Err(WireError("an unknown letter")),
        }))
    }
}

fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    out.put_slice(text.as_bytes());
}

fn get_u64(frame: &mut Bytes) -> Result<u64, WireError> {
    frame
        .try_get_u64()
        .map_err(|_| WireError("a number that is cut off"))
}

fn get_text(frame: &mut Bytes) -> Result<String, WireError> {
    let cut_off = WireError("a text that is cut off");
    let Ok(length) = frame.try_get_u32() else {
        return Err(cut_off);
    };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if frame.len() < length {
        return Err(cut_off);
    }
    let text = frame.split_to(length);
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn told_value(told: &Told) -> Value {
    let (word, name, value) = match told {
        Told::Event { kind, fields } => ("event", kind, Value::Map(fields.clone())),
        Told::State { state, meta } => ("state", state, meta.clone()),
    };
    Value::List(vec![word.into(), name.as_str().into(), value])
}

fn read_told(json: &[u8]) -> Option<Told> {
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

fn report_value(report: &Report) -> Value {
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
fn read_report(job: u64, spent: bool, json: &[u8]) -> Report {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn exception() -> ExceptionInfo {
        let arguments = vec![Value::Int(3), Value::from("no 💺")];
        ExceptionInfo::new("app", "Refused", arguments)
    }

    fn over(frame: &Frame) -> Frame {
        let mut pipe = BytesMut::new();
        frame.write(&mut pipe);
        let whole = pipe.clone();
        for cut in 0..whole.len() {
            let mut part = BytesMut::from(&whole[..cut]);
            assert!(Frame::read(&mut part).unwrap().is_none(), "cut at {cut}");
        }
        pipe.put_slice(b"\0");
        let read = Frame::read(&mut pipe).unwrap().unwrap();
        assert_eq!(&pipe[..], b"\0", "what follows stays");
        read
    }

    #[test]
    fn outcomes_come_over_as_they_are() {
        let eta = DateTime::from_timestamp_micros(1_900_000_000_123_456).unwrap();
        let retry = |cause, when| {
            Outcome::Retry(Retry {
                cause,
                traceback: None,
                when,
                changes: Some(Box::new(RetryChanges {
                    args: Some(vec![Value::Int(1)]),
                    kwargs: Some(Map::new()),
                    max_retries: Some(4),
                    expires: Some(Duration::from_secs(60)),
                })),
            })
        };
        let unlock = |header| {
            let body = Signature::new("b", Vec::new(), Map::new());
            Outcome::Unlock(Box::new(Unlocked { body, header }))
        };
        let map = Map::from_iter([("é".to_owned(), Value::List(vec![Value::Float(0.5)]))]);
        for outcome in [
            Outcome::Success(Value::Map(map)),
            Outcome::Success(Value::Null),
            Outcome::raised("t", exception()),
            Outcome::failed_outside(exception(), true),
            retry(None, None),
            retry(
                Some(exception()),
                Some(When::Countdown(Duration::from_millis(1500))),
            ),
            retry(None, Some(When::Eta(eta))),
            Outcome::Ignore,
            Outcome::Replace(Box::new(Signature::new("t", Vec::new(), Map::new()))),
            Outcome::Reject {
                requeue: true,
                reason: "full".to_owned(),
            },
            unlock(Header::Succeeded(Value::List(vec![Value::Int(1)]))),
            unlock(Header::Failed {
                member: "m".into(),
                recorded: exception().to_value(),
            }),
            unlock(Header::GivenUp(exception())),
        ] {
            let report = Report {
                job: 7,
                outcome,
                children: vec![Value::from("c")],
                added: vec![Signature::new("t", Vec::new(), Map::new())],
                spent: true,
            };
            let Frame::Done(read) = over(&Frame::Done(report.clone())) else {
                panic!("another frame");
            };
            assert_eq!(format!("{read:?}"), format!("{report:?}"));
        }
    }

    #[test]
    fn a_message_comes_over_byte_for_byte() {
        let raw = Bytes::from_static(b"\x00\xff{}");
        let frame = Frame::Run {
            job: u64::MAX,
            queue: "größe".to_owned(),
            trace: "00-1-2-01".to_owned(),
            raw: raw.clone(),
        };
        let Frame::Run {
            job,
            queue,
            trace,
            raw: read,
        } = over(&frame)
        else {
            panic!("another frame");
        };
        assert_eq!((job, queue.as_str(), read), (u64::MAX, "größe", raw));
        assert_eq!(trace, "00-1-2-01");
        for frame in [Frame::Stop, Frame::Ready, Frame::Soft { job: 1 }] {
            assert_eq!(format!("{:?}", over(&frame)), format!("{frame:?}"));
        }
    }

    #[test]
    fn what_is_no_frame_is_an_error_and_never_a_panic() {
        for bytes in [
            &b"\0\0\0\0"[..],
            b"\xff\xff\xff\xff",
            b"\0\0\0\x01?",
            b"\0\0\0\x02D1",
            b"\0\0\0\x09D12345678",
            b"\0\0\0\x0dR12345678\0\0\0\x09",
        ] {
            assert!(
                Frame::read(&mut BytesMut::from(bytes)).is_err(),
                "{bytes:?}"
            );
        }
        let mut garbage = BytesMut::from(&b"\0\0\0\x0bD12345678\0x"[..]);
        let Ok(Some(Frame::Done(report))) = Frame::read(&mut garbage) else {
            panic!("a report that cannot be read is a failure");
        };
        assert!(matches!(report.outcome, Outcome::Failure(_)));
    }
}
