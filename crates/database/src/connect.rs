//! Opening a database, and who may write when.

use std::{fs, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use log::LevelFilter;
use lovage_settings::{DatabaseSettings, DatabaseUrl, PostgresUrl};
use sea_orm::{
    ConnectOptions, ConnectionTrait, DatabaseConnection, DatabaseTransaction,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
    sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::error::{Error, while_doing};

/// Which database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, written by one at a time.
    Sqlite,
    /// A server.
    Postgres,
}

/// An open database. Cheap to clone; every clone is the same connections.
///
/// SQLite lets one write at a time, and gives a transaction that read before it writes no second chance when another wrote
/// meanwhile. So there is one connection that writes, whose transactions take the file's lock at once, beside those that read.
/// On PostgreSQL the two are one pool.
#[derive(Debug, Clone)]
pub struct Database {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    kind: Kind,
}

/// An idle connection is closed after so long.
const IDLE: Duration = Duration::from_secs(5 * 60);
/// A connection that was idle for so long is asked whether it lives before it is used.
const ASK_AFTER: Duration = Duration::from_secs(15);

impl Database {
    /// Opens the database that the settings name. `role` is what PostgreSQL lists its connections as. A SQLite file and its
    /// folder are made when they are missing.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Folder`], [`Error::Foreign`].
    pub async fn connect(settings: &DatabaseSettings, role: &str) -> Result<Self, Error> {
        match &settings.url {
            DatabaseUrl::Sqlite(path) => open_file(settings, path).await,
            DatabaseUrl::Postgres(url) => open_server(settings, url, role).await,
            DatabaseUrl::Foreign { scheme } => Err(Error::Foreign {
                scheme: scheme.clone(),
            }),
        }
    }

    /// Which database it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Connections for what only reads.
    #[must_use]
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Connections for single statements that write.
    #[must_use]
    pub fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// Begins a transaction that may write. Dropped without a commit it is rolled back. On SQLite others wait until it ends,
    /// so nothing but the database is to be waited for in it.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn begin(&self) -> Result<DatabaseTransaction, Error> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.writer
            .begin_with_options(options)
            .await
            .map_err(while_doing("beginning a transaction"))
    }

    /// As [`Database::begin`]; on PostgreSQL a holder that falls silent in the middle (its process was stopped, its network is gone)
    /// keeps its locks for no longer than `silence`.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn begin_briefly(&self, silence: Duration) -> Result<DatabaseTransaction, Error> {
        let transaction = self.begin().await?;
        if self.kind == Kind::Postgres {
            let milliseconds = silence.as_millis();
            let sql = format!("SET LOCAL idle_in_transaction_session_timeout = {milliseconds}");
            transaction
                .execute_unprepared(&sql)
                .await
                .map_err(while_doing("beginning a transaction"))?;
        }
        Ok(transaction)
    }

    /// Answers once the database does.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn ping(&self) -> Result<(), Error> {
        self.reader
            .execute_unprepared("SELECT 1")
            .await
            .map(drop)
            .map_err(while_doing("asking for a sign of life"))
    }

    /// Closes the connections, and waits for what is under way. What is asked afterwards fails.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn close(&self) -> Result<(), Error> {
        let closing = || while_doing("closing the database");
        self.reader.close_by_ref().await.map_err(closing())?;
        self.writer.close_by_ref().await.map_err(closing())
    }
}

/// Commits a transaction.
///
/// # Errors
/// [`Error::Query`]; whether it was committed is not known when the connection was lost meanwhile.
pub async fn commit(transaction: DatabaseTransaction) -> Result<(), Error> {
    transaction
        .commit()
        .await
        .map_err(while_doing("committing a transaction"))
}

fn options(settings: &DatabaseSettings, url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(0)
        .connect_timeout(settings.timeout)
        .acquire_timeout(settings.timeout)
        .idle_timeout(IDLE)
        .test_before_acquire_if_idle_for(ASK_AFTER)
        // Statements show their parameters' places, never the parameters.
        .sqlx_logging(true)
        .sqlx_logging_level(LevelFilter::Trace)
        .sqlx_slow_statements_logging_settings(LevelFilter::Warn, settings.slow)
        .record_stmt_in_spans(false);
    options
}

async fn open_file(settings: &DatabaseSettings, path: &Path) -> Result<Database, Error> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(|source| Error::Folder {
            folder: folder.to_owned(),
            source,
        })?;
    }
    make_private(path);
    let unreachable = |source| Error::Unreachable {
        place: settings.url.to_string(),
        source,
    };
    let pool = |connections| {
        let (path, busy) = (path.to_owned(), settings.timeout);
        let mut options = options(settings, "sqlite:", connections);
        options.map_sqlx_sqlite_opts(move |options: SqliteConnectOptions| {
            options
                .in_memory(false)
                .filename(&path)
                .create_if_missing(true)
                .foreign_keys(true)
                .journal_mode(SqliteJournalMode::Wal)
                // What was committed survives a power cut: an outbox that may forget is none.
                .synchronous(SqliteSynchronous::Full)
                .busy_timeout(busy)
        });
        sea_orm::Database::connect(options)
    };
    // The writer first: it makes the file.
    let writer = pool(1).await.map_err(unreachable)?;
    let reader = pool(settings.pool).await.map_err(unreachable)?;
    Ok(Database {
        reader,
        writer,
        kind: Kind::Sqlite,
    })
}

/// A new file is for whoever runs this alone: what people log in with is in it. SQLite gives what it puts beside it the same
/// rights, and tells better of whatever is in the way.
fn make_private(path: &Path) {
    let mut new = fs::OpenOptions::new();
    let _ = new.write(true).create_new(true).mode(0o600).open(path);
}

async fn open_server(
    settings: &DatabaseSettings,
    url: &PostgresUrl,
    role: &str,
) -> Result<Database, Error> {
    let mut options = options(settings, url.expose(), settings.pool);
    options
        .set_application_name(format!("lovage {role}"))
        .statement_timeout(settings.statement_timeout);
    let pool = sea_orm::Database::connect(options)
        .await
        .map_err(|source| Error::Unreachable {
            place: settings.url.to_string(),
            source,
        })?;
    Ok(Database {
        reader: pool.clone(),
        writer: pool,
        kind: Kind::Postgres,
    })
}
