//! The trail of task runs: every event, as it was heard.
//!
//! On PostgreSQL a day's events are a partition, made when the first of them comes, and dropped whole.

use std::collections::BTreeSet;

use chrono::{DateTime, Days, NaiveDate, SubsecRound, TimeDelta, Utc};
use lovage_protocol::TaskId;
use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, FromQueryResult, Order, QueryFilter,
    QueryOrder, QuerySelect, RuntimeErr, Statement,
    sqlx::{self, AssertSqlSafe},
};

use crate::{
    connect::{Database, Kind},
    entity::task_event::{Column, Entity, Model},
    error::{Error, while_doing},
};

/// So many rows go in one statement.
const ROWS: usize = 1000;
/// An event that says it is older was made by a clock that is wrong; it would have a partition of its own.
const OLDEST: TimeDelta = TimeDelta::days(366);
/// The same for the future.
const NEWEST: TimeDelta = TimeDelta::days(1);

/// An event of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When it happened.
    pub at: DateTime<Utc>,
    /// What tells it from every other of that time: a journal's entry, or sender and clock. Two keepers that hear the same event
    /// call it the same.
    pub source: String,
    /// Its task.
    pub task_id: TaskId,
    /// Its type, such as `task-received`.
    pub kind: String,
    /// The node that told it.
    pub worker: Option<String>,
    /// The whole event, as JSON.
    pub body: String,
}

/// An event that was recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Grows with every event. One of a smaller number may appear later than one of a larger: two keepers write at once.
    pub id: i64,
    /// The event.
    pub event: Event,
}

impl From<Model> for Recorded {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            event: Event {
                at: row.at,
                source: row.source,
                task_id: row.task_id.into(),
                kind: row.kind,
                worker: row.worker,
                body: row.body,
            },
        }
    }
}

/// Records events; those that are known already are passed over. Gives how many were new. An event whose time is more than a
/// year ago or more than a day ahead is recorded under the nearest time that is not: its body keeps what it said.
///
/// # Errors
/// [`Error::Query`]; a part may be recorded, and recording all again is harmless.
pub async fn record(
    database: &Database,
    events: &[Event],
    now: DateTime<Utc>,
) -> Result<u64, Error> {
    let times: Vec<DateTime<Utc>> = events
        .iter()
        .map(|event| event.at.clamp(now - OLDEST, now + NEWEST).trunc_subsecs(6))
        .collect();
    let recorded = match database.kind() {
        Kind::Sqlite => write_sqlite(database, events, &times).await,
        Kind::Postgres => match write_postgres(database, events, &times).await {
            Err(error) if lacks_partition(&error) => {
                make_partitions(database, &times).await?;
                write_postgres(database, events, &times).await
            }
            other => other,
        },
    };
    recorded
        .map_err(driver)
        .map_err(while_doing("recording events"))
}

fn driver(error: sqlx::Error) -> DbErr {
    DbErr::Exec(RuntimeErr::SqlxError(error.into()))
}

/// PostgreSQL calls it a violated check; the table has no other.
fn lacks_partition(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::Database(told) if told.code().as_deref() == Some("23514"))
}

fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

async fn write_postgres(
    database: &Database,
    events: &[Event],
    times: &[DateTime<Utc>],
) -> Result<u64, sqlx::Error> {
    const SQL: &str = "INSERT INTO task_event (at, source, task_id, kind, worker, body)
        SELECT * FROM UNNEST($1::timestamptz[], $2::text[], $3::text[], $4::varchar[], $5::text[], $6::text[])
        ON CONFLICT DO NOTHING";
    let pool = database.writer().get_postgres_connection_pool();
    let mut recorded = 0;
    for (events, times) in events.chunks(ROWS).zip(times.chunks(ROWS)) {
        macro_rules! column {
            ($of:expr) => {
                events.iter().map($of).collect::<Vec<_>>()
            };
        }
        let done = sqlx::query(SQL)
            .bind(times)
            .bind(column!(|event| plain(&event.source)))
            .bind(column!(|event| plain(event.task_id.as_str())))
            .bind(column!(|event| plain(&event.kind)))
            .bind(column!(|event| event.worker.as_deref().map(plain)))
            .bind(column!(|event| plain(&event.body)))
            .execute(pool)
            .await?;
        recorded += done.rows_affected();
    }
    Ok(recorded)
}

async fn write_sqlite(
    database: &Database,
    events: &[Event],
    times: &[DateTime<Utc>],
) -> Result<u64, sqlx::Error> {
    let pool = database.writer().get_sqlite_connection_pool();
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let mut recorded = 0;
    for (events, times) in events.chunks(ROWS).zip(times.chunks(ROWS)) {
        let rows = vec!["(?, ?, ?, ?, ?, ?)"; events.len()].join(", ");
        let sql = format!(
            "INSERT INTO task_event (at, source, task_id, kind, worker, body) VALUES {rows} ON CONFLICT DO NOTHING"
        );
        let mut query = sqlx::query(AssertSqlSafe(sql)).persistent(events.len() == ROWS);
        for (event, at) in events.iter().zip(times) {
            query = query
                .bind(*at)
                .bind(plain(&event.source))
                .bind(plain(event.task_id.as_str()))
                .bind(plain(&event.kind))
                .bind(event.worker.as_deref().map(plain))
                .bind(plain(&event.body));
        }
        recorded += query.execute(&mut *transaction).await?.rows_affected();
    }
    transaction.commit().await?;
    Ok(recorded)
}

fn partition(day: NaiveDate) -> String {
    format!("task_event_{}", day.format("%Y%m%d"))
}

async fn make_partitions(database: &Database, times: &[DateTime<Utc>]) -> Result<(), Error> {
    let making = || while_doing("making a day's partition of events");
    let days: BTreeSet<NaiveDate> = times.iter().map(DateTime::date_naive).collect();
    let transaction = database.begin().await?;
    // Else two that make the same one at once both fail.
    transaction
        .execute_unprepared("SELECT pg_advisory_xact_lock(hashtext('lovage task_event'))")
        .await
        .map_err(making())?;
    for day in days {
        let Some(next) = day.checked_add_days(Days::new(1)) else {
            continue;
        };
        let sql = format!(
            "CREATE TABLE IF NOT EXISTS {} PARTITION OF task_event FOR VALUES FROM ('{day} 00:00+00') TO ('{next} 00:00+00')",
            partition(day)
        );
        transaction
            .execute_unprepared(&sql)
            .await
            .map_err(making())?;
    }
    transaction.commit().await.map_err(making())
}

/// The trail of one task, up to `most` events, in the order of their times.
///
/// # Errors
/// [`Error::Query`].
pub async fn of_task(
    database: &impl ConnectionTrait,
    task_id: &TaskId,
    most: u64,
) -> Result<Vec<Recorded>, Error> {
    let rows = Entity::find()
        .filter(Column::TaskId.eq(task_id.as_str()))
        .order_by(Column::At, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading the events of a task"))?;
    Ok(rows.into_iter().map(Recorded::from).collect())
}

/// Up to `most` events of a larger number than `after`, in the order of the numbers.
///
/// # Errors
/// [`Error::Query`].
pub async fn after(
    database: &impl ConnectionTrait,
    after: i64,
    most: u64,
) -> Result<Vec<Recorded>, Error> {
    let rows = Entity::find()
        .filter(Column::Id.gt(after))
        .order_by(Column::Id, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading events"))?;
    Ok(rows.into_iter().map(Recorded::from).collect())
}

/// Up to `most` events that happened at `at` or later, in the order of their times.
///
/// # Errors
/// [`Error::Query`].
pub async fn since(
    database: &impl ConnectionTrait,
    at: DateTime<Utc>,
    most: u64,
) -> Result<Vec<Recorded>, Error> {
    let rows = Entity::find()
        .filter(Column::At.gte(at))
        .order_by(Column::At, Order::Asc)
        .order_by(Column::Id, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading the events since a time"))?;
    Ok(rows.into_iter().map(Recorded::from).collect())
}

/// The newest `most` events, in the order of their times.
///
/// # Errors
/// [`Error::Query`].
pub async fn last(database: &impl ConnectionTrait, most: u64) -> Result<Vec<Recorded>, Error> {
    let rows = Entity::find()
        .order_by(Column::At, Order::Desc)
        .order_by(Column::Id, Order::Desc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading the newest events"))?;
    Ok(rows.into_iter().rev().map(Recorded::from).collect())
}

#[derive(FromQueryResult)]
struct Partition {
    name: String,
}

/// Drops the partitions of days that ended before `before`; gives how many.
pub(super) async fn drop_days(database: &Database, before: DateTime<Utc>) -> Result<u64, Error> {
    // Names sort by their days.
    let first_kept = partition(before.date_naive());
    let mut dropped = 0;
    for old in partitions(database).await? {
        if old >= first_kept {
            break;
        }
        drop_partition(database, &old).await?;
        dropped += 1;
    }
    Ok(dropped)
}

#[derive(FromQueryResult)]
struct Number {
    number: i64,
}

/// Drops the partitions of days of which every event is older than the newest `most`; gives how many. Numbers are taken by events
/// that were known already too, so a little fewer may be left.
pub(super) async fn drop_days_beyond(database: &Database, most: u64) -> Result<u64, Error> {
    let number = async |sql: String| {
        let statement = Statement::from_string(database.writer().get_database_backend(), sql);
        Number::find_by_statement(statement)
            .one(database.writer())
            .await
            .map_err(dropping())
    };
    let newest = number("SELECT last_value AS number FROM task_event_id".to_owned()).await?;
    let newest = newest.map_or(0, |newest| newest.number);
    let kept = newest.saturating_sub(i64::try_from(most).unwrap_or(i64::MAX));
    let mut dropped = 0;
    for old in partitions(database).await? {
        // By the time, which has an index; in a day the last event in time is among the last that came.
        let sql = format!(
            "SELECT id AS number FROM {} ORDER BY at DESC LIMIT 1",
            quoted(&old)
        );
        let last = number(sql).await?;
        if last.is_some_and(|last| last.number > kept) {
            break;
        }
        drop_partition(database, &old).await?;
        dropped += 1;
    }
    Ok(dropped)
}

fn dropping() -> impl FnOnce(DbErr) -> Error {
    while_doing("dropping a day's partition of events")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names of all days' partitions, the oldest first.
async fn partitions(database: &Database) -> Result<Vec<String>, Error> {
    let sql =
        "SELECT relname::text AS name FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
        WHERE inhparent = 'task_event'::regclass ORDER BY 1";
    let statement = Statement::from_string(database.writer().get_database_backend(), sql);
    let partitions = Partition::find_by_statement(statement)
        .all(database.writer())
        .await
        .map_err(dropping())?;
    Ok(partitions.into_iter().map(|one| one.name).collect())
}

async fn drop_partition(database: &Database, name: &str) -> Result<(), Error> {
    let sql = format!("DROP TABLE IF EXISTS {}", quoted(name));
    database
        .writer()
        .execute_unprepared(&sql)
        .await
        .map(drop)
        .map_err(dropping())
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use lovage_protocol::TaskId;

    use super::{Event, Recorded, after, drop_days, last, of_task, record, since};
    use crate::{Kind, testing::on_both};

    fn event(number: i64, at: DateTime<Utc>) -> Event {
        Event {
            at,
            source: format!("w@h:{number}"),
            task_id: TaskId::from(format!("t{}", number % 2)),
            kind: "task-started".to_owned(),
            worker: Some("w@h".to_owned()),
            body: format!(r#"{{"clock": {number}}}"#),
        }
    }

    fn events(recorded: Vec<Recorded>) -> Vec<Event> {
        recorded.into_iter().map(|one| one.event).collect()
    }

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    on_both! {
        async fn an_event_is_recorded_once(database: Database) {
            let hours: Vec<Event> = (0..50).map(|number| event(number, now() - TimeDelta::hours(50 - number))).collect();
            assert_eq!(record(&database, &hours[..30], now()).await.unwrap(), 30);
            assert_eq!(record(&database, &hours, now()).await.unwrap(), 20);
            assert_eq!(record(&database, &[], now()).await.unwrap(), 0);
            let odd: Vec<Event> = hours.iter().filter(|event| event.task_id.as_str() == "t1").cloned().collect();
            let trail = of_task(database.reader(), &TaskId::from("t1"), 100).await.unwrap();
            assert_eq!(events(trail), odd);
            let newest = last(database.reader(), 3).await.unwrap();
            assert_eq!(events(newest), hours[47..]);
            let late = since(database.reader(), hours[40].at, 100).await.unwrap();
            assert_eq!(events(late), hours[40..]);
            let all = after(database.reader(), 0, 100).await.unwrap();
            assert!(all.windows(2).all(|pair| pair[0].id < pair[1].id));
            let rest = after(database.reader(), all[40].id, 100).await.unwrap();
            assert_eq!(rest, all[41..]);
        }

        async fn two_that_record_the_same_at_once_record_it_once(database: Database) {
            let some: Vec<Event> = (0..3000).map(|number| event(number, now() + TimeDelta::seconds(number))).collect();
            let (one, two) = tokio::join!(record(&database, &some, now()), record(&database, &some, now()));
            assert_eq!(one.unwrap() + two.unwrap(), 3000);
        }

        async fn a_wrong_clock_makes_no_days(database: Database) {
            let wrong = [
                event(1, DateTime::UNIX_EPOCH),
                event(2, now() + TimeDelta::days(100_000)),
                Event { body: "\0".to_owned(), ..event(3, now()) },
            ];
            assert_eq!(record(&database, &wrong, now()).await.unwrap(), 3);
            let all = events(last(database.reader(), 9).await.unwrap());
            assert_eq!((all[0].at, all[2].at), (now() - TimeDelta::days(366), now() + TimeDelta::days(1)));
        }

        async fn old_days_are_dropped_whole(database: Database) {
            if database.kind() == Kind::Sqlite {
                // Rows are deleted there, see `retention`.
                return;
            }
            let days: Vec<Event> = (0..10).map(|number| event(number, now() - TimeDelta::days(number))).collect();
            record(&database, &days, now()).await.unwrap();
            assert_eq!(drop_days(&database, now() - TimeDelta::days(3)).await.unwrap(), 6);
            assert_eq!(events(last(database.reader(), 99).await.unwrap()).len(), 4);
            assert_eq!(drop_days(&database, now() - TimeDelta::days(3)).await.unwrap(), 0);
        }
    }
}
