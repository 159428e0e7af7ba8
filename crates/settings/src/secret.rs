//! Text that is never printed.

use std::fmt;

use crate::{
    BrokerUrl, DatabaseUrl, ResultDatabase, ResultUrl, Settings,
    lookup::Lookup,
    variable::{BROKER_URL, DATABASE_URL, MAIL_PASSWORD, REDIS_URL, RESULT_BACKEND, Variable},
};

/// What stands wherever a secret would.
pub(crate) const MASK: &str = "********";

/// A password: prints as eight stars, whatever it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text` from every log and message.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that hands it to a server.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// Passwords that come with examples and images; an attacker tries them first.
const WELL_KNOWN: [&str; 12] = [
    "changeme",
    "change-me",
    "change_me",
    "password",
    "passw0rd",
    "secret",
    "redis",
    "celery",
    "lovage",
    "admin",
    "foobared",
    "12345678",
];

/// The fewest characters of a password in production.
const SHORTEST: usize = 8;

/// In production a password that everybody knows, or that is too short to be one, is a fault.
pub(crate) fn refuse_weak(settings: &Settings, lookup: &mut Lookup) {
    let broker: &'static Variable = if lookup.is_set(&BROKER_URL) {
        &BROKER_URL
    } else {
        &REDIS_URL
    };
    if let Some(BrokerUrl::Redis(urls)) = &settings.broker.url {
        for url in urls {
            refuse_weak_password(
                broker,
                url.password.as_ref().map(Secret::expose),
                url,
                lookup,
            );
        }
    }
    if let Some(server) = &settings.mail.server {
        let password = settings.mail.password.as_ref().map(Secret::expose);
        refuse_weak_password(&MAIL_PASSWORD, password, server, lookup);
    }
    match &settings.results.url {
        Some(ResultUrl::Redis(urls)) => {
            for url in urls {
                let password = url.password.as_ref().map(Secret::expose);
                refuse_weak_password(&RESULT_BACKEND, password, url, lookup);
            }
        }
        Some(ResultUrl::Database(database)) => {
            if let ResultDatabase::Postgres(url) = &**database {
                let password = url.password().map(Secret::expose);
                refuse_weak_password(&RESULT_BACKEND, password, database, lookup);
            }
        }
        _ => {}
    }
    if let DatabaseUrl::Postgres(url) = &settings.database.url {
        refuse_weak_password(&DATABASE_URL, url.password(), url, lookup);
    }
}

fn refuse_weak_password(
    variable: &'static Variable,
    password: Option<&str>,
    url: &impl fmt::Display,
    lookup: &mut Lookup,
) {
    let Some(password) = password else {
        return;
    };
    let problem = if WELL_KNOWN.contains(&password.to_ascii_lowercase().as_str()) {
        "has a password that comes with examples"
    } else if password.chars().count() < SHORTEST {
        "has a password of fewer than 8 characters"
    } else {
        return;
    };
    lookup.push_fault(
        variable.name,
        url.to_string(),
        problem,
        "a long random password in production",
    );
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn a_secret_prints_as_stars() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "******** ********");
        assert_eq!(secret.expose(), "hunter2");
    }
}
