//! Whether all is well.

use poem_openapi::{Enum, Object};

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum Condition {
    /// All is well.
    Ok,
    /// It works, but something is not as it should be.
    Degraded,
    /// It does not work.
    Failing,
}

/// Whether the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct Alive {
    /// `ok`, or there would be no answer.
    pub(crate) status: Condition,
    /// The version of this program.
    pub(crate) version: String,
}

/// Whether requests can be answered.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct Readiness {
    /// The worst of its parts.
    pub(crate) status: Condition,
    /// What is needed, one by one.
    pub(crate) parts: Vec<Part>,
}

/// One thing that is needed.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "HealthPart")]
pub(crate) struct Part {
    /// What it is: `broker`, `database`, `queues`.
    pub(crate) name: String,
    /// How it is.
    pub(crate) status: Condition,
    /// What is wrong, and what would put it right; null when nothing is.
    pub(crate) detail: Option<String>,
}
