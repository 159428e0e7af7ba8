//! The migrations in order, one file each. The file's name is the migration's.

mod m0001_accounts;
mod m0002_history;
mod m0003_messages;
mod m0004_requests;
mod m0005_schedules;
mod m0006_journal;
mod m0007_schedules_kept;
mod m0008_operations;

use sea_orm_migration::{MigrationTrait, MigratorTrait};

/// All of them.
pub(crate) struct Steps;

impl MigratorTrait for Steps {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_accounts::Migration),
            Box::new(m0002_history::Migration),
            Box::new(m0003_messages::Migration),
            Box::new(m0004_requests::Migration),
            Box::new(m0005_schedules::Migration),
            Box::new(m0006_journal::Migration),
            Box::new(m0007_schedules_kept::Migration),
            Box::new(m0008_operations::Migration),
        ]
    }
}
