//! What is kept how long, and removing the rest a little at a time.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use lovage_settings::RetentionSettings;
use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};

use super::task_event;
use crate::{
    connect::{Database, Kind},
    error::{Error, while_doing},
};

/// So many rows are deleted in one statement: others write in between.
const BATCH: i64 = 2000;
/// Tokens and keys are kept for so long after they ran out, so that their use is refused with the right reason.
const GRACE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// So many rows of each table were removed; of `task_event` on PostgreSQL, days.
pub type Pruned = BTreeMap<&'static str, u64>;

/// A table, the column that tells its rows' ages, and which rows may go.
struct Old {
    table: &'static str,
    column: &'static str,
    which: &'static str,
}

const fn old(table: &'static str, column: &'static str, which: &'static str) -> Old {
    Old {
        table,
        column,
        which,
    }
}

/// What goes with the task runs that are as old.
const WITH_TASKS: [Old; 4] = [
    // By an index that is there for other reasons; a run that is older than its last change is looked at in vain.
    old("task_run", "seen_at", "updated_at < $1"),
    old("dead_letter", "resolved_at", "state <> 'waiting'"),
    old("worker", "heard_at", "1 = 1"),
    old("history_gap", "ended_at", "1 = 1"),
];
const EVENTS: [Old; 1] = [old("task_event", "at", "1 = 1")];
const MAIL: [Old; 1] = [old(
    "mail_message",
    "created_at",
    "state IN ('sent', 'failed')",
)];
const AUDIT: [Old; 2] = [
    old("audit_log", "at", "1 = 1"),
    old("operation", "updated_at", "state <> 'running'"),
];
const TICKS: [Old; 1] = [old("schedule_tick", "fired_at", "1 = 1")];
const RAN_OUT: [Old; 3] = [
    old("refresh_token", "expires_at", "1 = 1"),
    old("one_time_token", "expires_at", "1 = 1"),
    old("idempotency_key", "expires_at", "1 = 1"),
];

/// Removes what is kept no longer, by age and by count, in batches. May be stopped at any time by dropping it; what was removed
/// is removed. What waits for somebody (dead letters, mails that are not sent, the outbox) is never removed.
///
/// # Errors
/// [`Error::Query`].
pub async fn prune(
    database: &Database,
    keep: &RetentionSettings,
    now: DateTime<Utc>,
) -> Result<Pruned, Error> {
    let mut pruned = Pruned::new();
    let groups: [(Option<Duration>, &[Old]); 5] = [
        (keep.tasks, &WITH_TASKS),
        (keep.mail, &MAIL),
        (keep.audit, &AUDIT),
        (keep.tasks, &TICKS),
        (Some(GRACE), &RAN_OUT),
    ];
    for (age, tables) in groups {
        let Some(before) = age.and_then(|age| ago(now, age)) else {
            continue;
        };
        for old in tables {
            let removed = delete_before(database, old, before).await?;
            pruned.insert(old.table, removed);
        }
    }
    if let Some(before) = keep.events.and_then(|age| ago(now, age)) {
        let removed = match database.kind() {
            Kind::Postgres => task_event::drop_days(database, before).await?,
            Kind::Sqlite => delete_before(database, &EVENTS[0], before).await?,
        };
        pruned.insert("task_event", removed);
    }
    if let Some(most) = keep.max_tasks {
        let removed = delete_runs_beyond(database, most).await?;
        *pruned.entry("task_run").or_default() += removed;
    }
    if let Some(most) = keep.max_events {
        let removed = match database.kind() {
            Kind::Postgres => task_event::drop_days_beyond(database, most).await?,
            Kind::Sqlite => delete_events_beyond(database, most).await?,
        };
        *pruned.entry("task_event").or_default() += removed;
    }
    if let Some(most) = keep.max_rows {
        for old in WITH_TASKS[1..]
            .iter()
            .chain(&MAIL)
            .chain(&AUDIT)
            .chain(&TICKS)
        {
            let removed = delete_beyond(database, old, most).await?;
            *pruned.entry(old.table).or_default() += removed;
        }
    }
    Ok(pruned)
}

fn ago(now: DateTime<Utc>, age: Duration) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(age).ok()?)
}

/// What both databases call a row by, whatever its key is.
fn row(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "ctid",
        Kind::Sqlite => "rowid",
    }
}

async fn delete_before(
    database: &Database,
    old: &Old,
    before: DateTime<Utc>,
) -> Result<u64, Error> {
    delete_where(database, old, "<", before).await
}

/// Removes the oldest rows until `most` are left of those that may go. Rows of one instant go together.
async fn delete_beyond(database: &Database, old: &Old, most: u64) -> Result<u64, Error> {
    let Old {
        table,
        column,
        which,
    } = old;
    // Others are changed by somebody who waits for them: they have no age yet.
    let sql = format!(
        "SELECT {column} AS at FROM {table} WHERE {column} IS NOT NULL AND {which}
         ORDER BY {column} DESC LIMIT 1 OFFSET $1"
    );
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let backend = database.writer().get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [most.into()]);
    let first = At::find_by_statement(statement)
        .one(database.writer())
        .await
        .map_err(while_doing("looking for the oldest rows"))?;
    match first {
        Some(At { at }) => delete_where(database, old, "<=", at).await,
        None => Ok(0),
    }
}

#[derive(FromQueryResult)]
struct At {
    at: DateTime<Utc>,
}

/// Deletes the rows of which the column compares so with an instant, and which may go.
async fn delete_where(
    database: &Database,
    old: &Old,
    compares: &str,
    at: DateTime<Utc>,
) -> Result<u64, Error> {
    let Old {
        table,
        column,
        which,
    } = old;
    let row = row(database.kind());
    let some = format!(
        "SELECT {row} FROM {table} WHERE {column} {compares} $1 AND {which} ORDER BY {column} LIMIT {BATCH}"
    );
    delete_all(database, table, &some, vec![at.into()]).await
}

/// Removes the oldest events until `most` are left; on SQLite, where their numbers have an index.
async fn delete_events_beyond(database: &Database, most: u64) -> Result<u64, Error> {
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let last = "SELECT id FROM task_event ORDER BY id DESC LIMIT 1 OFFSET $1";
    let statement = Statement::from_sql_and_values(
        database.writer().get_database_backend(),
        last,
        [most.into()],
    );
    let last = Numbered::find_by_statement(statement)
        .one(database.writer())
        .await
        .map_err(while_doing("looking for the oldest events"))?;
    let Some(Numbered { id }) = last else {
        return Ok(0);
    };
    let some = format!("SELECT rowid FROM task_event WHERE id <= $1 ORDER BY id LIMIT {BATCH}");
    delete_all(database, "task_event", &some, vec![id.into()]).await
}

#[derive(FromQueryResult)]
struct Numbered {
    id: i64,
}

/// Deletes what the query gives until it gives nothing more.
async fn delete_all(
    database: &Database,
    table: &str,
    some: &str,
    values: Vec<Value>,
) -> Result<u64, Error> {
    let sql = match database.kind() {
        Kind::Postgres => format!("DELETE FROM {table} WHERE ctid = ANY(ARRAY({some}))"),
        Kind::Sqlite => format!("DELETE FROM {table} WHERE rowid IN ({some})"),
    };
    let backend = database.writer().get_database_backend();
    let mut removed = 0;
    loop {
        let statement = Statement::from_sql_and_values(backend, &sql, values.clone());
        let done = database
            .writer()
            .execute_raw(statement)
            .await
            .map_err(while_doing("removing old rows"))?
            .rows_affected();
        removed += done;
        if done < BATCH.unsigned_abs() {
            return Ok(removed);
        }
    }
}

#[derive(FromQueryResult)]
struct First {
    seen_at: DateTime<Utc>,
    task_id: String,
}

/// Removes the oldest task runs until `most` are left.
async fn delete_runs_beyond(database: &Database, most: u64) -> Result<u64, Error> {
    let backend = database.writer().get_database_backend();
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let first = "SELECT seen_at, task_id FROM task_run ORDER BY seen_at DESC, task_id DESC LIMIT 1 OFFSET $1";
    let statement = Statement::from_sql_and_values(backend, first, [most.into()]);
    let first = First::find_by_statement(statement)
        .one(database.writer())
        .await
        .map_err(while_doing("looking for the oldest task runs"))?;
    let Some(First { seen_at, task_id }) = first else {
        return Ok(0);
    };
    let row = row(database.kind());
    let some = format!(
        "SELECT {row} FROM task_run WHERE (seen_at, task_id) <= ($1, $2) ORDER BY seen_at, task_id LIMIT {BATCH}"
    );
    delete_all(
        database,
        "task_run",
        &some,
        vec![seen_at.into(), task_id.into()],
    )
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{DateTime, TimeDelta, Utc};
    use lovage_protocol::{State, TaskId};
    use lovage_settings::RetentionSettings;
    use sea_orm::ConnectionTrait;

    use super::prune;
    use crate::{
        Database, Kind,
        store::{dead_letter, history_gap, task_event, task_run},
        testing::{number, on_both},
    };

    const DAY: Duration = Duration::from_secs(86_400);

    fn nothing_goes() -> RetentionSettings {
        RetentionSettings {
            tasks: None,
            max_tasks: None,
            events: None,
            max_events: None,
            mail: None,
            audit: None,
            max_rows: None,
        }
    }

    async fn runs(database: &Database, how_many: i64) {
        let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        let changes = (0..how_many).map(|number| {
            let id = TaskId::from(format!("t{number:05}"));
            task_run::Change::new(id, State::Success, start + TimeDelta::seconds(number / 10))
        });
        task_run::record(database, changes).await.unwrap();
    }

    async fn count(database: &Database, table: &str) -> i64 {
        number(database.reader(), &format!("SELECT count(*) FROM {table}")).await
    }

    on_both! {
        async fn the_oldest_beyond_the_count_go(database: Database) {
            runs(&database, 5100).await;
            let keep = RetentionSettings { max_tasks: Some(55), ..nothing_goes() };
            assert_eq!(prune(&database, &keep, Utc::now()).await.unwrap()["task_run"], 5045);
            let left = task_run::page(database.reader(), &task_run::Filter::default(), None, 100).await.unwrap().runs;
            assert_eq!((left.len(), left[0].task_id.as_str(), left[54].task_id.as_str()), (55, "t05099", "t05045"));
            assert_eq!(prune(&database, &keep, Utc::now()).await.unwrap()["task_run"], 0);
        }

        async fn the_oldest_of_every_table_go_beyond_its_count(database: Database) {
            for number in 0..30 {
                let sql = format!(
                    "INSERT INTO audit_log (actor_kind, action, at) VALUES ('cli', 'x{number}', '2026-01-01T00:00:{number:02}+00:00')"
                );
                database.writer().execute_unprepared(&sql).await.unwrap();
            }
            let start = DateTime::from_timestamp(1_700_000_000, 0).unwrap();
            let gaps = (0..30).map(|number| history_gap::Gap {
                source: "journal".to_owned(),
                began_at: start,
                ended_at: start + TimeDelta::seconds(number),
                lost: number,
                reason: String::new(),
            });
            for gap in gaps {
                gap.record(database.writer()).await.unwrap();
            }
            let keep = RetentionSettings { max_rows: Some(30), ..nothing_goes() };
            let pruned = prune(&database, &keep, Utc::now()).await.unwrap();
            assert!(pruned.values().all(|removed| *removed == 0), "{pruned:?}");
            let keep = RetentionSettings { max_rows: Some(7), ..nothing_goes() };
            let pruned = prune(&database, &keep, Utc::now()).await.unwrap();
            assert_eq!((pruned["audit_log"], pruned["history_gap"]), (23, 23));
            let newest = history_gap::newest(database.reader(), 99).await.unwrap();
            assert_eq!((newest.len(), newest[0].lost, newest[6].lost), (7, 29, 23));
            assert_eq!(number(database.reader(), "SELECT count(*) FROM audit_log WHERE action IN ('x29', 'x23')").await, 2);
        }

        async fn events_beyond_their_count_go_on_postgresql_by_whole_days(database: Database) {
            let now = Utc::now();
            // Six a day, the oldest first, as they come.
            let events: Vec<task_event::Event> = (0..30).map(|number| task_event::Event {
                at: now - TimeDelta::days(4 - number / 6),
                source: number.to_string(),
                task_id: TaskId::from("t"),
                kind: "task-sent".to_owned(),
                worker: None,
                body: "{}".to_owned(),
            }).collect();
            task_event::record(&database, &events, now).await.unwrap();
            let keep = |most| RetentionSettings { max_events: Some(most), ..nothing_goes() };
            assert_eq!(prune(&database, &keep(30), now).await.unwrap()["task_event"], 0);
            let pruned = prune(&database, &keep(15), now).await.unwrap()["task_event"];
            let (removed, left) = match database.kind() {
                // Two days are older than the newest fifteen events, the third is so in part.
                Kind::Postgres => (2, 18),
                Kind::Sqlite => (15, 15),
            };
            assert_eq!((pruned, count(&database, "task_event").await), (removed, left));
            let first = task_event::last(database.reader(), 99).await.unwrap().remove(0);
            assert_eq!(first.event.source, (30 - left).to_string());
        }

        async fn what_is_old_goes_and_nothing_else(database: Database) {
            runs(&database, 10).await;
            let now = Utc::now();
            let events: Vec<task_event::Event> = [0, 1, 9].map(|days| task_event::Event {
                at: now - TimeDelta::days(days),
                source: String::new(),
                task_id: TaskId::from("t"),
                kind: "task-sent".to_owned(),
                worker: None,
                body: "{}".to_owned(),
            }).into();
            task_event::record(&database, &events, now).await.unwrap();
            let audit = "INSERT INTO audit_log (actor_kind, action) VALUES ('cli', 'x')";
            database.writer().execute_unprepared(audit).await.unwrap();
            assert!(prune(&database, &nothing_goes(), now + DAY * 1000).await.unwrap().values().all(|removed| *removed == 0));
            let keep = RetentionSettings { events: Some(DAY * 5), ..nothing_goes() };
            assert_eq!(prune(&database, &keep, now).await.unwrap()["task_event"], 1);
            assert_eq!(count(&database, "task_event").await, 2);
            let keep = RetentionSettings { tasks: Some(DAY), audit: Some(DAY), ..nothing_goes() };
            let pruned = prune(&database, &keep, now).await.unwrap();
            assert_eq!((pruned["task_run"], pruned["audit_log"]), (0, 0), "they were written a moment ago");
            let pruned = prune(&database, &keep, now + DAY * 2).await.unwrap();
            assert_eq!((pruned["task_run"], pruned["audit_log"]), (10, 1));
        }

        async fn what_waits_for_somebody_stays(database: Database) {
            let died = dead_letter::Died {
                source_id: "1".to_owned(),
                message: b"x".to_vec(),
                code: "failed".to_owned(),
                detail: String::new(),
                traceback: None,
                task: None,
                task_id: None,
                queue: "celery".to_owned(),
                worker: None,
                died_at: DateTime::UNIX_EPOCH,
            };
            dead_letter::keep(database.writer(), [died]).await.unwrap();
            let keep = RetentionSettings::default();
            let later = Utc::now() + DAY * 1000;
            assert_eq!(prune(&database, &keep, later).await.unwrap()["dead_letter"], 0);
            let waits = dead_letter::latest(database.reader()).await.unwrap();
            assert!(dead_letter::replay(database.writer(), waits, "me").await.unwrap());
            assert_eq!(prune(&database, &keep, later).await.unwrap()["dead_letter"], 1);
            assert_eq!(count(&database, "outbox").await, 1);
        }
    }
}
