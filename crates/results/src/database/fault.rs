//! What a database's error means for whoever asked: the same again in a moment, or never.

use std::{sync::Arc, time::Duration};

use sea_orm::{DbErr, RuntimeErr, SqlxError};

use crate::{Error, error::Cause};

/// No question takes longer: a server that is silent counts as away.
const PATIENCE: Duration = Duration::from_secs(15);

/// Tells errors of one database.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    address: Arc<str>,
}

impl Fault {
    pub(super) fn new(label: String) -> Self {
        Self {
            address: label.into(),
        }
    }

    /// What an operation gives, in bounded time.
    pub(super) async fn of<T>(
        &self,
        operation: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Error> {
        self.within(PATIENCE, operation).await
    }

    pub(super) async fn within<T>(
        &self,
        patience: Duration,
        operation: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(patience, operation).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.told(error)),
            Err(elapsed) => Err(Error::Unreachable {
                address: Arc::clone(&self.address),
                source: Cause::from(elapsed),
            }),
        }
    }

    /// An error that several are told, for all but the first of them.
    pub(super) fn repeated(&self, text: &str, transient: bool) -> Error {
        let (address, source) = (Arc::clone(&self.address), Cause::from(text));
        match transient {
            true => Error::Unreachable { address, source },
            false => Error::Refused { address, source },
        }
    }

    pub(super) fn told(&self, error: DbErr) -> Error {
        let address = Arc::clone(&self.address);
        if passes(&error) {
            let source = Cause::from(error);
            return Error::Unreachable { address, source };
        }
        let source = Cause::from(error);
        Error::Refused { address, source }
    }
}

/// Whether the same may well succeed a moment later: the server is away, or starts, or stops, or is full; a lock was not got.
fn passes(error: &DbErr) -> bool {
    let driver = match error {
        DbErr::ConnectionAcquire(_) => return true,
        DbErr::Conn(RuntimeErr::SqlxError(driver))
        | DbErr::Exec(RuntimeErr::SqlxError(driver))
        | DbErr::Query(RuntimeErr::SqlxError(driver)) => driver,
        _ => return false,
    };
    match &**driver {
        SqlxError::Io(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed => true,
        SqlxError::Database(answer) => answer.code().is_some_and(|code| passes_with(&code)),
        _ => false,
    }
}

/// By SQLSTATE, or SQLite's number of the error.
fn passes_with(code: &str) -> bool {
    const BUSY: i64 = 5;
    const LOCKED: i64 = 6;
    const FULL: i64 = 13;
    // A SQLSTATE has five characters, a number of SQLite's fewer.
    if code.len() == 5 {
        return ["08", "40", "53", "57P"]
            .iter()
            .any(|class| code.starts_with(class))
            || ["55P03", "25006"].contains(&code);
    }
    // An extended number has the plain one in its low byte.
    let number = code.parse::<i64>().map(|number| number & 0xff);
    number.is_ok_and(|number| [BUSY, LOCKED, FULL].contains(&number))
}

#[cfg(test)]
mod tests {
    use super::passes_with;

    #[test]
    fn what_passes_is_told_from_what_does_not() {
        for passing in [
            "08006", "57P03", "53300", "40001", "40P01", "55P03", "5", "517", "6", "13",
        ] {
            assert!(passes_with(passing), "{passing}");
        }
        for lasting in [
            "22001", "42P01", "28P01", "3D000", "23505", "1", "14", "2067", "1555",
        ] {
            assert!(!passes_with(lasting), "{lasting}");
        }
    }
}
