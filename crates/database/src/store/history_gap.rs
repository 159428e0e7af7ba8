//! Times of which history is not whole.

use chrono::{DateTime, Utc};
use sea_orm::{ActiveValue::Set, ConnectionTrait, EntityTrait, QueryOrder, QuerySelect};

use crate::{
    entity::history_gap::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// A time of which history is not whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// What was not heard: `journal` or `events`.
    pub source: String,
    /// The last that is known from before it.
    pub began_at: DateTime<Utc>,
    /// The first that is known from after it.
    pub ended_at: DateTime<Utc>,
    /// So many records are missing; 0: nobody knows.
    pub lost: i64,
    /// One line for people.
    pub reason: String,
}

impl From<Model> for Gap {
    fn from(row: Model) -> Self {
        Self {
            source: row.source,
            began_at: row.began_at,
            ended_at: row.ended_at,
            lost: row.lost,
            reason: row.reason.unwrap_or_default(),
        }
    }
}

impl Gap {
    /// Keeps it.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn record(&self, transaction: &impl ConnectionTrait) -> Result<(), Error> {
        let row = ActiveModel {
            source: Set(self.source.clone()),
            began_at: Set(self.began_at),
            ended_at: Set(self.ended_at),
            lost: Set(self.lost),
            reason: Set(Some(self.reason.clone())),
            ..ActiveModel::default()
        };
        Entity::insert(row)
            .exec_without_returning(transaction)
            .await
            .map(drop)
            .map_err(while_doing("recording a gap of history"))
    }
}

/// The newest gaps, up to so many, the newest first.
///
/// # Errors
/// [`Error::Query`].
pub async fn newest(database: &impl ConnectionTrait, most: u64) -> Result<Vec<Gap>, Error> {
    let found = Entity::find()
        .order_by_desc(Column::EndedAt)
        .order_by_desc(Column::Id)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading the gaps of history"))?;
    Ok(found.into_iter().map(Gap::from).collect())
}
