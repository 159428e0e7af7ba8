//! Requests that were answered, by the key that their client gave them, so that none of them is done twice.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter,
    TryInsertResult, sea_query::Expr,
};

use crate::{
    entity::idempotency_key::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// A request that is about to be done.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// Who asks; keys of others are others.
    pub caller: &'a str,
    /// The key.
    pub key: &'a str,
    /// A digest of what is asked.
    pub hash: &'a [u8],
}

/// Whether a request is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// It is new, and ours to do.
    New,
    /// It was done.
    Done {
        /// The status of the response.
        status: u16,
        /// The body of the response.
        response: Vec<u8>,
    },
    /// Somebody is doing it.
    InProgress,
    /// The key came before with another request.
    Other,
}

/// Takes the key for a request, until `expires`. A key that has expired is taken anew.
///
/// # Errors
/// [`Error::Query`].
pub async fn claim(
    db: &impl ConnectionTrait,
    request: &Request<'_>,
    now: DateTime<Utc>,
    expires: DateTime<Utc>,
) -> Result<Claim, Error> {
    Entity::delete_many()
        .filter(of(request))
        .filter(Column::ExpiresAt.lte(now))
        .exec(db)
        .await
        .map_err(while_doing("forgetting an idempotency key"))?;
    let row = Model {
        caller: request.caller.to_owned(),
        key: request.key.to_owned(),
        request_hash: request.hash.to_owned(),
        task_id: None,
        status: None,
        response: None,
        created_at: now,
        expires_at: expires,
    };
    let made = Entity::insert(ActiveModel::from(row).reset_all())
        .on_conflict_do_nothing_on([Column::Caller, Column::Key])
        .exec_without_returning(db)
        .await
        .map_err(while_doing("keeping an idempotency key"))?;
    if matches!(made, TryInsertResult::Inserted(1)) {
        return Ok(Claim::New);
    }
    let found = Entity::find()
        .filter(of(request))
        .one(db)
        .await
        .map_err(while_doing("looking for an idempotency key"))?;
    Ok(match found {
        // It was given up between the two statements; its client tries again.
        None => Claim::InProgress,
        Some(row) if row.request_hash != request.hash => Claim::Other,
        Some(row) => match (row.status, row.response) {
            (Some(status), Some(response)) => Claim::Done {
                status: u16::try_from(status).unwrap_or(500),
                response,
            },
            _ => Claim::InProgress,
        },
    })
}

/// Keeps the response to a request.
///
/// # Errors
/// [`Error::Query`].
pub async fn finish(
    db: &impl ConnectionTrait,
    request: &Request<'_>,
    task_id: Option<&str>,
    status: u16,
    response: Vec<u8>,
) -> Result<(), Error> {
    let status = i16::try_from(status).ok();
    Entity::update_many()
        .col_expr(Column::TaskId, Expr::value(task_id))
        .col_expr(Column::Status, Expr::value(status))
        .col_expr(Column::Response, Expr::value(Some(response)))
        .filter(of(request))
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("keeping a response"))
}

/// Gives a key up: what was asked was not done.
///
/// # Errors
/// [`Error::Query`].
pub async fn give_up(db: &impl ConnectionTrait, request: &Request<'_>) -> Result<(), Error> {
    Entity::delete_many()
        .filter(of(request))
        .filter(Column::Status.is_null())
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("giving up an idempotency key"))
}

/// Forgets the keys that have expired, and tells how many.
///
/// # Errors
/// [`Error::Query`].
pub async fn prune(db: &impl ConnectionTrait, now: DateTime<Utc>) -> Result<u64, Error> {
    let pruned = Entity::delete_many()
        .filter(Column::ExpiresAt.lte(now))
        .exec(db)
        .await
        .map_err(while_doing("forgetting idempotency keys"))?;
    Ok(pruned.rows_affected)
}

fn of(request: &Request<'_>) -> Condition {
    Condition::all()
        .add(Column::Caller.eq(request.caller))
        .add(Column::Key.eq(request.key))
}
