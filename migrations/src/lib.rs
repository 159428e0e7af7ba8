//! The database schema's history, forward and back, on SQLite and PostgreSQL.
//!
//! One line of migrations, each reversible and safe beside the code that ran before it: widen, move, then narrow. A released
//! migration is never changed; a change is a new one at the end of `steps`. Migrations know no entities, so that
//! old steps keep their meaning, and write no rows.
//!
//! | module | knows |
//! |---|---|
//! | `steps` | the migrations in order, one file each |
//! | `column` | the kinds of columns that tables have |
//! | `run` | going up and down under a lock, in one transaction |
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let url = format!("sqlite://{}?mode=rwc", folder.path().join("x.db").display());
//! let database = sea_orm_migration::sea_orm::Database::connect(url).await?;
//! let applied = lovage_migrations::up(&database, None).await?;
//! assert_eq!(applied, lovage_migrations::names());
//! assert!(lovage_migrations::up(&database, None).await?.is_empty());
//! # Ok(())
//! # }
//! ```

mod column;
mod run;
mod steps;

pub use run::{Error, Step, down, names, status, up};
