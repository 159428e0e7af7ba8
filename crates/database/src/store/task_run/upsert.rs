//! Writing many task runs at once.
//!
//! PostgreSQL takes a batch as one array a column, so that the statement is always the same text; SQLite takes rows of
//! placeholders, in a transaction. SeaORM has no arrays with nulls, so this goes to its driver.

use std::sync::LazyLock;

use chrono::{DateTime, SubsecRound, Utc};
use lovage_protocol::TaskId;
use sea_orm::{
    DbErr,
    sqlx::{self, AssertSqlSafe, Postgres, Sqlite, postgres::PgArguments, query::Query},
};

use super::{
    change::{Change, Merged, merge},
    progress::{self, ACCEPTED},
};
use crate::{
    connect::{Database, Kind},
    error::{Error, while_doing},
};

/// So many rows go in one statement. SQLite allows 32,766 placeholders.
const ROWS: usize = 500;

/// What becomes of a column when the row is there already.
enum Rule {
    /// The first value stays.
    First,
    /// The latest state's; what it does not tell stays.
    Latest,
    /// As `Latest`, but a task that ended has only what it ended with.
    End,
    /// The latest state's, which always tells it.
    State,
    /// The latest attempt's: the greatest.
    Last,
    /// The smallest.
    Earliest,
    /// That of the last write.
    Written,
}

/// Every column, its PostgreSQL type, and its rule, in the order in which values are bound.
const COLUMNS: [(&str, &str, Rule); 28] = [
    ("task_id", "text", Rule::First),
    ("state", "varchar", Rule::State),
    ("state_rank", "smallint", Rule::State),
    ("state_at", "timestamptz", Rule::State),
    ("retries", "integer", Rule::Last),
    ("name", "text", Rule::Latest),
    ("queue", "text", Rule::Latest),
    ("routing_key", "text", Rule::Latest),
    ("priority", "smallint", Rule::Latest),
    ("worker", "text", Rule::Latest),
    ("client", "text", Rule::Latest),
    ("args", "text", Rule::Latest),
    ("kwargs", "text", Rule::Latest),
    ("result", "text", Rule::End),
    ("exception", "text", Rule::End),
    ("traceback", "text", Rule::End),
    ("root_id", "text", Rule::Latest),
    ("parent_id", "text", Rule::Latest),
    ("group_id", "text", Rule::Latest),
    ("eta", "timestamptz", Rule::Latest),
    ("expires", "timestamptz", Rule::Latest),
    ("sent_at", "timestamptz", Rule::Earliest),
    ("received_at", "timestamptz", Rule::Last),
    ("started_at", "timestamptz", Rule::Last),
    ("finished_at", "timestamptz", Rule::Last),
    ("runtime", "double precision", Rule::Latest),
    ("seen_at", "timestamptz", Rule::First),
    ("updated_at", "timestamptz", Rule::Written),
];

fn names() -> String {
    COLUMNS.map(|(name, ..)| name).join(", ")
}

fn on_conflict() -> String {
    let set: Vec<String> = COLUMNS
        .iter()
        .filter_map(|(name, _, rule)| {
            let latest = format!(
                "CASE WHEN {ACCEPTED} THEN COALESCE(excluded.{name}, task_run.{name})
                 ELSE COALESCE(task_run.{name}, excluded.{name}) END"
            );
            Some(match rule {
                Rule::First => return None,
                Rule::Written => format!("{name} = excluded.{name}"),
                Rule::State => format!(
                    "{name} = CASE WHEN {ACCEPTED} THEN excluded.{name} ELSE task_run.{name} END"
                ),
                Rule::Latest => format!("{name} = {latest}"),
                Rule::Last => format!("{name} = {}", of_both(">", name)),
                Rule::Earliest => format!("{name} = {}", of_both("<", name)),
                Rule::End => format!(
                    "{name} = CASE WHEN excluded.state_rank >= 60 AND excluded.state_rank > task_run.state_rank
                     THEN excluded.{name}
                     WHEN task_run.state_rank >= 60 AND excluded.state_rank < task_run.state_rank THEN task_run.{name}
                     ELSE {latest} END"
                ),
            })
        })
        .collect();
    format!("ON CONFLICT (task_id) DO UPDATE SET {}", set.join(",\n"))
}

/// Of two values the one that compares so with the other; of one, that.
fn of_both(compares: &str, name: &str) -> String {
    format!(
        "CASE WHEN excluded.{name} {compares} task_run.{name} THEN excluded.{name}
         ELSE COALESCE(task_run.{name}, excluded.{name}) END"
    )
}

static POSTGRES: LazyLock<String> = LazyLock::new(|| {
    let arrays: Vec<String> = COLUMNS
        .iter()
        .zip(1..)
        .map(|((_, kind, _), number)| format!("${number}::{kind}[]"))
        .collect();
    format!(
        "INSERT INTO task_run ({}) SELECT * FROM UNNEST({}) {}",
        names(),
        arrays.join(", "),
        on_conflict()
    )
});

fn sqlite(rows: usize) -> String {
    let row = format!("({})", ["?"; COLUMNS.len()].join(", "));
    format!(
        "INSERT INTO task_run ({}) VALUES {} {}",
        names(),
        vec![row; rows].join(", "),
        on_conflict()
    )
}

/// The statement for a full batch, which is nearly always the one.
static SQLITE: LazyLock<String> = LazyLock::new(|| sqlite(ROWS));

/// Records what became known of tasks, in any order and as often as it is heard: a late change moves no state back, and fills in
/// what was not known. Gives the number of tasks. A batch may be written in part when there is an error; writing it again is
/// harmless.
///
/// # Errors
/// [`Error::Query`].
pub async fn record(
    database: &Database,
    changes: impl IntoIterator<Item = Change>,
) -> Result<usize, Error> {
    let rows = merge(changes);
    // PostgreSQL counts microseconds: what is compared is to be what was stored.
    let now = Utc::now().trunc_subsecs(6);
    let written = match database.kind() {
        Kind::Postgres => write_postgres(database, &rows, now).await,
        Kind::Sqlite => write_sqlite(database, &rows, now).await,
    };
    written
        .map_err(|error| DbErr::Exec(sea_orm::RuntimeErr::SqlxError(error.into())))
        .map_err(while_doing("recording task runs"))?;
    Ok(rows.len())
}

async fn write_postgres(
    database: &Database,
    rows: &[Merged],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let pool = database.writer().get_postgres_connection_pool();
    for chunk in rows.chunks(ROWS) {
        bind_columns(sqlx::query(AssertSqlSafe(POSTGRES.as_str())), chunk, now)
            .execute(pool)
            .await?;
    }
    Ok(())
}

type PostgresQuery<'q> = Query<'q, Postgres, PgArguments>;

fn bind_columns<'q>(
    query: PostgresQuery<'q>,
    rows: &[Merged],
    now: DateTime<Utc>,
) -> PostgresQuery<'q> {
    macro_rules! column {
        ($of:expr) => {
            rows.iter().map($of).collect::<Vec<_>>()
        };
    }
    let time = |at: DateTime<Utc>| at.trunc_subsecs(6);
    query
        .bind(column!(|row| plain(row.change.task_id.as_str())))
        .bind(column!(|row| plain(row.change.state.as_str())))
        .bind(column!(|row| progress::rank(&row.change.state)))
        .bind(column!(|row| time(row.change.at)))
        .bind(column!(|row| retries(&row.change)))
        .bind(column!(|row| text(row.change.name.as_deref())))
        .bind(column!(|row| text(row.change.queue.as_deref())))
        .bind(column!(|row| text(row.change.routing_key.as_deref())))
        .bind(column!(|row| row.change.priority))
        .bind(column!(|row| text(row.change.worker.as_deref())))
        .bind(column!(|row| text(row.change.client.as_deref())))
        .bind(column!(|row| text(row.change.args.as_deref())))
        .bind(column!(|row| text(row.change.kwargs.as_deref())))
        .bind(column!(|row| text(row.change.result.as_deref())))
        .bind(column!(|row| text(row.change.exception.as_deref())))
        .bind(column!(|row| text(row.change.traceback.as_deref())))
        .bind(column!(|row| text(
            row.change.root_id.as_ref().map(TaskId::as_str)
        )))
        .bind(column!(|row| text(
            row.change.parent_id.as_ref().map(TaskId::as_str)
        )))
        .bind(column!(|row| text(row.change.group_id.as_deref())))
        .bind(column!(|row| row.change.eta.map(time)))
        .bind(column!(|row| row.change.expires.map(time)))
        .bind(column!(|row| row.change.sent_at.map(time)))
        .bind(column!(|row| row.change.received_at.map(time)))
        .bind(column!(|row| row.change.started_at.map(time)))
        .bind(column!(|row| row.change.finished_at.map(time)))
        .bind(column!(|row| row.change.runtime))
        .bind(column!(|row| time(row.seen_at)))
        .bind(vec![now; rows.len()])
}

async fn write_sqlite(
    database: &Database,
    rows: &[Merged],
    now: DateTime<Utc>,
) -> Result<(), sqlx::Error> {
    let pool = database.writer().get_sqlite_connection_pool();
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    for chunk in rows.chunks(ROWS) {
        let fewer;
        let sql = if chunk.len() == ROWS {
            SQLITE.as_str()
        } else {
            fewer = sqlite(chunk.len());
            fewer.as_str()
        };
        // Texts of other lengths would push each other, and what is used all the time, out of the cache.
        let mut query = sqlx::query(AssertSqlSafe(sql.to_owned())).persistent(chunk.len() == ROWS);
        for row in chunk {
            query = bind_row(query, row, now);
        }
        query.execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

type SqliteQuery<'q> = Query<'q, Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_row<'q>(query: SqliteQuery<'q>, row: &Merged, now: DateTime<Utc>) -> SqliteQuery<'q> {
    let change = &row.change;
    let time = |at: DateTime<Utc>| at.trunc_subsecs(6);
    query
        .bind(plain(change.task_id.as_str()))
        .bind(plain(change.state.as_str()))
        .bind(progress::rank(&change.state))
        .bind(time(change.at))
        .bind(retries(change))
        .bind(text(change.name.as_deref()))
        .bind(text(change.queue.as_deref()))
        .bind(text(change.routing_key.as_deref()))
        .bind(change.priority)
        .bind(text(change.worker.as_deref()))
        .bind(text(change.client.as_deref()))
        .bind(text(change.args.as_deref()))
        .bind(text(change.kwargs.as_deref()))
        .bind(text(change.result.as_deref()))
        .bind(text(change.exception.as_deref()))
        .bind(text(change.traceback.as_deref()))
        .bind(text(change.root_id.as_ref().map(TaskId::as_str)))
        .bind(text(change.parent_id.as_ref().map(TaskId::as_str)))
        .bind(text(change.group_id.as_deref()))
        .bind(change.eta.map(time))
        .bind(change.expires.map(time))
        .bind(change.sent_at.map(time))
        .bind(change.received_at.map(time))
        .bind(change.started_at.map(time))
        .bind(change.finished_at.map(time))
        .bind(change.runtime)
        .bind(time(row.seen_at))
        .bind(now)
}

/// PostgreSQL's texts hold every character but one.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn text(text: Option<&str>) -> Option<String> {
    text.map(plain)
}

fn retries(change: &Change) -> Option<i32> {
    change
        .retries
        .map(|retries| i32::try_from(retries).unwrap_or(i32::MAX))
}
