//! Where mails are sent from: Flask-Mail's names, which the first deployments have already.

use std::{path::PathBuf, time::Duration};

use crate::{
    Secret,
    lookup::Lookup,
    parse::{self, Problem},
    secret,
    variable::{
        MAIL_CA_FILE, MAIL_DEFAULT_SENDER, MAIL_DIGEST_EVERY, MAIL_LANGUAGE, MAIL_OPERATORS,
        MAIL_PASSWORD, MAIL_PORT, MAIL_SERVER, MAIL_TIMEOUT, MAIL_USE_SSL, MAIL_USE_TLS,
        MAIL_USERNAME,
    },
};

/// Where mails go, and who gets those that nobody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MailSettings {
    /// `MAIL_SERVER`, a host; None: mails are printed to the log.
    pub server: Option<String>,
    /// `MAIL_PORT`; default 25, as Flask-Mail's.
    pub port: u16,
    /// `MAIL_USE_TLS` (STARTTLS) and `MAIL_USE_SSL` (TLS from the first byte); default neither.
    pub encryption: MailEncryption,
    /// `LOVAGE_MAIL_CA_FILE`: a PEM file with authorities to trust besides the public ones.
    pub ca_file: Option<PathBuf>,
    /// `MAIL_USERNAME`.
    pub username: Option<String>,
    /// `MAIL_PASSWORD`.
    pub password: Option<Secret>,
    /// `MAIL_DEFAULT_SENDER`: `name@host`, or `A Name <name@host>`. Needed with a server.
    pub sender: Option<String>,
    /// `LOVAGE_MAIL_TIMEOUT`: how long the server may be silent; default 30 s.
    pub timeout: Duration,
    /// `LOVAGE_MAIL_OPERATORS`: who is told of tasks that failed for good; default nobody.
    pub operators: Vec<String>,
    /// `LOVAGE_MAIL_DIGEST_EVERY`: at most one such mail in so long; default 1 h.
    pub digest_every: Duration,
    /// `LOVAGE_MAIL_LANGUAGE`: `en` or `fr`, for mails to people whose language is not known; default `en`.
    pub language: String,
}

/// How a connection to the mail server is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailEncryption {
    /// Not at all.
    #[default]
    None,
    /// It begins in the clear and must become encrypted before anything is said (`MAIL_USE_TLS`).
    StartTls,
    /// From the first byte (`MAIL_USE_SSL`).
    Tls,
}

impl Default for MailSettings {
    fn default() -> Self {
        Self {
            server: None,
            port: 25,
            encryption: MailEncryption::None,
            ca_file: None,
            username: None,
            password: None,
            sender: None,
            timeout: Duration::from_secs(30),
            operators: Vec::new(),
            digest_every: Duration::from_secs(3_600),
            language: "en".to_owned(),
        }
    }
}

impl MailSettings {
    pub(crate) fn read(lookup: &mut Lookup, production: bool) -> Self {
        let mut settings = Self {
            server: lookup.text(&MAIL_SERVER),
            ca_file: lookup.text(&MAIL_CA_FILE).map(PathBuf::from),
            username: lookup.text(&MAIL_USERNAME),
            password: lookup.text(&MAIL_PASSWORD).map(Secret::new),
            sender: lookup.parsed(&MAIL_DEFAULT_SENDER, address),
            ..Self::default()
        };
        lookup.set(&MAIL_PORT, &mut settings.port, port);
        settings.encryption = encryption(lookup);
        lookup.set(
            &MAIL_TIMEOUT,
            &mut settings.timeout,
            parse::positive_duration,
        );
        lookup.set(&MAIL_OPERATORS, &mut settings.operators, addresses);
        lookup.set(
            &MAIL_DIGEST_EVERY,
            &mut settings.digest_every,
            parse::positive_duration,
        );
        lookup.set(&MAIL_LANGUAGE, &mut settings.language, language);
        settings.check(lookup, production);
        settings
    }

    /// What cannot work together.
    fn check(&self, lookup: &mut Lookup, production: bool) {
        let Some(server) = &self.server else {
            return;
        };
        if self.sender.is_none() && !lookup.is_set(&MAIL_DEFAULT_SENDER) {
            lookup.push_fault(
                MAIL_DEFAULT_SENDER.name,
                String::new(),
                "is not set, and MAIL_SERVER is",
                "whom mails are from: name@host, or A Name <name@host>",
            );
        }
        if self.username.is_some() != self.password.is_some() {
            lookup.push_fault(
                MAIL_USERNAME.name,
                self.username.clone().unwrap_or_default(),
                "and MAIL_PASSWORD are not both set",
                "both of them, or neither",
            );
        }
        let here = ["localhost", "127.0.0.1", "::1"].contains(&server.as_str());
        if self.password.is_some() && self.encryption == MailEncryption::None && !here {
            let problem = "would be sent without encryption";
            if production {
                let expected = "MAIL_USE_TLS=true or MAIL_USE_SSL=true";
                lookup.push_fault(
                    MAIL_PASSWORD.name,
                    secret::MASK.to_owned(),
                    problem,
                    expected,
                );
            } else {
                lookup.warn(
                    &MAIL_PASSWORD,
                    format!("{problem}: set MAIL_USE_TLS or MAIL_USE_SSL"),
                );
            }
        }
    }
}

fn encryption(lookup: &mut Lookup) -> MailEncryption {
    let (mut starttls, mut tls) = (false, false);
    lookup.set(&MAIL_USE_TLS, &mut starttls, parse::boolean);
    lookup.set(&MAIL_USE_SSL, &mut tls, parse::boolean);
    match (starttls, tls) {
        (false, false) => MailEncryption::None,
        (true, false) => MailEncryption::StartTls,
        (false, true) => MailEncryption::Tls,
        (true, true) => {
            lookup.push_fault(
                MAIL_USE_SSL.name,
                "true".to_owned(),
                "and MAIL_USE_TLS are both set",
                "MAIL_USE_TLS for STARTTLS (port 587), or MAIL_USE_SSL for TLS from the first byte (port 465)",
            );
            MailEncryption::Tls
        }
    }
}

fn port(text: &str) -> Result<u16, Problem> {
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(Problem::new(
            "is not a port",
            "a whole number from 1 to 65535",
        )),
    }
}

/// One look is enough here: who sends the mail reads it properly.
fn address(text: &str) -> Result<String, Problem> {
    let bare = match text.split_once('<') {
        Some((_, rest)) => rest.strip_suffix('>').unwrap_or_default(),
        None => text,
    };
    let parts = bare.split_once('@');
    let good = parts.is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if good && !bare.contains(char::is_whitespace) {
        return Ok(text.to_owned());
    }
    Err(Problem::new(
        "is not a mail address",
        "name@host, or A Name <name@host>",
    ))
}

fn addresses(text: &str) -> Result<Vec<String>, Problem> {
    parse::names(text).iter().map(|one| address(one)).collect()
}

fn language(text: &str) -> Result<String, Problem> {
    match text.to_ascii_lowercase().as_str() {
        known @ ("en" | "fr") => Ok(known.to_owned()),
        _ => Err(Problem::new("is not a language of the mails", "en or fr")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MailEncryption, MailSettings};
    use crate::Settings;

    fn read(pairs: &[(&str, &str)]) -> Result<(MailSettings, String), String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs)
            .map(|(settings, warnings)| (settings.mail, format!("{warnings:?}")))
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_names_are_those_of_flask_mail() {
        let (mail, warnings) = read(&[
            ("MAIL_SERVER", "smtp.example"),
            ("MAIL_PORT", "587"),
            ("MAIL_USE_TLS", "true"),
            ("MAIL_USERNAME", "app"),
            ("MAIL_PASSWORD", "long enough to be one"),
            ("MAIL_DEFAULT_SENDER", "Lovage <lovage@example.org>"),
            ("LOVAGE_MAIL_OPERATORS", "a@example.org, b@example.org"),
            ("LOVAGE_MAIL_DIGEST_EVERY", "15m"),
            ("LOVAGE_MAIL_LANGUAGE", "FR"),
        ])
        .unwrap();
        assert_eq!(
            (mail.port, mail.encryption),
            (587, MailEncryption::StartTls)
        );
        assert_eq!(mail.operators, ["a@example.org", "b@example.org"]);
        assert_eq!(mail.digest_every, Duration::from_secs(900));
        assert_eq!(mail.language, "fr");
        assert!(!format!("{mail:?}").contains("long enough"));
        assert_eq!(warnings, "[]");
        assert_eq!(read(&[]).unwrap().0, MailSettings::default());
    }

    #[test]
    fn what_cannot_work_is_told_with_what_would() {
        let check = |pairs: &[(&str, &str)], told: &str| {
            let faults = read(pairs).unwrap_err();
            assert!(faults.contains(told), "{told}: {faults}");
        };
        check(&[("MAIL_SERVER", "h")], "MAIL_DEFAULT_SENDER");
        let both = [("MAIL_USE_TLS", "1"), ("MAIL_USE_SSL", "1")];
        check(&both, "MAIL_USE_TLS for STARTTLS");
        check(&[("MAIL_DEFAULT_SENDER", "nobody")], "name@host");
        check(&[("MAIL_PORT", "0")], "1 to 65535");
        check(&[("LOVAGE_MAIL_LANGUAGE", "de")], "en or fr");
        let named = [
            ("MAIL_SERVER", "h"),
            ("MAIL_DEFAULT_SENDER", "a@b"),
            ("MAIL_USERNAME", "u"),
        ];
        check(&named, "MAIL_PASSWORD");
    }

    #[test]
    fn a_password_in_the_clear_is_refused_in_production() {
        let mut pairs = vec![
            ("MAIL_SERVER", "smtp.example"),
            ("MAIL_DEFAULT_SENDER", "a@example.org"),
            ("MAIL_USERNAME", "u"),
            ("MAIL_PASSWORD", "a long random password"),
        ];
        let (_, warnings) = read(&pairs).unwrap();
        assert!(warnings.contains("without encryption"), "{warnings}");
        pairs.push(("LOVAGE_ENV", "production"));
        let faults = read(&pairs).unwrap_err();
        assert!(faults.contains("without encryption"), "{faults}");
        assert!(!faults.contains("long random password\""), "{faults}");
    }
}
