//! The headers of a task message, protocol 2.

use std::borrow::Cow;

use crate::error::DecodeReason;
use crate::ids::{TaskId, TaskName};
use crate::json::reader::{Kind, Number, Reader};
use crate::time;
use crate::value::{Map, Value};

/// How long a task may run, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TimeLimit {
    /// After this time the task is killed.
    pub hard: Option<f64>,
    /// After this time the task is told to stop.
    pub soft: Option<f64>,
}

/// What is to run, when and for whom.
#[derive(Debug, Clone, PartialEq)]
pub struct Headers {
    /// The language of the sender; no meaning.
    pub lang: String,
    /// The task to run.
    pub task: TaskName,
    /// The id of this task.
    pub id: TaskId,
    /// A name to show in place of the task's.
    pub shadow: Option<String>,
    /// Not to be run before this time; checked ISO 8601.
    pub eta: Option<String>,
    /// Not to be run after this time; checked ISO 8601.
    pub expires: Option<String>,
    /// The group it belongs to.
    pub group: Option<String>,
    /// Its place in the group.
    pub group_index: Option<i64>,
    /// How often it was retried.
    pub retries: u32,
    /// How long it may run.
    pub timelimit: TimeLimit,
    /// The first task of the workflow.
    pub root_id: Option<TaskId>,
    /// The task that sent this one.
    pub parent_id: Option<TaskId>,
    /// The arguments for human eyes.
    pub argsrepr: Option<String>,
    /// The keyword arguments for human eyes.
    pub kwargsrepr: Option<String>,
    /// The sending process.
    pub origin: Option<String>,
    /// Whether no result is wanted; nothing means the task's own setting.
    pub ignore_result: Option<bool>,
    /// How often the task was replaced by another.
    pub replaced_task_nesting: i64,
    /// The names of the stamps.
    pub stamped_headers: Option<Vec<String>>,
    /// The stamps.
    pub stamps: Map,
    /// The method by which the body is compressed.
    pub compression: Option<String>,
    /// Headers that Celery does not know, among them `redelivered`.
    pub extra: Map,
}

impl Headers {
    /// Makes headers with the defaults of a task that nobody else sent.
    #[must_use]
    pub fn new(task: TaskName, id: TaskId) -> Self {
        let root_id = Some(id.clone());
        Self {
            lang: "rust".to_owned(),
            root_id,
            ..Self::bare(task, id)
        }
    }

    /// What a message has that names only task and id.
    fn bare(task: TaskName, id: TaskId) -> Self {
        Self {
            lang: String::new(),
            task,
            id,
            shadow: None,
            eta: None,
            expires: None,
            group: None,
            group_index: None,
            retries: 0,
            timelimit: TimeLimit::default(),
            root_id: None,
            parent_id: None,
            argsrepr: None,
            kwargsrepr: None,
            origin: None,
            ignore_result: None,
            replaced_task_nesting: 0,
            stamped_headers: None,
            stamps: Map::new(),
            compression: None,
            extra: Map::new(),
        }
    }
}

/// Headers as read, before it is known whether they are complete.
#[derive(Debug)]
pub(super) struct ReadHeaders {
    headers: Headers,
    has_id: bool,
    /// Without a task the message is protocol 1.
    pub(super) has_task: bool,
}

impl ReadHeaders {
    pub(super) fn absent() -> Self {
        let nobody = Headers::bare(TaskName::from(""), TaskId::from(""));
        Self {
            headers: nobody,
            has_id: false,
            has_task: false,
        }
    }

    pub(super) fn compression(&self) -> Option<&str> {
        self.headers.compression.as_deref()
    }

    pub(super) fn complete(self) -> Result<Headers, DecodeReason> {
        if !self.has_task {
            return Err(DecodeReason::UnknownMessage);
        }
        if !self.has_id {
            return Err(DecodeReason::Missing {
                field: "headers.id",
                expected: "the id of the task, a string",
            });
        }
        Ok(self.headers)
    }

    /// Reads the headers object, or null.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeReason> {
        let mut read = Self::absent();
        match reader.kind()? {
            Kind::Null => {
                reader.null()?;
                return Ok(read);
            }
            Kind::Object => reader.open_object()?,
            _ => return Err(wrong(reader, "headers", "an object")),
        }
        let mut first = true;
        while let Some(key) = reader.next_key(&mut first)? {
            read.field(&key, reader)?;
        }
        Ok(read)
    }

    fn field(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), DecodeReason> {
        let headers = &mut self.headers;
        match key {
            "task" => {
                headers.task =
                    required_text(reader, "headers.task", "the name of a task, a string")?.into();
                self.has_task = true;
            }
            "id" => {
                headers.id =
                    required_text(reader, "headers.id", "the id of the task, a string")?.into();
                self.has_id = true;
            }
            "lang" => headers.lang = text(reader)?.unwrap_or_default().into_owned(),
            "shadow" => headers.shadow = owned(reader)?,
            "eta" => headers.eta = moment(reader, "headers.eta")?,
            "expires" => headers.expires = moment(reader, "headers.expires")?,
            "group" => headers.group = owned(reader)?,
            "group_index" => headers.group_index = integer(reader, "headers.group_index")?,
            "retries" => headers.retries = retries(reader)?,
            "timelimit" => headers.timelimit = time_limit(reader)?,
            "root_id" => headers.root_id = text(reader)?.map(TaskId::from),
            "parent_id" => headers.parent_id = text(reader)?.map(TaskId::from),
            "argsrepr" => headers.argsrepr = owned(reader)?,
            "kwargsrepr" => headers.kwargsrepr = owned(reader)?,
            "origin" => headers.origin = owned(reader)?,
            "ignore_result" => headers.ignore_result = flag(reader)?,
            "replaced_task_nesting" => {
                headers.replaced_task_nesting =
                    integer(reader, "headers.replaced_task_nesting")?.unwrap_or(0);
            }
            "stamped_headers" => headers.stamped_headers = names(reader)?,
            "stamps" => headers.stamps = stamps(reader)?,
            "compression" => {
                headers.compression = owned(reader)?.filter(|method| !method.is_empty())
            }
            _ => {
                headers
                    .extra
                    .insert(key.to_owned(), Value::read(reader, false)?);
            }
        }
        Ok(())
    }
}

/// Describes the next value as the wrong one for `field`.
pub(super) fn wrong(
    reader: &mut Reader<'_>,
    field: &'static str,
    expected: &'static str,
) -> DecodeReason {
    match reader.raw_value() {
        Ok(found) => DecodeReason::field(field, found, expected),
        Err(error) => error.into(),
    }
}

pub(super) fn required_text<'a>(
    reader: &mut Reader<'a>,
    field: &'static str,
    expected: &'static str,
) -> Result<Cow<'a, str>, DecodeReason> {
    if reader.kind()? == Kind::Text {
        Ok(reader.string()?)
    } else {
        Err(wrong(reader, field, expected))
    }
}

/// Text that only people and other tasks' records read: Python takes anything there, so what is not text is kept as
/// its JSON.
pub(super) fn text<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, DecodeReason> {
    Ok(match reader.kind()? {
        Kind::Text => Some(reader.string()?),
        Kind::Null => {
            reader.null()?;
            None
        }
        _ => Some(Cow::Borrowed(reader.raw_value()?)),
    })
}

pub(super) fn owned(reader: &mut Reader<'_>) -> Result<Option<String>, DecodeReason> {
    Ok(text(reader)?.map(Cow::into_owned))
}

/// A time; the empty text counts as none, as in Python.
fn moment(reader: &mut Reader<'_>, field: &'static str) -> Result<Option<String>, DecodeReason> {
    const EXPECTED: &str = "an ISO 8601 date and time in a string, or null";
    match reader.kind()? {
        Kind::Null => {
            reader.null()?;
            Ok(None)
        }
        Kind::Text => {
            let text = reader.string()?;
            if text.is_empty() {
                return Ok(None);
            }
            match time::parse_iso(&text, chrono_tz::UTC) {
                Ok(_) => Ok(Some(text.into_owned())),
                Err(_) => Err(DecodeReason::field(field, &format!("{text:?}"), EXPECTED)),
            }
        }
        _ => Err(wrong(reader, field, EXPECTED)),
    }
}

pub(super) fn integer(
    reader: &mut Reader<'_>,
    field: &'static str,
) -> Result<Option<i64>, DecodeReason> {
    match reader.kind()? {
        Kind::Null => {
            reader.null()?;
            Ok(None)
        }
        Kind::Number => {
            let mut ahead = reader.clone();
            if let Number::Int(int) = ahead.number()? {
                *reader = ahead;
                return Ok(Some(int));
            }
            Err(wrong(reader, field, "an integer or null"))
        }
        _ => Err(wrong(reader, field, "an integer or null")),
    }
}

/// A Python worker runs a task whose retries are a number in a string.
fn retries(reader: &mut Reader<'_>) -> Result<u32, DecodeReason> {
    const EXPECTED: &str = "an integer from 0 up";
    let mut ahead = reader.clone();
    let read = match reader.kind()? {
        Kind::Null => {
            ahead.null()?;
            Some(0)
        }
        Kind::Number => match ahead.number()? {
            Number::Int(int) => u32::try_from(int).ok(),
            _ => None,
        },
        Kind::Text => ahead.string()?.trim().parse().ok(),
        _ => None,
    };
    match read {
        Some(retries) => {
            *reader = ahead;
            Ok(retries)
        }
        None => Err(wrong(reader, "headers.retries", EXPECTED)),
    }
}

fn time_limit(reader: &mut Reader<'_>) -> Result<TimeLimit, DecodeReason> {
    const EXPECTED: &str = "[hard, soft], each in seconds or null";
    match reader.kind()? {
        Kind::Null => {
            reader.null()?;
            return Ok(TimeLimit::default());
        }
        Kind::List => {}
        _ => return Err(wrong(reader, "headers.timelimit", EXPECTED)),
    }
    let mut ahead = reader.clone();
    ahead.open_list()?;
    let (mut limits, mut count, mut first) = ([None; 2], 0, true);
    while ahead.next_item(&mut first)? {
        let limit = match ahead.kind()? {
            Kind::Null => {
                ahead.null()?;
                Some(None)
            }
            Kind::Number => seconds(ahead.number()?),
            _ => None,
        };
        match (limits.get_mut(count), limit) {
            (Some(place), Some(limit)) => *place = limit,
            _ => return Err(wrong(reader, "headers.timelimit", EXPECTED)),
        }
        count += 1;
    }
    if count != limits.len() {
        return Err(wrong(reader, "headers.timelimit", EXPECTED));
    }
    *reader = ahead;
    let [hard, soft] = limits;
    Ok(TimeLimit { hard, soft })
}

/// A limit in seconds: 0 is none, and what cannot be a time is refused.
fn seconds(number: Number<'_>) -> Option<Option<f64>> {
    let seconds = match number {
        #[expect(
            clippy::cast_precision_loss,
            reason = "no limit is longer than 2^53 seconds"
        )]
        Number::Int(int) => int as f64,
        Number::Float(float) => float,
        Number::Big(_) => return None,
    };
    (seconds.is_finite() && seconds >= 0.0).then(|| Some(seconds).filter(|seconds| *seconds > 0.0))
}

fn flag(reader: &mut Reader<'_>) -> Result<Option<bool>, DecodeReason> {
    match reader.kind()? {
        Kind::Null => {
            reader.null()?;
            Ok(None)
        }
        Kind::Bool => Ok(Some(reader.bool()?)),
        Kind::Number => Ok(Some(!matches!(
            reader.number()?,
            Number::Int(0) | Number::Float(0.0)
        ))),
        _ => Err(wrong(
            reader,
            "headers.ignore_result",
            "true, false or null",
        )),
    }
}

fn names(reader: &mut Reader<'_>) -> Result<Option<Vec<String>>, DecodeReason> {
    const EXPECTED: &str = "a list of strings or null";
    match reader.kind()? {
        Kind::Null => {
            reader.null()?;
            return Ok(None);
        }
        Kind::List => {}
        _ => return Err(wrong(reader, "headers.stamped_headers", EXPECTED)),
    }
    let mut names = Vec::new();
    reader.open_list()?;
    let mut first = true;
    while reader.next_item(&mut first)? {
        names.push(required_text(reader, "headers.stamped_headers", EXPECTED)?.into_owned());
    }
    Ok(Some(names))
}

fn stamps(reader: &mut Reader<'_>) -> Result<Map, DecodeReason> {
    match Value::read(&mut reader.clone(), false)? {
        Value::Null => {
            reader.null()?;
            Ok(Map::new())
        }
        Value::Map(map) => {
            reader.skip_value()?;
            Ok(map)
        }
        _ => Err(wrong(reader, "headers.stamps", "an object or null")),
    }
}
