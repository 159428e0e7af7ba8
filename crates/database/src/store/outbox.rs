//! The outbox: messages written in the same transaction as what they are about, to be sent by a relay (docs/outbox.md).
//!
//! A message whose transaction is rolled back was never there; one that was committed is sent, whoever dies when. The relay reads
//! what is there, in the order of the ids, without remembering how far it came: ids are given before transactions commit, so a
//! smaller one may appear after a larger one was sent.

use chrono::{DateTime, Utc};
use lovage_protocol::{TaskId, TaskName};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, Order, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::Expr,
    sqlx::postgres::PgListener,
};

use crate::{
    connect::{Database, Kind},
    entity::outbox::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// What PostgreSQL's trigger announces new rows on.
const CHANNEL: &str = "lovage_outbox";
/// So many rows in one statement; SQLite allows 32,766 placeholders.
const ROWS: usize = 500;

/// A message to be sent. [`Outgoing::call`] and [`Outgoing::ready`] make one; the other fields may be set.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// Its task's id, known before it is sent.
    pub task_id: TaskId,
    /// Its task.
    pub task: TaskName,
    /// A JSON array.
    pub args: String,
    /// A JSON object.
    pub kwargs: String,
    /// By default what the relay's routes say.
    pub queue: Option<String>,
    /// By default what the relay's routes say.
    pub priority: Option<i16>,
    /// Not to be run before.
    pub eta: Option<DateTime<Utc>>,
    /// Not to be run after.
    pub expires: Option<DateTime<Utc>>,
    /// A JSON object of headers of one's own.
    pub headers: String,
    /// The whole message, made already; then nothing but the place and the priority counts of the other fields.
    pub message: Option<Vec<u8>>,
    /// An exchange, instead of a queue.
    pub exchange: Option<String>,
    /// The routing key for the exchange.
    pub routing_key: Option<String>,
}

impl Outgoing {
    /// A call without arguments, which the relay makes the message of.
    #[must_use]
    pub fn call(task_id: TaskId, task: TaskName) -> Self {
        Self {
            task_id,
            task,
            args: "[]".to_owned(),
            kwargs: "{}".to_owned(),
            queue: None,
            priority: None,
            eta: None,
            expires: None,
            headers: "{}".to_owned(),
            message: None,
            exchange: None,
            routing_key: None,
        }
    }

    /// A message that is made already, byte for byte, for a queue.
    #[must_use]
    pub fn ready(
        task_id: TaskId,
        task: TaskName,
        queue: String,
        priority: i16,
        message: Vec<u8>,
    ) -> Self {
        Self {
            queue: Some(queue),
            priority: Some(priority),
            message: Some(message),
            ..Self::call(task_id, task)
        }
    }

    fn into_row(self) -> ActiveModel {
        ActiveModel {
            id: NotSet,
            task_id: Set(self.task_id.into()),
            task: Set(self.task.into()),
            args: Set(self.args),
            kwargs: Set(self.kwargs),
            queue: Set(self.queue),
            priority: Set(self.priority),
            eta: Set(self.eta),
            expires: Set(self.expires),
            headers: Set(self.headers),
            message: Set(self.message),
            exchange: Set(self.exchange),
            routing_key: Set(self.routing_key),
            created_at: Set(Utc::now()),
            refused_at: Set(None),
            error: Set(None),
        }
    }
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Waiting {
    /// Its row, never used twice.
    pub id: i64,
    /// The message.
    pub outgoing: Outgoing,
    /// When it was written.
    pub created_at: DateTime<Utc>,
    /// Why it cannot be sent; such a row stays until somebody deals with it.
    pub error: Option<String>,
}

impl Waiting {
    /// What tells this message from every other of this outbox, wherever it was seen.
    #[must_use]
    pub fn mark(&self) -> String {
        format!("{}:{}", self.outgoing.task_id, self.id)
    }
}

impl From<Model> for Waiting {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            outgoing: Outgoing {
                task_id: row.task_id.into(),
                task: row.task.into(),
                args: row.args,
                kwargs: row.kwargs,
                queue: row.queue,
                priority: row.priority,
                eta: row.eta,
                expires: row.expires,
                headers: row.headers,
                message: row.message,
                exchange: row.exchange,
                routing_key: row.routing_key,
            },
            created_at: row.created_at,
            error: row.error,
        }
    }
}

/// Writes a message in the caller's transaction: it is sent once that is committed.
///
/// # Errors
/// [`Error::Query`], and then PostgreSQL lets the transaction do nothing more.
pub async fn enqueue(transaction: &impl ConnectionTrait, outgoing: Outgoing) -> Result<(), Error> {
    enqueue_many(transaction, [outgoing]).await
}

/// Writes many, in their order.
///
/// # Errors
/// As [`enqueue`].
pub async fn enqueue_many(
    transaction: &impl ConnectionTrait,
    outgoing: impl IntoIterator<Item = Outgoing>,
) -> Result<(), Error> {
    let mut rows = outgoing.into_iter().map(Outgoing::into_row).peekable();
    while rows.peek().is_some() {
        let some: Vec<ActiveModel> = rows.by_ref().take(ROWS).collect();
        Entity::insert_many(some)
            .exec_without_returning(transaction)
            .await
            .map_err(while_doing("writing to the outbox"))?;
    }
    Ok(())
}

/// Up to `most` messages to be sent, the oldest rows first. Those that cannot be sent are not among them.
///
/// # Errors
/// [`Error::Query`].
pub async fn next(database: &impl ConnectionTrait, most: u64) -> Result<Vec<Waiting>, Error> {
    let rows = Entity::find()
        .filter(Column::RefusedAt.is_null())
        .order_by(Column::Id, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading the outbox"))?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// Removes what was sent. Gives how many were there still.
///
/// # Errors
/// [`Error::Query`].
pub async fn remove(database: &impl ConnectionTrait, ids: &[i64]) -> Result<u64, Error> {
    let mut removed = 0;
    for ids in ids.chunks(ROWS) {
        let done = Entity::delete_many()
            .filter(Column::Id.is_in(ids.iter().copied()))
            .exec(database)
            .await
            .map_err(while_doing("removing what was sent from the outbox"))?;
        removed += done.rows_affected;
    }
    Ok(removed)
}

/// Puts a message aside that cannot be sent as it is.
///
/// # Errors
/// [`Error::Query`].
pub async fn refuse(database: &impl ConnectionTrait, id: i64, why: &str) -> Result<(), Error> {
    Entity::update_many()
        .col_expr(Column::RefusedAt, Expr::value(Utc::now()))
        .col_expr(Column::Error, Expr::value(why.replace('\0', "\u{fffd}")))
        .filter(Column::Id.eq(id))
        .exec(database)
        .await
        .map(drop)
        .map_err(while_doing("putting a message of the outbox aside"))
}

/// Up to `most` messages that were put aside, the oldest first.
///
/// # Errors
/// [`Error::Query`].
pub async fn refused(database: &impl ConnectionTrait, most: u64) -> Result<Vec<Waiting>, Error> {
    let rows = Entity::find()
        .filter(Column::RefusedAt.is_not_null())
        .order_by(Column::Id, Order::Asc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading what the outbox put aside"))?;
    Ok(rows.into_iter().map(Waiting::from).collect())
}

/// How many messages were put aside.
///
/// # Errors
/// [`Error::Query`].
pub async fn refused_count(database: &impl ConnectionTrait) -> Result<u64, Error> {
    Entity::find()
        .filter(Column::RefusedAt.is_not_null())
        .count(database)
        .await
        .map_err(while_doing("counting what the outbox put aside"))
}

/// What waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// So many messages.
    pub waiting: u64,
    /// Since when the oldest waits.
    pub oldest: Option<DateTime<Utc>>,
}

#[derive(sea_orm::FromQueryResult)]
struct DepthRow {
    waiting: i64,
    oldest: Option<DateTime<Utc>>,
}

/// What waits to be sent; a sign of a relay that is missing or slow.
///
/// # Errors
/// [`Error::Query`].
pub async fn depth(database: &impl ConnectionTrait) -> Result<Depth, Error> {
    let row = Entity::find()
        .select_only()
        .column_as(Column::Id.count(), "waiting")
        .column_as(Column::CreatedAt.min(), "oldest")
        .filter(Column::RefusedAt.is_null())
        .into_model::<DepthRow>()
        .one(database)
        .await
        .map_err(while_doing("counting the outbox"))?;
    let (waiting, oldest) = row.map_or((0, None), |row| (row.waiting, row.oldest));
    Ok(Depth {
        waiting: u64::try_from(waiting).unwrap_or(0),
        oldest,
    })
}

/// Tells of new rows, where the database does so by itself.
#[derive(Debug)]
pub struct Listener {
    listener: PgListener,
}

impl Listener {
    /// Listens from now on. `None` on SQLite, which tells nobody: look from time to time.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn open(database: &Database) -> Result<Option<Self>, Error> {
        if database.kind() == Kind::Sqlite {
            return Ok(None);
        }
        let listening = || while_doing("listening for the outbox");
        let pool = database.writer().get_postgres_connection_pool();
        let mut listener = PgListener::connect_with(pool)
            .await
            .map_err(driver)
            .map_err(listening())?;
        listener
            .listen(CHANNEL)
            .await
            .map_err(driver)
            .map_err(listening())?;
        Ok(Some(Self { listener }))
    }

    /// Waits until rows were committed. Also returns when the connection was lost and is back: there may be some.
    ///
    /// # Errors
    /// [`Error::Query`] when it is lost and does not come back.
    ///
    /// # Cancel safety
    /// Safe: what was not returned is returned by the next call.
    pub async fn changed(&mut self) -> Result<(), Error> {
        self.listener
            .try_recv()
            .await
            .map(drop)
            .map_err(driver)
            .map_err(while_doing("waiting for the outbox"))
    }
}

fn driver(error: sea_orm::sqlx::Error) -> sea_orm::DbErr {
    sea_orm::DbErr::Query(sea_orm::RuntimeErr::SqlxError(error.into()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lovage_protocol::{TaskId, TaskName};

    use super::{
        Listener, Outgoing, Waiting, depth, enqueue, enqueue_many, next, refuse, refused, remove,
    };
    use crate::{Database, Kind, testing::on_both};

    fn call(id: &str) -> Outgoing {
        Outgoing::call(TaskId::from(id), TaskName::from("t"))
    }

    async fn ids(database: &Database) -> Vec<String> {
        let waiting = next(database.reader(), 100).await.unwrap();
        waiting
            .into_iter()
            .map(|one| one.outgoing.task_id.into())
            .collect()
    }

    on_both! {
        async fn only_what_is_committed_is_sent(database: Database) {
            let transaction = database.begin().await.unwrap();
            enqueue(&transaction, call("lost")).await.unwrap();
            transaction.rollback().await.unwrap();
            let transaction = database.begin().await.unwrap();
            enqueue_many(&transaction, [call("one"), call("two")]).await.unwrap();
            assert!(ids(&database).await.is_empty(), "not yet");
            transaction.commit().await.unwrap();
            assert_eq!(ids(&database).await, ["one", "two"]);
        }

        async fn everything_that_was_written_is_read(database: Database) {
            let mut full = call("full");
            full.args = r#"[1.0, 123456789012345678901234567890, "é"]"#.to_owned();
            full.kwargs = r#"{"b": null, "a": [1e400]}"#.to_owned();
            full.queue = Some("q".to_owned());
            full.priority = Some(3);
            full.eta = chrono::DateTime::from_timestamp_micros(1_700_000_000_123_456);
            full.expires = chrono::DateTime::from_timestamp_micros(1_700_000_060_000_000);
            full.headers = r#"{"x": 1}"#.to_owned();
            full.exchange = Some("e".to_owned());
            full.routing_key = Some("a.b".to_owned());
            full.message = Some(vec![0, 255, 1]);
            enqueue(database.writer(), full.clone()).await.unwrap();
            enqueue(database.writer(), full.clone()).await.unwrap();
            let read = next(database.reader(), 10).await.unwrap();
            assert_eq!((&read[0].outgoing, &read[1].outgoing), (&full, &full));
            assert_ne!(read[0].mark(), read[1].mark(), "the same task may be sent again");
        }

        async fn a_smaller_id_that_is_committed_later_is_not_overlooked(database: Database) {
            if database.kind() == Kind::Sqlite {
                // One writes at a time: ids are given in the order of the commits.
                return;
            }
            let slow = database.begin().await.unwrap();
            enqueue(&slow, call("slow")).await.unwrap();
            enqueue(database.writer(), call("quick")).await.unwrap();
            let seen = next(database.reader(), 10).await.unwrap();
            let seen: Vec<i64> = seen.iter().map(|one| one.id).collect();
            assert_eq!(remove(database.writer(), &seen).await.unwrap(), 1);
            slow.commit().await.unwrap();
            assert_eq!(ids(&database).await, ["slow"]);
        }

        async fn what_cannot_be_sent_holds_nothing_up(database: Database) {
            enqueue_many(database.writer(), [call("bad"), call("good")]).await.unwrap();
            let bad = next(database.reader(), 1).await.unwrap().remove(0);
            refuse(database.writer(), bad.id, "no\0 queue").await.unwrap();
            assert_eq!(ids(&database).await, ["good"]);
            assert_eq!(depth(database.reader()).await.unwrap().waiting, 1);
            let aside = refused(database.reader(), 10).await.unwrap();
            let expected = Waiting { error: Some("no\u{fffd} queue".to_owned()), ..bad };
            assert_eq!(aside, [expected]);
        }

        async fn a_listener_hears_of_every_commit(database: Database) {
            let Some(mut listener) = Listener::open(&database).await.unwrap() else {
                assert_eq!(database.kind(), Kind::Sqlite);
                return;
            };
            let transaction = database.begin().await.unwrap();
            enqueue(&transaction, call("one")).await.unwrap();
            let early = tokio::time::timeout(Duration::from_millis(50), listener.changed()).await;
            assert!(early.is_err(), "nothing is committed");
            transaction.commit().await.unwrap();
            let heard = tokio::time::timeout(Duration::from_secs(10), listener.changed()).await;
            heard.expect("it is told").unwrap();
            assert_eq!(ids(&database).await, ["one"]);
        }
    }
}
