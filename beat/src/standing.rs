//! How a schedule that is kept stands.

use crate::{check::Defaults, due::Next, store::Stored};

/// How a schedule stands, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Standing {
    /// It runs.
    Active,
    /// Somebody has paused it.
    Paused,
    /// It is written down as not enabled.
    Disabled,
    /// It cannot run as it is written down.
    Refused,
    /// Nothing will ever be due.
    Ended,
}

impl Standing {
    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Paused => "paused",
            Self::Disabled => "disabled",
            Self::Refused => "refused",
            Self::Ended => "ended",
        }
    }
}

impl Stored {
    /// How it stands. Whether its task is known is not looked at.
    pub fn standing(&self, defaults: &Defaults) -> Standing {
        if self.definition.paused {
            Standing::Paused
        } else if !self.definition.draft.enabled {
            Standing::Disabled
        } else if self.definition.draft.timing(defaults).is_err() {
            Standing::Refused
        } else if self.next(defaults).is_none() {
            Standing::Ended
        } else {
            Standing::Active
        }
    }

    /// Its next run, if it runs.
    pub fn next(&self, defaults: &Defaults) -> Option<Next> {
        if !self.definition.runs() {
            return None;
        }
        let timing = self.definition.draft.timing(defaults).ok()?;
        timing.next(self.definition.id, &self.progress)
    }
}
