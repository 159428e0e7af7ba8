//! Looking for a part of a text.

use sea_orm::{
    Condition, ConnectionTrait, DbBackend,
    sea_query::{Expr, ExprTrait, LikeExpr, extension::postgres::PgExpr},
};

/// That `column` holds `text` somewhere, whatever the case of its English letters.
pub(super) fn contains(database: &impl ConnectionTrait, column: Expr, text: &str) -> Condition {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('%');
    let pattern = LikeExpr::new(pattern).escape('\\');
    Condition::all().add(match database.get_database_backend() {
        DbBackend::Postgres => column.ilike(pattern),
        // SQLite's LIKE is blind to case by itself.
        _ => column.like(pattern),
    })
}
