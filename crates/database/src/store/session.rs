//! Sessions: what a login is kept alive with. Each token is good for one use; all that came from one login are a family, and
//! a token that is used twice ends the family, because one of the two who used it stole it.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait,
    QueryFilter, sea_query::IntoCondition,
};
use uuid::Uuid;

use crate::{
    entity::refresh_token::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// A refresh token to be kept.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Whose it is.
    pub user: Uuid,
    /// The login that it comes from.
    pub family: Uuid,
    /// What is kept of it.
    pub hash: Vec<u8>,
    /// When it is no longer good.
    pub expires_at: DateTime<Utc>,
    /// What the client called itself.
    pub user_agent: Option<String>,
    /// Where it came from.
    pub address: Option<String>,
}

/// What became of the use of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Use {
    /// It was good, and is used up.
    Good {
        /// Whose it is.
        user: Uuid,
        /// The login that it comes from.
        family: Uuid,
    },
    /// It was used before.
    Again {
        /// Whose it is.
        user: Uuid,
        /// The login that it comes from.
        family: Uuid,
    },
    /// There is none, it has expired, or its session has ended.
    No,
}

/// Keeps a token.
///
/// # Errors
/// [`Error::Query`].
pub async fn issue(
    db: &impl ConnectionTrait,
    token: NewToken,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let row = Model {
        id: Uuid::new_v4(),
        user_id: token.user,
        family: token.family,
        token_hash: token.hash,
        issued_at: now,
        expires_at: token.expires_at,
        used_at: None,
        revoked_at: None,
        user_agent: token.user_agent,
        address: token.address,
    };
    Entity::insert(ActiveModel::from(row).reset_all())
        .exec_without_returning(db)
        .await
        .map(drop)
        .map_err(while_doing("keeping a refresh token"))
}

/// Uses a token up. Of several who do so at once one is told that it was good.
///
/// # Errors
/// [`Error::Query`].
pub async fn use_up(
    db: &impl ConnectionTrait,
    hash: &[u8],
    now: DateTime<Utc>,
) -> Result<Use, Error> {
    let used = ActiveModel {
        used_at: Set(Some(now)),
        ..Default::default()
    };
    let used = Entity::update_many()
        .set(used)
        .filter(Column::TokenHash.eq(hash))
        .filter(Column::UsedAt.is_null())
        .filter(Column::RevokedAt.is_null())
        .filter(Column::ExpiresAt.gt(now))
        .exec(db)
        .await
        .map_err(while_doing("using a refresh token"))?;
    let found = Entity::find()
        .filter(Column::TokenHash.eq(hash))
        .one(db)
        .await
        .map_err(while_doing("looking for a refresh token"))?;
    Ok(match found {
        None => Use::No,
        Some(row) if used.rows_affected == 1 => Use::Good {
            user: row.user_id,
            family: row.family,
        },
        Some(row) if row.used_at.is_some() => Use::Again {
            user: row.user_id,
            family: row.family,
        },
        Some(_) => Use::No,
    })
}

/// Ends a session.
///
/// # Errors
/// [`Error::Query`].
pub async fn end(db: &impl ConnectionTrait, family: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    end_where(db, Column::Family.eq(family), now).await
}

/// Ends all sessions of a user.
///
/// # Errors
/// [`Error::Query`].
pub async fn end_all(
    db: &impl ConnectionTrait,
    user: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    end_where(db, Column::UserId.eq(user), now).await
}

async fn end_where(
    db: &impl ConnectionTrait,
    whose: impl IntoCondition,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let ended = ActiveModel {
        revoked_at: Set(Some(now)),
        ..Default::default()
    };
    Entity::update_many()
        .set(ended)
        .filter(whose)
        .filter(Column::RevokedAt.is_null())
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("ending a session"))
}

/// Whether a session goes on: it has not been ended.
///
/// # Errors
/// [`Error::Query`].
pub async fn goes_on(db: &impl ConnectionTrait, family: Uuid) -> Result<bool, Error> {
    let live = Entity::find()
        .filter(Column::Family.eq(family))
        .filter(Column::RevokedAt.is_null())
        .count(db)
        .await
        .map_err(while_doing("looking for a session"))?;
    Ok(live > 0)
}
