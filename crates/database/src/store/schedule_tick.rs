//! Ticks: a schedule moves on, and its messages are in the outbox, in one transaction that only who leads can commit.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, FromQueryResult, Order,
    QueryFilter, QueryOrder, QuerySelect, Statement, Value,
    sea_query::OnConflict,
};
use uuid::Uuid;

use super::{
    lease::Lease,
    outbox::{self, Outgoing},
    schedule::{Progress, SILENCE},
};
use crate::{
    connect::{Database, commit},
    entity::{
        schedule,
        schedule_tick::{ActiveModel, Column, Entity, Model},
    },
    error::{Error, while_doing},
};

/// So many rows in one statement; each has up to eight values, and SQLite takes 32,766.
const ROWS: usize = 500;

/// One tick of one schedule.
#[derive(Debug, Clone)]
pub struct Tick {
    /// The schedule.
    pub schedule: Uuid,
    /// The version its sender knows.
    pub version: i64,
    /// Where it stands, as its sender knows it.
    pub before: Progress,
    /// Where it stands from now on.
    pub after: Progress,
    /// What is sent, and what is remembered of each. A run without a message is looked for by whoever does it.
    pub sent: Vec<(Option<Outgoing>, Record)>,
}

/// What is remembered of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// When it was due.
    pub due: DateTime<Utc>,
    /// When it was decided to send it.
    pub fired: DateTime<Utc>,
    /// `due`, `now` or `backfill`.
    pub cause: String,
    /// The id of its task.
    pub task_id: String,
    /// So many runs before it were left out.
    pub left_out: i64,
}

/// What came of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticked {
    /// It happened, now or when it was asked for before.
    Done,
    /// The schedule is not as the sender knew it: nothing happened.
    Changed,
}

/// Makes ticks happen: each whole or not at all, and each due time once. Asked again after a lost answer nothing happens twice.
///
/// # Errors
/// [`Error::LeaseLost`], and then nothing happened; [`Error::Query`].
pub async fn tick(
    database: &Database,
    lease: &Lease,
    ticks: &[Tick],
) -> Result<Vec<Ticked>, Error> {
    let transaction = database.begin_briefly(SILENCE).await?;
    lease.confirm(&transaction).await?;
    let mut moved = HashSet::with_capacity(ticks.len());
    for some in ticks.chunks(ROWS) {
        moved.extend(move_on(&transaction, some).await?);
    }
    let (mut records, mut messages) = (Vec::new(), HashMap::new());
    for tick in ticks.iter().filter(|tick| moved.contains(&tick.schedule)) {
        for (outgoing, record) in &tick.sent {
            records.push(written(tick.schedule, record));
            messages.extend(
                outgoing
                    .as_ref()
                    .map(|outgoing| (record.task_id.as_str(), outgoing)),
            );
        }
    }
    let mut order = Vec::with_capacity(records.len());
    let mut rows = records.into_iter().peekable();
    while rows.peek().is_some() {
        let some: Vec<ActiveModel> = rows.by_ref().take(ROWS).collect();
        order.extend(note(&transaction, some).await?);
    }
    // What was sent for this due time before has its message already.
    let mut fresh = Vec::with_capacity(order.len());
    for id in &order {
        fresh.extend(messages.remove(id.as_str()).cloned());
    }
    outbox::enqueue_many(&transaction, fresh).await?;
    let unmoved: Vec<&Tick> = ticks
        .iter()
        .filter(|tick| !moved.contains(&tick.schedule))
        .collect();
    let stands = stands(&transaction, &unmoved).await?;
    commit(transaction).await?;
    let ticked = ticks.iter().map(|tick| {
        let happened = moved.contains(&tick.schedule)
            || stands.get(&tick.schedule) == Some(&(tick.version, tick.after.rounded()));
        match happened {
            true => Ticked::Done,
            false => Ticked::Changed,
        }
    });
    Ok(ticked.collect())
}

#[derive(FromQueryResult)]
struct Moved {
    id: Uuid,
}

/// Moves schedules on that are as their ticks say; gives their ids.
async fn move_on(transaction: &DatabaseTransaction, ticks: &[Tick]) -> Result<Vec<Uuid>, Error> {
    let mut values: Vec<Value> = Vec::with_capacity(ticks.len() * 7);
    let mut places = Vec::with_capacity(ticks.len());
    for tick in ticks {
        let (before, after) = (tick.before.rounded(), tick.after.rounded());
        let first = values.len() + 1;
        let row: Vec<String> = (first..first + 7)
            .map(|place| format!("${place}"))
            .collect();
        places.push(format!("({})", row.join(", ")));
        values.extend([
            tick.schedule.into(),
            tick.version.into(),
            before.decided.into(),
            before.runs.into(),
            after.decided.into(),
            after.last_due.into(),
            after.runs.into(),
        ]);
    }
    let sql = format!(
        "UPDATE schedule SET decided_at = v.column5, last_due_at = v.column6, runs = v.column7
         FROM (VALUES {}) AS v
         WHERE schedule.id = v.column1 AND schedule.version = v.column2
             AND schedule.decided_at = v.column3 AND schedule.runs = v.column4
         RETURNING schedule.id",
        places.join(", ")
    );
    let statement = Statement::from_sql_and_values(transaction.get_database_backend(), sql, values);
    let rows = Moved::find_by_statement(statement)
        .all(transaction)
        .await
        .map_err(while_doing("moving schedules on"))?;
    Ok(rows.into_iter().map(|row| row.id).collect())
}

fn written(schedule: Uuid, record: &Record) -> ActiveModel {
    ActiveModel {
        id: NotSet,
        schedule_id: Set(schedule),
        due_at: Set(record.due.trunc_subsecs(6)),
        fired_at: Set(record.fired.trunc_subsecs(6)),
        cause: Set(record.cause.clone()),
        task_id: Set(record.task_id.clone()),
        left_out: Set(record.left_out),
    }
}

/// Writes down what is sent; gives the task ids of what was not sent before.
async fn note(
    transaction: &DatabaseTransaction,
    rows: Vec<ActiveModel>,
) -> Result<Vec<String>, Error> {
    let rows = Entity::insert_many(rows)
        .on_conflict(OnConflict::new().do_nothing().to_owned())
        .exec_with_returning(transaction)
        .await
        .map_err(while_doing("writing ticks"))?;
    let mut rows: Vec<Model> = rows;
    rows.sort_by_key(|row| row.id);
    Ok(rows.into_iter().map(|row| row.task_id).collect())
}

/// Where schedules stand that did not move.
async fn stands(
    transaction: &DatabaseTransaction,
    ticks: &[&Tick],
) -> Result<HashMap<Uuid, (i64, Progress)>, Error> {
    let mut stands = HashMap::new();
    for some in ticks.chunks(ROWS) {
        let rows = schedule::Entity::find()
            .filter(schedule::Column::Id.is_in(some.iter().map(|tick| tick.schedule)))
            .all(transaction)
            .await
            .map_err(while_doing("reading where schedules stand"))?;
        stands.extend(rows.into_iter().map(|row| {
            let progress = Progress {
                decided: row.decided_at,
                last_due: row.last_due_at,
                runs: row.runs,
            };
            (row.id, (row.version, progress))
        }));
    }
    Ok(stands)
}

/// Sends runs of a time that has passed, the oldest first, except those that were sent before; gives the task ids of those that
/// are sent now. `None`: the schedule is not of this version, and nothing happened. Asked again it sends nothing.
///
/// # Errors
/// [`Error::Query`].
pub async fn make_up(
    database: &Database,
    schedule: Uuid,
    version: i64,
    runs: Vec<(Outgoing, Record)>,
) -> Result<Option<Vec<String>>, Error> {
    let transaction = database.begin_briefly(SILENCE).await?;
    // Whoever does the same meanwhile waits here, and then sees what this has written.
    let held = schedule::Entity::find_by_id(schedule)
        .filter(schedule::Column::Version.eq(version))
        .lock_exclusive()
        .one(&transaction)
        .await
        .map_err(while_doing("holding a schedule"))?;
    if held.is_none() {
        return Ok(None);
    }
    let mut fresh = Vec::with_capacity(runs.len());
    for some in runs.chunks(ROWS) {
        let before = sent_before(&transaction, schedule, some).await?;
        let new = some
            .iter()
            .filter(|(_, record)| !before.contains(&record.task_id));
        let (messages, records): (Vec<Outgoing>, Vec<&Record>) = new
            .map(|(message, record)| (message.clone(), record))
            .unzip();
        if records.is_empty() {
            continue;
        }
        let rows = records.iter().map(|record| written(schedule, record));
        Entity::insert_many(rows)
            .exec_without_returning(&transaction)
            .await
            .map_err(while_doing("writing what is made up for"))?;
        outbox::enqueue_many(&transaction, messages).await?;
        fresh.extend(records.into_iter().map(|record| record.task_id.clone()));
    }
    commit(transaction).await?;
    Ok(Some(fresh))
}

/// Which of these runs of a schedule have a message already.
async fn sent_before(
    transaction: &DatabaseTransaction,
    schedule: Uuid,
    runs: &[(Outgoing, Record)],
) -> Result<HashSet<String>, Error> {
    let ids = runs.iter().map(|(_, record)| record.task_id.as_str());
    let rows = Entity::find()
        .filter(Column::ScheduleId.eq(schedule))
        .filter(Column::TaskId.is_in(ids))
        .all(transaction)
        .await
        .map_err(while_doing("reading ticks"))?;
    Ok(rows.into_iter().map(|row| row.task_id).collect())
}

/// Remembers what was sent beside the ticks of the schedule of this name, the oldest first. Nothing, when there is none.
///
/// # Errors
/// [`Error::Query`].
pub async fn remember(database: &Database, name: &str, records: &[Record]) -> Result<(), Error> {
    let Some(schedule) = super::schedule::find(database.reader(), name).await? else {
        return Ok(());
    };
    for some in records.chunks(ROWS) {
        let rows = some
            .iter()
            .map(|record| written(schedule.definition.id, record));
        Entity::insert_many(rows)
            .exec_without_returning(database.writer())
            .await
            .map_err(while_doing("writing what was sent by hand"))?;
    }
    Ok(())
}

/// The last `most` messages of the schedule of this name, the newest first; with `after`, of those that were sent before the one with
/// this task id.
///
/// # Errors
/// [`Error::Query`].
pub async fn history(
    database: &Database,
    name: &str,
    after: Option<&str>,
    most: u64,
) -> Result<Vec<Record>, Error> {
    let Some(schedule) = super::schedule::find(database.reader(), name).await? else {
        return Ok(Vec::new());
    };
    let mut rows = Entity::find().filter(Column::ScheduleId.eq(schedule.definition.id));
    if let Some(after) = after {
        let last = rows.clone().filter(Column::TaskId.eq(after));
        let last = last.one(database.reader()).await;
        let Some(last) = last.map_err(while_doing("finding a tick"))? else {
            // What came before one that was pruned was pruned too.
            return Ok(Vec::new());
        };
        rows = rows.filter(Column::Id.lt(last.id));
    }
    let rows = rows
        .order_by(Column::Id, Order::Desc)
        .limit(most)
        .all(database.reader())
        .await
        .map_err(while_doing("reading ticks"))?;
    let records = rows.into_iter().map(|row| Record {
        due: row.due_at,
        fired: row.fired_at,
        cause: row.cause,
        task_id: row.task_id,
        left_out: row.left_out,
    });
    Ok(records.collect())
}
