//! What a history is kept of, and how much is written for it while nobody reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    lookup::Lookup,
    parse::{self, Problem},
    variable::{HISTORY_REDACT, JOURNAL_BYTES, JOURNAL_LIFE},
};

/// The journal, and what of it is not for the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistorySettings {
    /// `LOVAGE_JOURNAL_BYTES`: so much is kept at the broker while no keeper reads it, then the oldest goes; default 64 MiB.
    pub journal_bytes: usize,
    /// `LOVAGE_JOURNAL_LIFE`: so long after the last keeper has gone workers write no more, and what is unread goes;
    /// default 1 h.
    pub journal_life: Duration,
    /// `LOVAGE_HISTORY_REDACT`: the fields that are hidden, by task.
    pub redact: Redact,
}

/// Fields of tasks that no history shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Redact {
    /// Of every task, under the name `*`.
    pub every: BTreeSet<String>,
    /// Of tasks by their exact name.
    pub tasks: BTreeMap<String, BTreeSet<String>>,
}

impl Redact {
    /// Whether nothing is hidden.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.every.is_empty() && self.tasks.is_empty()
    }
}

impl Default for HistorySettings {
    fn default() -> Self {
        Self {
            journal_bytes: 64 << 20,
            journal_life: Duration::from_secs(3600),
            redact: Redact::default(),
        }
    }
}

impl HistorySettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&JOURNAL_BYTES, &mut settings.journal_bytes, parse::size);
        lookup.set(&JOURNAL_LIFE, &mut settings.journal_life, life);
        lookup.set(&HISTORY_REDACT, &mut settings.redact, redact);
        settings
    }
}

/// A keeper says every few seconds that it is there.
const SHORTEST_LIFE: Duration = Duration::from_secs(30);

fn life(text: &str) -> Result<Duration, Problem> {
    let life = parse::duration(text)?;
    if life < SHORTEST_LIFE {
        return Err(Problem::new("is too short", "30s or more"));
    }
    Ok(life)
}

fn redact(text: &str) -> Result<Redact, Problem> {
    let expected = r#"a JSON object of task names and lists of fields, such as {"mail.send": ["password"], "*": ["token"]}"#;
    let mut tasks: BTreeMap<String, BTreeSet<String>> = serde_json::from_str(text)
        .map_err(|_| Problem::new("is no list of fields by task", expected))?;
    if tasks.values().flatten().any(String::is_empty) {
        return Err(Problem::new("has a field without a name", expected));
    }
    let every = tasks.remove("*").unwrap_or_default();
    Ok(Redact { every, tasks })
}

#[cfg(test)]
mod tests {
    use super::{life, redact};

    #[test]
    fn fields_are_named_by_task() {
        let rules = redact(r#"{"mail.send": ["password", "0"], "*": ["token"]}"#).unwrap();
        assert!(rules.every.contains("token"));
        assert_eq!(rules.tasks["mail.send"].len(), 2);
        assert!(redact("{}").unwrap().is_empty());
        for wrong in ["[]", r#"{"a": "b"}"#, r#"{"a": [1]}"#, r#"{"a": [""]}"#, ""] {
            assert!(redact(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_journal_lives_longer_than_its_keeper_is_silent() {
        assert!(life("30s").is_ok());
        assert!(life("29s").is_err());
    }
}
