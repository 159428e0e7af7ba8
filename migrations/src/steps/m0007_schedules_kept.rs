//! Schedules as beat keeps them: `schedule` and `schedule_tick` in another form, `schedule_removed`, `schedule_edition`, and what
//! the holder of a lease says of itself.
//!
//! No released version has written the two tables of `m0005`, so they are made anew. A schedule is kept as it was written down, and
//! what is asked for beside it has a column. No index covers what a tick changes: on PostgreSQL it then rewrites no index.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{
        ConditionalStatement, DbErr, DeriveMigrationName, Expr, ExprTrait, ForeignKey,
        ForeignKeyAction, Index, MigrationTrait, SchemaManager, Table,
    },
    schema::{big_integer, boolean, small_integer, string, string_uniq, text, text_null, uuid},
};

use super::m0005_schedules;
use crate::column::{counted, id, index, instant, made_at, maybe_instant};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        drop_all(manager, &["schedule_tick", "schedule"]).await?;
        schedules(manager).await?;
        ticks(manager).await?;
        editions(manager).await?;
        let about = Table::alter()
            .table("lease")
            .add_column(text_null("about"))
            .take();
        manager.alter_table(about).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let about = Table::alter().table("lease").drop_column("about").take();
        manager.alter_table(about).await?;
        let made = [
            "schedule_edition",
            "schedule_removed",
            "schedule_tick",
            "schedule",
        ];
        drop_all(manager, &made).await?;
        m0005_schedules::Migration.up(manager).await
    }
}

async fn drop_all(manager: &SchemaManager<'_>, tables: &[&'static str]) -> Result<(), DbErr> {
    for table in tables {
        manager
            .drop_table(Table::drop().table(*table).take())
            .await?;
    }
    Ok(())
}

async fn schedules(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let backend = manager.get_database_backend();
    let table = Table::create()
        .table("schedule")
        .col(id())
        .col(string_uniq("name"))
        .col(text("task"))
        // `crontab`, `interval`, `solar` or `clocked`.
        .col(string("kind"))
        // `database`, `file`, `code`, `import` or `builtin`.
        .col(string("source"))
        // A JSON object: the schedule as it was written down.
        .col(text("draft"))
        // Somebody lets it rest.
        .col(boolean("paused").default(false))
        // It runs: written down as enabled, and not paused.
        .col(boolean("enabled").default(true))
        // Every run due up to then is decided.
        .col(instant("decided_at"))
        .col(maybe_instant("last_due_at"))
        .col(big_integer("runs").default(0))
        // The edition of its last change; a tick is none.
        .col(big_integer("version"))
        .col(made_at(backend, "created_at"))
        .col(made_at(backend, "updated_at"))
        .take();
    manager.create_table(table).await?;
    for index in [
        index("schedule", ["version"]),
        index("schedule", ["task"]),
        index("schedule", ["source"]),
    ] {
        manager.create_index(index).await?;
    }
    Ok(())
}

async fn ticks(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("schedule_tick")
        .col(counted("id"))
        .col(uuid("schedule_id"))
        .col(instant("due_at"))
        .col(made_at(manager.get_database_backend(), "fired_at"))
        // `due`, `now` or `backfill`.
        .col(string("cause").default("due"))
        .col(string("task_id"))
        // So many runs before it were due and left out.
        .col(big_integer("left_out").default(0))
        .foreign_key(
            ForeignKey::create()
                .name("schedule_tick_of_schedule")
                .from("schedule_tick", "schedule_id")
                .to("schedule", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take();
    manager.create_table(table).await?;
    // What is due is sent once, whoever asks for it.
    let once = Index::create()
        .name("schedule_tick_once")
        .table("schedule_tick")
        .col("schedule_id")
        .col("due_at")
        .unique()
        .and_where(Expr::col("cause").eq("due"))
        .take();
    for index in [
        once,
        index("schedule_tick", ["schedule_id", "id"]),
        index("schedule_tick", ["task_id"]),
        index("schedule_tick", ["fired_at"]),
    ] {
        manager.create_index(index).await?;
    }
    Ok(())
}

async fn editions(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    // One row: whoever changes a schedule counts it up first, so that changes become visible in the order of their numbers.
    let edition = Table::create()
        .table("schedule_edition")
        .col(small_integer("id").primary_key())
        .col(big_integer("edition"))
        .take();
    manager.create_table(edition).await?;
    // Told to beats that knew them, and forgotten after a while.
    let removed = Table::create()
        .table("schedule_removed")
        .col(string("name").primary_key())
        .col(big_integer("version"))
        .col(instant("removed_at"))
        .take();
    manager.create_table(removed).await?;
    manager
        .create_index(index("schedule_removed", ["version"]))
        .await
}
