//! Accounts: who may log in. Addresses are kept in lower case, so that one address is one account.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use crate::{
    entity::user::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// Somebody who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: Uuid,
    /// In lower case.
    pub email: String,
    /// As argon2 writes it.
    pub password_hash: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// It may log in.
    pub enabled: bool,
    /// Its password was set by somebody else.
    pub must_change_password: bool,
    /// Wrong passwords since the last right one.
    pub failed_logins: i32,
    /// Nobody may log in before.
    pub locked_until: Option<DateTime<Utc>>,
    /// When it last logged in.
    pub last_login_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Grows with every change of role, password or `enabled`.
    pub version: i64,
}

impl From<Model> for Account {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            email: row.email,
            password_hash: row.password_hash,
            role: row.role,
            enabled: row.enabled,
            must_change_password: row.must_change_password,
            failed_logins: row.failed_logins,
            locked_until: row.locked_until,
            last_login_at: row.last_login_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version,
        }
    }
}

/// An account to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// In any case.
    pub email: String,
    /// As argon2 writes it.
    pub password_hash: String,
    /// `viewer`, `operator` or `admin`.
    pub role: String,
    /// The password was chosen by somebody else.
    pub must_change_password: bool,
}

/// Makes an account. `None`: there is one of this address.
///
/// # Errors
/// [`Error::Query`].
pub async fn create(
    db: &impl ConnectionTrait,
    new: NewAccount,
    now: DateTime<Utc>,
) -> Result<Option<Account>, Error> {
    let row = Model {
        id: Uuid::new_v4(),
        email: new.email.to_lowercase(),
        password_hash: new.password_hash,
        role: new.role,
        enabled: true,
        must_change_password: new.must_change_password,
        failed_logins: 0,
        locked_until: None,
        password_changed_at: Some(now),
        last_login_at: None,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let made = Entity::insert(ActiveModel::from(row.clone()).reset_all())
        .on_conflict_do_nothing_on([Column::Email])
        .exec_without_returning(db)
        .await
        .map_err(while_doing("making an account"))?;
    Ok(match made {
        sea_orm::TryInsertResult::Inserted(1) => Some(row.into()),
        _ => None,
    })
}

/// The account of an address.
///
/// # Errors
/// [`Error::Query`].
pub async fn by_email(db: &impl ConnectionTrait, email: &str) -> Result<Option<Account>, Error> {
    let found = Entity::find()
        .filter(Column::Email.eq(email.to_lowercase()))
        .one(db)
        .await
        .map_err(while_doing("looking for an account"))?;
    Ok(found.map(Account::from))
}

/// The account of an id.
///
/// # Errors
/// [`Error::Query`].
pub async fn by_id(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<Account>, Error> {
    let found = Entity::find_by_id(id)
        .one(db)
        .await
        .map_err(while_doing("looking for an account"))?;
    Ok(found.map(Account::from))
}

/// Accounts by address, those behind `after`, at most `limit`.
///
/// # Errors
/// [`Error::Query`].
pub async fn list(
    db: &impl ConnectionTrait,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Account>, Error> {
    let mut query = Entity::find();
    if let Some(after) = after {
        query = query.filter(Column::Email.gt(after));
    }
    let rows = query
        .order_by_asc(Column::Email)
        .limit(limit)
        .all(db)
        .await
        .map_err(while_doing("listing accounts"))?;
    Ok(rows.into_iter().map(Account::from).collect())
}

/// How many accounts there are.
///
/// # Errors
/// [`Error::Query`].
pub async fn count(db: &impl ConnectionTrait) -> Result<u64, Error> {
    Entity::find()
        .count(db)
        .await
        .map_err(while_doing("counting accounts"))
}

/// How many may log in with this role.
///
/// # Errors
/// [`Error::Query`].
pub async fn count_enabled(db: &impl ConnectionTrait, role: &str) -> Result<u64, Error> {
    Entity::find()
        .filter(Column::Role.eq(role))
        .filter(Column::Enabled.eq(true))
        .count(db)
        .await
        .map_err(while_doing("counting accounts"))
}

/// What is to be changed of an account.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// Another role.
    pub role: Option<String>,
    /// Whether it may log in.
    pub enabled: Option<bool>,
    /// Another password, as argon2 writes it, and whether somebody else chose it.
    pub password: Option<(String, bool)>,
}

/// Changes an account. With `version` only while it has that one. False: it has another, or there is no such account.
///
/// # Errors
/// [`Error::Query`].
pub async fn change(
    db: &impl ConnectionTrait,
    id: Uuid,
    version: Option<i64>,
    change: AccountChange,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let mut row = ActiveModel {
        updated_at: Set(now),
        ..Default::default()
    };
    if let Some(role) = change.role {
        row.role = Set(role);
    }
    if let Some(enabled) = change.enabled {
        row.enabled = Set(enabled);
    }
    if let Some((hash, must_change)) = change.password {
        row.password_hash = Set(hash);
        row.must_change_password = Set(must_change);
        row.password_changed_at = Set(Some(now));
        row.failed_logins = Set(0);
        row.locked_until = Set(None);
    }
    let mut update = Entity::update_many()
        .set(row)
        .col_expr(Column::Version, Expr::col(Column::Version).add(1))
        .filter(Column::Id.eq(id));
    if let Some(version) = version {
        update = update.filter(Column::Version.eq(version));
    }
    let changed = update
        .exec(db)
        .await
        .map_err(while_doing("changing an account"))?;
    Ok(changed.rows_affected == 1)
}

/// Deletes an account with its sessions and keys. False: there was none.
///
/// # Errors
/// [`Error::Query`].
pub async fn delete(db: &impl ConnectionTrait, id: Uuid) -> Result<bool, Error> {
    let deleted = Entity::delete_by_id(id)
        .exec(db)
        .await
        .map_err(while_doing("deleting an account"))?;
    Ok(deleted.rows_affected == 1)
}

/// Counts a wrong password; nobody may log in before `locked_until`, if that is given.
///
/// # Errors
/// [`Error::Query`].
pub async fn note_failure(
    db: &impl ConnectionTrait,
    id: Uuid,
    locked_until: Option<DateTime<Utc>>,
) -> Result<(), Error> {
    let mut update = Entity::update_many()
        .col_expr(Column::FailedLogins, Expr::col(Column::FailedLogins).add(1))
        .filter(Column::Id.eq(id));
    if let Some(until) = locked_until {
        update = update.col_expr(Column::LockedUntil, Expr::value(Some(until)));
    }
    update
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("counting a wrong password"))
}

/// Notes a login: wrong passwords before it count no longer.
///
/// # Errors
/// [`Error::Query`].
pub async fn note_login(
    db: &impl ConnectionTrait,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let row = ActiveModel {
        failed_logins: Set(0),
        locked_until: Set(None),
        last_login_at: Set(Some(now)),
        ..Default::default()
    };
    Entity::update_many()
        .set(row)
        .filter(Column::Id.eq(id))
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("noting a login"))
}
