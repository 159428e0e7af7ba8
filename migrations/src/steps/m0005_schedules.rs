//! What is to run and when: `schedule`, and `schedule_tick`, what became of each due instant.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{
        ConditionalStatement, DbErr, DeriveMigrationName, Expr, ExprTrait, ForeignKey,
        ForeignKeyAction, Index, MigrationTrait, SchemaManager, Table,
    },
    schema::{
        big_integer, big_integer_null, boolean, double_null, integer_null, small_integer_null,
        string, string_null, string_uniq, text, text_null, uuid,
    },
};

use crate::column::{counted, id, index, instant, made_at, maybe_instant, version};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        schedules(manager).await?;
        ticks(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["schedule_tick", "schedule"] {
            manager
                .drop_table(Table::drop().table(table).take())
                .await?;
        }
        Ok(())
    }
}

async fn schedules(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("schedule")
        .col(id())
        .col(string_uniq("name"))
        .col(text_null("description"))
        // `crontab`, `interval`, `solar` or `clocked`; the columns of the other kinds are null.
        .col(string("kind"))
        .col(string_null("minute"))
        .col(string_null("hour"))
        .col(string_null("day_of_week"))
        .col(string_null("day_of_month"))
        .col(string_null("month_of_year"))
        .col(big_integer_null("every_us"))
        .col(boolean("relative").default(false))
        .col(string_null("solar_event"))
        .col(double_null("latitude"))
        .col(double_null("longitude"))
        .col(maybe_instant("clocked_at"))
        .col(string("timezone").default("UTC"))
        // What is sent.
        .col(text("task"))
        .col(text("args").default("[]"))
        .col(text("kwargs").default("{}"))
        .col(text("headers").default("{}"))
        .col(text("options").default("{}"))
        .col(string_null("queue"))
        .col(string_null("exchange"))
        .col(string_null("routing_key"))
        .col(small_integer_null("priority"))
        .col(big_integer_null("expires_after_us"))
        .col(maybe_instant("expires_at"))
        // When it counts.
        .col(boolean("enabled").default(true))
        .col(maybe_instant("starts_at"))
        .col(maybe_instant("ends_at"))
        .col(big_integer_null("max_runs"))
        .col(big_integer("jitter_us").default(0))
        // What becomes of due instants at which no beat was up: `skip`, `once` or `all`, at most so many, not older than.
        .col(string("missed").default("once"))
        .col(integer_null("missed_limit"))
        .col(big_integer_null("missed_deadline_us"))
        // Where it came from: `database`, `file`, `code` or `import`.
        .col(string("source").default("database"))
        .col(text_null("source_detail"))
        // Where it stands.
        .col(maybe_instant("next_due_at"))
        .col(maybe_instant("last_due_at"))
        .col(maybe_instant("last_fired_at"))
        .col(big_integer("runs").default(0))
        .col(text_null("error"))
        .col(made_at(manager.get_database_backend(), "created_at"))
        .col(made_at(manager.get_database_backend(), "updated_at"))
        .col(version())
        .take();
    manager.create_table(table).await?;
    let due = index("schedule", ["next_due_at"])
        .and_where(Expr::col("enabled").eq(true))
        .take();
    for index in [
        due,
        index("schedule", ["task"]),
        index("schedule", ["source"]),
        index("schedule", ["updated_at"]),
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
        // `due`, `missed`, `manual` or `backfill`.
        .col(string("kind").default("due"))
        // `fired` or `skipped`.
        .col(string("outcome").default("fired"))
        .col(string_null("task_id"))
        .col(made_at(manager.get_database_backend(), "fired_at"))
        .col(text_null("detail"))
        .foreign_key(
            ForeignKey::create()
                .name("schedule_tick_of_schedule")
                .from("schedule_tick", "schedule_id")
                .to("schedule", "id")
                .on_delete(ForeignKeyAction::Cascade),
        )
        .take();
    manager.create_table(table).await?;
    let once = Index::create()
        .name("schedule_tick_once")
        .table("schedule_tick")
        .col("schedule_id")
        .col("due_at")
        .unique()
        .take();
    manager.create_index(once).await?;
    manager
        .create_index(index("schedule_tick", ["task_id"]))
        .await?;
    manager
        .create_index(index("schedule_tick", ["fired_at"]))
        .await
}
