//! Who may do what: `user`, `refresh_token`, `one_time_token`, `api_key`.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{
        DbErr, DeriveMigrationName, ForeignKey, ForeignKeyAction, ForeignKeyCreateStatement,
        MigrationTrait, SchemaManager, Table,
    },
    schema::{
        blob, boolean, integer, json_binary, json_binary_null, string, string_null, string_uniq,
        text_null, uuid, uuid_null,
    },
};

use crate::column::{id, index, instant, made_at, maybe_instant, version};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        users(manager).await?;
        tokens(manager).await?;
        keys(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["api_key", "one_time_token", "refresh_token", "user"] {
            manager
                .drop_table(Table::drop().table(table).take())
                .await?;
        }
        Ok(())
    }
}

async fn users(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("user")
        .col(id())
        // In lower case, so that one address is one user.
        .col(string_uniq("email"))
        .col(string("password_hash"))
        .col(string("role"))
        .col(boolean("enabled").default(true))
        .col(boolean("must_change_password").default(false))
        .col(integer("failed_logins").default(0))
        .col(maybe_instant("locked_until"))
        .col(maybe_instant("password_changed_at"))
        .col(maybe_instant("last_login_at"))
        .col(made_at(manager.get_database_backend(), "created_at"))
        .col(made_at(manager.get_database_backend(), "updated_at"))
        .col(version())
        .take();
    manager.create_table(table).await
}

fn belongs_to_user(table: &'static str) -> ForeignKeyCreateStatement {
    ForeignKey::create()
        .name(format!("{table}_of_user"))
        .from(table, "user_id")
        .to("user", "id")
        .on_delete(ForeignKeyAction::Cascade)
        .take()
}

async fn tokens(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let refresh = Table::create()
        .table("refresh_token")
        .col(id())
        .col(uuid("user_id"))
        // All that came from one login: a token used twice ends the whole family.
        .col(uuid("family"))
        .col(blob("token_hash").unique_key())
        .col(made_at(manager.get_database_backend(), "issued_at"))
        .col(instant("expires_at"))
        .col(maybe_instant("used_at"))
        .col(maybe_instant("revoked_at"))
        .col(text_null("user_agent"))
        .col(string_null("address"))
        .foreign_key(&mut belongs_to_user("refresh_token"))
        .take();
    manager.create_table(refresh).await?;
    let once = Table::create()
        .table("one_time_token")
        .col(id())
        .col(string("purpose"))
        .col(uuid_null("user_id"))
        .col(blob("token_hash").unique_key())
        .col(json_binary_null("detail"))
        .col(made_at(manager.get_database_backend(), "issued_at"))
        .col(instant("expires_at"))
        .col(maybe_instant("used_at"))
        .foreign_key(&mut belongs_to_user("one_time_token"))
        .take();
    manager.create_table(once).await?;
    for index in [
        index("refresh_token", ["user_id"]),
        index("refresh_token", ["family"]),
        index("refresh_token", ["expires_at"]),
        index("one_time_token", ["user_id"]),
        index("one_time_token", ["expires_at"]),
    ] {
        manager.create_index(index).await?;
    }
    Ok(())
}

async fn keys(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("api_key")
        .col(id())
        .col(string("name"))
        // What may be shown of it, and how it is found.
        .col(string_uniq("prefix"))
        .col(blob("secret_hmac"))
        .col(uuid_null("user_id"))
        .col(json_binary("scopes"))
        .col(json_binary("queue_globs"))
        .col(json_binary("task_globs"))
        .col(maybe_instant("expires_at"))
        .col(maybe_instant("last_used_at"))
        .col(maybe_instant("revoked_at"))
        .col(made_at(manager.get_database_backend(), "created_at"))
        .col(version())
        .foreign_key(&mut belongs_to_user("api_key"))
        .take();
    manager.create_table(table).await?;
    manager.create_index(index("api_key", ["user_id"])).await
}
