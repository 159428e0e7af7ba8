//! SeaORM entities, and the only queries anyone may run.
//!
//! [`Database::connect`] opens SQLite or PostgreSQL; [`Database::at_head`] tells whether its tables are this version's. What is
//! asked of them are functions in the modules of [`store`], one per aggregate, that take a connection and give domain values:
//! no entity leaves this crate. This crate makes no table (`migrations` does) and decides nothing about tasks, schedules or
//! people.
//!
//! | module | knows |
//! |---|---|
//! | `connect` | opening, and who may write when |
//! | `head` | whether the tables are those of this version |
//! | `entity` | the tables, one file each |
//! | `store` | the queries, one file per aggregate |
//! | `leading` | doing what only one may do |
//! | `error` | what can go wrong |
//! | `testing` | databases for tests (feature `testing`) |

mod connect;
mod entity;
mod error;
mod head;
mod leading;
pub mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use connect::{Database, Kind, commit};
pub use error::Error;
pub use head::Schema;
pub use leading::lead;
/// What the stores take beside a [`Database`]: a caller's own transaction, so that what it writes and what we write are one.
pub use sea_orm::{ConnectionTrait, DatabaseTransaction};
