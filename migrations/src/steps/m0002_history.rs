//! What all workers did: `task_run`, `task_event`, `worker`, `history_gap`.
//!
//! On PostgreSQL `task_event` is partitioned by day, so that a day's events go at once; sea-query cannot say that. Partitions
//! are made when events of their day come; there is no default one, because one that has rows holds up every new partition.

use sea_orm_migration::{
    async_trait::async_trait,
    prelude::{
        ConditionalStatement, ConnectionTrait, DbErr, DeriveMigrationName, Expr, ExprTrait, Index,
        IndexCreateStatement, MigrationTrait, SchemaManager, Table,
    },
    schema::{
        big_integer, big_integer_null, boolean, double_null, integer_null, json_binary_null,
        small_integer, small_integer_null, string, string_null, text, text_null,
    },
    sea_orm::DbBackend,
};

use crate::column::{counted, index, instant, maybe_instant};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        runs(manager).await?;
        match manager.get_database_backend() {
            DbBackend::Postgres => events_by_day(manager).await?,
            _ => events(manager).await?,
        }
        workers(manager).await?;
        gaps(manager).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in ["history_gap", "worker", "task_event", "task_run"] {
            manager
                .drop_table(Table::drop().table(table).take())
                .await?;
        }
        if manager.get_database_backend() == DbBackend::Postgres {
            let connection = manager.get_connection();
            connection
                .execute_unprepared("DROP SEQUENCE task_event_id")
                .await?;
        }
        Ok(())
    }
}

async fn runs(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("task_run")
        .col(text("task_id").primary_key())
        .col(text_null("name"))
        .col(string("state"))
        // Together they say which of two states is the later one, see `Progress` of the database crate.
        .col(small_integer("state_rank"))
        .col(instant("state_at"))
        .col(integer_null("retries"))
        .col(text_null("queue"))
        .col(text_null("routing_key"))
        .col(small_integer_null("priority"))
        .col(text_null("worker"))
        .col(text_null("client"))
        .col(text_null("args"))
        .col(text_null("kwargs"))
        .col(text_null("result"))
        .col(text_null("exception"))
        .col(text_null("traceback"))
        .col(text_null("root_id"))
        .col(text_null("parent_id"))
        .col(text_null("group_id"))
        .col(maybe_instant("eta"))
        .col(maybe_instant("expires"))
        .col(maybe_instant("sent_at"))
        .col(maybe_instant("received_at"))
        .col(maybe_instant("started_at"))
        .col(maybe_instant("finished_at"))
        .col(double_null("runtime"))
        // When it was first heard of: never changes, so pages are ordered by it.
        .col(instant("seen_at"))
        .col(instant("updated_at"))
        .take();
    manager.create_table(table).await?;
    // Each is written with every change of a row, so there is none that a page does not need.
    for index in [
        index("task_run", ["seen_at", "task_id"]),
        index("task_run", ["state", "seen_at"]),
        index("task_run", ["name", "seen_at"]),
        index("task_run", ["queue", "seen_at"]),
        index("task_run", ["worker", "seen_at"]),
        // A task that is its own root, as most are, is found by its id.
        index("task_run", ["root_id"])
            .and_where(Expr::col("root_id").not_equals("task_id"))
            .take(),
        index("task_run", ["group_id"])
            .and_where(Expr::col("group_id").is_not_null())
            .take(),
    ] {
        manager.create_index(index).await?;
    }
    if manager.get_database_backend() == DbBackend::Postgres {
        // Room on each page for the next version of its rows: most are written more than once.
        let connection = manager.get_connection();
        connection
            .execute_unprepared("ALTER TABLE task_run SET (fillfactor = 80)")
            .await?;
    }
    Ok(())
}

async fn events(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("task_event")
        .col(counted("id"))
        .col(instant("at"))
        .col(text("source"))
        .col(text("task_id"))
        .col(string("kind"))
        .col(text_null("worker"))
        .col(text("body"))
        .take();
    manager.create_table(table).await?;
    manager.create_index(once_per_source()).await?;
    manager.create_index(index("task_event", ["task_id"])).await
}

/// Two keepers that hear the same event write it once.
fn once_per_source() -> IndexCreateStatement {
    Index::create()
        .name("task_event_once")
        .table("task_event")
        .col("at")
        .col("source")
        .unique()
        .take()
}

async fn events_by_day(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let connection = manager.get_connection();
    connection
        .execute_unprepared(
            "CREATE SEQUENCE task_event_id;
             CREATE TABLE task_event (
                 id bigint NOT NULL DEFAULT nextval('task_event_id'),
                 at timestamptz NOT NULL,
                 source text NOT NULL,
                 task_id text NOT NULL,
                 kind varchar NOT NULL,
                 worker text,
                 body text NOT NULL,
                 CONSTRAINT task_event_once PRIMARY KEY (at, source)
             ) PARTITION BY RANGE (at);
             CREATE INDEX task_event_by_task_id ON task_event (task_id);
             CREATE INDEX task_event_by_id ON task_event USING brin (id) WITH (pages_per_range = 32)",
        )
        .await?;
    Ok(())
}

async fn workers(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("worker")
        .col(text("name").primary_key())
        .col(boolean("online"))
        .col(instant("first_seen_at"))
        .col(instant("heard_at"))
        .col(maybe_instant("online_since"))
        .col(maybe_instant("offline_since"))
        .col(double_null("heartbeat_seconds"))
        .col(integer_null("active"))
        .col(big_integer_null("processed"))
        .col(json_binary_null("load_average"))
        .col(text_null("software"))
        .col(text_null("software_version"))
        .col(text_null("system"))
        .col(big_integer_null("pid"))
        .col(json_binary_null("queues"))
        .take();
    manager.create_table(table).await?;
    manager.create_index(index("worker", ["heard_at"])).await
}

async fn gaps(manager: &SchemaManager<'_>) -> Result<(), DbErr> {
    let table = Table::create()
        .table("history_gap")
        .col(counted("id"))
        .col(text("source"))
        .col(instant("began_at"))
        .col(instant("ended_at"))
        .col(big_integer("lost"))
        .col(string_null("reason"))
        .take();
    manager.create_table(table).await?;
    manager
        .create_index(index("history_gap", ["ended_at"]))
        .await
}
