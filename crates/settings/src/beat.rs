//! The periodic scheduler.

use std::{path::PathBuf, time::Duration};

use crate::{
    lookup::Lookup,
    parse,
    variable::{
        BEAT_CRON_STARTING_DEADLINE, BEAT_ENABLE_REMOTE_CONTROL, BEAT_LEASE, BEAT_STORE,
        SCHEDULE_FILE,
    },
};

/// What a beat does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BeatSettings {
    /// `LOVAGE_BEAT_LEASE`: how long the leader may be silent before another takes the lead; default 6 s.
    pub lease: Duration,
    /// `LOVAGE_BEAT_STORE`: where schedules are kept; default auto.
    pub store: BeatStore,
    /// `LOVAGE_SCHEDULE_FILE`; None: `schedule.toml` of the current folder, if there is one.
    pub schedule_file: Option<PathBuf>,
    /// `CELERY_BEAT_CRON_STARTING_DEADLINE`, seconds: a crontab's run that is later is left out; None: it runs however late.
    pub cron_starting_deadline: Option<Duration>,
    /// `CELERY_BEAT_ENABLE_REMOTE_CONTROL`: answer pings; default false.
    pub remote_control: bool,
}

/// Where schedules are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum BeatStore {
    /// In the database, where `DATABASE_URL` is set and its tables are there; else at the broker.
    #[default]
    Auto,
    /// In the database; a beat waits for its tables.
    Database,
    /// At the broker.
    Broker,
}

impl BeatStore {
    /// As the setting names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Database => "database",
            Self::Broker => "broker",
        }
    }
}

impl Default for BeatSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(6),
            store: BeatStore::Auto,
            schedule_file: None,
            cron_starting_deadline: None,
            remote_control: false,
        }
    }
}

impl BeatSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&BEAT_LEASE, &mut settings.lease, lease);
        lookup.set(&BEAT_STORE, &mut settings.store, store);
        lookup.set(&SCHEDULE_FILE, &mut settings.schedule_file, |text| {
            Ok(Some(PathBuf::from(text)))
        });
        lookup.set(
            &BEAT_CRON_STARTING_DEADLINE,
            &mut settings.cron_starting_deadline,
            parse::optional_seconds,
        );
        lookup.set(
            &BEAT_ENABLE_REMOTE_CONTROL,
            &mut settings.remote_control,
            parse::boolean,
        );
        settings
    }
}

/// The leader gives a sign of life each second.
const SHORTEST_LEASE: Duration = Duration::from_secs(3);

fn lease(text: &str) -> Result<Duration, parse::Problem> {
    match parse::duration(text)? {
        lease if lease >= SHORTEST_LEASE => Ok(lease),
        _ => Err(parse::Problem::new(
            "is too short",
            "a duration of at least 3s: the leader gives a sign of life each second",
        )),
    }
}

fn store(text: &str) -> Result<BeatStore, parse::Problem> {
    let known = [BeatStore::Auto, BeatStore::Database, BeatStore::Broker];
    known
        .into_iter()
        .find(|store| store.name() == text)
        .ok_or_else(|| parse::Problem::new("is no such place", "auto, database or broker"))
}

#[cfg(test)]
mod tests {
    use std::{path::PathBuf, time::Duration};

    use crate::{BeatSettings, BeatStore, Settings};

    #[test]
    fn beat_is_set_by_celery_s_names_and_ours() {
        let read = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            Settings::from_lookup(
                pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            )
        };
        let (settings, warnings) = read(&[
            ("LOVAGE_BEAT_LEASE", "12s"),
            ("LOVAGE_BEAT_STORE", "database"),
            ("LOVAGE_SCHEDULE_FILE", "/etc/lovage/schedule.toml"),
            ("CELERY_BEAT_CRON_STARTING_DEADLINE", "300"),
            ("CELERY_BEAT_ENABLE_REMOTE_CONTROL", "yes"),
        ])
        .unwrap();
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(
            settings.beat,
            BeatSettings {
                lease: Duration::from_secs(12),
                store: BeatStore::Database,
                schedule_file: Some(PathBuf::from("/etc/lovage/schedule.toml")),
                cron_starting_deadline: Some(Duration::from_secs(300)),
                remote_control: true,
            }
        );
        let wrong = read(&[("LOVAGE_BEAT_STORE", "redis")]).unwrap_err();
        assert!(
            wrong.to_string().contains("auto, database or broker"),
            "{wrong}"
        );
        for short in ["1s", "12"] {
            let faults = read(&[("LOVAGE_BEAT_LEASE", short)])
                .unwrap_err()
                .to_string();
            assert!(faults.contains("LOVAGE_BEAT_LEASE"), "{faults}");
        }
    }
}
