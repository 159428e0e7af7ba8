//! Chores: what the platform does itself by schedules of its own.
//!
//! Their ticks have no message: no worker need know the database. A keeper's are looked for by who has the duty, who goes by a clock
//! of its own where no beat leads. A beat's are looked for by the beat that leads.

use sea_orm::{FromQueryResult, Statement};

use super::{lease, schedule};
use crate::{
    connect::Database,
    error::{Error, while_doing},
};

/// Forgets what is old. The name of its schedule, and of what that would send.
pub const PRUNE: &str = "lovage.prune";
/// Tells operators by mail of what failed for good.
pub const DIGEST: &str = "lovage.digest";
/// A beat gives back what dead workers held.
pub const REAP: &str = "lovage.reap";
/// A beat sends what waits in the outbox and nobody relays.
pub const OUTBOX: &str = "lovage.outbox";
/// All of them.
pub const ALL: [&str; 4] = [PRUNE, DIGEST, REAP, OUTBOX];

/// Where the schedule of a chore stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromQueryResult)]
pub struct Signal {
    /// It runs: it is neither paused nor switched off.
    pub enabled: bool,
    /// The number of its last tick; each has a higher one than those before.
    pub last: Option<i64>,
}

/// Where the schedule of a chore stands. `None`: no beat has declared it yet.
///
/// # Errors
/// [`Error::Query`].
pub async fn signal(database: &Database, name: &str) -> Result<Option<Signal>, Error> {
    let sql = "SELECT enabled, (SELECT max(id) FROM schedule_tick WHERE schedule_id = schedule.id) AS last
               FROM schedule WHERE name = $1";
    let reader = database.reader();
    let backend = reader.get_database_backend();
    let statement = Statement::from_sql_and_values(backend, sql, [name.into()]);
    Signal::find_by_statement(statement)
        .one(reader)
        .await
        .map_err(while_doing("reading the last tick of a chore"))
}

/// Whether a beat leads, so that there will be ticks.
///
/// # Errors
/// [`Error::Query`].
pub async fn is_ticked(database: &Database) -> Result<bool, Error> {
    Ok(lease::told(database, schedule::LEASE).await?.is_some())
}
