//! Schedules, as they are written down and where they stand.
//!
//! Every change has a number, its edition, that is counted up in one row before anything else is done: changes become visible in
//! the order of their numbers, so that whoever has seen all up to one has missed nothing.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, ConnectionTrait, DatabaseTransaction, EntityTrait, FromQueryResult,
    Order, QueryFilter, QueryOrder, QuerySelect, Statement,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::pattern::contains;
use crate::{
    connect::{Database, commit},
    entity::{
        schedule::{ActiveModel, Column, Entity, Model},
        schedule_edition, schedule_removed,
    },
    error::{Error, while_doing},
};

/// The name of the lease of the beat that leads.
pub const LEASE: &str = "beat";
/// How long somebody who falls silent in the middle of a change holds others up.
pub(super) const SILENCE: Duration = Duration::from_secs(3);
/// So long it is remembered that a schedule was removed. Who leads asks each second, and who begins to lead reads everything.
const REMEMBERED: TimeDelta = TimeDelta::days(1);

/// A schedule as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// What it is.
    pub definition: Definition,
    /// Where it stands.
    pub progress: Progress,
    /// The edition of its last change.
    pub version: i64,
}

/// What a schedule is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
    /// The task that it sends.
    pub task: String,
    /// `crontab`, `interval`, `solar` or `clocked`.
    pub kind: String,
    /// Who declared it.
    pub source: String,
    /// As it was written down, a JSON object.
    pub draft: String,
    /// Somebody lets it rest.
    pub paused: bool,
    /// It runs.
    pub enabled: bool,
}

/// Where a schedule stands. Instants are kept to the microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Every run due up to then is decided.
    pub decided: DateTime<Utc>,
    /// When the last run was due that was sent.
    pub last_due: Option<DateTime<Utc>>,
    /// So many messages were sent.
    pub runs: i64,
}

/// A change of a schedule.
#[derive(Debug, Clone)]
pub struct Change {
    /// What it is from now on.
    pub definition: Definition,
    /// The version that is changed; `None`: there is none yet, and then there must be a progress.
    pub version: Option<i64>,
    /// Where it stands; `None`: as before.
    pub progress: Option<Progress>,
}

/// What has changed after an edition.
#[derive(Debug, Default)]
pub struct Changes {
    /// Everything up to this edition is told.
    pub edition: i64,
    /// New and changed schedules, in the order of their changes.
    pub changed: Vec<Schedule>,
    /// Names of schedules that are no more.
    pub removed: Vec<String>,
    /// There is more to ask for.
    pub more: bool,
}

impl Progress {
    /// As a database keeps it.
    pub(super) fn rounded(self) -> Self {
        Self {
            decided: self.decided.trunc_subsecs(6),
            last_due: self.last_due.map(|at| at.trunc_subsecs(6)),
            runs: self.runs,
        }
    }
}

impl From<Model> for Schedule {
    fn from(row: Model) -> Self {
        Self {
            definition: Definition {
                id: row.id,
                name: row.name,
                task: row.task,
                kind: row.kind,
                source: row.source,
                draft: row.draft,
                paused: row.paused,
                enabled: row.enabled,
            },
            progress: Progress {
                decided: row.decided_at,
                last_due: row.last_due_at,
                runs: row.runs,
            },
            version: row.version,
        }
    }
}

#[derive(FromQueryResult)]
struct Counted {
    edition: i64,
}

/// The edition of the last change of any schedule.
///
/// # Errors
/// [`Error::Query`].
pub async fn edition(database: &impl ConnectionTrait) -> Result<i64, Error> {
    let row = schedule_edition::Entity::find()
        .one(database)
        .await
        .map_err(while_doing("reading the edition of the schedules"))?;
    Ok(row.map_or(0, |row| row.edition))
}

/// The number of a change. Others wait with theirs until the transaction has ended.
async fn next_edition(transaction: &DatabaseTransaction) -> Result<i64, Error> {
    let sql = "INSERT INTO schedule_edition (id, edition) VALUES (1, 1)
               ON CONFLICT (id) DO UPDATE SET edition = schedule_edition.edition + 1 RETURNING edition";
    let backend = transaction.get_database_backend();
    let row = Counted::find_by_statement(Statement::from_string(backend, sql))
        .one(transaction)
        .await
        .map_err(while_doing("counting the edition of the schedules up"))?;
    Ok(row.map_or(0, |row| row.edition))
}

/// One schedule.
///
/// # Errors
/// [`Error::Query`].
pub async fn find(database: &impl ConnectionTrait, name: &str) -> Result<Option<Schedule>, Error> {
    let row = Entity::find()
        .filter(Column::Name.eq(name))
        .one(database)
        .await
        .map_err(while_doing("reading a schedule"))?;
    Ok(row.map(Schedule::from))
}

/// Which schedules. Everything given must hold; of a list, one of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Their tasks.
    pub tasks: Vec<String>,
    /// Who declared them.
    pub sources: Vec<String>,
    /// `crontab`, `interval`, `solar` or `clocked`.
    pub kinds: Vec<String>,
    /// Whether they run.
    pub enabled: Option<bool>,
    /// A part of name or task.
    pub text: Option<String>,
}

/// Up to `most` schedules by name, those after a name.
///
/// # Errors
/// [`Error::Query`].
pub async fn page(
    database: &impl ConnectionTrait,
    filter: &Filter,
    after: Option<&str>,
    most: u64,
) -> Result<Vec<Schedule>, Error> {
    let mut which = Condition::all();
    for (column, wanted) in [
        (Column::Task, &filter.tasks),
        (Column::Source, &filter.sources),
        (Column::Kind, &filter.kinds),
    ] {
        if !wanted.is_empty() {
            which = which.add(column.is_in(wanted.iter().map(String::as_str)));
        }
    }
    if let Some(enabled) = filter.enabled {
        which = which.add(Column::Enabled.eq(enabled));
    }
    if let Some(text) = &filter.text {
        let part_of = |column| contains(database, Expr::col(column), text);
        which = which.add(
            Condition::any()
                .add(part_of(Column::Name))
                .add(part_of(Column::Task)),
        );
    }
    if let Some(after) = after {
        which = which.add(Column::Name.gt(after));
    }
    let rows = Entity::find()
        .filter(which)
        .order_by(Column::Name, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("listing schedules"))?;
    Ok(rows.into_iter().map(Schedule::from).collect())
}

/// What has changed after an edition, up to `most` schedules at once.
///
/// # Errors
/// [`Error::Query`].
pub async fn changes(database: &Database, since: i64, most: u64) -> Result<Changes, Error> {
    let reading = || while_doing("reading changes of schedules");
    let reader = database.reader();
    // First: what is changed while this reads has a later number and is told the next time.
    let mut until = edition(reader).await?;
    let rows = Entity::find()
        .filter(Column::Version.gt(since))
        .filter(Column::Version.lte(until))
        .order_by(Column::Version, Order::Asc)
        .limit(most)
        .all(reader)
        .await
        .map_err(reading())?;
    let more = u64::try_from(rows.len()).unwrap_or(u64::MAX) >= most;
    if let Some(last) = rows.last().filter(|_| more) {
        until = last.version;
    }
    let removed = schedule_removed::Entity::find()
        .filter(schedule_removed::Column::Version.gt(since))
        .filter(schedule_removed::Column::Version.lte(until))
        .all(reader)
        .await
        .map_err(reading())?;
    Ok(Changes {
        edition: until,
        changed: rows.into_iter().map(Schedule::from).collect(),
        removed: removed.into_iter().map(|row| row.name).collect(),
        more,
    })
}

/// Makes or changes a schedule: its new version, or `None` when it is not as the change says. Asked again after a lost answer it
/// changes nothing.
///
/// # Errors
/// [`Error::Query`].
pub async fn save(database: &Database, change: Change) -> Result<Option<i64>, Error> {
    let saving = || while_doing("saving a schedule");
    let transaction = database.begin_briefly(SILENCE).await?;
    let edition = next_edition(&transaction).await?;
    let before = find(&transaction, &change.definition.name).await?;
    let known = before.as_ref().map(|before| before.version);
    let progress = change.progress.map(Progress::rounded);
    if let Some(before) = &before
        && before.definition == change.definition
        && (known != change.version || progress.is_none_or(|after| after == before.progress))
    {
        // It is so already: nobody has to learn of it, and the number counted up is given back.
        return Ok(known);
    }
    if known != change.version {
        return Ok(None);
    }
    let row = row(change.definition, progress, edition);
    match (before, progress) {
        (Some(_), _) => {
            Entity::update(row)
                .exec(&transaction)
                .await
                .map_err(saving())?;
        }
        (None, Some(_)) => {
            forget_removed(&transaction, row.name.as_ref()).await?;
            Entity::insert(ActiveModel {
                created_at: Set(Utc::now()),
                ..row
            })
            .exec_without_returning(&transaction)
            .await
            .map_err(saving())?;
        }
        // Nothing says from when on it is to run.
        (None, None) => return Ok(None),
    }
    commit(transaction).await?;
    Ok(Some(edition))
}

fn row(definition: Definition, progress: Option<Progress>, edition: i64) -> ActiveModel {
    let mut row = ActiveModel {
        id: Set(definition.id),
        name: Set(definition.name),
        task: Set(definition.task),
        kind: Set(definition.kind),
        source: Set(definition.source),
        draft: Set(definition.draft),
        paused: Set(definition.paused),
        enabled: Set(definition.enabled),
        version: Set(edition),
        updated_at: Set(Utc::now()),
        ..<ActiveModel as sea_orm::ActiveModelTrait>::default()
    };
    if let Some(progress) = progress {
        row.decided_at = Set(progress.decided);
        row.last_due_at = Set(progress.last_due);
        row.runs = Set(progress.runs);
    }
    row
}

async fn forget_removed(transaction: &DatabaseTransaction, name: &str) -> Result<(), Error> {
    let long_ago = Utc::now() - REMEMBERED;
    let which = Condition::any()
        .add(schedule_removed::Column::Name.eq(name))
        .add(schedule_removed::Column::RemovedAt.lt(long_ago));
    schedule_removed::Entity::delete_many()
        .filter(which)
        .exec(transaction)
        .await
        .map(drop)
        .map_err(while_doing("forgetting removed schedules"))
}

/// Removes a schedule, and what is remembered of its runs. False: there is none.
///
/// # Errors
/// [`Error::Query`].
pub async fn remove(database: &Database, name: &str) -> Result<bool, Error> {
    let removing = || while_doing("removing a schedule");
    let transaction = database.begin_briefly(SILENCE).await?;
    let edition = next_edition(&transaction).await?;
    let done = Entity::delete_many()
        .filter(Column::Name.eq(name))
        .exec(&transaction)
        .await
        .map_err(removing())?;
    if done.rows_affected == 0 {
        return Ok(false);
    }
    let row = schedule_removed::ActiveModel {
        name: Set(name.to_owned()),
        version: Set(edition),
        removed_at: Set(Utc::now()),
    };
    let again = OnConflict::column(schedule_removed::Column::Name)
        .update_columns([
            schedule_removed::Column::Version,
            schedule_removed::Column::RemovedAt,
        ])
        .to_owned();
    schedule_removed::Entity::insert(row)
        .on_conflict(again)
        .exec_without_returning(&transaction)
        .await
        .map_err(removing())?;
    commit(transaction).await?;
    Ok(true)
}
