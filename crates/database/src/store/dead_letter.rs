//! Dead letters: messages that could not be run, byte for byte, to be searched, edited, sent again or given up.
//!
//! The keeper moves them here from the broker. One is sent again through the outbox, in the transaction that says so: whoever
//! asks at the same time, and whatever dies when, there is one message of it.

mod matching;

pub use matching::{Act, latest, waiting};

use chrono::{DateTime, Utc};
use lovage_protocol::{Message, TaskId, TaskName};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, Order, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait, OnConflict},
};

use super::{
    outbox::{self, Outgoing},
    pattern::contains,
};
use crate::{
    entity::dead_letter::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// So many in one statement, or of a page, at most.
const MOST: u64 = 500;

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// Nothing yet.
    Waiting,
    /// It was sent again.
    Replayed,
    /// It was given up.
    Discarded,
}

impl Fate {
    /// Its word in the database and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Replayed => "replayed",
            Self::Discarded => "discarded",
        }
    }

    /// The fate of this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Waiting, Self::Replayed, Self::Discarded]
            .into_iter()
            .find(|fate| fate.as_str() == word)
    }
}

/// A dead letter as it comes from the broker.
#[derive(Debug, Clone, PartialEq)]
pub struct Died {
    /// Its id there: it is kept once.
    pub source_id: String,
    /// The message, byte for byte.
    pub message: Vec<u8>,
    /// A word for why.
    pub code: String,
    /// A line for why.
    pub detail: String,
    /// Where its task failed, when that is known.
    pub traceback: Option<String>,
    /// Its task, when it could be read.
    pub task: Option<String>,
    /// Its task's id, when it could be read.
    pub task_id: Option<String>,
    /// The queue it came from.
    pub queue: String,
    /// The worker that gave it up.
    pub worker: Option<String>,
    /// When.
    pub died_at: DateTime<Utc>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its number here; later ones are larger.
    pub id: i64,
    /// How it came.
    pub died: Died,
    /// What is to be sent instead of its message.
    pub edited: Option<Vec<u8>>,
    /// What became of it.
    pub fate: Fate,
    /// When that was decided.
    pub resolved_at: Option<DateTime<Utc>>,
    /// By whom.
    pub resolved_by: Option<String>,
    /// Grows with every change.
    pub version: i64,
}

impl DeadLetter {
    /// What is sent when it is sent again.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        self.edited.as_deref().unwrap_or(&self.died.message)
    }

    fn outgoing(&self) -> Outgoing {
        let parsed = Message::parse(self.message()).ok();
        let priority = parsed
            .as_ref()
            .and_then(|message| i16::try_from(message.properties.priority).ok())
            .unwrap_or(0);
        let id = self.died.task_id.as_deref().unwrap_or(&self.died.source_id);
        let task = self.died.task.as_deref().unwrap_or_default();
        Outgoing::ready(
            TaskId::from(id),
            TaskName::from(task),
            self.died.queue.clone(),
            priority,
            self.message().to_vec(),
        )
    }
}

impl TryFrom<Model> for DeadLetter {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        let fate = Fate::parse(&row.state).ok_or(Error::Corrupt {
            what: "dead_letter.state",
            value: row.state,
            expected: "waiting, replayed or discarded",
        })?;
        Ok(Self {
            id: row.id,
            died: Died {
                source_id: row.source_id,
                message: row.message,
                code: row.code,
                detail: row.detail,
                traceback: row.traceback,
                task: row.task,
                task_id: row.task_id,
                queue: row.queue,
                worker: row.worker,
                died_at: row.died_at,
            },
            edited: row.edited,
            fate,
            resolved_at: row.resolved_at,
            resolved_by: row.resolved_by,
            version: row.version,
        })
    }
}

/// Which dead letters. Everything given must hold; of a list, one of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// What became of them.
    pub fates: Vec<Fate>,
    /// The words for why.
    pub codes: Vec<String>,
    /// Their tasks.
    pub tasks: Vec<String>,
    /// The queues they came from.
    pub queues: Vec<String>,
    /// Their task's id.
    pub task_id: Option<String>,
    /// Died then or later.
    pub since: Option<DateTime<Utc>>,
    /// Died before.
    pub until: Option<DateTime<Utc>>,
    /// A part of task, task id, detail or traceback, whatever the case of its (English) letters.
    pub text: Option<String>,
}

impl Filter {
    fn condition(&self, database: &impl ConnectionTrait) -> Condition {
        let one_of = |column: Column, values: &[String]| {
            (!values.is_empty()).then(|| column.is_in(values.iter().map(String::as_str)))
        };
        let fates: Vec<String> = self
            .fates
            .iter()
            .map(|fate| fate.as_str().to_owned())
            .collect();
        let text = self.text.as_ref().map(|text| {
            [
                Column::Task,
                Column::TaskId,
                Column::Detail,
                Column::Traceback,
            ]
            .into_iter()
            .fold(Condition::any(), |any, column| {
                any.add(contains(database, Expr::col(column), text))
            })
        });
        Condition::all()
            .add_option(one_of(Column::State, &fates))
            .add_option(one_of(Column::Code, &self.codes))
            .add_option(one_of(Column::Task, &self.tasks))
            .add_option(one_of(Column::Queue, &self.queues))
            .add_option(self.task_id.as_ref().map(|id| Column::TaskId.eq(id)))
            .add_option(self.since.map(|since| Column::DiedAt.gte(since)))
            .add_option(self.until.map(|until| Column::DiedAt.lt(until)))
            .add_option(text)
    }
}

/// Keeps letters that came from the broker; those that are known stay as they are.
///
/// # Errors
/// [`Error::Query`]; then none of this call is kept.
pub async fn keep(
    database: &impl ConnectionTrait,
    letters: impl IntoIterator<Item = Died>,
) -> Result<(), Error> {
    let clean = |text: String| text.replace('\0', "\u{fffd}");
    let rows: Vec<ActiveModel> = letters
        .into_iter()
        .map(|died| ActiveModel {
            id: NotSet,
            source_id: Set(died.source_id),
            message: Set(died.message),
            edited: Set(None),
            code: Set(clean(died.code)),
            detail: Set(clean(died.detail)),
            traceback: Set(died.traceback.map(clean)),
            task: Set(died.task.map(clean)),
            task_id: Set(died.task_id.map(clean)),
            queue: Set(clean(died.queue)),
            worker: Set(died.worker.map(clean)),
            died_at: Set(died.died_at),
            copied_at: Set(Utc::now()),
            state: Set(Fate::Waiting.as_str().to_owned()),
            resolved_at: Set(None),
            resolved_by: Set(None),
            replays: Set(0),
            version: Set(1),
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    Entity::insert_many(rows)
        .on_conflict(OnConflict::column(Column::SourceId).do_nothing().to_owned())
        .exec_without_returning(database)
        .await
        .map(drop)
        .map_err(while_doing("keeping dead letters"))
}

/// One of them.
///
/// # Errors
/// [`Error::Query`].
pub async fn find(database: &impl ConnectionTrait, id: i64) -> Result<Option<DeadLetter>, Error> {
    Entity::find_by_id(id)
        .one(database)
        .await
        .map_err(while_doing("reading a dead letter"))?
        .map(DeadLetter::try_from)
        .transpose()
}

/// The one that had this id at the broker.
///
/// # Errors
/// [`Error::Query`].
pub async fn find_by_source(
    database: &impl ConnectionTrait,
    source_id: &str,
) -> Result<Option<DeadLetter>, Error> {
    Entity::find()
        .filter(Column::SourceId.eq(source_id))
        .one(database)
        .await
        .map_err(while_doing("reading a dead letter"))?
        .map(DeadLetter::try_from)
        .transpose()
}

/// Up to `limit` (500 at most) that match, the newest first, and older than `before`.
///
/// # Errors
/// [`Error::Query`].
pub async fn page(
    database: &impl ConnectionTrait,
    filter: &Filter,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<DeadLetter>, Error> {
    Entity::find()
        .filter(filter.condition(database))
        .filter(Condition::all().add_option(before.map(|before| Column::Id.lt(before))))
        .order_by(Column::Id, Order::Desc)
        .limit(limit.clamp(1, MOST))
        .all(database)
        .await
        .map_err(while_doing("reading dead letters"))?
        .into_iter()
        .map(DeadLetter::try_from)
        .collect()
}

/// How many match.
///
/// # Errors
/// [`Error::Query`].
pub async fn count(database: &impl ConnectionTrait, filter: &Filter) -> Result<u64, Error> {
    Entity::find()
        .filter(filter.condition(database))
        .count(database)
        .await
        .map_err(while_doing("counting dead letters"))
}

/// Sets what is sent instead of its message; the message itself stays. False: it is not there, no longer waits, or somebody else
/// changed it since `version`.
///
/// # Errors
/// [`Error::Query`].
pub async fn edit(
    database: &impl ConnectionTrait,
    id: i64,
    version: i64,
    message: Vec<u8>,
) -> Result<bool, Error> {
    let done = Entity::update_many()
        .col_expr(Column::Edited, Expr::value(message))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::Version.eq(version))
        .filter(Column::State.eq(Fate::Waiting.as_str()))
        .exec(database)
        .await
        .map_err(while_doing("editing a dead letter"))?;
    Ok(done.rows_affected == 1)
}

/// Decides the fate of one that waits, in this version of it if one is given. False: it does not wait.
async fn resolve(
    database: &impl ConnectionTrait,
    id: i64,
    version: Option<i64>,
    fate: Fate,
    by: &str,
) -> Result<bool, Error> {
    let seen = version.map(|version| Column::Version.eq(version));
    let replays = i32::from(fate == Fate::Replayed);
    let done = Entity::update_many()
        .col_expr(Column::State, Expr::value(fate.as_str()))
        .col_expr(Column::ResolvedAt, Expr::value(Utc::now()))
        .col_expr(Column::ResolvedBy, Expr::value(by))
        .col_expr(Column::Replays, Expr::col(Column::Replays).add(replays))
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(Fate::Waiting.as_str()))
        .filter(Condition::all().add_option(seen))
        .exec(database)
        .await
        .map_err(while_doing("deciding about a dead letter"))?;
    Ok(done.rows_affected == 1)
}

/// Sends one again, to the end of the queue it came from, through the outbox and in the caller's transaction. False: it does not
/// wait (any more), and nothing was done.
///
/// # Errors
/// [`Error::Query`].
pub async fn replay(transaction: &impl ConnectionTrait, id: i64, by: &str) -> Result<bool, Error> {
    if !resolve(transaction, id, None, Fate::Replayed, by).await? {
        return Ok(false);
    }
    // It is ours alone now, until the transaction ends.
    if let Some(letter) = find(transaction, id).await? {
        outbox::enqueue(transaction, letter.outgoing()).await?;
    }
    Ok(true)
}

/// Gives one up. Its row stays until it is pruned. False: it does not wait (any more).
///
/// # Errors
/// [`Error::Query`].
pub async fn discard(transaction: &impl ConnectionTrait, id: i64, by: &str) -> Result<bool, Error> {
    resolve(transaction, id, None, Fate::Discarded, by).await
}

#[cfg(test)]
mod tests;
