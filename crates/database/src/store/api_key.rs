//! API keys: what programs come with. The key itself is kept nowhere.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    entity::api_key::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// A key, without itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: Uuid,
    /// What people call it.
    pub name: String,
    /// What may be shown of it.
    pub prefix: String,
    /// What is kept of it.
    pub hmac: Vec<u8>,
    /// Whose it is.
    pub user: Option<Uuid>,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The queues that it is for; none: all.
    pub queues: Vec<String>,
    /// The tasks that it is for; none: all.
    pub tasks: Vec<String>,
    /// When it is no longer good.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to a few seconds.
    pub last_used_at: Option<DateTime<Utc>>,
    /// When it was withdrawn.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

impl TryFrom<Model> for ApiKey {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
            name: row.name,
            prefix: row.prefix,
            hmac: row.secret_hmac,
            user: row.user_id,
            scopes: texts("the scopes of an API key", &row.scopes)?,
            queues: texts("the queues of an API key", &row.queue_globs)?,
            tasks: texts("the tasks of an API key", &row.task_globs)?,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
            created_at: row.created_at,
        })
    }
}

fn texts(what: &'static str, json: &Value) -> Result<Vec<String>, Error> {
    serde_json::from_value(json.clone()).map_err(|_| Error::Corrupt {
        what,
        value: json.to_string(),
        expected: "a list of texts",
    })
}

/// A key to be kept.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// What people call it.
    pub name: String,
    /// What may be shown of it; no two are the same.
    pub prefix: String,
    /// What is kept of it.
    pub hmac: Vec<u8>,
    /// Whose it is.
    pub user: Uuid,
    /// What it may do.
    pub scopes: Vec<String>,
    /// The queues that it is for; none: all.
    pub queues: Vec<String>,
    /// The tasks that it is for; none: all.
    pub tasks: Vec<String>,
    /// When it is no longer good.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Keeps a key.
///
/// # Errors
/// [`Error::Query`].
pub async fn create(
    db: &impl ConnectionTrait,
    new: NewApiKey,
    now: DateTime<Utc>,
) -> Result<ApiKey, Error> {
    let row = Model {
        id: Uuid::new_v4(),
        name: new.name,
        prefix: new.prefix,
        secret_hmac: new.hmac,
        user_id: Some(new.user),
        scopes: json!(new.scopes),
        queue_globs: json!(new.queues),
        task_globs: json!(new.tasks),
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
        created_at: now,
        version: 1,
    };
    Entity::insert(ActiveModel::from(row.clone()).reset_all())
        .exec_without_returning(db)
        .await
        .map_err(while_doing("keeping an API key"))?;
    row.try_into()
}

/// The key of a prefix, whether it is still good or not.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn by_prefix(db: &impl ConnectionTrait, prefix: &str) -> Result<Option<ApiKey>, Error> {
    let found = Entity::find()
        .filter(Column::Prefix.eq(prefix))
        .one(db)
        .await
        .map_err(while_doing("looking for an API key"))?;
    found.map(ApiKey::try_from).transpose()
}

/// The key of an id, whether it is still good or not.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn by_id(db: &impl ConnectionTrait, id: Uuid) -> Result<Option<ApiKey>, Error> {
    let found = Entity::find_by_id(id)
        .one(db)
        .await
        .map_err(while_doing("looking for an API key"))?;
    found.map(ApiKey::try_from).transpose()
}

/// A user's keys, the newest first; without a user everybody's. At most `limit`, after the first `offset`.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn list(
    db: &impl ConnectionTrait,
    user: Option<Uuid>,
    offset: u64,
    limit: u64,
) -> Result<Vec<ApiKey>, Error> {
    let mut query = Entity::find();
    if let Some(user) = user {
        query = query.filter(Column::UserId.eq(user));
    }
    let rows = query
        .order_by_desc(Column::CreatedAt)
        .order_by_desc(Column::Id)
        .offset(offset)
        .limit(limit)
        .all(db)
        .await
        .map_err(while_doing("listing API keys"))?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

/// Withdraws a key; with a user only one of theirs. False: there is no such key that is still good.
///
/// # Errors
/// [`Error::Query`].
pub async fn revoke(
    db: &impl ConnectionTrait,
    id: Uuid,
    user: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let revoked = ActiveModel {
        revoked_at: Set(Some(now)),
        ..Default::default()
    };
    let mut update = Entity::update_many()
        .set(revoked)
        .filter(Column::Id.eq(id))
        .filter(Column::RevokedAt.is_null());
    if let Some(user) = user {
        update = update.filter(Column::UserId.eq(user));
    }
    let revoked = update
        .exec(db)
        .await
        .map_err(while_doing("withdrawing an API key"))?;
    Ok(revoked.rows_affected == 1)
}

/// Notes that these keys were used by then.
///
/// # Errors
/// [`Error::Query`].
pub async fn note_use(
    db: &impl ConnectionTrait,
    ids: &[Uuid],
    at: DateTime<Utc>,
) -> Result<(), Error> {
    Entity::update_many()
        .col_expr(Column::LastUsedAt, Expr::value(Some(at)))
        .filter(Column::Id.is_in(ids.iter().copied()))
        .exec(db)
        .await
        .map(drop)
        .map_err(while_doing("noting the use of API keys"))
}
