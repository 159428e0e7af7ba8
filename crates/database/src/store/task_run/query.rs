//! Reading task runs.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use lovage_protocol::{State, TaskId};
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, Order, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};

use crate::{
    entity::task_run::{Column, Entity, Model},
    error::{Error, while_doing},
    store::pattern::contains,
};

/// So many rows of a page at most.
const MOST: u64 = 1000;

/// A task run as it is known.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "the fields are those of `Change`, where each is told"
)]
pub struct TaskRun {
    pub task_id: TaskId,
    pub state: State,
    pub state_at: DateTime<Utc>,
    pub retries: Option<i32>,
    pub name: Option<String>,
    pub queue: Option<String>,
    pub routing_key: Option<String>,
    pub priority: Option<i16>,
    pub worker: Option<String>,
    pub client: Option<String>,
    pub args: Option<String>,
    pub kwargs: Option<String>,
    pub result: Option<String>,
    pub exception: Option<String>,
    pub traceback: Option<String>,
    pub root_id: Option<TaskId>,
    pub parent_id: Option<TaskId>,
    pub group_id: Option<String>,
    pub eta: Option<DateTime<Utc>>,
    pub expires: Option<DateTime<Utc>>,
    pub sent_at: Option<DateTime<Utc>>,
    pub received_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub runtime: Option<f64>,
    /// The first that was heard of it. Never changes.
    pub seen_at: DateTime<Utc>,
    /// When this row was last written.
    pub updated_at: DateTime<Utc>,
}

impl From<Model> for TaskRun {
    fn from(row: Model) -> Self {
        Self {
            task_id: row.task_id.into(),
            state: State::from(row.state.as_str()),
            state_at: row.state_at,
            retries: row.retries,
            name: row.name,
            queue: row.queue,
            routing_key: row.routing_key,
            priority: row.priority,
            worker: row.worker,
            client: row.client,
            args: row.args,
            kwargs: row.kwargs,
            result: row.result,
            exception: row.exception,
            traceback: row.traceback,
            root_id: row.root_id.map(TaskId::from),
            parent_id: row.parent_id.map(TaskId::from),
            group_id: row.group_id,
            eta: row.eta,
            expires: row.expires,
            sent_at: row.sent_at,
            received_at: row.received_at,
            started_at: row.started_at,
            finished_at: row.finished_at,
            runtime: row.runtime,
            seen_at: row.seen_at,
            updated_at: row.updated_at,
        }
    }
}

/// Which task runs. Everything given must hold; of a list, one of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// Their states.
    pub states: Vec<State>,
    /// Their tasks' names.
    pub names: Vec<String>,
    /// Their queues.
    pub queues: Vec<String>,
    /// The workers that ran them.
    pub workers: Vec<String>,
    /// The first task of their workflow; that task is one of them.
    pub root: Option<TaskId>,
    /// The task that sent them.
    pub parent: Option<TaskId>,
    /// Their group.
    pub group: Option<String>,
    /// First heard of then or later.
    pub since: Option<DateTime<Utc>>,
    /// First heard of before.
    pub until: Option<DateTime<Utc>>,
    /// A part of id, name, arguments, result or exception, whatever the case of its (English) letters.
    pub text: Option<String>,
}

/// A place between two task runs, newest first. Written as a text that is safe in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    seen_at: DateTime<Utc>,
    task_id: TaskId,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.", self.seen_at.timestamp_micros())?;
        for byte in self.task_id.as_str().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => {
                    write!(f, "{}", char::from(byte))?
                }
                other => write!(f, "_{other:02x}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> Result<Self, BadCursor> {
        let (at, id) = text.split_once('.').ok_or(BadCursor)?;
        let at: i64 = at.parse().map_err(|_| BadCursor)?;
        let mut bytes = Vec::with_capacity(id.len());
        let mut rest = id.as_bytes();
        while let Some((first, tail)) = rest.split_first() {
            rest = tail;
            if *first == b'_' {
                let digits = tail.get(..2).ok_or(BadCursor)?;
                let digits = std::str::from_utf8(digits).map_err(|_| BadCursor)?;
                bytes.push(u8::from_str_radix(digits, 16).map_err(|_| BadCursor)?);
                rest = &tail[2..];
            } else {
                bytes.push(*first);
            }
        }
        Ok(Self {
            seen_at: DateTime::from_timestamp_micros(at).ok_or(BadCursor)?,
            task_id: String::from_utf8(bytes).map_err(|_| BadCursor)?.into(),
        })
    }
}

/// A text is no cursor: it was not made here, or was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a cursor, expected one that an earlier page gave")]
pub struct BadCursor;

/// Some task runs, the newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// They.
    pub runs: Vec<TaskRun>,
    /// Where the next page begins, if there may be one.
    pub next: Option<Cursor>,
}

fn is_one_of(column: Column, values: &[String]) -> Option<Condition> {
    (!values.is_empty())
        .then(|| Condition::all().add(column.is_in(values.iter().map(String::as_str))))
}

impl Filter {
    fn condition(&self, database: &impl ConnectionTrait) -> Condition {
        let states: Vec<String> = self
            .states
            .iter()
            .map(|state| state.as_str().to_owned())
            .collect();
        let root = self.root.as_ref().map(|root| {
            // The index of roots leaves out tasks that are their own.
            let below = Condition::all()
                .add(Column::RootId.eq(root.as_str()))
                .add(Expr::col(Column::RootId).ne(Expr::col(Column::TaskId)));
            Condition::any()
                .add(Column::TaskId.eq(root.as_str()))
                .add(below)
        });
        let text = self.text.as_ref().map(|text| {
            [
                Column::TaskId,
                Column::Name,
                Column::Args,
                Column::Kwargs,
                Column::Result,
                Column::Exception,
            ]
            .into_iter()
            .fold(Condition::any(), |any, column| {
                any.add(contains(database, Expr::col(column), text))
            })
        });
        Condition::all()
            .add_option(is_one_of(Column::State, &states))
            .add_option(is_one_of(Column::Name, &self.names))
            .add_option(is_one_of(Column::Queue, &self.queues))
            .add_option(is_one_of(Column::Worker, &self.workers))
            .add_option(root)
            .add_option(
                self.parent
                    .as_ref()
                    .map(|parent| Column::ParentId.eq(parent.as_str())),
            )
            .add_option(
                self.group
                    .as_ref()
                    .map(|group| Column::GroupId.eq(group.as_str())),
            )
            .add_option(self.since.map(|since| Column::SeenAt.gte(since)))
            .add_option(self.until.map(|until| Column::SeenAt.lt(until)))
            .add_option(text)
    }
}

/// One task run.
///
/// # Errors
/// [`Error::Query`].
pub async fn find(
    database: &impl ConnectionTrait,
    task_id: &TaskId,
) -> Result<Option<TaskRun>, Error> {
    let found = Entity::find_by_id(task_id.as_str())
        .one(database)
        .await
        .map_err(while_doing("reading a task run"))?;
    Ok(found.map(TaskRun::from))
}

/// Those of these tasks that are known, in no order.
///
/// # Errors
/// [`Error::Query`].
pub async fn find_many(
    database: &impl ConnectionTrait,
    task_ids: &[TaskId],
) -> Result<Vec<TaskRun>, Error> {
    let mut runs = Vec::with_capacity(task_ids.len());
    for ids in task_ids.chunks(1000) {
        let found = Entity::find()
            .filter(Column::TaskId.is_in(ids.iter().map(TaskId::as_str)))
            .all(database)
            .await
            .map_err(while_doing("reading task runs"))?;
        runs.extend(found.into_iter().map(TaskRun::from));
    }
    Ok(runs)
}

/// A workflow: the task `root` and all that came of it, up to `most`, the oldest first.
///
/// # Errors
/// [`Error::Query`].
pub async fn tree(
    database: &impl ConnectionTrait,
    root: &TaskId,
    most: u64,
) -> Result<Vec<TaskRun>, Error> {
    let filter = Filter {
        root: Some(root.clone()),
        ..Filter::default()
    };
    let found = Entity::find()
        .filter(filter.condition(database))
        .order_by(Column::SeenAt, Order::Asc)
        .order_by(Column::TaskId, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading a workflow"))?;
    Ok(found.into_iter().map(TaskRun::from).collect())
}

/// Up to `limit` task runs (1,000 at most) that match, the newest first, from `after` on. What comes meanwhile is on none of the
/// later pages, and nothing is left out or told twice.
///
/// # Errors
/// [`Error::Query`].
pub async fn page(
    database: &impl ConnectionTrait,
    filter: &Filter,
    after: Option<&Cursor>,
    limit: u64,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, MOST);
    let mut condition = filter.condition(database);
    if let Some(after) = after {
        let same_time = Condition::all()
            .add(Column::SeenAt.eq(after.seen_at))
            .add(Column::TaskId.lt(after.task_id.as_str()));
        condition = condition
            // For the index, which does not see through the next one.
            .add(Column::SeenAt.lte(after.seen_at))
            .add(
                Condition::any()
                    .add(Column::SeenAt.lt(after.seen_at))
                    .add(same_time),
            );
    }
    let found = Entity::find()
        .filter(condition)
        .order_by(Column::SeenAt, Order::Desc)
        .order_by(Column::TaskId, Order::Desc)
        .limit(limit + 1)
        .all(database)
        .await
        .map_err(while_doing("reading task runs"))?;
    let mut runs: Vec<TaskRun> = found.into_iter().map(TaskRun::from).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = runs.len() > limit;
    runs.truncate(limit);
    let next = runs.last().filter(|_| more).map(|last| Cursor {
        seen_at: last.seen_at,
        task_id: last.task_id.clone(),
    });
    Ok(Page { runs, next })
}

/// How many match. Reads every one of them.
///
/// # Errors
/// [`Error::Query`].
pub async fn count(database: &impl ConnectionTrait, filter: &Filter) -> Result<u64, Error> {
    Entity::find()
        .filter(filter.condition(database))
        .count(database)
        .await
        .map_err(while_doing("counting task runs"))
}
