//! Tokens that are good for one use: a new password, a stream that a browser opens.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    entity::one_time_token::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// A token to be kept.
#[derive(Debug, Clone)]
pub struct NewOneTime {
    /// What it is good for; good for nothing else.
    pub purpose: String,
    /// Whose it is.
    pub user: Option<Uuid>,
    /// What is kept of it.
    pub hash: Vec<u8>,
    /// What goes along with it.
    pub detail: Option<Value>,
    /// When it is no longer good.
    pub expires_at: DateTime<Utc>,
}

/// A token that was used.
#[derive(Debug, Clone, PartialEq)]
pub struct Taken {
    /// Whose it was.
    pub user: Option<Uuid>,
    /// What went along with it.
    pub detail: Option<Value>,
}

/// Keeps a token.
///
/// # Errors
/// [`Error::Query`].
pub async fn issue(
    db: &impl ConnectionTrait,
    token: NewOneTime,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let row = Model {
        id: Uuid::new_v4(),
        purpose: token.purpose,
        user_id: token.user,
        token_hash: token.hash,
        detail: token.detail,
        issued_at: now,
        expires_at: token.expires_at,
        used_at: None,
    };
    Entity::insert(ActiveModel::from(row).reset_all())
        .exec_without_returning(db)
        .await
        .map(drop)
        .map_err(while_doing("keeping a single-use token"))
}

/// Uses a token. `None`: there is none, it is for something else, has expired, or was used.
///
/// # Errors
/// [`Error::Query`].
pub async fn take(
    db: &impl ConnectionTrait,
    purpose: &str,
    hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Option<Taken>, Error> {
    let used = ActiveModel {
        used_at: Set(Some(now)),
        ..Default::default()
    };
    let used = Entity::update_many()
        .set(used)
        .filter(Column::TokenHash.eq(hash))
        .filter(Column::Purpose.eq(purpose))
        .filter(Column::UsedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .exec(db)
        .await
        .map_err(while_doing("using a single-use token"))?;
    if used.rows_affected != 1 {
        return Ok(None);
    }
    let found = Entity::find()
        .filter(Column::TokenHash.eq(hash))
        .one(db)
        .await
        .map_err(while_doing("looking for a single-use token"))?;
    Ok(found.map(|row| Taken {
        user: row.user_id,
        detail: row.detail,
    }))
}

/// Makes all of a user's tokens for one purpose useless.
///
/// # Errors
/// [`Error::Query`].
pub async fn withdraw(
    db: &impl ConnectionTrait,
    purpose: &str,
    user: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let used = ActiveModel {
        used_at: Set(Some(now)),
        ..Default::default()
    };
    Entity::update_many()
        .set(used)
        .filter(Column::UserId.eq(user))
        .filter(Column::Purpose.eq(purpose))
        .filter(Column::UsedAt.is_null())
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("withdrawing single-use tokens"))
}
