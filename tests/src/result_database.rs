//! A database for results, that a test has for itself.

use lovage_database::{Kind, testing::TestDatabase};
use tempfile::TempDir;

/// An empty database, as a URL that Celery and Lovage both take. One of PostgreSQL's goes with its server, soon after the test
/// run.
#[derive(Debug)]
pub struct ResultDatabase {
    url: String,
    _folder: Option<TempDir>,
}

impl ResultDatabase {
    /// A file.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let file = folder.path().join("results.db");
        Self {
            url: format!("db+sqlite:///{}", file.display()),
            _folder: Some(folder),
        }
    }

    /// A database of the test run's PostgreSQL server.
    pub fn postgres() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        let url = runtime.block_on(async {
            let made = TestDatabase::unmigrated(Kind::Postgres).await;
            let closed = made.database.close().await;
            closed.expect("a database that nobody uses can be closed");
            made.url()
        });
        // SQLAlchemy knows the scheme by its long name alone, and would take another driver than the one that is installed.
        let url = url.replacen("postgres://", "postgresql+psycopg2://", 1);
        Self {
            url: format!("db+{url}"),
            _folder: None,
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}
