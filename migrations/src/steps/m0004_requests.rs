//! What people and programs asked for: `mail_message`, `idempotency_key`, `audit_log`.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{DbErr, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table},
    schema::{
        blob, blob_null, integer, json_binary_null, small_integer_null, string, string_null, text,
        text_null,
    },
};

use crate::column::{counted, id, index, instant, made_at, maybe_instant, version};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        mails(manager).await?;
        idempotency(manager).await?;
        audit(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["audit_log", "idempotency_key", "mail_message"] {
            manager
                .drop_table(Table::drop().table(table).take())
                .await?;
        }
        Ok(())
    }
}

async fn mails(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("mail_message")
        .col(id())
        .col(string_null("task_id"))
        .col(string("template"))
        .col(string("language"))
        .col(text("recipient"))
        .col(text("subject"))
        .col(text("text_body"))
        .col(text_null("html_body"))
        // `queued`, `sending`, `sent`, `failed`, or `uncertain`: it died while sending, and is sent again only by hand.
        .col(string("state"))
        .col(integer("attempts").default(0))
        .col(text_null("answer"))
        .col(made_at(manager.get_database_backend(), "created_at"))
        .col(maybe_instant("sending_since"))
        .col(maybe_instant("finished_at"))
        .col(version())
        .take();
    manager.create_table(table).await?;
    manager
        .create_index(index("mail_message", ["state", "created_at"]))
        .await?;
    manager
        .create_index(index("mail_message", ["created_at"]))
        .await
}

async fn idempotency(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("idempotency_key")
        // Two callers may choose the same key.
        .col(string("caller"))
        .col(string("key"))
        .col(blob("request_hash"))
        .col(string_null("task_id"))
        // None until the request was answered.
        .col(small_integer_null("status"))
        .col(blob_null("response"))
        .col(made_at(manager.get_database_backend(), "created_at"))
        .col(instant("expires_at"))
        .primary_key(Index::create().col("caller").col("key"))
        .take();
    manager.create_table(table).await?;
    manager
        .create_index(index("idempotency_key", ["expires_at"]))
        .await
}

async fn audit(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("audit_log")
        .col(counted("id"))
        .col(made_at(manager.get_database_backend(), "at"))
        .col(string("actor_kind"))
        .col(string_null("actor_id"))
        .col(text_null("actor_name"))
        .col(string("action"))
        .col(string_null("target_kind"))
        .col(text_null("target_id"))
        .col(json_binary_null("detail"))
        .col(string_null("address"))
        .col(string_null("request_id"))
        .take();
    manager.create_table(table).await?;
    for index in [
        index("audit_log", ["at"]),
        index("audit_log", ["actor_id", "id"]),
        index("audit_log", ["action", "id"]),
        index("audit_log", ["target_kind", "target_id", "id"]),
    ] {
        manager.create_index(index).await?;
    }
    Ok(())
}
