//! Databases for tests of results: an SQLite file, and a database of its own on the test run's PostgreSQL.

pub(crate) use lovage_database::Kind;
use lovage_database::testing::TestDatabase;
use lovage_settings::{ResultDatabase, ResultUrl};
use tempfile::TempDir;

/// One that is empty.
#[derive(Debug)]
pub(crate) struct Place {
    /// As `CELERY_RESULT_BACKEND` takes it.
    pub(crate) url: String,
    server: Option<TestDatabase>,
    /// Where the file is going to be.
    _folder: TempDir,
}

impl Place {
    pub(crate) async fn new(kind: Kind) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (url, server) = match kind {
            Kind::Sqlite => {
                let file = folder.path().join("results.db");
                (format!("db+sqlite:///{}", file.display()), None)
            }
            Kind::Postgres => {
                let server = TestDatabase::unmigrated(kind).await;
                (format!("db+{}", server.url()), Some(server))
            }
        };
        Self {
            url,
            server,
            _folder: folder,
        }
    }

    pub(crate) fn database(&self) -> ResultDatabase {
        match ResultUrl::parse(&self.url).unwrap() {
            ResultUrl::Database(database) => *database,
            other => panic!("{other} is no database"),
        }
    }

    pub(crate) async fn end(self) {
        if let Some(server) = self.server {
            server.end().await;
        }
    }
}
