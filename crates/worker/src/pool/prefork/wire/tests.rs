use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use chrono::DateTime;
use lovage_protocol::{ExceptionInfo, Map, Signature, Value};

use super::{Frame, Report};
use crate::{
    outcome::{Outcome, Retry, RetryChanges, When},
    unlock::{Header, Unlocked},
};

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
