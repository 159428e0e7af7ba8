//! The audit log: who changed what. Nothing in it is ever changed; it is pruned by age.

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::Value;

use crate::{
    entity::audit_log::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// A change to be noted.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Deed {
    /// `user`, `key`, `cli` or `nobody`.
    pub actor_kind: String,
    /// Which.
    pub actor_id: Option<String>,
    /// What people call it.
    pub actor_name: Option<String>,
    /// What was done, such as `queue.purge`.
    pub action: String,
    /// What kind of thing it was done to.
    pub target_kind: Option<String>,
    /// Which.
    pub target_id: Option<String>,
    /// What else is worth knowing; no secrets.
    pub detail: Option<Value>,
    /// Where the request came from.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

/// A change that was noted.
#[derive(Debug, Clone, PartialEq)]
pub struct Noted {
    /// Grows from one to the next.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// What.
    pub deed: Deed,
}

impl From<Model> for Noted {
    fn from(row: Model) -> Self {
        Self {
            id: row.id,
            at: row.at,
            deed: Deed {
                actor_kind: row.actor_kind,
                actor_id: row.actor_id,
                actor_name: row.actor_name,
                action: row.action,
                target_kind: row.target_kind,
                target_id: row.target_id,
                detail: row.detail,
                address: row.address,
                request_id: row.request_id,
            },
        }
    }
}

/// Notes a change.
///
/// # Errors
/// [`Error::Query`].
pub async fn note(db: &impl ConnectionTrait, deed: Deed, now: DateTime<Utc>) -> Result<(), Error> {
    let row = ActiveModel {
        id: NotSet,
        at: Set(now),
        actor_kind: Set(deed.actor_kind),
        actor_id: Set(deed.actor_id),
        actor_name: Set(deed.actor_name),
        action: Set(deed.action),
        target_kind: Set(deed.target_kind),
        target_id: Set(deed.target_id.as_deref().map(without_nul)),
        detail: Set(deed.detail.map(json_without_nul)),
        address: Set(deed.address),
        request_id: Set(deed.request_id),
    };
    Entity::insert(row)
        .exec_without_returning(db)
        .await
        .map(drop)
        .map_err(while_doing("writing the audit log"))
}

/// PostgreSQL has no text with a NUL in it.
fn without_nul(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn json_without_nul(json: Value) -> Value {
    match json {
        Value::String(text) => Value::String(without_nul(&text)),
        Value::Array(items) => items.into_iter().map(json_without_nul).collect(),
        Value::Object(object) => object
            .into_iter()
            .map(|(name, value)| (without_nul(&name), json_without_nul(value)))
            .collect(),
        other => other,
    }
}

/// Which changes are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Those before this one.
    pub before: Option<i64>,
    /// Those of this action.
    pub action: Option<String>,
    /// Those by this actor.
    pub actor: Option<String>,
    /// Those done to this.
    pub target: Option<String>,
}

/// Changes, the latest first, at most `limit`.
///
/// # Errors
/// [`Error::Query`].
pub async fn list(
    db: &impl ConnectionTrait,
    wanted: &Wanted,
    limit: u64,
) -> Result<Vec<Noted>, Error> {
    let mut query = Entity::find();
    if let Some(before) = wanted.before {
        query = query.filter(Column::Id.lt(before));
    }
    for (column, value) in [
        (Column::Action, &wanted.action),
        (Column::ActorId, &wanted.actor),
        (Column::TargetId, &wanted.target),
    ] {
        if let Some(value) = value {
            query = query.filter(column.eq(value.as_str()));
        }
    }
    let rows = query
        .order_by_desc(Column::Id)
        .limit(limit)
        .all(db)
        .await
        .map_err(while_doing("reading the audit log"))?;
    Ok(rows.into_iter().map(Noted::from).collect())
}
