//! The whole, and where the variables come from.

use std::{collections::BTreeMap, env, ffi::OsString, io, path::Path};

use chrono_tz::Tz;

use crate::{
    BeatSettings, BrokerSettings, DatabaseSettings, EventSettings, Faults, HistorySettings,
    HttpSettings, MailSettings, ResultSettings, TaskSettings, TelemetrySettings, Warning,
    WorkerSettings, known,
    lookup::Lookup,
    parse::Problem,
    secret,
    variable::{ENVIRONMENT, TIMEZONE},
};

/// Everything the environment says, with defaults for what it does not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `LOVAGE_ENV`; default development.
    pub environment: Environment,
    /// Where messages come from.
    pub broker: BrokerSettings,
    /// Where results go.
    pub results: ResultSettings,
    /// What holds for every task.
    pub tasks: TaskSettings,
    /// What one worker process does.
    pub worker: WorkerSettings,
    /// Events and remote control.
    pub events: EventSettings,
    /// What a history is kept of.
    pub history: HistorySettings,
    /// The HTTP API.
    pub http: HttpSettings,
    /// The database.
    pub database: DatabaseSettings,
    /// Mails.
    pub mail: MailSettings,
    /// The periodic scheduler.
    pub beat: BeatSettings,
    /// The log.
    pub telemetry: TelemetrySettings,
    /// `CELERY_TIMEZONE`, an IANA name; default UTC.
    pub timezone: Tz,
}

/// How strict Lovage is with what is merely risky.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// Risky things are warned of.
    #[default]
    Development,
    /// Risky things are refused, and no `.env` is read.
    Production,
}

impl Settings {
    /// Reads the process environment and, unless `LOVAGE_ENV=production` is in it, the file `.env` of the current
    /// folder; a real variable always wins over the file.
    ///
    /// # Errors
    /// Every fault found.
    pub fn from_env() -> Result<(Self, Vec<Warning>), Faults> {
        Self::read(gather(env::vars_os(), Path::new(".env")))
    }

    /// Reads the variables given and nothing else. For tests, and for whoever keeps settings elsewhere.
    ///
    /// # Errors
    /// Every fault found.
    pub fn from_lookup(
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(Self, Vec<Warning>), Faults> {
        Self::read(Lookup::new(variables.into_iter().collect()))
    }

    fn read(mut lookup: Lookup) -> Result<(Self, Vec<Warning>), Faults> {
        let settings = Self::read_all(&mut lookup);
        known::warn_of_unknown(&mut lookup);
        let warnings = lookup.finish()?;
        Ok((settings, warnings))
    }

    /// Reads in the order of `.env.example`, which is the order of faults.
    pub(crate) fn read_all(lookup: &mut Lookup) -> Self {
        let environment = lookup
            .parsed(&ENVIRONMENT, Environment::parse)
            .unwrap_or_default();
        let production = environment == Environment::Production;
        let mut settings = Self {
            environment,
            broker: BrokerSettings::read(lookup, production),
            results: ResultSettings::read(lookup),
            tasks: TaskSettings::read(lookup),
            worker: WorkerSettings::read(lookup),
            events: EventSettings::read(lookup),
            history: HistorySettings::read(lookup),
            http: HttpSettings::read(lookup),
            database: DatabaseSettings::read(lookup),
            mail: MailSettings::read(lookup, production),
            beat: BeatSettings::read(lookup),
            telemetry: TelemetrySettings::read(lookup, environment),
            timezone: lookup.parsed(&TIMEZONE, timezone).unwrap_or_default(),
        };
        settings.worker.queues = settings
            .tasks
            .queues
            .iter()
            .map(|queue| queue.name.clone())
            .collect();
        if production {
            secret::refuse_weak(&settings, lookup);
            settings.http.refuse_weak(lookup);
        }
        settings
    }
}

impl Environment {
    fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "development" => Ok(Self::Development),
            "production" => Ok(Self::Production),
            _ => Err(Problem::new(
                "is not an environment",
                "development or production",
            )),
        }
    }
}

fn timezone(text: &str) -> Result<Tz, Problem> {
    text.parse().map_err(|_| {
        Problem::new(
            "is not a time zone",
            "an IANA name such as UTC or Europe/Zurich",
        )
    })
}

/// The real variables, and those of the file that are not among them.
fn gather(real: impl Iterator<Item = (OsString, OsString)>, file: &Path) -> Lookup {
    let mut variables = BTreeMap::new();
    let mut unreadable = Vec::new();
    for (name, value) in real {
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => {
                variables.insert(name, value);
            }
            (Ok(name), Err(value)) if known::is_ours(&name) => unreadable.push((name, value)),
            // Somebody else's, and not text: nothing here could read it.
            _ => {}
        }
    }
    let production = variables
        .get(ENVIRONMENT.name)
        .is_some_and(|value| value.trim() == "production");
    let from_file = if production {
        Ok(Vec::new())
    } else {
        read_file(file)
    };
    let mut broken_file = None;
    match from_file {
        Ok(pairs) => {
            for (name, value) in pairs {
                variables.entry(name).or_insert(value);
            }
        }
        Err(problem) => broken_file = Some(problem),
    }
    let mut lookup = Lookup::new(variables);
    for (name, value) in unreadable {
        let shown = format!("({} bytes)", value.len());
        lookup.push_fault(&name, shown, "is not UTF-8 text", "UTF-8 text");
    }
    if let Some(problem) = broken_file {
        let expected =
            "lines of NAME=value; a value with blanks or quotes in it goes in single quotes";
        lookup.push_fault(".env", file.display().to_string(), &problem, expected);
    }
    lookup
}

/// The pairs of a `.env` file; none when there is no such file. The error shows no line of it: it may hold a password.
fn read_file(path: &Path) -> Result<Vec<(String, String)>, String> {
    let lines = match dotenvy::from_path_iter(path) {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(Vec::new()),
        Err(error) => return Err(describe(error, 1)),
    };
    let mut pairs = Vec::new();
    for line in lines {
        pairs.push(line.map_err(|error| describe(error, pairs.len() + 1))?);
    }
    Ok(pairs)
}

fn describe(error: dotenvy::Error, variable: usize) -> String {
    match error {
        dotenvy::Error::Io(error) if error.kind() == io::ErrorKind::InvalidData => {
            "is not UTF-8 text".to_owned()
        }
        dotenvy::Error::Io(error) => format!("cannot be read: {error}"),
        _ => format!("cannot be understood from its variable number {variable} on"),
    }
}

#[cfg(test)]
mod tests;
