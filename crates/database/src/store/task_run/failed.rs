//! Task runs that failed for good within a time.

use chrono::{DateTime, Utc};
use lovage_protocol::State;
use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, Order, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::TaskRun;
use crate::{
    entity::task_run::{Column, Entity},
    error::{Error, while_doing},
};

/// What failed.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Failures {
    /// So many in all.
    pub total: u64,
    /// Some of them, the last first.
    pub last: Vec<TaskRun>,
}

/// The task runs that ended as FAILURE after `since` and not after `until`, the last `most` of them by name.
///
/// # Errors
/// [`Error::Query`].
pub async fn failed(
    database: &impl ConnectionTrait,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
    most: u64,
) -> Result<Failures, Error> {
    let within = Condition::all()
        .add(Column::State.eq(State::Failure.as_str()))
        .add(Column::StateAt.gt(since))
        .add(Column::StateAt.lte(until));
    let total = Entity::find()
        .filter(within.clone())
        .count(database)
        .await
        .map_err(while_doing("counting what failed"))?;
    let last = Entity::find()
        .filter(within)
        .order_by(Column::StateAt, Order::Desc)
        .order_by(Column::TaskId, Order::Desc)
        .limit(most)
        .all(database)
        .await
        .map_err(while_doing("reading what failed"))?;
    Ok(Failures {
        total,
        last: last.into_iter().map(TaskRun::from).collect(),
    })
}
