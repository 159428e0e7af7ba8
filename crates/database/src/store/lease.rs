//! Leases: who does what only one may do, with a number that grows with every holder.
//!
//! A holder that was stopped and resumes believes it holds the lease still. So what must not be done twice is done in a
//! transaction that asks [`Lease::confirm`] first, and elsewhere [`Lease::fence`] goes along: whoever has seen a higher number
//! refuses a lower one. Times are the database's, so the clocks of the holders do not matter.

use std::time::Duration;

use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};

use crate::{
    connect::{Database, Kind},
    error::{Error, while_doing},
};

/// A lease that was ours when it was given; [`Lease::renew`] keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// Higher than that of every holder before.
    pub fence: i64,
    /// The same for every holder, and another in every other database: what is kept elsewhere by the fence is kept under it.
    pub scope: String,
}

/// A lease as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Held {
    /// What it is for.
    pub name: String,
    /// Who has it, or had it last.
    pub holder: String,
    /// The holder's number.
    pub fence: i64,
    /// Whether it runs still.
    pub live: bool,
}

/// What the holder of a lease says of itself.
#[derive(Debug, Clone, PartialEq, Eq, FromQueryResult)]
pub struct Told {
    /// The holder's number.
    pub fence: i64,
    /// What it says.
    pub about: String,
}

#[derive(FromQueryResult)]
struct Given {
    fence: i64,
    scope: String,
}

/// The database's time, and a time so many milliseconds later.
fn now(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Postgres => (
            "clock_timestamp()",
            "clock_timestamp() + $3 * interval '1 millisecond'",
        ),
        // As SeaORM writes times: comparable as texts with what it writes.
        Kind::Sqlite => (
            "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
            "strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now', '+' || ($3 / 1000.0) || ' seconds')",
        ),
    }
}

fn milliseconds(length: Duration) -> Value {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX).into()
}

impl Lease {
    /// Takes the lease `name` for `holder` when nobody has it, or theirs has run out, or `holder` has it already. `None`:
    /// somebody else has it. `holder` must be this process's alone.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn take(
        database: &Database,
        name: &str,
        holder: &str,
        length: Duration,
    ) -> Result<Option<Self>, Error> {
        let (now, later) = now(database.kind());
        let sql = format!(
            "INSERT INTO lease (name, holder, fence, scope, taken_at, expires_at) VALUES ($1, $2, 1, $4, {now}, {later})
             ON CONFLICT (name) DO UPDATE SET
                 fence = lease.fence + CASE WHEN lease.holder = excluded.holder AND lease.expires_at > {now} THEN 0 ELSE 1 END,
                 taken_at = CASE WHEN lease.holder = excluded.holder THEN lease.taken_at ELSE excluded.taken_at END,
                 holder = excluded.holder, expires_at = excluded.expires_at
             WHERE lease.expires_at <= {now} OR lease.holder = excluded.holder
             RETURNING fence, scope"
        );
        let scope = uuid::Uuid::new_v4().simple().to_string();
        let values: Vec<Value> = vec![
            name.into(),
            holder.into(),
            milliseconds(length),
            scope.into(),
        ];
        let found = Given::find_by_statement(statement(database.writer(), &sql, values))
            .one(database.writer())
            .await
            .map_err(while_doing("taking a lease"))?;
        Ok(found.map(|row| Self {
            name: name.to_owned(),
            holder: holder.to_owned(),
            fence: row.fence,
            scope: row.scope,
        }))
    }

    /// Holds it for `length` more from now. False: it ran out, and it is to be taken anew.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn renew(&self, database: &Database, length: Duration) -> Result<bool, Error> {
        let (now, later) = now(database.kind());
        let sql = format!(
            "UPDATE lease SET expires_at = {later} WHERE name = $1 AND fence = $2 AND expires_at > {now}"
        );
        let values: Vec<Value> = vec![
            self.name.as_str().into(),
            self.fence.into(),
            milliseconds(length),
        ];
        let done = database
            .writer()
            .execute_raw(statement(database.writer(), &sql, values))
            .await
            .map_err(while_doing("renewing a lease"))?;
        Ok(done.rows_affected() == 1)
    }

    /// Goes on under a number higher than `seen`, which somebody elsewhere keeps: the database was restored from an older copy of
    /// itself. `None`: the lease is no longer ours, and `seen` is the number of who has it.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn raise(&self, database: &Database, seen: i64) -> Result<Option<Self>, Error> {
        let (now, _) = now(database.kind());
        let sql = format!(
            "UPDATE lease SET fence = $3 WHERE name = $1 AND fence = $2 AND expires_at > {now} RETURNING fence, scope"
        );
        let next = seen.max(self.fence).saturating_add(1);
        let values: Vec<Value> = vec![self.name.as_str().into(), self.fence.into(), next.into()];
        let found = Given::find_by_statement(statement(database.writer(), &sql, values))
            .one(database.writer())
            .await
            .map_err(while_doing("raising a lease"))?;
        Ok(found.map(|row| Self {
            fence: row.fence,
            ..self.clone()
        }))
    }

    /// Writes beside it what its holder says of itself. Without effect once somebody else has it.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn tell(&self, database: &Database, about: &str) -> Result<(), Error> {
        let sql = "UPDATE lease SET about = $3 WHERE name = $1 AND fence = $2";
        let values: Vec<Value> = vec![self.name.as_str().into(), self.fence.into(), about.into()];
        database
            .writer()
            .execute_raw(statement(database.writer(), sql, values))
            .await
            .map(drop)
            .map_err(while_doing("writing who has a lease"))
    }

    /// Gives it up, so that somebody else has it at once.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn release(self, database: &Database) -> Result<(), Error> {
        let (now, _) = now(database.kind());
        let sql = format!("UPDATE lease SET expires_at = {now} WHERE name = $1 AND fence = $2");
        let values: Vec<Value> = vec![self.name.into(), self.fence.into()];
        database
            .writer()
            .execute_raw(statement(database.writer(), &sql, values))
            .await
            .map(drop)
            .map_err(while_doing("giving up a lease"))
    }

    /// Makes sure, in a transaction that is to do what only the holder may, that nobody else has taken the lease, and keeps it
    /// so until the transaction ends.
    ///
    /// # Errors
    /// [`Error::LeaseLost`], and then nothing may be done; [`Error::Query`].
    pub async fn confirm(&self, transaction: &impl ConnectionTrait) -> Result<(), Error> {
        let lock = match transaction.get_database_backend() {
            sea_orm::DbBackend::Postgres => " FOR SHARE",
            // The transaction has the file's write lock already.
            _ => "",
        };
        let sql = format!("SELECT fence FROM lease WHERE name = $1 AND fence = $2{lock}");
        let values: Vec<Value> = vec![self.name.as_str().into(), self.fence.into()];
        let found = transaction
            .query_one_raw(statement(transaction, &sql, values))
            .await
            .map_err(while_doing("confirming a lease"))?;
        match found {
            Some(_) => Ok(()),
            None => Err(Error::LeaseLost {
                name: self.name.clone(),
            }),
        }
    }
}

/// Gives a lease up that `holder` has, if it has it.
///
/// # Errors
/// [`Error::Query`].
pub async fn give_up(database: &Database, name: &str, holder: &str) -> Result<(), Error> {
    let (now, _) = now(database.kind());
    let sql = format!(
        "UPDATE lease SET expires_at = {now} WHERE name = $1 AND holder = $2 AND expires_at > {now}"
    );
    let values: Vec<Value> = vec![name.into(), holder.into()];
    database
        .writer()
        .execute_raw(statement(database.writer(), &sql, values))
        .await
        .map(drop)
        .map_err(while_doing("giving up a lease"))
}

/// Who has a lease that runs: its number, and what its holder says of itself.
///
/// # Errors
/// [`Error::Query`].
pub async fn told(database: &Database, name: &str) -> Result<Option<Told>, Error> {
    let (now, _) = now(database.kind());
    let sql = format!(
        "SELECT fence, COALESCE(about, '') AS about FROM lease WHERE name = $1 AND expires_at > {now}"
    );
    Told::find_by_statement(statement(database.reader(), &sql, vec![name.into()]))
        .one(database.reader())
        .await
        .map_err(while_doing("reading who has a lease"))
}

/// Every lease that was ever taken, by name.
///
/// # Errors
/// [`Error::Query`].
pub async fn all(database: &Database) -> Result<Vec<Held>, Error> {
    let (now, _) = now(database.kind());
    let sql =
        format!("SELECT name, holder, fence, expires_at > {now} AS live FROM lease ORDER BY name");
    Held::find_by_statement(statement(database.reader(), &sql, Vec::new()))
        .all(database.reader())
        .await
        .map_err(while_doing("reading the leases"))
}

fn statement(connection: &impl ConnectionTrait, sql: &str, values: Vec<Value>) -> Statement {
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Held, Lease, Told, all};
    use crate::{Database, Error, testing::on_both};

    const LONG: Duration = Duration::from_secs(60);
    const NONE: Duration = Duration::ZERO;

    async fn take(database: &Database, holder: &str, length: Duration) -> Option<Lease> {
        Lease::take(database, "outbox", holder, length)
            .await
            .unwrap()
    }

    async fn confirms(database: &Database, lease: &Lease) -> bool {
        let transaction = database.begin().await.unwrap();
        match lease.confirm(&transaction).await {
            Ok(()) => true,
            Err(Error::LeaseLost { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    on_both! {
        async fn one_at_a_time_holds_it(database: Database) {
            let first = take(&database, "a", LONG).await.unwrap();
            assert_eq!(take(&database, "b", LONG).await, None);
            assert_eq!(take(&database, "a", LONG).await.as_ref(), Some(&first), "the same, again");
            assert!(first.renew(&database, LONG).await.unwrap());
            assert!(confirms(&database, &first).await);
            first.clone().release(&database).await.unwrap();
            let second = take(&database, "b", LONG).await.unwrap();
            assert!(second.fence > first.fence);
            assert!(!confirms(&database, &first).await);
            assert!(!first.renew(&database, LONG).await.unwrap());
            // Giving up what one has no longer takes nothing from the one who has it.
            first.release(&database).await.unwrap();
            let seen = Held { name: "outbox".to_owned(), holder: "b".to_owned(), fence: second.fence, live: true };
            assert_eq!(all(&database).await.unwrap(), [seen]);
        }

        async fn one_that_ran_out_is_anybodys(database: Database) {
            let first = take(&database, "a", NONE).await.unwrap();
            assert!(!first.renew(&database, LONG).await.unwrap(), "it ran out");
            assert!(confirms(&database, &first).await, "nobody has taken it since");
            let second = take(&database, "b", NONE).await.unwrap();
            assert!(!confirms(&database, &first).await);
            // Even its last holder takes it anew: somebody may have had it meanwhile.
            let third = take(&database, "b", LONG).await.unwrap();
            assert!(third.fence > second.fence && second.fence > first.fence);
        }

        async fn its_number_can_be_raised_by_who_has_it(database: Database) {
            let first = take(&database, "a", LONG).await.unwrap();
            let raised = first.raise(&database, 41).await.unwrap().unwrap();
            assert_eq!((raised.fence, &raised.scope), (42, &first.scope));
            assert_eq!(first.raise(&database, 50).await.unwrap(), None, "that is the number of somebody else now");
            assert_eq!(take(&database, "a", LONG).await, Some(raised));
        }

        async fn its_holder_says_who_it_is(database: Database) {
            let first = take(&database, "a", LONG).await.unwrap();
            first.tell(&database, "a of host").await.unwrap();
            let told = Told { fence: first.fence, about: "a of host".to_owned() };
            assert_eq!(super::told(&database, "outbox").await.unwrap(), Some(told));
            first.clone().release(&database).await.unwrap();
            assert_eq!(super::told(&database, "outbox").await.unwrap(), None);
            let second = take(&database, "b", LONG).await.unwrap();
            second.tell(&database, "b").await.unwrap();
            first.tell(&database, "a again").await.unwrap();
            assert_eq!(super::told(&database, "outbox").await.unwrap().unwrap().about, "b");
        }

        async fn many_that_ask_at_once_get_one(database: Database) {
            let mut asking = tokio::task::JoinSet::new();
            for number in 0..20 {
                let database = database.clone();
                asking.spawn(async move { take(&database, &number.to_string(), LONG).await });
            }
            let given = asking.join_all().await.into_iter().flatten().count();
            assert_eq!(given, 1);
        }
    }
}
