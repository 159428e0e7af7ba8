//! The entities and the migrated schema, held to each other on both databases.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, ColumnType, ConnectionTrait, EntityTrait, FromQueryResult, Iden, Iterable,
    Statement, TryGetable,
};

use super::{
    api_key, audit_log, dead_letter, history_gap, idempotency_key, journal_mark, lease,
    mail_message, one_time_token, operation, outbox, refresh_token, schedule, schedule_edition,
    schedule_removed, schedule_tick, task_event, task_run, user, worker,
};
use crate::{Database, Kind, testing::on_both};

/// One column as the database has it, or as the entity says it is: its kind and whether it may be null.
type Columns = BTreeMap<String, (String, bool)>;

#[derive(FromQueryResult)]
struct Found {
    name: String,
    kind: String,
    nullable: bool,
}

async fn found(database: &Database, table: &str) -> Columns {
    let sql = match database.kind() {
        Kind::Postgres => format!(
            "SELECT column_name::text AS name, data_type::text AS kind, is_nullable = 'YES' AS nullable
             FROM information_schema.columns WHERE table_name = '{table}' AND table_schema = 'public'"
        ),
        Kind::Sqlite => format!(
            "SELECT name, lower(type) AS kind, \"notnull\" = 0 AND pk = 0 AS nullable FROM pragma_table_info('{table}')"
        ),
    };
    let backend = database.reader().get_database_backend();
    let rows = Found::find_by_statement(Statement::from_string(backend, sql))
        .all(database.reader())
        .await
        .unwrap();
    rows.into_iter()
        .map(|row| (row.name, (row.kind, row.nullable)))
        .collect()
}

fn kind_of(column: &ColumnType, database: Kind) -> &'static str {
    let (postgres, sqlite) = match column {
        ColumnType::String(_) => ("character varying", "varchar"),
        ColumnType::Text => ("text", "text"),
        ColumnType::SmallInteger => ("smallint", "smallint"),
        ColumnType::Integer => ("integer", "integer"),
        ColumnType::BigInteger => ("bigint", "integer"),
        ColumnType::Double => ("double precision", "double"),
        ColumnType::Boolean => ("boolean", "boolean"),
        ColumnType::Uuid => ("uuid", "uuid_text"),
        ColumnType::JsonBinary => ("jsonb", "jsonb_text"),
        ColumnType::VarBinary(_) | ColumnType::Binary(_) | ColumnType::Blob => ("bytea", "blob"),
        ColumnType::TimestampWithTimeZone => {
            ("timestamp with time zone", "timestamp_with_timezone_text")
        }
        other => panic!("no column of ours is of the kind {other:?}"),
    };
    match database {
        Kind::Postgres => postgres,
        Kind::Sqlite => sqlite,
    }
}

/// Reads every column of an entity's table, and compares their names, kinds and nullability.
async fn check<E>(database: &Database)
where
    E: EntityTrait + Default,
    E::Column: Iterable + ColumnTrait,
{
    let table = E::default().table_name().to_owned();
    let said: Columns = E::Column::iter()
        .map(|column| {
            let about = column.def();
            let kind = kind_of(about.get_column_type(), database.kind()).to_owned();
            (Iden::unquoted(&column).to_owned(), (kind, about.is_null()))
        })
        .collect();
    assert_eq!(found(database, &table).await, said, "{table}");
    assert!(E::find().one(database.reader()).await.unwrap().is_none());
}

async fn tables(database: &Database) -> Vec<String> {
    let sql = match database.kind() {
        Kind::Postgres => {
            "SELECT relname::text FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
             WHERE relkind IN ('r', 'p') AND NOT relispartition AND nspname = 'public' ORDER BY 1"
        }
        Kind::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY 1"
        }
    };
    let backend = database.reader().get_database_backend();
    let rows = database
        .reader()
        .query_all_raw(Statement::from_string(backend, sql))
        .await
        .unwrap();
    rows.iter()
        .map(|row| String::try_get_by_index(row, 0).unwrap())
        .collect()
}

on_both! {
    async fn entities_and_tables_are_the_same(database: Database) {
        check::<user::Entity>(&database).await;
        check::<refresh_token::Entity>(&database).await;
        check::<one_time_token::Entity>(&database).await;
        check::<api_key::Entity>(&database).await;
        check::<task_run::Entity>(&database).await;
        check::<task_event::Entity>(&database).await;
        check::<worker::Entity>(&database).await;
        check::<history_gap::Entity>(&database).await;
        check::<journal_mark::Entity>(&database).await;
        check::<lease::Entity>(&database).await;
        check::<operation::Entity>(&database).await;
        check::<outbox::Entity>(&database).await;
        check::<dead_letter::Entity>(&database).await;
        check::<mail_message::Entity>(&database).await;
        check::<idempotency_key::Entity>(&database).await;
        check::<audit_log::Entity>(&database).await;
        check::<schedule::Entity>(&database).await;
        check::<schedule_tick::Entity>(&database).await;
        check::<schedule_edition::Entity>(&database).await;
        check::<schedule_removed::Entity>(&database).await;
        assert_eq!(
            tables(&database).await,
            [
                "api_key", "audit_log", "dead_letter", "history_gap", "idempotency_key", "journal_mark",
                "lease", "mail_message",
                "one_time_token", "operation", "outbox", "refresh_token", "schedule", "schedule_edition",
                "schedule_removed", "schedule_tick", "seaql_migrations",
                "task_event", "task_run", "user", "worker",
            ],
            "a table without an entity is not looked at above"
        );
    }
}
