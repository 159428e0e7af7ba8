//! What `CELERY_BROKER_URL` and `CELERY_RESULT_BACKEND` may hold.

use std::fmt;

use crate::{RedisUrl, ResultDatabase, parse::Problem, result_database, sentinel};

/// Why a URL cannot be used. No message holds a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// There is no `scheme://` at the beginning.
    #[error("has no scheme")]
    NoScheme,
    /// The scheme is one that Celery knows and this version of Lovage does not.
    #[error("{scheme}:// is not supported in this version")]
    Unsupported {
        /// The scheme, in lower case.
        scheme: String,
    },
    /// Nobody knows the scheme.
    #[error("{scheme}:// is not a scheme known here")]
    UnknownScheme {
        /// The scheme, in lower case.
        scheme: String,
    },
    /// A part of the URL is wrong.
    #[error("{0}")]
    Malformed(&'static str),
    /// A parameter after the `?` means nothing here.
    #[error("the parameter {name} is not understood here; use CELERY_BROKER_TRANSPORT_OPTIONS")]
    Parameter {
        /// The parameter's name.
        name: String,
    },
    /// A fail-over list names something that is not Redis.
    #[error(
        "a list of servers may hold redis://, rediss:// and redis+socket://, or sentinel:// alone"
    )]
    MixedList,
}

/// Where messages are.
#[derive(Clone, PartialEq)]
pub enum BrokerUrl {
    /// Redis servers in the order in which they are to be tried; never empty.
    Redis(Vec<RedisUrl>),
    /// Inside this process, for tests and for one process alone.
    Memory,
}

impl BrokerUrl {
    /// Reads `redis://`, `rediss://`, `unix://`, `redis+socket://` (several with `;` between them), a list of
    /// `sentinel://`, or `memory://`. What the transport options and `use_ssl` settings say is added by
    /// [`crate::Settings`].
    ///
    /// # Errors
    /// Says which part is wrong, never showing the password.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        match Place::parse(text, &BROKER_SCHEMES)? {
            Place::Redis(urls) => Ok(Self::Redis(urls)),
            Place::Memory => Ok(Self::Memory),
            Place::Disabled => Err(UrlError::UnknownScheme {
                scheme: "disabled".to_owned(),
            }),
        }
    }

    pub(crate) fn of_setting(text: &str) -> Result<Self, Problem> {
        let expected = "redis:// or rediss://[user:password@]host[:port][/db], redis+socket:///path?virtual_host=N, \
                        several of them with ; between, sentinel://host[:port][/db] with ; between, or memory://";
        Self::parse(text).map_err(|error| Problem::new(error.to_string(), expected))
    }
}

/// Where results are.
#[derive(Clone, PartialEq)]
pub enum ResultUrl {
    /// Redis servers in the order in which they are to be tried; never empty.
    Redis(Vec<RedisUrl>),
    /// Inside this process.
    Memory,
    /// In a database, in Celery's tables.
    Database(Box<ResultDatabase>),
    /// Nowhere: no result is kept.
    Disabled,
}

impl ResultUrl {
    /// Reads what [`BrokerUrl::parse`] does, `db+sqlite://`, `db+postgresql://`, and `disabled://`.
    ///
    /// # Errors
    /// Says which part is wrong, and refuses by name the stores that Celery has and Lovage has not.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        if let Some(url) = result_database::after_prefix(text.trim()) {
            return Ok(Self::Database(Box::new(ResultDatabase::parse(url)?)));
        }
        match Place::parse(text, &RESULT_SCHEMES)? {
            Place::Redis(urls) => Ok(Self::Redis(urls)),
            Place::Memory => Ok(Self::Memory),
            Place::Disabled => Ok(Self::Disabled),
        }
    }

    pub(crate) fn of_setting(text: &str) -> Result<Self, Problem> {
        let expected = "redis:// or rediss://[user:password@]host[:port][/db], redis+socket:///path?virtual_host=N, \
                        sentinel://host[:port][/db] with ; between, db+sqlite:////path, \
                        db+postgresql://[user:password@]host[:port]/database, memory:// or disabled://";
        Self::parse(text).map_err(|error| Problem::new(error.to_string(), expected))
    }
}

/// Schemes of Celery's brokers that are refused by name.
const BROKER_SCHEMES: [&str; 11] = [
    "amqp",
    "amqps",
    "pyamqp",
    "sqs",
    "kafka",
    "confluentkafka",
    "sqla",
    "mongodb",
    "gcpubsub",
    "azureservicebus",
    "filesystem",
];

/// Schemes of Celery's result stores that are refused by name. Some are written without `://`.
const RESULT_SCHEMES: [&str; 25] = [
    "rpc",
    "amqp",
    "db",
    "database",
    "sqlalchemy",
    "django-db",
    "django-cache",
    "mongodb",
    "memcache",
    "memcached",
    "cache",
    "cassandra",
    "elasticsearch",
    "couchbase",
    "couchdb",
    "cosmosdbsql",
    "arangodb",
    "consul",
    "dynamodb",
    "azureblockblob",
    "s3",
    "gs",
    "gcs",
    "file",
    "riak",
];

/// What both kinds of URL boil down to.
enum Place {
    Redis(Vec<RedisUrl>),
    Memory,
    Disabled,
}

impl Place {
    fn parse(text: &str, refused: &[&str]) -> Result<Self, UrlError> {
        let parts: Vec<&str> = text
            .split(';')
            .map(str::trim)
            .filter(|part| !part.is_empty())
            .collect();
        let sentinels = |part: &&str| {
            part.get(..sentinel::SCHEME.len())
                .is_some_and(|scheme| scheme.eq_ignore_ascii_case(sentinel::SCHEME))
        };
        match parts.as_slice() {
            [] => Err(UrlError::NoScheme),
            [first, ..] if sentinels(first) => Ok(Self::Redis(vec![sentinel::parse(&parts)?])),
            [one] => Self::parse_one(one, refused),
            many => many
                .iter()
                .map(|part| match Self::parse_one(part, refused)? {
                    Self::Redis(mut urls) => Ok(urls.remove(0)),
                    Self::Memory | Self::Disabled => Err(UrlError::MixedList),
                })
                .collect::<Result<_, _>>()
                .map(Self::Redis),
        }
    }

    fn parse_one(text: &str, refused: &[&str]) -> Result<Self, UrlError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None => (text.to_ascii_lowercase(), ""),
        };
        let written = text.contains("://");
        match scheme.as_str() {
            "redis" if written => Ok(Self::Redis(vec![RedisUrl::tcp(rest)?])),
            "rediss" if written => Ok(Self::Redis(vec![RedisUrl::encrypted(rest)?])),
            // A list of them begins with one; here it stands among others.
            "sentinel" if written => Err(UrlError::MixedList),
            "unix" | "redis+socket" | "redis+unix" | "socket" if written => {
                Ok(Self::Redis(vec![RedisUrl::unix(rest)?]))
            }
            "memory" if written => Ok(Self::Memory),
            "disabled" => Ok(Self::Disabled),
            other => {
                let family = other.split(['+', ':']).next().unwrap_or(other);
                if refused.contains(&family) || refused.contains(&other) {
                    let scheme = if refused.contains(&other) {
                        other
                    } else {
                        family
                    };
                    Err(UrlError::Unsupported {
                        scheme: scheme.to_owned(),
                    })
                } else if written && is_scheme(other) {
                    Err(UrlError::UnknownScheme {
                        scheme: other.to_owned(),
                    })
                } else {
                    Err(UrlError::NoScheme)
                }
            }
        }
    }
}

/// Keeps a password that was pasted before a `://` out of the message.
fn is_scheme(text: &str) -> bool {
    text.len() <= 20
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

fn join(urls: &[RedisUrl], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, url) in urls.iter().enumerate() {
        let between = if index == 0 { "" } else { ";" };
        write!(f, "{between}{url}")?;
    }
    Ok(())
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(urls) => join(urls, f),
            Self::Memory => f.write_str("memory://"),
        }
    }
}

impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ResultUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redis(urls) => join(urls, f),
            Self::Memory => f.write_str("memory://"),
            Self::Database(database) => database.fmt(f),
            Self::Disabled => f.write_str("disabled://"),
        }
    }
}

impl fmt::Debug for ResultUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{BrokerUrl, ResultUrl, UrlError};

    #[test]
    fn a_list_keeps_its_order() {
        let url = BrokerUrl::parse("redis://a;redis://b/2; redis+socket:///run/c;").unwrap();
        assert_eq!(
            url.to_string(),
            "redis://a:6379/0;redis://b:6379/2;redis+socket:///run/c?virtual_host=0"
        );
        assert_eq!(
            BrokerUrl::parse("redis://a;memory://"),
            Err(UrlError::MixedList)
        );
        assert_eq!(BrokerUrl::parse("memory://"), Ok(BrokerUrl::Memory));
    }

    #[test]
    fn what_this_version_lacks_is_refused_by_name() {
        let unsupported = |scheme: &str| {
            Err(UrlError::Unsupported {
                scheme: scheme.to_owned(),
            })
        };
        for scheme in ["amqp", "amqps", "pyamqp"] {
            assert_eq!(
                BrokerUrl::parse(&format!("{scheme}://u:p@h")),
                unsupported(scheme)
            );
        }
        let check = |text: &str, scheme: &str| {
            let scheme = scheme.to_owned();
            assert_eq!(
                ResultUrl::parse(text),
                Err(UrlError::Unsupported { scheme }),
                "{text}"
            );
        };
        check("django-db", "django-db");
        check("mongodb://h/db", "mongodb");
        check("rpc://", "rpc");
        check("db+mysql://u:p@h/db", "db+mysql");
        check("cache+memcached://h", "cache");
        check("file:///tmp", "file");
        assert_eq!(
            BrokerUrl::parse("amqp://h").unwrap_err().to_string(),
            "amqp:// is not supported in this version"
        );
    }

    #[test]
    fn schemes_nobody_knows_are_shown_only_when_they_are_schemes() {
        let scheme = "readis".to_owned();
        assert_eq!(
            BrokerUrl::parse("readis://h"),
            Err(UrlError::UnknownScheme { scheme })
        );
        assert_eq!(
            BrokerUrl::parse("hunter2:secret@://h"),
            Err(UrlError::NoScheme)
        );
        assert_eq!(BrokerUrl::parse("localhost:6379"), Err(UrlError::NoScheme));
        assert_eq!(BrokerUrl::parse(" ; "), Err(UrlError::NoScheme));
        assert!(matches!(
            BrokerUrl::parse("disabled://"),
            Err(UrlError::UnknownScheme { .. })
        ));
        assert_eq!(ResultUrl::parse("disabled://"), Ok(ResultUrl::Disabled));
        assert_eq!(ResultUrl::parse("disabled"), Ok(ResultUrl::Disabled));
    }
}
