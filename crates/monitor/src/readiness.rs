//! Whether a role can do its work, part by part.

use serde::{Deserialize, Serialize};

/// How something is. The worse is the greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Degraded,
    /// It does not work.
    Failing,
}

/// One thing that a role needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// What it is: `broker`, `database`, `lead`.
    pub name: String,
    /// How it is.
    pub status: Condition,
    /// What is wrong, or worth knowing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// A role as a whole: as its worst part is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// The worst of the parts.
    pub status: Condition,
    /// What was looked at.
    pub parts: Vec<Part>,
}

impl Part {
    /// One that is as it should be.
    pub fn good(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            status: Condition::Ok,
            detail: None,
        }
    }

    /// One that is not.
    pub fn bad(name: &str, status: Condition, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            status,
            detail: Some(why.into()),
        }
    }

    /// Adds what is worth knowing.
    #[must_use]
    pub fn telling(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }
}

impl Readiness {
    /// A role of these parts.
    pub fn of(parts: Vec<Part>) -> Self {
        let worst = parts.iter().map(|part| part.status).max();
        Self {
            status: worst.unwrap_or(Condition::Ok),
            parts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Condition, Part, Readiness};

    #[test]
    fn a_role_is_as_its_worst_part() {
        let role = |statuses: &[Condition]| {
            let parts = statuses.iter().map(|status| Part {
                name: "x".to_owned(),
                status: *status,
                detail: None,
            });
            Readiness::of(parts.collect()).status
        };
        assert_eq!(role(&[]), Condition::Ok);
        assert_eq!(
            role(&[Condition::Ok, Condition::Degraded]),
            Condition::Degraded
        );
        assert_eq!(
            role(&[Condition::Failing, Condition::Degraded, Condition::Ok]),
            Condition::Failing
        );
    }
}
