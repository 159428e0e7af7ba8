//! Looking for a part of a text.

use sea_orm::{
    Condition, ConnectionTrait, DbBackend,
    sea_query::{Expr, ExprTrait, LikeExpr},
};

/// Makes the next sign mean itself. Not the backslash, which quotes in some texts and not in others.
const ESCAPE: char = '!';

/// That `column` holds `text` somewhere, whatever the case of its English letters.
pub(super) fn contains(database: &impl ConnectionTrait, column: Expr, text: &str) -> Condition {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for c in text.chars() {
        if matches!(c, '%' | '_' | ESCAPE) {
            pattern.push(ESCAPE);
        }
        pattern.push(c);
    }
    pattern.push('%');
    Condition::all().add(match database.get_database_backend() {
        // sea-query's own ILIKE puts the ESCAPE where PostgreSQL does not understand it.
        DbBackend::Postgres => {
            Expr::cust_with_exprs("$1 ILIKE $2 ESCAPE '!'", [column, Expr::value(pattern)])
        }
        // SQLite's LIKE is blind to case by itself.
        _ => column.like(LikeExpr::new(pattern).escape(ESCAPE)),
    })
}
