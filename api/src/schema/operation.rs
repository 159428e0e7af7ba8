//! What is done to all tasks that match.

use chrono::{DateTime, Utc};
use lovage_database::store::operation::{Operation, OperationState};
use poem_openapi::{Enum, Object, types::ParseFromJSON};
use serde_json::Value;
use uuid::Uuid;

use crate::schema::run::RunFilter;

/// What is done to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum Action {
    /// Those that have not begun will not; what runs goes on.
    Revoke,
    /// The same, and what runs is ended.
    Terminate,
    /// Those that have ended are sent once more, as new tasks.
    Retry,
}

impl Action {
    const ALL: [Self; 3] = [Self::Revoke, Self::Terminate, Self::Retry];

    /// As they are stored.
    pub(crate) const STORED: [&str; 3] = [
        Self::Revoke.as_str(),
        Self::Terminate.as_str(),
        Self::Retry.as_str(),
    ];

    /// As it is stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Terminate => "terminate",
            Self::Retry => "retry",
        }
    }

    /// The one that was stored so.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It goes on.
    Running,
    /// All that matched were looked at.
    Done,
    /// Somebody called it off; what was done is done.
    Cancelled,
    /// It cannot go on; what was done is done.
    Failed,
}

impl From<OperationState> for Stage {
    fn from(state: OperationState) -> Self {
        match state {
            OperationState::Running => Self::Running,
            OperationState::Done => Self::Done,
            OperationState::Cancelled => Self::Cancelled,
            OperationState::Failed => Self::Failed,
        }
    }
}

/// Something to be done to all task runs that match.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct OperationWish {
    /// What.
    pub(crate) action: Action,
    /// Which. What comes later is not among them. To be retried are those alone that failed, unless `states` says otherwise.
    pub(crate) filter: RunFilter,
}

/// One that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct Refusal {
    /// The Celery id of the task.
    pub(crate) task_id: String,
    /// Why, for programs.
    pub(crate) code: String,
    /// Why, for people.
    pub(crate) detail: String,
}

/// What is done to all task runs that match, and how far it is.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Operation")]
pub(crate) struct OperationShown {
    /// Its id.
    pub(crate) id: Uuid,
    /// What is done.
    pub(crate) action: Action,
    /// To which.
    pub(crate) filter: RunFilter,
    /// How far it is.
    pub(crate) state: Stage,
    /// How many matched when it began.
    pub(crate) matched: i64,
    /// How many of them were looked at.
    pub(crate) looked_at: i64,
    /// To how many it was done.
    pub(crate) acted: i64,
    /// How many were refused.
    pub(crate) refused: i64,
    /// The first of those.
    pub(crate) refusals: Vec<Refusal>,
    /// Why it failed.
    pub(crate) problem: Option<String>,
    /// When it was begun.
    pub(crate) created_at: DateTime<Utc>,
    /// When it last went on.
    pub(crate) updated_at: DateTime<Utc>,
    /// When it ended.
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

/// Operations, the newest first.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct OperationList {
    /// They.
    pub(crate) operations: Vec<OperationShown>,
}

/// What was stored by another version, and cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the operation {0} was stored by another version: its {1} cannot be read")]
pub(crate) struct Unreadable(pub(super) Uuid, pub(super) &'static str);

/// The filter of a stored operation.
pub(crate) fn filter_of(operation: &Operation) -> Result<RunFilter, Unreadable> {
    RunFilter::parse_from_json(Some(operation.what.filter.clone()))
        .map_err(|_| Unreadable(operation.id, "filter"))
}

/// The refusals that a stored operation tells.
pub(crate) fn refusals_of(operation: &Operation) -> Result<Vec<Refusal>, Unreadable> {
    let parsed: Result<Vec<Refusal>, _> =
        ParseFromJSON::parse_from_json(Some(operation.refusals.clone()));
    parsed.map_err(|_| Unreadable(operation.id, "refusals"))
}

/// The action of a stored operation.
pub(crate) fn action_of(operation: &Operation) -> Result<Action, Unreadable> {
    Action::stored(&operation.what.action).ok_or(Unreadable(operation.id, "action"))
}

impl TryFrom<Operation> for OperationShown {
    type Error = Unreadable;

    fn try_from(operation: Operation) -> Result<Self, Unreadable> {
        Ok(Self {
            id: operation.id,
            action: action_of(&operation)?,
            filter: filter_of(&operation)?,
            state: operation.state.into(),
            matched: operation.what.matched,
            looked_at: operation.looked_at,
            acted: operation.acted,
            refused: operation.refused,
            refusals: refusals_of(&operation)?,
            problem: operation.problem,
            created_at: operation.created_at,
            updated_at: operation.updated_at,
            finished_at: operation.finished_at,
        })
    }
}

/// As it is stored.
pub(crate) fn stored(value: &impl poem_openapi::types::ToJSON) -> Value {
    value.to_json().unwrap_or_default()
}
