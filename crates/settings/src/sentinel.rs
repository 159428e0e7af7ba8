//! Sentinels, which know where the master of a replicated Redis is.

use std::time::Duration;

use serde_json::Value;

use crate::{
    RedisAddress, RedisTls, RedisUrl, Secret, UrlError,
    known::nearest,
    parse::{self, Problem},
};

/// A master to be asked for, and whom to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Sentinels {
    /// Host and port of each sentinel, in the order in which they are asked; never empty.
    pub addresses: Vec<(String, u16)>,
    /// How it is asked for.
    pub options: SentinelOptions,
}

/// The options of kombu's Sentinel transport and of Celery's Sentinel result backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SentinelOptions {
    /// `master_name`: the name under which the sentinels know the master. Without it nothing can be asked.
    pub master_name: String,
    /// `min_other_sentinels`: a sentinel that sees fewer others is not believed. Default 0.
    pub min_other_sentinels: u64,
    /// `username` of `sentinel_kwargs`, for the sentinels themselves.
    pub username: Option<String>,
    /// `password` of `sentinel_kwargs`.
    pub password: Option<Secret>,
    /// `ssl` and `ssl_..` of `sentinel_kwargs`; None: connections to the sentinels are not encrypted.
    pub tls: Option<RedisTls>,
    /// `socket_timeout`, else `socket_connect_timeout`, of `sentinel_kwargs`: how long one sentinel may take.
    pub timeout: Option<Duration>,
}

impl Sentinels {
    /// Names the master in messages, and tells one from another.
    pub fn label(&self) -> String {
        let mut addresses: Vec<String> = self
            .addresses
            .iter()
            .map(|(host, port)| format!("{host}:{port}"))
            .collect();
        addresses.sort_unstable();
        format!("{} of {}", self.options.master_name, addresses.join(","))
    }
}

/// Reads a list of `sentinel://` URLs. Credentials and database are the first one's and are meant for the master, as in
/// kombu and Celery.
pub(crate) fn parse(parts: &[&str]) -> Result<RedisUrl, UrlError> {
    let mut urls = Vec::with_capacity(parts.len());
    for part in parts {
        let rest = part
            .get(..SCHEME.len())
            .filter(|scheme| scheme.eq_ignore_ascii_case(SCHEME))
            .map(|_| &part[SCHEME.len()..]);
        urls.push(RedisUrl::sentinel(rest.ok_or(UrlError::MixedList)?)?);
    }
    let mut addresses = Vec::with_capacity(urls.len());
    for url in &urls {
        if let RedisAddress::Tcp { host, port } = &url.address {
            addresses.push((host.clone(), *port));
        }
    }
    let Some(first) = urls.first() else {
        return Err(UrlError::NoScheme);
    };
    if urls
        .iter()
        .any(|url| url.database != first.database && url.database != 0)
    {
        return Err(UrlError::Malformed(
            "names another database in a later sentinel; Celery reads the first one's",
        ));
    }
    Ok(RedisUrl {
        address: RedisAddress::Sentinel(Sentinels {
            addresses,
            options: SentinelOptions::default(),
        }),
        ..first.clone()
    })
}

/// What a list of sentinels begins with.
pub(crate) const SCHEME: &str = "sentinel://";

impl SentinelOptions {
    /// Takes one transport option; false when it is not one of sentinels.
    pub(crate) fn set(&mut self, name: &str, value: &Value) -> Result<bool, Problem> {
        match name {
            "master_name" => match value {
                Value::String(master) if !master.is_empty() => self.master_name.clone_from(master),
                _ => return Err(Problem::new("is not a name", "a text, not empty")),
            },
            "min_other_sentinels" => {
                self.min_other_sentinels = value.as_u64().ok_or_else(|| {
                    Problem::new("is not a number of sentinels", "a whole number, 0 or more")
                })?;
            }
            "sentinel_kwargs" => self.set_kwargs(value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn set_kwargs(&mut self, value: &Value) -> Result<(), Problem> {
        let expected = "a JSON object of password, username, ssl, ssl_.. and socket_timeout";
        let Value::Object(entries) = value else {
            return Err(Problem::new("is not a JSON object", expected));
        };
        let mut tls = RedisTls::default();
        let mut encrypted = false;
        for (name, value) in entries {
            let wrong =
                |problem: &str| Problem::new(format!("has a {name} that {problem}"), expected);
            match (name.as_str(), value) {
                ("username", Value::String(name)) => self.username = Some(name.clone()),
                ("password", Value::String(password)) => {
                    self.password = Some(Secret::new(password));
                }
                (
                    "username" | "password" | "socket_timeout" | "socket_connect_timeout",
                    Value::Null,
                ) => {}
                ("socket_timeout", Value::Number(number)) => {
                    self.timeout = Some(seconds(number.as_f64())?);
                }
                ("socket_connect_timeout", Value::Number(number)) => {
                    self.timeout = self.timeout.or(Some(seconds(number.as_f64())?));
                }
                ("ssl", Value::Bool(ssl)) => encrypted = *ssl,
                ("socket_keepalive", _) => {}
                (
                    "username" | "password" | "socket_timeout" | "socket_connect_timeout" | "ssl",
                    _,
                ) => {
                    return Err(wrong("is of the wrong kind"));
                }
                (other, value) => {
                    let known = tls.set_entry(other, value).map_err(|inner| Problem {
                        problem: format!("has a {other} that {}", inner.problem),
                        expected: inner.expected,
                    })?;
                    if !known {
                        let known = [
                            "password",
                            "username",
                            "ssl",
                            "socket_timeout",
                            "ssl_cert_reqs",
                        ];
                        return Err(wrong(&format!(
                            "is not known here{}",
                            nearest(other, known)
                        )));
                    }
                }
            }
        }
        self.tls = encrypted.then_some(tls);
        Ok(())
    }
}

fn seconds(number: Option<f64>) -> Result<Duration, Problem> {
    let wrong = || {
        Problem::new(
            "has a timeout that is not one",
            "a number of seconds above 0",
        )
    };
    parse::seconds_of(number.ok_or_else(wrong)?)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Sentinels;
    use crate::{BrokerUrl, Faults, RedisAddress, RedisUrl, ResultUrl, Secret, Settings};

    const URL: &str = "sentinel://:hunter2@h1:26379/3;sentinel://h2;sentinel://[::1]:7/3";
    const OPTIONS: &str = r#"{"master_name": "mymaster", "min_other_sentinels": 1, "sentinel_fanout_compat": true,
        "sentinel_kwargs": {"username": "s", "password": "hunter3", "socket_timeout": 0.5, "ssl": true,
                            "ssl_cert_reqs": "required", "ssl_ca_certs": "/ca.pem"}}"#;

    fn read(variables: &[(&str, &str)]) -> Result<Settings, Faults> {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs).map(|(settings, _)| settings)
    }

    fn of(urls: &[RedisUrl]) -> (&RedisUrl, &Sentinels) {
        match urls {
            [url] => match &url.address {
                RedisAddress::Sentinel(sentinels) => (url, sentinels),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_list_of_sentinels_is_one_master() {
        let settings = read(&[
            ("CELERY_BROKER_URL", URL),
            ("CELERY_BROKER_TRANSPORT_OPTIONS", OPTIONS),
            ("CELERY_BROKER_USE_SSL", r#"{"ssl_cert_reqs": "none"}"#),
        ])
        .unwrap();
        let Some(BrokerUrl::Redis(urls)) = &settings.broker.url else {
            panic!("{:?}", settings.broker.url);
        };
        let (url, sentinels) = of(urls);
        assert_eq!(
            (url.database, url.password.clone()),
            (3, Some(Secret::new("hunter2")))
        );
        assert!(!url.tls.as_ref().unwrap().verifies());
        let named = |host: &str, port| (host.to_owned(), port);
        assert_eq!(
            sentinels.addresses,
            [named("h1", 26379), named("h2", 26379), named("::1", 7)]
        );
        let options = &sentinels.options;
        assert_eq!(options.master_name, "mymaster");
        assert_eq!(options.min_other_sentinels, 1);
        assert_eq!(options.password, Some(Secret::new("hunter3")));
        assert_eq!(options.timeout, Some(Duration::from_millis(500)));
        assert_eq!(
            options.tls.as_ref().unwrap().ca_certs,
            Some("/ca.pem".into())
        );
        assert!(settings.broker.options.sentinel_fanout_compat);
        assert_eq!(
            url.to_string(),
            "sentinel://:********@h1:26379/3;sentinel://h2:26379/3;sentinel://[::1]:7/3"
        );
        // Results go where messages are, over the same sentinels.
        let place = settings
            .results
            .place(settings.broker.url.as_ref().unwrap());
        assert_eq!(place, ResultUrl::Redis(urls.clone()));
    }

    #[test]
    fn results_have_sentinels_of_their_own() {
        let settings = read(&[
            (
                "CELERY_RESULT_BACKEND",
                "sentinel://h1:1/2;sentinel://h2:2/2",
            ),
            (
                "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
                r#"{"master_name": "results"}"#,
            ),
        ])
        .unwrap();
        let Some(ResultUrl::Redis(urls)) = &settings.results.url else {
            panic!("{:?}", settings.results.url);
        };
        let (url, sentinels) = of(urls);
        assert_eq!(url.database, 2);
        assert_eq!(sentinels.label(), "results of h1:1,h2:2");
    }

    #[test]
    fn what_cannot_be_asked_for_is_refused() {
        let faults = |variables: &[(&str, &str)]| {
            let faults = read(variables).unwrap_err();
            assert_eq!(faults.0.len(), 1, "{faults}");
            assert!(!faults.to_string().contains("hunter"), "{faults}");
            faults.to_string()
        };
        let broker = |url| {
            faults(&[
                ("CELERY_BROKER_URL", url),
                ("CELERY_BROKER_TRANSPORT_OPTIONS", OPTIONS),
            ])
        };
        let unnamed = faults(&[("CELERY_BROKER_URL", URL)]);
        assert!(unnamed.contains("master_name"), "{unnamed}");
        let unnamed = faults(&[("CELERY_RESULT_BACKEND", URL)]);
        assert!(
            unnamed.contains("CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS"),
            "{unnamed}"
        );
        broker("sentinel://h1;redis://h2");
        broker("sentinel://h1;h2");
        broker("sentinel://h1;sentinel://h2/3");
        broker("sentinel://h1?ssl_cert_reqs=none");
        for kwargs in [
            r#""x""#,
            r#"{"pasword": "hunter2"}"#,
            r#"{"ssl": "yes"}"#,
            r#"{"socket_timeout": 0}"#,
        ] {
            let options = format!(r#"{{"master_name": "m", "sentinel_kwargs": {kwargs}}}"#);
            faults(&[
                ("CELERY_BROKER_URL", "sentinel://h1"),
                ("CELERY_BROKER_TRANSPORT_OPTIONS", &options),
            ]);
        }
    }
}
