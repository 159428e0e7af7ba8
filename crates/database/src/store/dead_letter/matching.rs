//! What is done with all that match: page by page, the oldest first, each page in a transaction of whoever does it.

use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect,
};

use super::{DeadLetter, Fate, Filter, MOST, resolve};
use crate::{
    entity::dead_letter::{Column, Entity},
    error::{Error, while_doing},
    store::outbox,
};

/// What to do with a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// See [`replay`](super::replay).
    Replay,
    /// See [`discard`](super::discard).
    Discard,
}

impl Act {
    /// Does it with a letter as it was read, in the caller's transaction. False: somebody else has changed it since, or decided
    /// about it, and nothing was done.
    ///
    /// # Errors
    /// [`Error::Query`].
    pub async fn on(
        self,
        transaction: &impl ConnectionTrait,
        letter: &DeadLetter,
        by: &str,
    ) -> Result<bool, Error> {
        let fate = match self {
            Self::Replay => Fate::Replayed,
            Self::Discard => Fate::Discarded,
        };
        let version = Some(letter.version);
        if !resolve(transaction, letter.id, version, fate, by).await? {
            return Ok(false);
        }
        if self == Self::Replay {
            outbox::enqueue(transaction, letter.outgoing()).await?;
        }
        Ok(true)
    }
}

/// The number of the letter that came last; 0 when there is none.
///
/// # Errors
/// [`Error::Query`].
pub async fn latest(database: &impl ConnectionTrait) -> Result<i64, Error> {
    let found: Option<i64> = Entity::find()
        .select_only()
        .column(Column::Id)
        .order_by(Column::Id, Order::Desc)
        .into_tuple()
        .one(database)
        .await
        .map_err(while_doing("reading the last dead letter"))?;
    Ok(found.unwrap_or(0))
}

/// Up to `limit` (500 at most) that match and wait, the oldest first, with numbers above `after` and no higher than `last`: what
/// dies once more meanwhile is not among them.
///
/// # Errors
/// [`Error::Query`].
pub async fn waiting(
    database: &impl ConnectionTrait,
    filter: &Filter,
    after: i64,
    last: i64,
    limit: u64,
) -> Result<Vec<DeadLetter>, Error> {
    let filter = Filter {
        fates: vec![Fate::Waiting],
        ..filter.clone()
    };
    Entity::find()
        .filter(filter.condition(database))
        .filter(Column::Id.gt(after))
        .filter(Column::Id.lte(last))
        .order_by(Column::Id, Order::Asc)
        .limit(limit.clamp(1, MOST))
        .all(database)
        .await
        .map_err(while_doing("reading dead letters"))?
        .into_iter()
        .map(DeadLetter::try_from)
        .collect()
}
