//! A result as a row of Celery's table (`celery/backends/database/__init__.py`, `_update_result` and `_get_task_meta_for`).

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use lovage_protocol::{Extended, Map, State, TaskId, TaskMeta, Value, parse_stored_as, time};
use sea_orm::{DbErr, QueryResult};

use super::tables::Tables;
use crate::{Error, error::Cause, record::Records};

/// One row, each value as its column holds it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TaskRow {
    pub(super) task_id: String,
    pub(super) status: String,
    result: Option<Vec<u8>>,
    date_done: Option<NaiveDateTime>,
    traceback: Option<String>,
    children: Option<Vec<u8>>,
    name: Option<String>,
    args: Option<Vec<u8>>,
    kwargs: Option<Vec<u8>>,
    worker: Option<String>,
    retries: Option<i32>,
    queue: Option<String>,
    stamps: Option<Vec<u8>>,
}

impl TaskRow {
    /// What one column holds.
    pub(super) fn value(&self, column: &str, tables: &Tables) -> sea_orm::Value {
        match column {
            "task_id" => self.task_id.as_str().into(),
            "status" => self.status.as_str().into(),
            "result" => self.result.clone().into(),
            "date_done" => match self.date_done {
                Some(at) => tables.moment(at),
                None => Option::<NaiveDateTime>::None.into(),
            },
            "traceback" => self.traceback.clone().into(),
            "children" => self.children.clone().into(),
            "name" => self.name.clone().into(),
            "args" => self.args.clone().into(),
            "kwargs" => self.kwargs.clone().into(),
            "worker" => self.worker.clone().into(),
            "retries" => self.retries.into(),
            "queue" => self.queue.clone().into(),
            _ => self.stamps.clone().into(),
        }
    }

    /// Reads a row of [`Tables::select_tasks`]; a column that the table does not have is nothing.
    pub(super) fn read(row: &QueryResult, tables: &Tables) -> Result<Self, DbErr> {
        let mut read = Self {
            task_id: String::new(),
            status: State::Pending.as_str().to_owned(),
            result: None,
            date_done: None,
            traceback: None,
            children: None,
            name: None,
            args: None,
            kwargs: None,
            worker: None,
            retries: None,
            queue: None,
            stamps: None,
        };
        for (place, column) in tables.task_columns().enumerate() {
            match column {
                "task_id" => read.task_id = row.try_get_by_index(place)?,
                "status" => {
                    let status: Option<String> = row.try_get_by_index(place)?;
                    read.status = status.unwrap_or(read.status);
                }
                "result" => read.result = row.try_get_by_index(place)?,
                "date_done" => read.date_done = row.try_get_by_index(place)?,
                "traceback" => read.traceback = row.try_get_by_index(place)?,
                "children" => read.children = row.try_get_by_index(place)?,
                "name" => read.name = row.try_get_by_index(place)?,
                "args" => read.args = row.try_get_by_index(place)?,
                "kwargs" => read.kwargs = row.try_get_by_index(place)?,
                "worker" => read.worker = row.try_get_by_index(place)?,
                "retries" => read.retries = row.try_get_by_index(place)?,
                "queue" => read.queue = row.try_get_by_index(place)?,
                _ => read.stamps = row.try_get_by_index(place)?,
            }
        }
        Ok(read)
    }
}

/// Turns results into rows of one store and back: each value inside is written in the store's serializer.
#[derive(Debug, Clone)]
pub(super) struct RowForm {
    records: Records,
}

impl RowForm {
    pub(super) fn new(records: Records) -> Self {
        Self { records }
    }

    /// The row of a result that is written at `now`.
    pub(super) fn row(&self, meta: &TaskMeta, now: DateTime<Utc>) -> TaskRow {
        let bytes = |value: &Value| self.records.encode_value(value).to_vec();
        let ended = meta.date_done.as_deref();
        let ended = ended.and_then(|text| time::parse_iso(text, Tz::UTC).ok());
        let children = meta.children.as_ref().filter(|list| !list.is_empty());
        let extended = meta.extended.as_ref();
        TaskRow {
            task_id: meta.task_id.as_str().to_owned(),
            status: meta.status.as_str().to_owned(),
            result: Some(bytes(&meta.result)),
            // A task that is not over has the time of its last state: so its row does not stay for ever when it never ends.
            date_done: Some(ended.unwrap_or(now).naive_utc()),
            // PostgreSQL's texts hold no NUL.
            traceback: meta
                .traceback
                .as_ref()
                .map(|text| text.replace('\0', "\u{fffd}")),
            children: children.map(|list| bytes(&Value::List(list.clone()))),
            name: extended.and_then(|extended| extended.name.clone()),
            args: extended.map(|extended| bytes(&extended.args)),
            kwargs: extended.map(|extended| bytes(&extended.kwargs)),
            worker: extended.and_then(|extended| extended.worker.clone()),
            retries: extended.and_then(|extended| i32::try_from(extended.retries?).ok()),
            queue: extended.and_then(|extended| extended.queue.clone()),
            stamps: extended.and_then(stamps).map(|stamps| bytes(&stamps)),
        }
    }

    pub(super) fn meta(&self, row: TaskRow) -> Result<TaskMeta, Error> {
        let id = TaskId::from(row.task_id.as_str());
        let read = |bytes: Option<&[u8]>| match bytes {
            None => Ok(Value::Null),
            Some(bytes) => parse_stored_as(bytes, self.records.serializer()).map_err(|source| {
                Error::Undecodable {
                    id: id.clone(),
                    source: Cause::from(source),
                }
            }),
        };
        let status = State::from(row.status.as_str());
        let ended = row.date_done.filter(|_| status.is_ready());
        let mut meta = TaskMeta::new(id.clone(), status, read(row.result.as_deref())?);
        meta.date_done = ended.map(|at| time::format_iso(at.and_utc()));
        meta.traceback = row.traceback;
        if let Value::List(children) = read(row.children.as_deref())? {
            meta.children = Some(children);
        }
        if row.name.is_some() || row.worker.is_some() {
            let (stamped_headers, stamps) = read_stamps(read(row.stamps.as_deref())?);
            meta.extended = Some(Extended {
                args: read(row.args.as_deref())?,
                kwargs: read(row.kwargs.as_deref())?,
                name: row.name,
                worker: row.worker,
                retries: row.retries.map(i64::from),
                queue: row.queue,
                stamped_headers,
                stamps,
            });
        }
        Ok(meta)
    }
}

/// Stamps in their one column: `{"stamped_headers": [names], "stamps": {name: stamp}}`.
fn stamps(extended: &Extended) -> Option<Value> {
    let names = extended.stamped_headers.as_ref()?;
    if names.is_empty() || extended.stamps.is_empty() {
        return None;
    }
    let listed = names.iter().map(|name| name.as_str().into()).collect();
    let stamps = names
        .iter()
        .filter_map(|name| Some((name.clone(), extended.stamps.get(name)?.clone())));
    Some(Value::Map(Map::from_iter([
        ("stamped_headers".to_owned(), Value::List(listed)),
        ("stamps".to_owned(), Value::Map(stamps.collect())),
    ])))
}

fn read_stamps(stored: Value) -> (Option<Vec<String>>, Map) {
    let Value::Map(mut stored) = stored else {
        return (None, Map::new());
    };
    let names = match stored.shift_remove("stamped_headers") {
        Some(Value::List(names)) => Some(
            names
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
        ),
        _ => None,
    };
    match stored.shift_remove("stamps") {
        Some(Value::Map(stamps)) => (names, stamps),
        _ => (names, Map::new()),
    }
}
