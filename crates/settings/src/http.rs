//! Where the HTTP API listens, what it lets in, and the secrets behind its tokens.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Secret,
    lookup::Lookup,
    parse::{self, Problem},
    variable::{
        ACCESS_TOKEN_LIFE, ADMIN_EMAIL, ADMIN_PASSWORD, API_BIND, API_CORS_ORIGINS,
        API_DRAIN_TIMEOUT, API_MAX_BODY, API_MAX_WAIT, API_URL, JWT_SECRET_KEY, REFRESH_TOKEN_LIFE,
        SECRET_KEY, Variable,
    },
};

/// The HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `LOVAGE_API_BIND`, address and port; default 127.0.0.1:5000, port 0 takes a free one.
    pub bind: SocketAddr,
    /// `LOVAGE_API_URL`: where people reach it, without a slash at the end; unset, [`HttpSettings::url`] makes one up.
    pub public_url: Option<String>,
    /// `LOVAGE_API_CORS_ORIGINS`: pages of these origins may call the API from a browser; default none.
    pub cors_origins: Vec<String>,
    /// `LOVAGE_API_MAX_BODY`, bytes of a request's body; default 4 MiB.
    pub max_body: usize,
    /// `LOVAGE_API_MAX_WAIT`: no request waits longer for a result or for workers; default and most 60 s.
    pub max_wait: Duration,
    /// `LOVAGE_API_DRAIN_TIMEOUT`: so long requests and streams have to end when the API is stopped; default 30 s.
    pub drain_timeout: Duration,
    /// `SECRET_KEY`: signs API keys and single-use tokens; unset, made up where that is allowed.
    pub secret_key: Option<Secret>,
    /// `JWT_SECRET_KEY`: signs access tokens; unset, made from `SECRET_KEY`.
    pub jwt_secret_key: Option<Secret>,
    /// `LOVAGE_ACCESS_TOKEN_LIFE`; default 15 minutes.
    pub access_token_life: Duration,
    /// `LOVAGE_REFRESH_TOKEN_LIFE`; default 30 days.
    pub refresh_token_life: Duration,
    /// `LOVAGE_ADMIN_EMAIL`: who the first user is, when there is none yet.
    pub admin_email: Option<String>,
    /// `LOVAGE_ADMIN_PASSWORD`: the password of that user.
    pub admin_password: Option<Secret>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 5000)),
            public_url: None,
            cors_origins: Vec::new(),
            max_body: 4 << 20,
            max_wait: LONGEST_WAIT,
            drain_timeout: Duration::from_secs(30),
            secret_key: None,
            jwt_secret_key: None,
            access_token_life: Duration::from_secs(15 * 60),
            refresh_token_life: Duration::from_secs(30 * 24 * 3600),
            admin_email: None,
            admin_password: None,
        }
    }
}

/// A request that waits longer is taken for dead by whatever lies between.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// The fewest characters of a key that signs, in production.
const SHORTEST_KEY: usize = 32;
/// The fewest characters of a person's password.
const SHORTEST_PASSWORD: usize = 10;

impl HttpSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&API_BIND, &mut settings.bind, address);
        settings.public_url = lookup.parsed(&API_URL, url);
        lookup.set(&API_CORS_ORIGINS, &mut settings.cors_origins, origins);
        lookup.set(&API_MAX_BODY, &mut settings.max_body, parse::size);
        lookup.set(&API_MAX_WAIT, &mut settings.max_wait, wait);
        lookup.set(
            &API_DRAIN_TIMEOUT,
            &mut settings.drain_timeout,
            parse::duration,
        );
        settings.secret_key = lookup.text(&SECRET_KEY).map(Secret::new);
        settings.jwt_secret_key = lookup.text(&JWT_SECRET_KEY).map(Secret::new);
        for (variable, field) in [
            (&ACCESS_TOKEN_LIFE, &mut settings.access_token_life),
            (&REFRESH_TOKEN_LIFE, &mut settings.refresh_token_life),
        ] {
            lookup.set(variable, field, parse::positive_duration);
        }
        settings.admin_email = lookup.parsed(&ADMIN_EMAIL, email);
        settings.admin_password = lookup.parsed(&ADMIN_PASSWORD, password);
        settings
    }

    /// Where links in mails lead.
    #[must_use]
    pub fn url(&self) -> String {
        let public = self.public_url.clone();
        public.unwrap_or_else(|| format!("http://{}", self.bind))
    }

    /// In production a key that comes with examples, or that can be guessed, is a fault.
    pub(crate) fn refuse_weak(&self, lookup: &mut Lookup) {
        let mut check = |variable: &'static Variable, secret: &Option<Secret>| {
            let Some(secret) = secret.as_ref().map(Secret::expose) else {
                return;
            };
            let problem = if is_example(secret) {
                "is a key that comes with examples"
            } else if secret.chars().count() < SHORTEST_KEY {
                "has fewer than 32 characters"
            } else {
                return;
            };
            let expected =
                "32 random characters or more in production, such as `openssl rand -hex 32` prints";
            lookup.push_fault(
                variable.name,
                crate::secret::MASK.to_owned(),
                problem,
                expected,
            );
        };
        check(&SECRET_KEY, &self.secret_key);
        check(&JWT_SECRET_KEY, &self.jwt_secret_key);
    }
}

/// Keys of examples hold one of these words, or the same character all over.
fn is_example(key: &str) -> bool {
    const WORDS: [&str; 7] = [
        "changeme",
        "change-me",
        "change_me",
        "change-this",
        "your-secret",
        "dev-secret",
        "insecure",
    ];
    let low = key.to_ascii_lowercase();
    let mut letters: Vec<char> = low.chars().collect();
    letters.sort_unstable();
    letters.dedup();
    letters.len() < 6 || WORDS.iter().any(|word| low.contains(word))
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, Problem> {
    let expected = "an IP address and a port, such as 127.0.0.1:5000 or [::]:5000";
    let named = text.replacen("localhost:", "127.0.0.1:", 1);
    named
        .parse()
        .map_err(|_| Problem::new("is not an address to listen at", expected))
}

fn url(text: &str) -> Result<String, Problem> {
    let text = text.trim_end_matches('/');
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_url = host.is_some_and(|host| {
        !host.is_empty() && !host.contains(['?', '#']) && !host.contains(char::is_whitespace)
    });
    if is_url {
        return Ok(text.to_owned());
    }
    Err(Problem::new(
        "is not where people can reach the API",
        "a URL such as https://tasks.example.org",
    ))
}

fn wait(text: &str) -> Result<Duration, Problem> {
    let wait = parse::duration(text)?;
    if wait <= LONGEST_WAIT {
        return Ok(wait);
    }
    Err(Problem::new("is too long", "60s or less"))
}

fn origins(text: &str) -> Result<Vec<String>, Problem> {
    let origins = parse::names(text);
    let is_origin = |origin: &String| {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ']))
    };
    if origins.iter().all(is_origin) {
        Ok(origins)
    } else {
        Err(Problem::new(
            "names something that is no origin",
            "origins with commas between them, such as https://ops.example.org; a * is not taken",
        ))
    }
}

fn email(text: &str) -> Result<String, Problem> {
    let low = text.to_lowercase();
    match low.split_once('@') {
        Some((name, host))
            if !name.is_empty() && !host.is_empty() && !low.contains(char::is_whitespace) =>
        {
            Ok(low)
        }
        _ => Err(Problem::new(
            "is not an e-mail address",
            "one such as admin@example.org",
        )),
    }
}

fn password(text: &str) -> Result<Secret, Problem> {
    if text.chars().count() < SHORTEST_PASSWORD {
        return Err(Problem::new(
            "has fewer than 10 characters",
            "a longer password",
        ));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use crate::Settings;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let read = Settings::from_lookup(pairs);
        read.map(|(settings, _)| settings)
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn the_api_is_set_by_its_variables() {
        let http = read(&[
            ("LOVAGE_API_BIND", "localhost:0"),
            (
                "LOVAGE_API_CORS_ORIGINS",
                "https://a.example, http://b.example:8080",
            ),
            ("LOVAGE_API_MAX_BODY", "1MiB"),
            ("LOVAGE_API_URL", "https://tasks.example.org/"),
            ("LOVAGE_ACCESS_TOKEN_LIFE", "5m"),
            ("LOVAGE_ADMIN_EMAIL", "Ada@Example.org"),
        ])
        .unwrap()
        .http;
        assert_eq!(http.bind.to_string(), "127.0.0.1:0");
        assert_eq!(http.url(), "https://tasks.example.org");
        assert_eq!(read(&[]).unwrap().http.url(), "http://127.0.0.1:5000");
        assert_eq!(http.cors_origins.len(), 2);
        assert_eq!(
            (http.max_body, http.access_token_life.as_secs()),
            (1 << 20, 300)
        );
        assert_eq!(http.admin_email.as_deref(), Some("ada@example.org"));
        for (name, value) in [
            ("LOVAGE_API_BIND", "5000"),
            ("LOVAGE_API_CORS_ORIGINS", "*"),
            ("LOVAGE_API_URL", "tasks.example.org"),
            ("LOVAGE_API_MAX_WAIT", "61s"),
            ("LOVAGE_ACCESS_TOKEN_LIFE", "0s"),
            ("LOVAGE_ADMIN_EMAIL", "ada"),
            ("LOVAGE_ADMIN_PASSWORD", "short"),
        ] {
            let faults = read(&[(name, value)]).unwrap_err();
            assert!(faults.contains(name), "{faults}");
        }
    }

    #[test]
    fn promise_19_default_and_short_secrets_are_refused_in_production() {
        let production = ("LOVAGE_ENV", "production");
        for name in ["SECRET_KEY", "JWT_SECRET_KEY"] {
            for weak in [
                "hunter2",
                "please-change-me-please-change-me-please",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            ] {
                let faults = read(&[production, (name, weak)]).unwrap_err();
                assert!(faults.contains(name) && !faults.contains(weak), "{faults}");
                assert!(read(&[(name, weak)]).is_ok(), "development may");
            }
            let strong = "0b9df0d0c63a9f07cbe0f1a0f1f6d1ab56c2b6b1";
            assert!(read(&[production, (name, strong)]).is_ok());
        }
    }
}
