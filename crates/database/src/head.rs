//! Whether the database's tables are those that this version works with.

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};

use crate::{
    connect::{Database, Kind},
    error::{Error, while_doing},
};

/// The newest migration that this version needs. A test compares it with the migrations.
pub(crate) const HEAD: &str = "m0007_schedules_kept";

/// Where the tables stand. Every role but `worker` is ready only when [`Schema::is_usable`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Schema {
    /// Nothing was ever applied.
    Empty,
    /// Something is missing: `lovage migrate up`.
    Behind {
        /// The newest migration that the database has.
        applied: String,
    },
    /// They are this version's.
    AtHead,
    /// A later version migrated them. Migrations are safe beside the code before them, so this version works on.
    Ahead {
        /// The newest migration that the database has.
        applied: String,
    },
}

impl Schema {
    /// Whether this version can work with them.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(self, Self::AtHead | Self::Ahead { .. })
    }
}

impl std::fmt::Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => write!(f, "the database has no tables; run `lovage migrate up`"),
            Self::Behind { applied } => write!(
                f,
                "the database is at {applied} and this version needs {HEAD}; run `lovage migrate up`"
            ),
            Self::AtHead => write!(f, "the database is at {HEAD}"),
            Self::Ahead { applied } => {
                write!(f, "the database is at {applied}, ahead of {HEAD}")
            }
        }
    }
}

#[derive(FromQueryResult)]
struct Applied {
    version: String,
}

impl Database {
    /// Tells where the tables stand. Changes nothing.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn schema(&self) -> Result<Schema, Error> {
        let reading = || while_doing("reading which migrations were applied");
        let backend = self.reader().get_database_backend();
        let known = match self.kind() {
            Kind::Sqlite => {
                "SELECT name AS version FROM sqlite_master WHERE type = 'table' AND name = 'seaql_migrations'"
            }
            Kind::Postgres => {
                "SELECT 'seaql_migrations' AS version WHERE to_regclass('seaql_migrations') IS NOT NULL"
            }
        };
        let table = self
            .reader()
            .query_one_raw(Statement::from_string(backend, known))
            .await
            .map_err(reading())?;
        if table.is_none() {
            return Ok(Schema::Empty);
        }
        let all = "SELECT version FROM seaql_migrations ORDER BY version";
        let applied = Applied::find_by_statement(Statement::from_string(backend, all))
            .all(self.reader())
            .await
            .map_err(reading())?;
        Ok(compare(
            applied.into_iter().map(|row| row.version).collect(),
        ))
    }

    /// Whether the tables are those that this version works with.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn at_head(&self) -> Result<bool, Error> {
        Ok(self.schema().await?.is_usable())
    }
}

/// Names sort in the order in which migrations are applied, and there is one line of them: the last name tells all.
fn compare(mut applied: Vec<String>) -> Schema {
    let has_head = applied.iter().any(|name| name == HEAD);
    match applied.pop() {
        None => Schema::Empty,
        Some(last) if last == HEAD => Schema::AtHead,
        Some(applied) if has_head => Schema::Ahead { applied },
        Some(applied) => Schema::Behind { applied },
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Schema, compare};

    #[test]
    fn the_head_is_the_newest_migration() {
        assert_eq!(
            lovage_migrations::names().last().map(String::as_str),
            Some(HEAD)
        );
    }

    #[test]
    fn names_sort_as_they_are_applied() {
        let names = lovage_migrations::names();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
    }

    #[test]
    fn where_it_stands_follows_from_the_names() {
        let check = |names: &[&str], expected: Schema| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(compare(names), expected);
        };
        check(&[], Schema::Empty);
        check(&["m0001_accounts", HEAD], Schema::AtHead);
        let (first, later) = ("m0001_accounts".to_owned(), "m9999_later".to_owned());
        check(
            &[&first],
            Schema::Behind {
                applied: first.clone(),
            },
        );
        check(
            &[HEAD, &later],
            Schema::Ahead {
                applied: later.clone(),
            },
        );
    }
}
