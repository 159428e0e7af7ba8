//! Who is told of errors, by the names that Sentry gives its settings.

use crate::{
    Environment, Secret,
    lookup::Lookup,
    parse::{self, Problem},
    variable::{SENTRY_DSN, SENTRY_ENVIRONMENT, SENTRY_PII, SENTRY_RELEASE},
};

/// Who is told of errors, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentrySettings {
    /// `SENTRY_DSN`: the address of a project, and the key to it.
    pub dsn: Secret,
    /// `SENTRY_ENVIRONMENT`; default `LOVAGE_ENV`.
    pub environment: String,
    /// `SENTRY_RELEASE`; unset, that of this program.
    pub release: Option<String>,
    /// `SENTRY_SEND_DEFAULT_PII`: the arguments of failed tasks are sent, those that look like secrets masked; default no.
    pub send_arguments: bool,
}

impl SentrySettings {
    /// What is set is checked even while nobody is told.
    pub(crate) fn read(lookup: &mut Lookup, environment: Environment) -> Option<Self> {
        let dsn = lookup.parsed(&SENTRY_DSN, dsn);
        let named = lookup.text(&SENTRY_ENVIRONMENT);
        let release = lookup.text(&SENTRY_RELEASE);
        let mut send_arguments = false;
        lookup.set(&SENTRY_PII, &mut send_arguments, parse::boolean);
        let default = match environment {
            Environment::Development => "development",
            Environment::Production => "production",
        };
        Some(Self {
            dsn: dsn?,
            environment: named.unwrap_or_else(|| default.to_owned()),
            release,
            send_arguments,
        })
    }
}

/// `https://KEY@host[:port][/path]/PROJECT`, looked at as far as Sentry's own client is strict.
fn dsn(text: &str) -> Result<Secret, Problem> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let good = rest
        .and_then(|rest| rest.split_once('@'))
        .is_some_and(|(key, place)| {
            let key = key.split(':').next().unwrap_or_default();
            let (host, path) = place.split_once('/').unwrap_or((place, ""));
            let project = path.rsplit('/').next().unwrap_or_default();
            let port = host.rsplit_once(':').filter(|_| !host.ends_with(']'));
            !key.is_empty()
                && !host.is_empty()
                && !host.starts_with(':')
                && port.is_none_or(|(_, port)| port.parse::<u16>().is_ok())
                && !project.is_empty()
                && text
                    .chars()
                    .all(|c| c.is_ascii_graphic() && !"?#<>\"".contains(c))
        });
    match good {
        true => Ok(Secret::new(text)),
        false => Err(Problem::new(
            "is not the DSN of a Sentry project",
            "https://KEY@host/PROJECT, as the project's settings show it",
        )),
    }
}

#[cfg(test)]
mod tests {
    use crate::{Faults, SentrySettings, Settings};

    fn read(variables: &[(&str, &str)]) -> Result<Option<SentrySettings>, Faults> {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs).map(|(settings, _)| settings.telemetry.sentry)
    }

    #[test]
    fn nobody_is_told_unless_a_dsn_is_set() {
        assert_eq!(read(&[("SENTRY_RELEASE", "1")]).unwrap(), None);
        let dsn = "https://0123abcd@sentry.example/7";
        let sentry = read(&[("SENTRY_DSN", dsn)]).unwrap().unwrap();
        assert_eq!(sentry.dsn.expose(), dsn);
        assert_eq!(sentry.environment, "development");
        assert!(!sentry.send_arguments, "arguments stay here");
        let named = read(&[("SENTRY_DSN", dsn), ("SENTRY_ENVIRONMENT", "staging")]);
        let named = named.unwrap().unwrap();
        assert_eq!(named.environment, "staging");
        assert!(!format!("{named:?}").contains("0123abcd"));
    }

    #[test]
    fn what_cannot_be_is_a_fault_that_shows_no_key() {
        for dsn in [
            "https://sentry.example/7",
            "https://cafe5eed@/7",
            "https://cafe5eed@sentry.example",
            "https://cafe5eed@sentry.example/",
            "ftp://cafe5eed@sentry.example/7",
            "cafe5eed",
        ] {
            let faults = read(&[("SENTRY_DSN", dsn)]).unwrap_err().to_string();
            assert!(faults.contains("is not the DSN"), "{faults}");
            assert!(!faults.contains("cafe5eed"), "{faults}");
        }
        let faults = read(&[("SENTRY_SEND_DEFAULT_PII", "some")]);
        assert!(faults.unwrap_err().to_string().contains("yes or no"));
    }
}
