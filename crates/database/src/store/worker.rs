//! Workers: every one that was ever heard of, and how it was when it last told.

use chrono::{DateTime, SubsecRound, Utc};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect,
    Statement, Value, sea_query::Expr,
};

use crate::{
    entity::worker::{Column, Entity, Model},
    error::{Error, while_doing},
};

/// What a worker told of itself. What it did not tell stays as it was.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Heard {
    /// Its node name.
    pub name: String,
    /// When.
    pub at: DateTime<Utc>,
    /// Whether it is there; it says so itself when it stops.
    pub online: bool,
    /// Seconds between two signs of life.
    pub heartbeat_seconds: Option<f64>,
    /// Tasks that it runs.
    pub active: Option<i32>,
    /// Tasks that it took since it began.
    pub processed: Option<i64>,
    /// The load of its machine: of the last one, five and fifteen minutes.
    pub load_average: Option<[f64; 3]>,
    /// What it is.
    pub software: Option<String>,
    /// In which version.
    pub software_version: Option<String>,
    /// On which system.
    pub system: Option<String>,
    /// Its process.
    pub pid: Option<i64>,
    /// The queues that it consumes.
    pub queues: Option<Vec<String>>,
}

impl Heard {
    /// Only that it is there, or no longer.
    #[must_use]
    pub fn new(name: String, at: DateTime<Utc>, online: bool) -> Self {
        Self {
            name,
            at,
            online,
            heartbeat_seconds: None,
            active: None,
            processed: None,
            load_average: None,
            software: None,
            software_version: None,
            system: None,
            pid: None,
            queues: None,
        }
    }
}

/// A worker.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Worker {
    /// How it was when it last told.
    pub heard: Heard,
    /// When it was first heard of.
    pub first_seen_at: DateTime<Utc>,
    /// Since when it has been there without a break.
    pub online_since: Option<DateTime<Utc>>,
    /// Since when it is away.
    pub offline_since: Option<DateTime<Utc>>,
}

impl From<Model> for Worker {
    fn from(row: Model) -> Self {
        Self {
            heard: Heard {
                name: row.name,
                at: row.heard_at,
                online: row.online,
                heartbeat_seconds: row.heartbeat_seconds,
                active: row.active,
                processed: row.processed,
                load_average: row
                    .load_average
                    .and_then(|value| serde_json::from_value(value).ok()),
                software: row.software,
                software_version: row.software_version,
                system: row.system,
                pid: row.pid,
                queues: row
                    .queues
                    .and_then(|value| serde_json::from_value(value).ok()),
            },
            first_seen_at: row.first_seen_at,
            online_since: row.online_since,
            offline_since: row.offline_since,
        }
    }
}

/// Columns that a worker tells or does not tell.
const TOLD: [&str; 9] = [
    "heartbeat_seconds",
    "active",
    "processed",
    "load_average",
    "software",
    "software_version",
    "system",
    "pid",
    "queues",
];

/// Records what a worker told; what it told before something that is known already changes nothing.
///
/// # Errors
/// [`Error::Query`].
pub async fn record(database: &impl ConnectionTrait, heard: &Heard) -> Result<(), Error> {
    let told: Vec<String> = TOLD
        .iter()
        .map(|column| format!("{column} = COALESCE(excluded.{column}, worker.{column})"))
        .collect();
    let sql = format!(
        "INSERT INTO worker (name, online, first_seen_at, heard_at, online_since, offline_since, {})
         VALUES ($1, $2, $3, $3, CASE WHEN $2 THEN $3 END, CASE WHEN $2 THEN NULL ELSE $3 END,
                 $4, $5, $6, $7, $8, $9, $10, $11, $12)
         ON CONFLICT (name) DO UPDATE SET
             online = excluded.online, heard_at = excluded.heard_at,
             online_since = CASE WHEN excluded.online AND worker.online THEN worker.online_since
                 ELSE COALESCE(excluded.online_since, worker.online_since) END,
             offline_since = CASE WHEN excluded.online OR worker.online THEN excluded.offline_since
                 ELSE worker.offline_since END,
             {}
         WHERE excluded.heard_at >= worker.heard_at",
        TOLD.join(", "),
        told.join(", ")
    );
    let plain = |text: &Option<String>| text.as_ref().map(|text| text.replace('\0', "\u{fffd}"));
    let json = |value: Option<serde_json::Value>| Value::Json(value.map(Box::new));
    let values: Vec<Value> = vec![
        heard.name.replace('\0', "\u{fffd}").into(),
        heard.online.into(),
        heard.at.trunc_subsecs(6).into(),
        heard.heartbeat_seconds.into(),
        heard.active.into(),
        heard.processed.into(),
        json(heard.load_average.map(|load| load.to_vec().into())),
        plain(&heard.software).into(),
        plain(&heard.software_version).into(),
        plain(&heard.system).into(),
        heard.pid.into(),
        json(heard.queues.clone().map(serde_json::Value::from)),
    ];
    let statement = Statement::from_sql_and_values(database.get_database_backend(), sql, values);
    database
        .execute_raw(statement)
        .await
        .map(drop)
        .map_err(while_doing("recording a worker"))
}

/// Every worker, by name, up to `most`.
///
/// # Errors
/// [`Error::Query`].
pub async fn all(database: &impl ConnectionTrait, most: u64) -> Result<Vec<Worker>, Error> {
    let rows = Entity::find()
        .order_by(Column::Name, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading the workers"))?;
    Ok(rows.into_iter().map(Worker::from).collect())
}

/// One worker.
///
/// # Errors
/// [`Error::Query`].
pub async fn find(database: &impl ConnectionTrait, name: &str) -> Result<Option<Worker>, Error> {
    let row = Entity::find_by_id(name)
        .one(database)
        .await
        .map_err(while_doing("reading a worker"))?;
    Ok(row.map(Worker::from))
}

/// Takes workers for away that were last heard of before `before` and did not say goodbye; gives how many.
///
/// # Errors
/// [`Error::Query`].
pub async fn lose(database: &impl ConnectionTrait, before: DateTime<Utc>) -> Result<u64, Error> {
    let done = Entity::update_many()
        .col_expr(Column::Online, Expr::value(false))
        .col_expr(Column::OfflineSince, Expr::col(Column::HeardAt))
        .filter(Column::Online.eq(true))
        .filter(Column::HeardAt.lt(before))
        .exec(database)
        .await
        .map_err(while_doing("taking silent workers for away"))?;
    Ok(done.rows_affected)
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::{Heard, Worker, all, find, lose, record};
    use crate::{Database, testing::on_both};

    fn time(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(seconds)
    }

    async fn tell(database: &Database, at: i64, online: bool) -> Worker {
        let heard = Heard::new("w@h".to_owned(), time(at), online);
        record(database.writer(), &heard).await.unwrap();
        find(database.reader(), "w@h").await.unwrap().unwrap()
    }

    on_both! {
        async fn what_a_worker_does_not_tell_stays(database: Database) {
            let mut full = Heard::new("w@h".to_owned(), time(0), true);
            full.heartbeat_seconds = Some(2.0);
            full.active = Some(3);
            full.processed = Some(1 << 40);
            full.load_average = Some([0.1, 0.25, 4.0]);
            full.software = Some("py-celery".to_owned());
            full.software_version = Some("5.7.0".to_owned());
            full.system = Some("Linux".to_owned());
            full.pid = Some(7);
            full.queues = Some(vec!["celery".to_owned()]);
            record(database.writer(), &full).await.unwrap();
            assert_eq!(find(database.reader(), "w@h").await.unwrap().unwrap().heard, full);
            let after = tell(&database, 1, true).await;
            full.at = time(1);
            assert_eq!(after.heard, full);
            assert_eq!((after.first_seen_at, after.online_since), (time(0), Some(time(0))));
            assert_eq!(all(database.reader(), 10).await.unwrap(), [after]);
        }

        async fn coming_and_going_is_told_apart_from_silence(database: Database) {
            tell(&database, 0, true).await;
            let gone = tell(&database, 5, false).await;
            assert_eq!((gone.heard.online, gone.offline_since), (false, Some(time(5))));
            let late = tell(&database, 3, true).await;
            assert_eq!(late, gone, "what comes late changes nothing");
            let still = tell(&database, 6, false).await;
            assert_eq!(still.offline_since, Some(time(5)));
            let back = tell(&database, 9, true).await;
            assert_eq!((back.online_since, back.offline_since), (Some(time(9)), None));
            assert_eq!(lose(database.writer(), time(9)).await.unwrap(), 0);
            assert_eq!(lose(database.writer(), time(20)).await.unwrap(), 1);
            let lost = find(database.reader(), "w@h").await.unwrap().unwrap();
            assert_eq!((lost.heard.online, lost.offline_since), (false, Some(time(9))));
        }
    }
}
