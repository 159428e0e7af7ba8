//! Messages on their way and those that ended: `outbox`, `dead_letter`, and `lease`, which says who moves them.
//!
//! `outbox` is for programs in other languages too, so every column has a default but those that say what to run;
//! docs/outbox.md describes it. On PostgreSQL a trigger tells the relay of new rows, whoever inserted them.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{
        ConditionalStatement, ConnectionTrait, DbErr, DeriveMigrationName, Expr, ExprTrait,
        MigrationTrait, SchemaManager, Table,
    },
    schema::{
        big_integer, blob, blob_null, integer, small_integer_null, string, string_null,
        string_uniq, text, text_null,
    },
    sea_orm::DbBackend,
};

use crate::column::{counted, index, instant, made_at, maybe_instant, version};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        leases(manager).await?;
        outbox(manager).await?;
        dead_letters(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["dead_letter", "outbox", "lease"] {
            manager
                .drop_table(Table::drop().table(table).take())
                .await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            let connection = manager.get_connection();
            connection
                .execute_unprepared("DROP FUNCTION lovage_outbox_filled()")
                .await?;
        }
        Ok(())
    }
}

async fn leases(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("lease")
        .col(string("name").primary_key())
        .col(string("holder"))
        // Grows with every holder: what an earlier one still does is told apart by it.
        .col(big_integer("fence"))
        // Random: what others keep by the fence is kept apart from that of another database.
        .col(string("scope"))
        .col(instant("taken_at"))
        .col(instant("expires_at"))
        .take();
    manager.create_table(table).await
}

async fn outbox(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("outbox")
        .col(counted("id"))
        .col(string("task_id"))
        .col(text("task"))
        .col(text("args").default("[]"))
        .col(text("kwargs").default("{}"))
        .col(string_null("queue"))
        .col(small_integer_null("priority"))
        .col(maybe_instant("eta"))
        .col(maybe_instant("expires"))
        .col(text("headers").default("{}"))
        // A message that is made already goes as it is; then only the place and the priority count.
        .col(blob_null("message"))
        .col(string_null("exchange"))
        .col(string_null("routing_key"))
        .col(made_at(manager.get_database_backend(), "created_at"))
        .col(maybe_instant("refused_at"))
        .col(text_null("error"))
        .take();
    manager.create_table(table).await?;
    // Of the few that cannot be sent alone: an index that holds the others too would be read for them, and all of them sorted,
    // where those of the smallest ids are asked for.
    let refused = index("outbox", ["refused_at"])
        .and_where(Expr::col("refused_at").is_not_null())
        .take();
    manager.create_index(refused).await?;
    if manager.get_database_backend() == DbBackend::Postgres {
        let connection = manager.get_connection();
        connection
            .execute_unprepared(
                "CREATE FUNCTION lovage_outbox_filled() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     PERFORM pg_notify('lovage_outbox', '');
                     RETURN NULL;
                 END $$;
                 CREATE TRIGGER lovage_outbox_filled AFTER INSERT ON outbox
                     FOR EACH STATEMENT EXECUTE FUNCTION lovage_outbox_filled()",
            )
            .await?;
    }
    Ok(())
}

async fn dead_letters(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("dead_letter")
        .col(counted("id"))
        // Its id at the broker: copied once, however often it is read there.
        .col(string_uniq("source_id"))
        .col(blob("message"))
        // What is sent instead of it, once somebody has edited it.
        .col(blob_null("edited"))
        .col(string("code"))
        .col(text("detail"))
        .col(text_null("traceback"))
        .col(text_null("task"))
        .col(string_null("task_id"))
        .col(string("queue"))
        .col(string_null("worker"))
        .col(instant("died_at"))
        .col(made_at(manager.get_database_backend(), "copied_at"))
        // `waiting`, `replayed` or `discarded`.
        .col(string("state").default("waiting"))
        .col(maybe_instant("resolved_at"))
        .col(string_null("resolved_by"))
        .col(integer("replays").default(0))
        .col(version())
        .take();
    manager.create_table(table).await?;
    for index in [
        index("dead_letter", ["state", "id"]),
        index("dead_letter", ["code", "id"]),
        index("dead_letter", ["task", "id"]),
        index("dead_letter", ["queue", "id"]),
        index("dead_letter", ["task_id"]),
        index("dead_letter", ["died_at"]),
    ] {
        manager.create_index(index).await?;
    }
    Ok(())
}
