//! The kinds of columns that tables have, so that each kind is the same everywhere.

use sea_orm_migration::{
    prelude::{ColumnDef, Expr, Index, IndexCreateStatement, IntoIden},
    schema,
    sea_orm::DbBackend,
};

/// A number that the database gives to each row, never twice.
pub(crate) fn counted(name: &'static str) -> ColumnDef {
    schema::big_pk_auto(name)
}

/// A random id.
pub(crate) fn id() -> ColumnDef {
    schema::pk_uuid("id")
}

/// An instant, always UTC.
pub(crate) fn instant(name: &'static str) -> ColumnDef {
    schema::timestamp_with_time_zone(name)
}

/// An instant that may not have come.
pub(crate) fn maybe_instant(name: &'static str) -> ColumnDef {
    schema::timestamp_with_time_zone_null(name)
}

/// When the row was made, by the database's clock unless told. On SQLite, which has no times, in the form in which SeaORM
/// writes them, so that they can be compared.
pub(crate) fn made_at(database: DbBackend, name: &'static str) -> ColumnDef {
    let now = match database {
        DbBackend::Sqlite => Expr::cust("(strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now'))"),
        _ => Expr::current_timestamp(),
    };
    instant(name).default(now).take()
}

/// How often the row was edited: what an ETag is made from.
pub(crate) fn version() -> ColumnDef {
    schema::big_integer("version").default(1).take()
}

/// An index with a name that tells what it is.
pub(crate) fn index<const N: usize>(
    table: &'static str,
    columns: [&'static str; N],
) -> IndexCreateStatement {
    let mut index = Index::create();
    index
        .name(format!("{table}_by_{}", columns.join("_and_")))
        .table(table);
    for column in columns {
        index.col(column.into_iden());
    }
    index
}
