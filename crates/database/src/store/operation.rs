//! `operation`: what is done to all tasks that match, a page at a time, so that it goes on wherever it was interrupted.

use std::{fmt, str::FromStr};

use chrono::{DateTime, Utc};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, Order, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    entity::operation::{ActiveModel, Column, Entity, Model},
    error::{Error, while_doing},
};

/// So many of a page at most.
const MOST: u64 = 500;

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationState {
    /// It is being done, or waits for who does.
    Running,
    /// All that matched were looked at.
    Done,
    /// Somebody called it off; what was done is done.
    Cancelled,
    /// It cannot go on; what was done is done.
    Failed,
}

impl OperationState {
    const ALL: [Self; 4] = [Self::Running, Self::Done, Self::Cancelled, Self::Failed];

    /// As the column has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OperationState {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| Error::Corrupt {
            what: "the state of an operation",
            value: text.to_owned(),
            expected: "running, done, cancelled or failed",
        })
    }
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct NewOperation {
    /// What is done to each.
    pub action: String,
    /// Which; who made it knows how it is written.
    pub filter: Value,
    /// Who began it.
    pub user: Uuid,
    /// With which key.
    pub key: Option<Uuid>,
    /// How many match at this moment.
    pub matched: i64,
}

/// What was done so far.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// What is done.
    pub what: NewOperation,
    /// How far it is.
    pub state: OperationState,
    /// Where it goes on.
    pub cursor: Option<String>,
    /// So many were looked at.
    pub looked_at: i64,
    /// To so many it was done.
    pub acted: i64,
    /// Of so many it was refused.
    pub refused: i64,
    /// Some of those, with reasons, as who did it wrote them.
    pub refusals: Value,
    /// Why it failed.
    pub problem: Option<String>,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// When it last went on.
    pub updated_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Model> for Operation {
    type Error = Error;

    fn try_from(row: Model) -> Result<Self, Error> {
        Ok(Self {
            id: row.id,
            state: row.state.parse()?,
            what: NewOperation {
                action: row.action,
                filter: row.filter,
                user: row.user_id,
                key: row.key_id,
                matched: row.matched,
            },
            cursor: row.cursor,
            looked_at: row.looked_at,
            acted: row.acted,
            refused: row.refused,
            refusals: row.refusals,
            problem: row.problem,
            created_at: row.created_at,
            updated_at: row.updated_at,
            finished_at: row.finished_at,
        })
    }
}

/// One page of it, done.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Where the next page begins; `None`: this was the last.
    pub cursor: Option<String>,
    /// So many were looked at.
    pub looked_at: i64,
    /// To so many it was done.
    pub acted: i64,
    /// Of so many it was refused.
    pub refused: i64,
    /// All refusals that are told, those of the pages before too.
    pub refusals: Value,
}

/// Begins one.
///
/// # Errors
/// [`Error::Query`].
pub async fn begin(
    database: &impl ConnectionTrait,
    what: NewOperation,
    now: DateTime<Utc>,
) -> Result<Operation, Error> {
    let row = Model {
        id: Uuid::new_v4(),
        action: what.action,
        filter: what.filter,
        user_id: what.user,
        key_id: what.key,
        state: OperationState::Running.as_str().to_owned(),
        cursor: None,
        matched: what.matched,
        looked_at: 0,
        acted: 0,
        refused: 0,
        refusals: Value::Array(Vec::new()),
        problem: None,
        created_at: now,
        updated_at: now,
        finished_at: None,
    };
    Entity::insert(ActiveModel::from(row.clone()).reset_all())
        .exec_without_returning(database)
        .await
        .map_err(while_doing("beginning an operation"))?;
    row.try_into()
}

/// The one that has waited longest of those that are not finished.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn next(database: &impl ConnectionTrait) -> Result<Option<Operation>, Error> {
    let row = Entity::find()
        .filter(Column::State.eq(OperationState::Running.as_str()))
        .order_by(Column::UpdatedAt, Order::Asc)
        .one(database)
        .await
        .map_err(while_doing("looking for an operation"))?;
    row.map(Operation::try_from).transpose()
}

/// Writes down a page that was done. False: it was called off meanwhile, and the page is not to be done.
///
/// # Errors
/// [`Error::Query`].
pub async fn advance(
    database: &impl ConnectionTrait,
    id: Uuid,
    step: Step,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let ended = step.cursor.is_none();
    let state = if ended {
        OperationState::Done
    } else {
        OperationState::Running
    };
    let more = |column: Column, by: i64| Expr::col(column).add(by);
    let done = Entity::update_many()
        .col_expr(Column::State, Expr::value(state.as_str()))
        .col_expr(Column::Cursor, Expr::value(step.cursor))
        .col_expr(Column::LookedAt, more(Column::LookedAt, step.looked_at))
        .col_expr(Column::Acted, more(Column::Acted, step.acted))
        .col_expr(Column::Refused, more(Column::Refused, step.refused))
        .col_expr(Column::Refusals, Expr::value(step.refusals))
        .col_expr(Column::UpdatedAt, Expr::value(now))
        .col_expr(Column::FinishedAt, Expr::value(ended.then_some(now)))
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(OperationState::Running.as_str()))
        .exec(database)
        .await
        .map_err(while_doing("writing down how far an operation is"))?;
    Ok(done.rows_affected == 1)
}

/// Ends one before its time, because somebody says so or, with a `problem`, because it cannot go on. False: it had ended.
///
/// # Errors
/// [`Error::Query`].
pub async fn end(
    database: &impl ConnectionTrait,
    id: Uuid,
    problem: Option<&str>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let state = match problem {
        Some(_) => OperationState::Failed,
        None => OperationState::Cancelled,
    };
    let change = ActiveModel {
        state: Set(state.as_str().to_owned()),
        problem: Set(problem.map(|text| text.replace('\0', "\u{fffd}"))),
        updated_at: Set(now),
        finished_at: Set(Some(now)),
        ..Default::default()
    };
    let done = Entity::update_many()
        .set(change)
        .filter(Column::Id.eq(id))
        .filter(Column::State.eq(OperationState::Running.as_str()))
        .exec(database)
        .await
        .map_err(while_doing("ending an operation"))?;
    Ok(done.rows_affected == 1)
}

/// One of them.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn find(database: &impl ConnectionTrait, id: Uuid) -> Result<Option<Operation>, Error> {
    let row = Entity::find_by_id(id)
        .one(database)
        .await
        .map_err(while_doing("reading an operation"))?;
    row.map(Operation::try_from).transpose()
}

/// The newest ones of these actions, up to 500; of one key alone when that is given.
///
/// # Errors
/// [`Error::Query`], [`Error::Corrupt`].
pub async fn list(
    database: &impl ConnectionTrait,
    actions: &[&str],
    key: Option<Uuid>,
    most: u64,
) -> Result<Vec<Operation>, Error> {
    let mut wanted = Entity::find().filter(Column::Action.is_in(actions.iter().copied()));
    if let Some(key) = key {
        wanted = wanted.filter(Column::KeyId.eq(key));
    }
    let rows = wanted
        .order_by(Column::CreatedAt, Order::Desc)
        .order_by(Column::Id, Order::Desc)
        .limit(Ord::min(most, MOST))
        .all(database)
        .await
        .map_err(while_doing("reading operations"))?;
    rows.into_iter().map(Operation::try_from).collect()
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use serde_json::json;
    use uuid::Uuid;

    use super::{
        NewOperation, Operation, OperationState, Step, advance, begin, end, find, list, next,
    };
    use crate::{Database, testing::on_both};

    async fn new(database: &Database) -> Operation {
        let what = NewOperation {
            action: "retry".to_owned(),
            filter: json!({"tasks": ["t"]}),
            user: Uuid::new_v4(),
            key: Some(Uuid::new_v4()),
            matched: 7,
        };
        begin(database.writer(), what, Utc::now()).await.unwrap()
    }

    fn step(cursor: Option<&str>) -> Step {
        Step {
            cursor: cursor.map(str::to_owned),
            looked_at: 3,
            acted: 2,
            refused: 1,
            refusals: json!(["why"]),
        }
    }

    on_both! {
        async fn an_operation_goes_on_page_by_page_until_it_is_done(database: Database) {
            let writer = database.writer();
            let begun = new(&database).await;
            assert_eq!(next(writer).await.unwrap().unwrap().what, begun.what);
            assert!(advance(writer, begun.id, step(Some("c")), Utc::now()).await.unwrap());
            let now = find(writer, begun.id).await.unwrap().unwrap();
            assert_eq!((now.state, now.cursor.as_deref()), (OperationState::Running, Some("c")));
            assert!(advance(writer, begun.id, step(None), Utc::now()).await.unwrap());
            let done = find(writer, begun.id).await.unwrap().unwrap();
            assert_eq!((done.state, done.looked_at, done.acted, done.refused), (OperationState::Done, 6, 4, 2));
            assert_eq!(done.refusals, json!(["why"]));
            assert!(done.finished_at.is_some());
            assert!(next(writer).await.unwrap().is_none());
            assert!(!advance(writer, begun.id, step(None), Utc::now()).await.unwrap(), "it is over");
        }

        async fn what_was_called_off_does_not_go_on(database: Database) {
            let writer = database.writer();
            let (one, other) = (new(&database).await, new(&database).await);
            assert!(end(writer, one.id, None, Utc::now()).await.unwrap());
            assert!(!advance(writer, one.id, step(Some("c")), Utc::now()).await.unwrap());
            assert!(end(writer, other.id, Some("the key was withdrawn"), Utc::now()).await.unwrap());
            assert!(!end(writer, other.id, None, Utc::now()).await.unwrap());
            let states: Vec<_> = list(writer, &["retry"], None, 10).await.unwrap().iter().map(|one| one.state).collect();
            assert_eq!(states, [OperationState::Failed, OperationState::Cancelled]);
            assert!(list(writer, &["replay"], None, 10).await.unwrap().is_empty());
            let of_key = list(writer, &["replay", "retry"], one.what.key, 10).await.unwrap();
            assert_eq!(of_key.iter().map(|one| one.id).collect::<Vec<_>>(), [one.id]);
        }
    }
}
