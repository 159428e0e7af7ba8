//! The record of one task's result.

use std::borrow::Cow;

use crate::compression::{Compression, CompressionError, compress, decompress};
use crate::content::{DecodeOptions, Serializer};
use crate::format::{FormatError, WriteError};
use crate::ids::TaskId;
use crate::json::writer::{write_int, write_string};
use crate::message::write_names;
use crate::state::State;
use crate::value::{Map, Value, write_list};

/// What precedes a compressed result; the content type and another NUL follow.
const COMPRESSED: &[u8] = b"\0celery-compressed\0";

/// Says why a stored result cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MetaError {
    /// It is in none of the serializers that results are read in.
    #[error(
        "the stored result is not readable {serializer} (is result_serializer json, msgpack or yaml?): {problem}"
    )]
    Unreadable {
        /// The serializer that its first byte speaks for.
        serializer: &'static str,
        /// What is wrong and where.
        problem: FormatError,
    },
    /// It is compressed and cannot be decompressed.
    #[error("the stored result cannot be decompressed: {problem}")]
    Compression {
        /// What is wrong.
        problem: CompressionError,
    },
    /// A field is missing or has the wrong kind.
    #[error("the stored result's {field} is {found}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// The kind of value found.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
}

impl From<CompressionError> for MetaError {
    fn from(problem: CompressionError) -> Self {
        Self::Compression { problem }
    }
}

/// The record of one task's result.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskMeta {
    /// The task's state.
    pub status: State,
    /// What it returned, the exception, or what a custom state says.
    pub result: Value,
    /// Where it failed, as text.
    pub traceback: Option<String>,
    /// References to the tasks that it sent; nothing when that is not known.
    pub children: Option<Vec<Value>>,
    /// When it ended, only for final states.
    pub date_done: Option<String>,
    /// The group it belongs to.
    pub group_id: Option<String>,
    /// The task that sent it.
    pub parent_id: Option<String>,
    /// The span of the task that stored it, as W3C writes it; Lovage's own, for the links of a chord's body.
    pub traceparent: Option<String>,
    /// What `result_extended` adds.
    pub extended: Option<Extended>,
    /// Its id.
    pub task_id: TaskId,
}

/// What the setting `result_extended` adds to a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Extended {
    /// The task's name.
    pub name: Option<String>,
    /// Its positional arguments.
    pub args: Value,
    /// Its keyword arguments.
    pub kwargs: Value,
    /// The node that ran it.
    pub worker: Option<String>,
    /// How often it was retried.
    pub retries: Option<i64>,
    /// The routing key it came by.
    pub queue: Option<String>,
    /// The names of its stamps.
    pub stamped_headers: Option<Vec<String>>,
    /// Its stamps, each stored under its own name beside the other fields.
    pub stamps: Map,
}

impl TaskMeta {
    /// Makes a record with only state, result and id.
    #[must_use]
    pub fn new(task_id: TaskId, status: State, result: Value) -> Self {
        Self {
            status,
            result,
            traceback: None,
            children: Some(Vec::new()),
            date_done: None,
            group_id: None,
            parent_id: None,
            traceparent: None,
            extended: None,
            task_id,
        }
    }

    /// Writes the record, fields in Celery's order.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(256);
        out.push_str("{\"status\": ");
        write_string(&mut out, self.status.as_str());
        out.push_str(", \"result\": ");
        self.result.write_json(&mut out);
        out.push_str(", \"traceback\": ");
        write_text(&mut out, self.traceback.as_deref());
        out.push_str(", \"children\": ");
        match &self.children {
            Some(children) => write_list(&mut out, children),
            None => out.push_str("null"),
        }
        out.push_str(", \"date_done\": ");
        write_text(&mut out, self.date_done.as_deref());
        if let Some(group) = &self.group_id {
            out.push_str(", \"group_id\": ");
            write_string(&mut out, group);
        }
        if let Some(parent) = &self.parent_id {
            out.push_str(", \"parent_id\": ");
            write_string(&mut out, parent);
        }
        if let Some(span) = &self.traceparent {
            out.push_str(", \"traceparent\": ");
            write_string(&mut out, span);
        }
        if let Some(extended) = &self.extended {
            extended.write(&mut out);
        }
        out.push_str(", \"task_id\": ");
        write_string(&mut out, self.task_id.as_str());
        out.push('}');
        out
    }

    /// Writes the record as `result_serializer` does.
    ///
    /// # Errors
    ///
    /// When it holds a value that the serializer cannot.
    pub fn to_bytes(&self, serializer: Serializer) -> Result<Vec<u8>, WriteError> {
        match serializer {
            Serializer::Json => Ok(self.to_json().into_bytes()),
            other => self.to_value().write_as(other),
        }
    }

    /// The record as one value, fields in Celery's order.
    fn to_value(&self) -> Value {
        let mut map = Map::with_capacity(16);
        let mut put = |name: &str, value: Value| map.insert(name.to_owned(), value);
        put("status", self.status.as_str().into());
        put("result", self.result.clone());
        put("traceback", self.traceback.clone().into());
        put("children", self.children.clone().into());
        put("date_done", self.date_done.clone().into());
        if let Some(group) = &self.group_id {
            put("group_id", group.as_str().into());
        }
        if let Some(parent) = &self.parent_id {
            put("parent_id", parent.as_str().into());
        }
        if let Some(span) = &self.traceparent {
            put("traceparent", span.as_str().into());
        }
        if let Some(extended) = &self.extended {
            extended.put(&mut put);
        }
        put("task_id", self.task_id.as_str().into());
        Value::Map(map)
    }

    /// Reads a record, compressed or not, in whichever serializer it was written: nothing with it says which.
    ///
    /// # Errors
    ///
    /// When it is in none of them, cannot be decompressed, or lacks `status` or `task_id`.
    pub fn parse(stored: &[u8]) -> Result<Self, MetaError> {
        match parse_stored(stored)? {
            Value::Map(map) => Self::from_map(map),
            other => Err(MetaError::Field {
                field: "record",
                found: other.kind(),
                expected: "an object",
            }),
        }
    }

    fn from_map(mut map: Map) -> Result<Self, MetaError> {
        let status = match take(&mut map, "status") {
            Value::Str(name) => State::from(name.as_str()),
            other => return Err(wrong("status", &other, "the name of a state")),
        };
        let task_id = match take(&mut map, "task_id") {
            Value::Str(id) => TaskId::from(id),
            other => return Err(wrong("task_id", &other, "a string")),
        };
        let children = match take(&mut map, "children") {
            Value::List(children) => Some(children),
            Value::Null => None,
            other => return Err(wrong("children", &other, "a list or null")),
        };
        Ok(Self {
            status,
            result: take(&mut map, "result"),
            traceback: take_text(&mut map, "traceback"),
            children,
            date_done: take_text(&mut map, "date_done"),
            group_id: take_text(&mut map, "group_id"),
            parent_id: take_text(&mut map, "parent_id"),
            traceparent: take_text(&mut map, "traceparent"),
            task_id,
            extended: Extended::from_map(map),
        })
    }
}

/// Reads a list or object that a result store holds, compressed or not, in whichever serializer it was written.
///
/// # Errors
///
/// When it is in none of them or cannot be decompressed.
pub fn parse_stored(stored: &[u8]) -> Result<Value, MetaError> {
    let plain = plain(stored)?;
    read(Serializer::of_container(&plain), &plain)
}

/// Reads any value that a result store holds in the serializer that it is set to, compressed or not. What is not in it and
/// begins as a pickle does is one: older versions of Celery's database backend stored nothing else
/// (`celery/backends/database/__init__.py`, `_decode_stored_result`).
///
/// # Errors
///
/// When it is in neither, or cannot be decompressed.
pub fn parse_stored_as(stored: &[u8], serializer: Serializer) -> Result<Value, MetaError> {
    let plain = plain(stored)?;
    read(serializer, &plain).or_else(|error| match plain.first() {
        Some(0x80) => read(Serializer::Pickle, &plain),
        _ => Err(error),
    })
}

fn plain(stored: &[u8]) -> Result<Cow<'_, [u8]>, MetaError> {
    match stored.strip_prefix(COMPRESSED) {
        Some(rest) => unpack(rest).map(Cow::Owned),
        None => Ok(Cow::Borrowed(stored)),
    }
}

fn read(serializer: Serializer, plain: &[u8]) -> Result<Value, MetaError> {
    let limit = DecodeOptions::default().max_decompressed;
    Value::read_as(serializer, plain, limit).map_err(|problem| MetaError::Unreadable {
        serializer: serializer.name(),
        problem,
    })
}

/// Reads the record of a group, `{"result": [[id, parent], [references]]}`, compressed or not, and gives the reference.
///
/// # Errors
///
/// When it cannot be read as [`parse_stored`] does, or is no object with a `result`.
pub fn parse_group(stored: &[u8]) -> Result<Value, MetaError> {
    match parse_stored(stored)? {
        Value::Map(mut map) if map.contains_key("result") => Ok(take(&mut map, "result")),
        other => Err(MetaError::Field {
            field: "record",
            found: other.kind(),
            expected: "an object with a result",
        }),
    }
}

fn unpack(rest: &[u8]) -> Result<Vec<u8>, MetaError> {
    let name_end = rest
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(rest.len());
    let method = Compression::from_name(&String::from_utf8_lossy(&rest[..name_end]))?;
    let data = rest.get(name_end + 1..).unwrap_or_default();
    Ok(decompress(
        method,
        data,
        DecodeOptions::default().max_decompressed,
    )?)
}

/// Packs a written record as `result_compression` does.
///
/// # Errors
///
/// When the encoder fails.
pub fn compress_result(method: Compression, record: &[u8]) -> Result<Vec<u8>, CompressionError> {
    let mut out = COMPRESSED.to_vec();
    out.extend_from_slice(method.content_type().as_bytes());
    out.push(0);
    out.extend_from_slice(&compress(method, record)?);
    Ok(out)
}

/// The fields of a record: a stamp of such a name, which any sender may choose, must not take a field's place.
const FIELDS: [&str; 16] = [
    "status",
    "result",
    "traceback",
    "children",
    "date_done",
    "group_id",
    "parent_id",
    "traceparent",
    "name",
    "args",
    "kwargs",
    "worker",
    "retries",
    "queue",
    "stamped_headers",
    "task_id",
];

impl Extended {
    fn own_stamps(&self) -> impl Iterator<Item = (&String, &Value)> {
        let stamps = self.stamps.iter();
        stamps.filter(|(name, _)| !FIELDS.contains(&name.as_str()))
    }

    /// The fields for serializers other than JSON.
    fn put(&self, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
        put("name", self.name.clone().into());
        put("args", self.args.clone());
        put("kwargs", self.kwargs.clone());
        put("worker", self.worker.clone().into());
        put("retries", self.retries.into());
        put("queue", self.queue.clone().into());
        if let Some(names) = &self.stamped_headers {
            let names = names.iter().map(|name| name.as_str().into()).collect();
            put("stamped_headers", Value::List(names));
        }
        for (name, stamp) in self.own_stamps() {
            put(name, stamp.clone());
        }
    }

    fn write(&self, out: &mut String) {
        out.push_str(", \"name\": ");
        write_text(out, self.name.as_deref());
        out.push_str(", \"args\": ");
        self.args.write_json(out);
        out.push_str(", \"kwargs\": ");
        self.kwargs.write_json(out);
        out.push_str(", \"worker\": ");
        write_text(out, self.worker.as_deref());
        out.push_str(", \"retries\": ");
        match self.retries {
            Some(retries) => write_int(out, retries),
            None => out.push_str("null"),
        }
        out.push_str(", \"queue\": ");
        write_text(out, self.queue.as_deref());
        if let Some(names) = &self.stamped_headers {
            out.push_str(", \"stamped_headers\": ");
            write_names(out, Some(names));
        }
        for (name, stamp) in self.own_stamps() {
            out.push_str(", ");
            write_string(out, name);
            out.push_str(": ");
            stamp.write_json(out);
        }
    }

    /// What is left of a record, if it has the fields that only extended ones have.
    fn from_map(mut map: Map) -> Option<Self> {
        if !map.contains_key("name") && !map.contains_key("worker") {
            return None;
        }
        let name = take_text(&mut map, "name");
        let (args, kwargs) = (take(&mut map, "args"), take(&mut map, "kwargs"));
        let (worker, queue) = (take_text(&mut map, "worker"), take_text(&mut map, "queue"));
        let retries = take(&mut map, "retries").as_i64();
        let stamped_headers = match take(&mut map, "stamped_headers") {
            Value::List(names) => Some(
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect::<Vec<_>>(),
            ),
            _ => None,
        };
        let mut stamps = Map::new();
        for name in stamped_headers.iter().flatten() {
            if let Some(stamp) = map.shift_remove(name) {
                stamps.insert(name.clone(), stamp);
            }
        }
        Some(Self {
            name,
            args,
            kwargs,
            worker,
            retries,
            queue,
            stamped_headers,
            stamps,
        })
    }
}

fn take(map: &mut Map, key: &str) -> Value {
    map.shift_remove(key).unwrap_or(Value::Null)
}

/// Text that is only passed on; anything else counts as absent.
fn take_text(map: &mut Map, key: &str) -> Option<String> {
    match take(map, key) {
        Value::Str(text) | Value::DateTime(text) => Some(text),
        _ => None,
    }
}

fn wrong(field: &'static str, found: &Value, expected: &'static str) -> MetaError {
    MetaError::Field {
        field,
        found: found.kind(),
        expected,
    }
}

fn write_text(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => write_string(out, text),
        None => out.push_str("null"),
    }
}
