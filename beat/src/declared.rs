//! Schedules that follow a declaration: a file, or the program itself. At the start what is kept is made to agree with it.

use std::{collections::HashSet, path::Path};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    check::{Defaults, DraftFaults},
    draft::Draft,
    due::Progress,
    roster::Roster,
    store::{self, Definition, Save, Source, Store, StoreError, Stored},
};

/// Why declarations cannot be taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeclaredError {
    /// The file cannot be read.
    #[error("{path} cannot be read")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not of the form that it should have.
    #[error("{path} is no schedule file: {problem}")]
    Form {
        /// The file.
        path: String,
        /// What is wrong, and where.
        problem: String,
    },
    /// Schedules that cannot be.
    #[error("{}", listed(.0))]
    Faults(Vec<DraftFaults>),
    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn listed(faults: &[DraftFaults]) -> String {
    let texts: Vec<String> = faults.iter().map(ToString::to_string).collect();
    texts.join("\n")
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    schedule: Vec<Draft>,
}

/// Reads a schedule file: TOML with one `[[schedule]]` for each.
///
/// # Errors
/// It cannot be read, or is not of that form.
pub fn read_file(path: &Path) -> Result<Vec<Draft>, DeclaredError> {
    let shown = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| DeclaredError::File {
        path: shown.clone(),
        source,
    })?;
    parse_file(&text).map_err(|problem| DeclaredError::Form {
        path: shown,
        problem,
    })
}

/// Reads the text of a schedule file.
///
/// # Errors
/// What is wrong, and where.
pub fn parse_file(text: &str) -> Result<Vec<Draft>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
    Ok(file.schedule)
}

/// Holds drafts to what they must be, and to their tasks.
///
/// # Errors
/// Every fault of every draft; a name that is there twice is one.
pub fn check_all(
    drafts: &[Draft],
    roster: &Roster,
    defaults: &Defaults,
) -> Result<(), DeclaredError> {
    let mut names = HashSet::new();
    let mut all = Vec::new();
    for draft in drafts {
        let mut faults = DraftFaults::of(draft);
        if !names.insert(&draft.name) {
            faults.push("name", "is there twice; right would be a name of its own");
        }
        for checked in [draft.timing(defaults).map(drop), roster.check(draft)] {
            faults
                .faults
                .extend(checked.err().into_iter().flat_map(|more| more.faults));
        }
        all.extend(faults.unless_any(()).err());
    }
    if all.is_empty() {
        Ok(())
    } else {
        Err(DeclaredError::Faults(all))
    }
}

/// What became of the schedules of a source.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// So many are new.
    pub added: usize,
    /// So many were changed.
    pub changed: usize,
    /// So many are no more.
    pub removed: usize,
}

/// Makes what is kept of a source agree with its declarations: new ones are added, changed ones changed, others removed. What
/// has become of a schedule stays, unless it runs at other times from now on. Several that do this at once agree.
///
/// # Errors
/// A name is taken by a schedule of another source; the store does not answer.
pub async fn agree(
    store: &dyn Store,
    source: Source,
    drafts: &[Draft],
    defaults: &Defaults,
    now: DateTime<Utc>,
) -> Result<Agreed, DeclaredError> {
    let mut agreed = Agreed::default();
    let names: HashSet<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    let kept = store::some(store, |stored| {
        stored.definition.source == source || names.contains(stored.definition.draft.name.as_str())
    });
    let kept = kept.await?;
    let mut taken = Vec::new();
    for draft in drafts {
        let before = kept
            .iter()
            .find(|stored| stored.definition.draft.name == draft.name);
        match before {
            Some(other) if other.definition.source != source => {
                let mut faults = DraftFaults::of(draft);
                faults.push(
                    "name",
                    format!(
                        "is taken by a schedule of source {}; right would be another name, or removing that one",
                        other.definition.source
                    ),
                );
                taken.push(faults);
            }
            Some(before) => {
                let kept = &before.definition.draft;
                // When the platform's own chores are done is up to people, once they are there.
                let wanted = match source {
                    Source::Builtin => kept.clone().sending_as(draft),
                    _ => draft.clone(),
                };
                if *kept != wanted {
                    let save = changed(before, wanted, defaults, now)?;
                    store.save(&save).await?;
                    agreed.changed += 1;
                }
            }
            None => {
                let save = added(source, draft.clone(), defaults, now)?;
                store.save(&save).await?;
                agreed.added += 1;
            }
        }
    }
    if !taken.is_empty() {
        return Err(DeclaredError::Faults(taken));
    }
    for stored in &kept {
        let name = &stored.definition.draft.name;
        if stored.definition.source == source
            && !names.contains(name.as_str())
            && store.remove(name).await?
        {
            agreed.removed += 1;
        }
    }
    Ok(agreed)
}

/// A schedule that is new.
///
/// # Errors
/// The draft is none that can run.
pub fn added(
    source: Source,
    draft: Draft,
    defaults: &Defaults,
    now: DateTime<Utc>,
) -> Result<Save, DeclaredError> {
    let timing = draft
        .timing(defaults)
        .map_err(|faults| DeclaredError::Faults(vec![faults]))?;
    Ok(Save {
        progress: Some(Progress::new(&timing.schedule, now)),
        version: None,
        definition: Definition {
            id: Uuid::new_v4(),
            source,
            paused: false,
            draft,
        },
    })
}

/// A schedule with another draft. One that runs at other times from now on does not make up for what was due before.
///
/// # Errors
/// The draft is none that can run.
pub fn changed(
    before: &Stored,
    draft: Draft,
    defaults: &Defaults,
    now: DateTime<Utc>,
) -> Result<Save, DeclaredError> {
    let timing = draft
        .timing(defaults)
        .map_err(|faults| DeclaredError::Faults(vec![faults]))?;
    let same = before.definition.draft.same_times(&draft);
    let progress = (!same).then(|| before.progress.resumed(&timing.schedule, now));
    Ok(Save {
        progress,
        version: Some(before.version),
        definition: Definition {
            draft,
            ..before.definition.clone()
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lovage_broker::MemoryBroker;

    use super::*;
    use crate::{may_become, may_go, store::BrokerStore};

    const FILE: &str = r#"
        [[schedule]]
        name = "nightly"
        task = "reports.build"
        crontab = "30 2 * * mon-fri"
        timezone = "Europe/Zurich"
        kwargs = { kind = "daily" }
        expires = "6h"
        missed = "all"
        unchecked = true

        [[schedule]]
        name = "often"
        task = "t.add"
        every = "5m"
        args = [1, 2]
        unchecked = true
    "#;

    #[test]
    fn a_file_says_what_is_wrong_and_where() {
        let drafts = parse_file(FILE).unwrap();
        assert_eq!(drafts.len(), 2);
        check_all(&drafts, &Roster::default(), &Defaults::default()).unwrap();
        let check = |from: &str, to: &str, words: &str| {
            let text = FILE.replace(from, to);
            assert_ne!(text, FILE);
            let error = match parse_file(&text) {
                Err(problem) => problem,
                Ok(drafts) => check_all(&drafts, &Roster::default(), &Defaults::default())
                    .unwrap_err()
                    .to_string(),
            };
            assert!(error.contains(words), "{words}: {error}");
        };
        check("every = \"5m\"", "every = 300", "unit");
        check("every = \"5m\"", "evry = \"5m\"", "evry");
        check("every = \"5m\"", "", "one of crontab, every, solar and at");
        check(
            "every = \"5m\"",
            "every = \"5m\"\nat = \"2026-01-01T00:00:00Z\"",
            "every and at",
        );
        check("30 2 * * mon-fri", "30 2 * * 7", "day_of_week");
        check("Europe/Zurich", "Europe/Zuerich", "timezone");
        check("\"all\"", "\"some\"", "missed");
        check("name = \"often\"", "name = \"nightly\"", "twice");
        check("unchecked = true", "", "--force");
    }

    #[tokio::test]
    async fn the_times_of_the_platforms_own_are_peoples() {
        let store = BrokerStore::new(Arc::new(MemoryBroker::new()));
        let defaults = Defaults::default();
        let now = DateTime::from_timestamp(1_795_000_000, 0).unwrap();
        let mut own = Draft::new("chore", "celery.backend_cleanup");
        own.crontab = Some("0 4 * * *".to_owned());
        own.unchecked = true;
        let agree = async |own: &Draft| {
            agree(
                &store,
                Source::Builtin,
                std::slice::from_ref(own),
                &defaults,
                now,
            )
            .await
        };
        assert_eq!(agree(&own).await.unwrap().added, 1);
        let before = store.stored("chore").await.unwrap().unwrap();
        let mut edited = own.clone();
        edited.crontab = Some("30 1 * * *".to_owned());
        may_become(&before, &edited).unwrap();
        let save = changed(&before, edited.clone(), &defaults, now).unwrap();
        store.save(&save).await.unwrap().unwrap();
        assert_eq!(agree(&own).await.unwrap(), Agreed::default(), "it stays so");
        own.description = Some("of the next version".to_owned());
        assert_eq!(agree(&own).await.unwrap().changed, 1);
        let after = store.stored("chore").await.unwrap().unwrap();
        let draft = &after.definition.draft;
        assert_eq!(draft.crontab.as_deref(), Some("30 1 * * *"));
        assert_eq!(draft.description.as_deref(), Some("of the next version"));

        let mut other = edited.clone();
        other.task = "mine".to_owned();
        let refused = may_become(&after, &other).unwrap_err().to_string();
        assert!(refused.contains("only its times"), "{refused}");
        let refused = may_go(&after).unwrap_err().to_string();
        assert!(refused.contains("the platform itself"), "{refused}");
    }

    #[tokio::test]
    async fn what_is_kept_agrees_with_the_file() {
        let broker = MemoryBroker::new();
        let store = BrokerStore::new(Arc::new(broker));
        let defaults = Defaults::default();
        let at = |minute: i64| DateTime::from_timestamp(1_795_000_000 + minute * 60, 0).unwrap();
        let drafts = parse_file(FILE).unwrap();
        let agree = async |drafts: &[Draft], minute: i64| {
            agree(&store, Source::File, drafts, &defaults, at(minute)).await
        };
        let first = agree(&drafts, 0).await.unwrap();
        assert_eq!((first.added, first.changed, first.removed), (2, 0, 0));
        assert_eq!(agree(&drafts, 1).await.unwrap(), Agreed::default());

        let mut other = drafts.clone();
        other[0].kwargs.insert("kind".to_owned(), "weekly".into());
        other[1].every = Some(crate::WithUnit(std::time::Duration::from_secs(60)));
        let before = store.stored("often").await.unwrap().unwrap();
        assert_eq!(agree(&other, 2).await.unwrap().changed, 2);
        let nightly = store.stored("nightly").await.unwrap().unwrap();
        assert_eq!(nightly.progress.decided, at(0), "its times are the same");
        let often = store.stored("often").await.unwrap().unwrap();
        assert_eq!(often.progress.decided, at(2), "it begins anew");
        assert_eq!(often.definition.id, before.definition.id);

        assert_eq!(agree(&other[..1], 3).await.unwrap().removed, 1);
        assert_eq!(store.stored("often").await.unwrap(), None);

        // What somebody made by hand is not overwritten.
        let by_hand = added(Source::Database, drafts[1].clone(), &defaults, at(4)).unwrap();
        store.save(&by_hand).await.unwrap().unwrap();
        let error = agree(&other, 5).await.unwrap_err().to_string();
        assert!(
            error.contains("often") && error.contains("source database"),
            "{error}"
        );
    }
}
