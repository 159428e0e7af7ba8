//! What is seen of a server by whoever looks after it, and no task ever needs.

use std::time::Duration;

/// How a server keeps what it was given, and what time it has.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ServerCondition {
    /// What it does when its memory is full; `noeviction` also where its memory has no limit.
    pub eviction: String,
    /// Memory in use, in bytes.
    pub used_memory: u64,
    /// The most that it may use; `None` where nothing is set.
    pub memory_limit: Option<u64>,
    /// It writes each command to a file (`appendonly`).
    pub append_only: bool,
    /// When that file reaches the disk (`appendfsync`); `None`: we are not allowed to ask.
    pub fsync: Option<String>,
    /// When it takes snapshots (`save`), empty for never; `None`: we are not allowed to ask.
    pub snapshots: Option<String>,
    /// What it could not write to its disk the last time: `snapshot` or `append-only file`.
    pub unwritten: Vec<&'static str>,
    /// By how many seconds its clock is ahead of ours, the way there and back taken for equal.
    pub ahead_seconds: f64,
}

impl ServerCondition {
    /// What is lost when the server's process or machine dies.
    pub fn durability(&self) -> Durability {
        match (self.append_only, self.fsync.as_deref(), &self.snapshots) {
            (true, Some("no"), _) => Durability::WhenTheSystemLikes,
            (true, Some("always"), _) => Durability::Everything,
            (true, _, _) => Durability::ButASecond,
            (false, _, Some(points)) if points.trim().is_empty() => Durability::Nothing,
            (false, _, Some(_)) => Durability::Snapshots,
            (false, _, None) => Durability::Unknown,
        }
    }
}

/// What of its data a server has on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// What it has answered to.
    Everything,
    /// The same, but for the last second.
    ButASecond,
    /// What the operating system has written so far, some thirty seconds behind.
    WhenTheSystemLikes,
    /// The last snapshot.
    Snapshots,
    /// Nothing at all.
    Nothing,
    /// Not each command; whether it takes snapshots may not be asked.
    Unknown,
}

/// A key that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundKey {
    /// Its name.
    pub name: String,
    /// What it holds, as `TYPE` tells it: `string`, `list` and so on.
    pub kind: String,
    /// How long it still lives; `None`: until somebody takes it away.
    pub left: Option<Duration>,
}

/// How far a walk over all keys has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Walked {
    /// So many keys were looked at, some perhaps twice.
    pub seen: u64,
    /// There were more, and the bound was reached.
    pub cut_short: bool,
}

/// Messages that are held for longer than the visibility time-out allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldTooLong {
    /// How many.
    pub count: u64,
    /// For how long the oldest has been held, as far as its holder has said.
    pub oldest: Duration,
}

#[cfg(test)]
mod tests {
    use super::{Durability, ServerCondition};

    fn durability(append_only: bool, fsync: Option<&str>, snapshots: Option<&str>) -> Durability {
        let condition = ServerCondition {
            eviction: "noeviction".to_owned(),
            used_memory: 0,
            memory_limit: None,
            append_only,
            fsync: fsync.map(str::to_owned),
            snapshots: snapshots.map(str::to_owned),
            unwritten: Vec::new(),
            ahead_seconds: 0.0,
        };
        condition.durability()
    }

    #[test]
    fn what_is_on_disk_follows_from_how_it_is_written() {
        let always = durability(true, Some("always"), Some(""));
        assert_eq!(always, Durability::Everything);
        let points = Some("3600 1");
        assert_eq!(
            durability(true, Some("everysec"), points),
            Durability::ButASecond
        );
        assert_eq!(durability(true, None, None), Durability::ButASecond);
        assert_eq!(
            durability(true, Some("no"), None),
            Durability::WhenTheSystemLikes
        );
        assert_eq!(
            durability(false, Some("always"), points),
            Durability::Snapshots
        );
        assert_eq!(
            durability(false, Some("always"), Some("")),
            Durability::Nothing
        );
        assert_eq!(durability(false, None, None), Durability::Unknown);
    }
}
