//! Going up and down under a lock, in one transaction.
//!
//! Both databases undo a change of the schema with its transaction, so a migration that fails leaves nothing, and nobody ever
//! sees half of one. The lock is the transaction's own: on PostgreSQL an advisory lock, on SQLite the file's write lock. Whoever
//! comes second waits, and finds nothing left to do.

use sea_orm_migration::{
    MigrationStatus, MigratorTrait,
    sea_orm::{
        ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
        SqliteTransactionMode, TransactionOptions, TransactionTrait,
    },
};

use crate::steps::Steps;

/// Names the advisory lock: "lovage" as a number. Nothing else may take it.
const LOCK: i64 = 0x6c6f_7661_6765;

/// One migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name, in the order of the names.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// Why migrating did not work. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database could not be asked, or it refused.
    #[error("{doing} failed")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: DbErr,
    },
    /// The database was migrated by a later version of this program.
    #[error("the database was migrated by a later version of this program, use that one: {0}")]
    Unknown(String),
}

fn while_doing(doing: &'static str) -> impl FnOnce(DbErr) -> Error {
    move |source| Error::Database { doing, source }
}

/// The names of all migrations, the oldest first.
#[must_use]
pub fn names() -> Vec<String> {
    Steps::migrations()
        .iter()
        .map(|step| step.name().to_owned())
        .collect()
}

/// Applies what is missing, or the next `steps` of it, and gives the names of what was applied.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub async fn up(database: &DatabaseConnection, steps: Option<u32>) -> Result<Vec<String>, Error> {
    let transaction = begin(database).await?;
    let missing: Vec<Step> = look(&transaction)
        .await?
        .into_iter()
        .filter(|step| !step.applied)
        .collect();
    Steps::up(&transaction, steps)
        .await
        .map_err(while_doing("applying migrations"))?;
    transaction
        .commit()
        .await
        .map_err(while_doing("committing migrations"))?;
    Ok(first(missing, steps))
}

/// Takes the newest migration back, or the newest `steps` of them, and gives their names, the newest first. Tables go with
/// their rows.
///
/// # Errors
/// [`Error`]; nothing was changed.
pub async fn down(database: &DatabaseConnection, steps: u32) -> Result<Vec<String>, Error> {
    let transaction = begin(database).await?;
    let mut applied: Vec<Step> = look(&transaction)
        .await?
        .into_iter()
        .filter(|step| step.applied)
        .collect();
    applied.reverse();
    Steps::down(&transaction, Some(steps))
        .await
        .map_err(while_doing("taking migrations back"))?;
    transaction
        .commit()
        .await
        .map_err(while_doing("committing migrations"))?;
    Ok(first(applied, Some(steps)))
}

/// Every migration, the oldest first, and whether the database has it. Changes nothing.
///
/// # Errors
/// [`Error`].
pub async fn status(database: &DatabaseConnection) -> Result<Vec<Step>, Error> {
    look(database).await
}

fn first(steps: Vec<Step>, most: Option<u32>) -> Vec<String> {
    let most = most.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    });
    steps.into_iter().take(most).map(|step| step.name).collect()
}

async fn begin(database: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let transaction = database
        .begin_with_options(options)
        .await
        .map_err(while_doing("beginning to migrate"))?;
    if transaction.get_database_backend() == DbBackend::Postgres {
        // An index of a large table takes longer than any statement of daily work may.
        let wait = format!("SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({LOCK})");
        transaction
            .execute_unprepared(&wait)
            .await
            .map_err(while_doing("waiting for another migration to end"))?;
    }
    Ok(transaction)
}

async fn look(database: &impl ConnectionTrait) -> Result<Vec<Step>, Error> {
    let steps = Steps::get_migration_with_status_read_only(database)
        .await
        .map_err(|error| match error {
            // The comparison's own error, and the only one of this kind: the database knows more than this program.
            DbErr::Custom(text) => Error::Unknown(text),
            source => while_doing("reading which migrations were applied")(source),
        })?;
    Ok(steps
        .into_iter()
        .map(|step| Step {
            name: step.name().to_owned(),
            applied: step.status() == MigrationStatus::Applied,
        })
        .collect())
}
