//! The database, and how long what is in it is kept.

use std::{path::PathBuf, time::Duration};

use crate::{
    DatabaseUrl,
    lookup::Lookup,
    parse::{self, Problem},
    variable::{
        DATABASE_POOL, DATABASE_SLOW, DATABASE_STATEMENT_TIMEOUT, DATABASE_TIMEOUT, DATABASE_URL,
        KEEP_AUDIT, KEEP_EVENTS, KEEP_MAIL, KEEP_MAX_EVENTS, KEEP_MAX_ROWS, KEEP_MAX_TASKS,
        KEEP_TASKS,
    },
};

/// The database and how to speak to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// `DATABASE_URL`; default `sqlite://data/lovage.db`.
    pub url: DatabaseUrl,
    /// `LOVAGE_DATABASE_POOL`: connections that one process opens at most; default 10.
    pub pool: u32,
    /// `LOVAGE_DATABASE_TIMEOUT`: how long connecting, waiting for a free connection, or for another writer's lock on a SQLite
    /// file may take; default 10 s.
    pub timeout: Duration,
    /// `LOVAGE_DATABASE_STATEMENT_TIMEOUT`: PostgreSQL ends a statement after so long; default 60 s.
    pub statement_timeout: Duration,
    /// `LOVAGE_DATABASE_SLOW`: a statement that takes longer is logged as a warning; default 1 s.
    pub slow: Duration,
    /// What is pruned, and when.
    pub retention: RetentionSettings,
}

/// How long rows are kept. `None` keeps them for ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// `LOVAGE_KEEP_TASKS`: task runs after their last change; default 30 days.
    pub tasks: Option<Duration>,
    /// `LOVAGE_KEEP_MAX_TASKS`: so many task runs at most, the oldest go first; default 1,000,000.
    pub max_tasks: Option<u64>,
    /// `LOVAGE_KEEP_EVENTS`: task events; default 7 days. PostgreSQL drops them by the day.
    pub events: Option<Duration>,
    /// `LOVAGE_KEEP_MAX_EVENTS`: so many task events at most; default 10,000,000. PostgreSQL drops them by the day.
    pub max_events: Option<u64>,
    /// `LOVAGE_KEEP_MAIL`: mails that were sent or given up; default 30 days.
    pub mail: Option<Duration>,
    /// `LOVAGE_KEEP_AUDIT`: the audit log; default 365 days.
    pub audit: Option<Duration>,
    /// `LOVAGE_KEEP_MAX_ROWS`: so many rows at most of each other table that grows; default 1,000,000.
    pub max_rows: Option<u64>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: DatabaseUrl::Sqlite(PathBuf::from("data/lovage.db")),
            pool: 10,
            timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(60),
            slow: Duration::from_secs(1),
            retention: RetentionSettings::default(),
        }
    }
}

impl Default for RetentionSettings {
    fn default() -> Self {
        Self {
            tasks: Some(DAY * 30),
            max_tasks: Some(1_000_000),
            events: Some(DAY * 7),
            max_events: Some(10_000_000),
            mail: Some(DAY * 30),
            audit: Some(DAY * 365),
            max_rows: Some(1_000_000),
        }
    }
}

impl DatabaseSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&DATABASE_URL, &mut settings.url, DatabaseUrl::of_setting);
        if let DatabaseUrl::Foreign { scheme } = &settings.url {
            let message = format!(
                "is of the kind {scheme}, in which Lovage keeps no tables: nothing but workers can start; \
                 sqlite:// or postgres:// would be right"
            );
            lookup.warn(&DATABASE_URL, message);
        }
        lookup.set(&DATABASE_POOL, &mut settings.pool, parse::positive_u32);
        lookup.set(
            &DATABASE_TIMEOUT,
            &mut settings.timeout,
            parse::positive_duration,
        );
        lookup.set(
            &DATABASE_STATEMENT_TIMEOUT,
            &mut settings.statement_timeout,
            parse::positive_duration,
        );
        lookup.set(&DATABASE_SLOW, &mut settings.slow, parse::positive_duration);
        settings.retention = RetentionSettings::read(lookup);
        settings
    }
}

impl RetentionSettings {
    fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&KEEP_TASKS, &mut settings.tasks, kept);
        lookup.set(&KEEP_MAX_TASKS, &mut settings.max_tasks, most);
        lookup.set(&KEEP_EVENTS, &mut settings.events, kept);
        lookup.set(&KEEP_MAX_EVENTS, &mut settings.max_events, most);
        lookup.set(&KEEP_MAIL, &mut settings.mail, kept);
        lookup.set(&KEEP_AUDIT, &mut settings.audit, kept);
        lookup.set(&KEEP_MAX_ROWS, &mut settings.max_rows, most);
        settings
    }
}

fn kept(text: &str) -> Result<Option<Duration>, Problem> {
    if text.eq_ignore_ascii_case("forever") {
        return Ok(None);
    }
    parse::positive_duration(text).map(Some).map_err(|wrong| {
        Problem::new(
            wrong.problem,
            "a duration with its unit, such as 30d, or forever",
        )
    })
}

fn most(text: &str) -> Result<Option<u64>, Problem> {
    if text.eq_ignore_ascii_case("unlimited") {
        return Ok(None);
    }
    match text.parse() {
        Ok(number) if number > 0 => Ok(Some(number)),
        _ => Err(Problem::new(
            "is not a whole number above 0",
            "a whole number, 1 or more, or unlimited",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::{DatabaseUrl, Settings};

    fn read(pairs: &[(&str, &str)]) -> Result<(Settings, Vec<String>), String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        match Settings::from_lookup(pairs) {
            Ok((settings, warnings)) => {
                Ok((settings, warnings.iter().map(ToString::to_string).collect()))
            }
            Err(faults) => Err(faults.to_string()),
        }
    }

    #[test]
    fn another_programs_database_is_a_warning() {
        let (settings, warnings) = read(&[("DATABASE_URL", "mysql://u:sesame@h/x")]).unwrap();
        assert!(matches!(settings.database.url, DatabaseUrl::Foreign { .. }));
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains("mysql") && !warnings[0].contains("sesame"));
    }

    #[test]
    fn what_is_kept_has_a_length_or_is_kept_for_ever() {
        let kept = |value| {
            let (settings, _) = read(&[("LOVAGE_KEEP_TASKS", value)])?;
            Ok::<_, String>(settings.database.retention.tasks)
        };
        assert_eq!(kept("36h"), Ok(Some(Duration::from_secs(36 * 3600))));
        assert_eq!(kept("forever"), Ok(None));
        for wrong in ["30", "0d", "never"] {
            assert!(kept(wrong).unwrap_err().contains("forever"), "{wrong}");
        }
        let most = |value| read(&[("LOVAGE_KEEP_MAX_TASKS", value)]);
        let unlimited = most("unlimited").unwrap().0;
        assert_eq!(unlimited.database.retention.max_tasks, None);
        assert!(most("0").unwrap_err().contains("unlimited"));
    }

    #[test]
    fn production_refuses_a_weak_password() {
        let check = |url, fault: Option<&str>| {
            let told = read(&[("LOVAGE_ENV", "production"), ("DATABASE_URL", url)]);
            match fault {
                None => assert!(told.is_ok(), "{told:?}"),
                Some(part) => assert!(told.unwrap_err().contains(part), "{url}"),
            }
        };
        check("postgres://u:changeme@h/x", Some("examples"));
        check(
            "postgres:///x?host=/run&password=short",
            Some("8 characters"),
        );
        check("postgres://u:0jD8sk2LqP@h/x", None);
        check("postgres://u@h/x", None);
    }
}
