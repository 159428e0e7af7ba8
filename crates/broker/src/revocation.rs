//! Revoking: what is not to be run, kept where every worker of ours finds it.
//!
//! A revocation is durable for [`Revoke::life`]: a worker that starts later learns of it from [`Revocations::recorded`].
//! Whoever listens to [`EXCHANGE`] hears that there is something new to learn; nothing else is said there, so a
//! broadcast that was missed is made good by the next look.

use std::time::Duration;

use async_trait::async_trait;
use lovage_protocol::{TaskId, Value};

use crate::Error;

/// The fanout exchange on which workers hear that something was revoked; the payload says nothing.
pub const EXCHANGE: &str = "lovage.revoked";

/// How long a wish to terminate is kept: a worker that does not hear of it within this time has ended the task anyway.
pub(crate) const TERMINATION_LIFE: Duration = Duration::from_secs(60);

/// What is not to be run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// One task.
    Task(TaskId),
    /// Every task that carries this stamp.
    Stamp {
        /// The name of the stamp.
        header: String,
        /// Its value, or one of its values when it has a list of them.
        value: Value,
    },
}

/// A wish that tasks are not run.
#[derive(Debug, Clone)]
pub struct Revoke {
    /// What is not to be run.
    pub targets: Vec<Target>,
    /// The signal for those that run already, such as `SIGTERM`; `None`: they may end.
    pub terminate: Option<String>,
    /// How long this is remembered.
    pub life: Duration,
    /// How many targets are remembered at once; beyond it the oldest are forgotten.
    pub most: usize,
}

/// What has been revoked, as it was read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recorded {
    /// The broker's unix time in seconds at which it was read.
    pub now: f64,
    /// The targets, the oldest first, each with the unix time at which it was revoked last.
    pub revoked: Vec<(Target, f64)>,
    /// Those that are to be ended though they run, of the last minute, each with its signal and time.
    pub terminated: Vec<(Target, String, f64)>,
}

/// Which of the delayed messages are meant; gets one as it will be delivered.
pub type Choice<'a> = &'a (dyn Fn(&[u8]) -> bool + Send + Sync);

/// The revocations of a broker.
#[async_trait]
pub trait Revocations: Send + Sync {
    /// Records revocations and tells everybody who listens, in one step.
    async fn revoke(&self, revoke: &Revoke) -> Result<(), Error>;

    /// What was revoked after `since`, a unix time in seconds by the broker's clock.
    async fn recorded(&self, since: f64) -> Result<Recorded, Error>;

    /// Whether a target was revoked no longer ago than `life`.
    async fn is_revoked(&self, target: &Target, life: Duration) -> Result<bool, Error>;

    /// Puts the delayed messages of these tasks at the head of their queues now, and tells how many they were.
    async fn recall(&self, ids: &[TaskId]) -> Result<u64, Error>;

    /// As [`Revocations::recall`], for the delayed messages that contain one of the texts and are then chosen. Looks at
    /// all of them, some hundreds at a time.
    async fn recall_where(&self, texts: &[String], choice: Choice<'_>) -> Result<u64, Error>;
}

impl Target {
    /// The text under which it is kept.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Task(id) => format!("id:{id}"),
            Self::Stamp { header, value } => {
                let pair = Value::List(vec![Value::Str(header.clone()), value.clone()]);
                format!("stamp:{}", pair.to_json())
            }
        }
    }

    /// `None` for a text of a version that is not ours.
    pub(crate) fn from_text(text: &str) -> Option<Self> {
        if let Some(id) = text.strip_prefix("id:") {
            return Some(Self::Task(TaskId::from(id)));
        }
        let pair = Value::from_json(text.strip_prefix("stamp:")?.as_bytes()).ok()?;
        match pair.as_list()? {
            [Value::Str(header), value] => Some(Self::Stamp {
                header: header.clone(),
                value: value.clone(),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read_as_they_were_written() {
        let stamp = |value: Value| Target::Stamp {
            header: "monitoring \"id\"".to_owned(),
            value,
        };
        for target in [
            Target::Task(TaskId::from("0-1 2")),
            stamp("text".into()),
            stamp(7.into()),
            stamp(Value::Null),
        ] {
            assert_eq!(Target::from_text(&target.to_text()), Some(target));
        }
        for other in ["", "0-1", "stamp:", "stamp:[1,2]", "group:1"] {
            assert_eq!(Target::from_text(other), None, "{other}");
        }
    }
}
