//! How far the journal of workers was read: `journal_mark`.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table},
    schema::{big_integer, string},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("journal_mark")
            .col(string("name").primary_key())
            // Places of one epoch say nothing about another's.
            .col(string("epoch"))
            .col(string("entry_id"))
            .col(big_integer("records"))
            .col(big_integer("bytes"))
            .take();
        manager.create_table(table).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("journal_mark").take())
            .await
    }
}
