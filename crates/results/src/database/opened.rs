//! A database that was connected to, its tables made or found.

use std::time::Duration;

use lovage_settings::{DatabaseOptions, ResultDatabase};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbErr, QueryResult, Statement,
};
use tracing::warn;

use super::{fault::Fault, tables::Tables};
use crate::Error;

/// How long a connection may take, and how long one is waited for.
const CONNECT: Duration = Duration::from_secs(4);
/// How often tables are tried to be made: a peer who makes them at the same moment is in the way once.
const TRIES: u32 = 10;

/// Connections, and what the tables there are like. Cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    connection: DatabaseConnection,
    pub(super) tables: Tables,
}

/// Connects and does nothing more.
pub(super) async fn reach(
    url: &ResultDatabase,
    options: &DatabaseOptions,
    fault: &Fault,
) -> Result<DatabaseConnection, Error> {
    let mut connect = match url {
        ResultDatabase::Sqlite(path) => {
            let path = path.clone();
            let mut connect = ConnectOptions::new("sqlite::memory:");
            connect.map_sqlx_sqlite_opts(move |given| {
                given
                    .in_memory(false)
                    .shared_cache(false)
                    .filename(&path)
                    .create_if_missing(true)
                    // One Python process at a time may write for as long.
                    .busy_timeout(Duration::from_secs(5))
            });
            connect
        }
        ResultDatabase::Postgres(url) => {
            let mut connect = ConnectOptions::new(url.exposed());
            connect.set_application_name("lovage results");
            connect
        }
    };
    connect
        .max_connections(options.connections)
        .connect_timeout(CONNECT)
        .acquire_timeout(CONNECT)
        .sqlx_logging(false);
    if let Some(life) = options.recycle {
        connect.max_lifetime(life);
    }
    if options.short_lived {
        connect.idle_timeout(Duration::from_secs(1));
    }
    Box::pin(fault.of(Database::connect(connect))).await
}

impl Opened {
    pub(super) async fn open(
        url: &ResultDatabase,
        options: &DatabaseOptions,
        fault: &Fault,
    ) -> Result<Self, Error> {
        let connection = reach(url, options, fault).await?;
        let tables = Tables::new(connection.get_database_backend(), options);
        let mut opened = Self { connection, tables };
        fault.of(opened.prepare()).await?;
        Ok(opened)
    }

    /// Makes the tables that are missing and adds missing columns, as Celery does (`celery/backends/database/session.py`).
    async fn prepare(&mut self) -> Result<(), DbErr> {
        let (backend, connection) = (self.tables.backend(), self.connection.clone());
        for table in self.tables.both_mut() {
            let mut found = columns(&connection, table.ask_columns(backend)).await?;
            let mut tries = 0;
            while found.is_empty() {
                let made = run_all(&connection, &table.create(backend)).await;
                found = columns(&connection, table.ask_columns(backend)).await?;
                tries += 1;
                match made {
                    Err(error) if tries >= TRIES => return Err(error),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10) * tries).await,
                    Ok(()) if found.is_empty() => {
                        let table = table.full_name();
                        return Err(DbErr::Custom(format!(
                            "the table {table} was made and is not there"
                        )));
                    }
                    Ok(()) => {}
                }
            }
            for (column, add) in table.set_present(backend, &found) {
                match connection.execute_unprepared(&add).await {
                    Ok(_) => found.push(column.to_owned()),
                    Err(error) => warn!(
                        error = &error as &dyn std::error::Error,
                        column,
                        "a column of the results' table is missing and cannot be added: run {add:?}"
                    ),
                }
            }
            table.set_present(backend, &found);
        }
        Ok(())
    }

    pub(super) async fn all(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.connection.query_all_raw(statement).await
    }

    pub(super) async fn one(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.connection.query_one_raw(statement).await
    }

    /// How many rows it changed.
    pub(super) async fn run(&self, statement: Statement) -> Result<u64, DbErr> {
        let ran = self.connection.execute_raw(statement).await?;
        Ok(ran.rows_affected())
    }
}

async fn columns(
    connection: &DatabaseConnection,
    question: Statement,
) -> Result<Vec<String>, DbErr> {
    let rows = connection.query_all_raw(question).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

async fn run_all(connection: &DatabaseConnection, statements: &[String]) -> Result<(), DbErr> {
    for statement in statements {
        connection.execute_unprepared(statement).await?;
    }
    Ok(())
}
