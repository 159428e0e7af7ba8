//! Databases for tests: each test has one of its own, migrated, on SQLite and on PostgreSQL.
//!
//! ```
//! # mod example {
//! lovage_database::testing::on_both! {
//!     async fn a_new_database_is_at_head(database: Database) {
//!         assert!(database.at_head().await.unwrap());
//!     }
//! }
//! # }
//! ```
//!
//! makes the tests `a_new_database_is_at_head::sqlite` and `::postgres`. With `test: TestDatabase` in place of
//! `database: Database` the body gets the settings too, for processes and connections of its own.

mod server;

use std::{fs, path::PathBuf, time::Duration};

use lovage_settings::{DatabaseSettings, DatabaseUrl};
use sea_orm::ConnectionTrait;
use tempfile::TempDir;

pub use crate::on_both;
use crate::{Database, Kind};

/// An open database of a test's own.
#[derive(Debug)]
pub struct TestDatabase {
    /// It, open.
    pub database: Database,
    /// What it was opened with.
    pub settings: DatabaseSettings,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Folder(TempDir),
    Server { name: String },
}

impl TestDatabase {
    /// Makes one of this kind, with all tables.
    ///
    /// # Panics
    /// When it cannot be made; the text says what is missing.
    pub async fn new(kind: Kind) -> Self {
        let test = Self::empty(kind).await;
        if kind == Kind::Sqlite {
            lovage_migrations::up(test.database.writer(), None)
                .await
                .expect("a new database can be migrated");
        }
        test
    }

    /// Makes one of this kind, without any table on SQLite; on PostgreSQL a copy of the migrated template.
    async fn empty(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => Self::unmigrated(kind).await,
            Kind::Postgres => {
                let name = new_name();
                server::run(&format!(
                    "CREATE DATABASE {name} TEMPLATE {}",
                    server::template().await
                ))
                .await;
                Self::on_server(name).await
            }
        }
    }

    /// Makes one of this kind without any table.
    ///
    /// # Panics
    /// As [`TestDatabase::new`].
    pub async fn unmigrated(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => {
                let folder = tempfile::Builder::new()
                    .prefix("lovage-database-")
                    .tempdir()
                    .expect("the temporary folder is writable");
                let settings = settings(DatabaseUrl::Sqlite(folder.path().join("data/lovage.db")));
                Self::open(settings, Place::Folder(folder)).await
            }
            Kind::Postgres => {
                let name = new_name();
                server::run(&format!("CREATE DATABASE {name}")).await;
                Self::on_server(name).await
            }
        }
    }

    async fn on_server(name: String) -> Self {
        let url = server::url(&name);
        let url = DatabaseUrl::parse(&url).expect("the address of the test's server is a URL");
        Self::open(settings(url), Place::Server { name }).await
    }

    async fn open(settings: DatabaseSettings, place: Place) -> Self {
        let database = Database::connect(&settings, "test")
            .await
            .expect("the test's database can be opened");
        Self {
            database,
            settings,
            place,
        }
    }

    /// Its URL, as `DATABASE_URL` takes it.
    ///
    /// # Panics
    /// Never: a temporary folder's name is text.
    #[must_use]
    pub fn url(&self) -> String {
        match (&self.settings.url, &self.place) {
            (DatabaseUrl::Postgres(url), _) => url.expose().to_owned(),
            (url, _) => url.to_string(),
        }
    }

    /// The folder of a SQLite file.
    #[must_use]
    pub fn folder(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(folder.path().to_owned()),
            Place::Server { .. } => None,
        }
    }

    /// Closes it and takes it away. A test that panicked leaves its database to the server, which goes soon after.
    ///
    /// # Panics
    /// When it cannot be taken away.
    pub async fn end(self) {
        let _ = self.database.close().await;
        match self.place {
            Place::Folder(folder) => {
                // A connection may be closing its files still.
                let _ = fs::remove_dir_all(folder.path());
            }
            Place::Server { name } => {
                server::run(&format!("DROP DATABASE {name} WITH (FORCE)")).await;
            }
        }
    }
}

fn settings(url: DatabaseUrl) -> DatabaseSettings {
    DatabaseSettings {
        url,
        pool: 5,
        timeout: Duration::from_secs(30),
        ..DatabaseSettings::default()
    }
}

fn new_name() -> String {
    format!("test_{}", uuid::Uuid::new_v4().simple())
}

/// Runs each body on SQLite and on PostgreSQL, see the module's documentation.
#[macro_export]
macro_rules! on_both {
    ($(async fn $name:ident($argument:ident: $what:ident) $body:block)+) => {$(
        async fn $name($argument: $crate::on_both!(@type $what)) $body

        mod $name {
            #[tokio::test]
            async fn sqlite() {
                let test = $crate::testing::TestDatabase::new($crate::Kind::Sqlite).await;
                $crate::on_both!(@run $what test $name);
            }

            #[tokio::test]
            async fn postgres() {
                let test = $crate::testing::TestDatabase::new($crate::Kind::Postgres).await;
                $crate::on_both!(@run $what test $name);
            }
        }
    )+};
    (@type Database) => { $crate::Database };
    (@type TestDatabase) => { &$crate::testing::TestDatabase };
    (@run Database $test:ident $name:ident) => {
        super::$name($test.database.clone()).await;
        $test.end().await;
    };
    (@run TestDatabase $test:ident $name:ident) => {
        super::$name(&$test).await;
        $test.end().await;
    };
}

/// Asks the database for one number.
///
/// # Panics
/// When it does not answer with one.
pub async fn number(database: &impl ConnectionTrait, sql: &str) -> i64 {
    let statement =
        sea_orm::Statement::from_string(database.get_database_backend(), sql.to_owned());
    let row = database
        .query_one_raw(statement)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
        .unwrap_or_else(|| panic!("{sql}: no row"));
    row.try_get_by_index::<i64>(0)
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}
