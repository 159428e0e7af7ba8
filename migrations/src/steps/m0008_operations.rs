//! What is done to all tasks that match, a page at a time: `operation`.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, Table},
    schema::{big_integer, json_binary, string, string_null, text_null, uuid, uuid_null},
};

use crate::column::{id, index, instant, maybe_instant};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("operation")
            .col(id())
            .col(string("action"))
            .col(json_binary("filter"))
            // No foreign keys: what was done stays known when who began it is gone.
            .col(uuid("user_id"))
            .col(uuid_null("key_id"))
            .col(string("state"))
            .col(string_null("cursor"))
            .col(big_integer("matched"))
            .col(big_integer("looked_at"))
            .col(big_integer("acted"))
            .col(big_integer("refused"))
            .col(json_binary("refusals"))
            .col(text_null("problem"))
            .col(instant("created_at"))
            .col(instant("updated_at"))
            .col(maybe_instant("finished_at"))
            .take();
        manager.create_table(table).await?;
        manager
            .create_index(index("operation", ["state", "created_at"]))
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table("operation").take())
            .await
    }
}
