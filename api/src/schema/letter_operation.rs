//! What is done to all dead letters that match.

use chrono::{DateTime, Utc};
use lovage_database::store::{dead_letter::Act, operation::Operation};
use poem_openapi::{Enum, Object, types::ParseFromJSON};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::schema::{
    dead_letter::LetterFilter,
    operation::{Stage, Unreadable, stored},
};

/// What is done to each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum LetterAction {
    /// It is sent again, to the end of the queue that it came from.
    Replay,
    /// It is given up.
    Discard,
}

impl LetterAction {
    const ALL: [Self; 2] = [Self::Replay, Self::Discard];

    /// As they are stored.
    pub(crate) const STORED: [&str; 2] = [Self::Replay.as_str(), Self::Discard.as_str()];

    /// As it is stored.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Replay => "replay",
            Self::Discard => "discard",
        }
    }

    /// The one that was stored so.
    pub(crate) fn stored(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.as_str() == text)
    }

    /// As the database does it.
    pub(crate) fn act(self) -> Act {
        match self {
            Self::Replay => Act::Replay,
            Self::Discard => Act::Discard,
        }
    }
}

/// Something to be done to all dead letters that match.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct LetterOperationWish {
    /// What.
    pub(crate) action: LetterAction,
    /// Which of those that wait. What comes later is not among them.
    pub(crate) filter: LetterFilter,
}

/// Which letters, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Matching {
    /// What must hold.
    pub(crate) filter: LetterFilter,
    /// The letter that came last when it began.
    pub(crate) last: i64,
}

impl Matching {
    /// As the database keeps it.
    pub(crate) fn to_stored(&self) -> Value {
        json!({"letters": stored(&self.filter), "last": self.last})
    }

    /// Of a stored operation.
    ///
    /// # Errors
    /// When another version wrote it.
    pub(crate) fn stored(operation: &Operation) -> Result<Self, Unreadable> {
        let unreadable = || Unreadable(operation.id, "filter");
        let stored = &operation.what.filter;
        let filter = LetterFilter::parse_from_json(stored.get("letters").cloned());
        Ok(Self {
            filter: filter.map_err(|_| unreadable())?,
            last: stored["last"].as_i64().ok_or_else(unreadable)?,
        })
    }
}

/// What is done to all dead letters that match, and how far it is.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "LetterOperation")]
pub(crate) struct LetterOperationShown {
    /// Its id.
    pub(crate) id: Uuid,
    /// What is done.
    pub(crate) action: LetterAction,
    /// To which.
    pub(crate) filter: LetterFilter,
    /// How far it is.
    pub(crate) state: Stage,
    /// How many matched when it began.
    pub(crate) matched: i64,
    /// How many of them were looked at.
    pub(crate) looked_at: i64,
    /// To how many it was done. Those that somebody else decided about meanwhile, or that a key is not for, are not among them.
    pub(crate) acted: i64,
    /// Why it failed.
    pub(crate) problem: Option<String>,
    /// When it was begun.
    pub(crate) created_at: DateTime<Utc>,
    /// When it last went on.
    pub(crate) updated_at: DateTime<Utc>,
    /// When it ended.
    pub(crate) finished_at: Option<DateTime<Utc>>,
}

/// Operations on dead letters, the newest first.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct LetterOperationList {
    /// They.
    pub(crate) operations: Vec<LetterOperationShown>,
}

impl TryFrom<Operation> for LetterOperationShown {
    type Error = Unreadable;

    fn try_from(operation: Operation) -> Result<Self, Unreadable> {
        let action = LetterAction::stored(&operation.what.action);
        Ok(Self {
            id: operation.id,
            action: action.ok_or(Unreadable(operation.id, "action"))?,
            filter: Matching::stored(&operation)?.filter,
            state: operation.state.into(),
            matched: operation.what.matched,
            looked_at: operation.looked_at,
            acted: operation.acted,
            problem: operation.problem,
            created_at: operation.created_at,
            updated_at: operation.updated_at,
            finished_at: operation.finished_at,
        })
    }
}
