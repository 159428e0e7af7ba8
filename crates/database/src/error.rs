//! What can go wrong with a database.

use std::{io, path::PathBuf};

use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// Why a database did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection could be made.
    #[error("the database {place} cannot be reached")]
    Unreachable {
        /// Its URL without a password.
        place: String,
        /// What the driver said.
        #[source]
        source: DbErr,
    },
    /// `DATABASE_URL` names a database of a kind that Lovage keeps no tables in.
    #[error(
        "DATABASE_URL is of the kind {scheme}, in which Lovage keeps no tables; sqlite:// or postgres:// would be right"
    )]
    Foreign {
        /// The kind.
        scheme: String,
    },
    /// The folder of a SQLite file could not be made.
    #[error("the folder {} of the database cannot be made", folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A statement failed.
    #[error("{doing} failed")]
    Query {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: DbErr,
    },
    /// A row holds what no row may hold: somebody else wrote it.
    #[error("{what} in the database is {value:?}, expected {expected}")]
    Corrupt {
        /// Which column of which table.
        what: &'static str,
        /// What stands there.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// Somebody else holds the lease by now: what was about to be done under it was not done.
    #[error("the lease {name} is no longer ours")]
    LeaseLost {
        /// Its name.
        name: String,
    },
}

impl Error {
    /// Whether the same may work a moment later: the server was away, or another writer came first.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Query { source, .. } => is_transient(source),
            Self::Foreign { .. }
            | Self::Folder { .. }
            | Self::Corrupt { .. }
            | Self::LeaseLost { .. } => false,
        }
    }

    /// Whether a row with the same unique value is there already.
    #[must_use]
    pub fn is_duplicate(&self) -> bool {
        matches!(
            self,
            Self::Query { source, .. } if matches!(source.sql_err(), Some(SqlErr::UniqueConstraintViolation(_)))
        )
    }
}

fn is_transient(error: &DbErr) -> bool {
    let driver = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(RuntimeErr::SqlxError(driver))
        | DbErr::Exec(RuntimeErr::SqlxError(driver))
        | DbErr::Query(RuntimeErr::SqlxError(driver)) => driver,
        _ => return false,
    };
    match driver.as_ref() {
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(told) => told.code().is_some_and(|code| is_transient_code(&code)),
        _ => false,
    }
}

/// SQLite's busy and locked; PostgreSQL's classes of lost connections, conflicts, lack of resources, and its shutting down.
fn is_transient_code(code: &str) -> bool {
    match code.parse::<u32>() {
        // SQLite's codes are short numbers, with the kind in the lowest byte.
        Ok(number) if code.len() < 5 => matches!(number & 0xff, 5 | 6),
        _ => {
            ["08", "40", "53"].contains(&code.get(..2).unwrap_or_default())
                || ["57P01", "57P02", "57P03", "55P03"].contains(&code)
        }
    }
}

/// Names what was being done in an error of the driver.
pub(crate) fn while_doing(doing: &'static str) -> impl FnOnce(DbErr) -> Error {
    move |source| Error::Query { doing, source }
}

#[cfg(test)]
mod tests {
    use super::is_transient_code;

    #[test]
    fn what_may_work_a_moment_later_is_told_apart() {
        let check = |code, transient| assert_eq!(is_transient_code(code), transient, "{code}");
        check("5", true);
        check("517", true);
        check("2067", false);
        check("08006", true);
        check("40001", true);
        check("57P01", true);
        check("23505", false);
        check("42P01", false);
        check("", false);
    }
}
