//! The mails there are, and what each tells.

use chrono::{DateTime, Utc};
use minijinja::value::Serde;
use serde::Serialize;

/// A mail before it is written in some language.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Template {
    /// To somebody who has an account from now on.
    Welcome(Welcome),
    /// To somebody who has forgotten a password.
    Reset(Reset),
    /// To somebody whose password was changed.
    PasswordChanged(PasswordChanged),
    /// To operators: tasks failed for good.
    TasksFailed(TasksFailed),
}

/// See [`Template::Welcome`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Welcome {
    /// How the person is addressed.
    pub name: String,
    /// Where a password is chosen, or the page to sign in at.
    pub url: String,
    /// The address to sign in with.
    pub email: String,
}

/// See [`Template::Reset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reset {
    /// How the person is addressed.
    pub name: String,
    /// Where a new password is chosen, once.
    pub url: String,
    /// How long the link is good, in minutes.
    pub minutes: u32,
}

/// See [`Template::PasswordChanged`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PasswordChanged {
    /// How the person is addressed.
    pub name: String,
    /// When.
    #[serde(serialize_with = "as_text")]
    pub at: DateTime<Utc>,
    /// Where one goes who has not done it.
    pub url: String,
}

/// See [`Template::TasksFailed`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TasksFailed {
    /// So many in all.
    pub total: u64,
    /// Since when; a moment that a mail before this one may have told of.
    #[serde(serialize_with = "as_text")]
    pub since: DateTime<Utc>,
    /// Some of them, the last first.
    pub tasks: Vec<FailedTask>,
    /// How many of them are not among `tasks`.
    pub more: u64,
}

/// One task that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FailedTask {
    /// Its name.
    pub name: String,
    /// Its id.
    pub id: String,
    /// What it raised, in one line.
    pub exception: String,
    /// When.
    #[serde(serialize_with = "as_text")]
    pub at: DateTime<Utc>,
}

impl Template {
    /// Its name, as it is remembered with a mail.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Welcome(_) => "welcome",
            Self::Reset(_) => "reset",
            Self::PasswordChanged(_) => "password_changed",
            Self::TasksFailed(_) => TASKS_FAILED,
        }
    }

    pub(crate) fn values(&self) -> minijinja::Value {
        match self {
            Self::Welcome(values) => minijinja::Value::from(Serde(values)),
            Self::Reset(values) => minijinja::Value::from(Serde(values)),
            Self::PasswordChanged(values) => minijinja::Value::from(Serde(values)),
            Self::TasksFailed(values) => minijinja::Value::from(Serde(values)),
        }
    }
}

/// The name of [`Template::TasksFailed`].
pub(crate) const TASKS_FAILED: &str = "tasks_failed";

/// The same in both languages, and plain to everybody.
fn as_text<S: serde::Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&at.format("%Y-%m-%d %H:%M UTC"))
}
