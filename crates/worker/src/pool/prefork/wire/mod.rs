//! What goes over the pipe between a worker and its child: frames of a length, a letter and a payload.

#[cfg(test)]
mod tests;
mod values;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use lovage_protocol::{Signature, Value};

use self::values::{read_report, read_told, report_value, told_value};
use crate::{context::Told, outcome::Outcome};

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
