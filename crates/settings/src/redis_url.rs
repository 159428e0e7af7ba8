//! One Redis server: address, credentials, logical database, encryption.

use std::{fmt, path::PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{RedisTls, Secret, Sentinels, UrlError, secret::MASK};

/// One Redis server and the logical database to use there. Prints with the password masked.
#[derive(Clone, PartialEq)]
pub struct RedisUrl {
    /// Where it listens.
    pub address: RedisAddress,
    /// ACL user, when one is named.
    pub username: Option<String>,
    /// Password, when there is one.
    pub password: Option<Secret>,
    /// Logical database; default 0, never negative.
    pub database: i64,
    /// How connections are encrypted; None: not at all.
    pub tls: Option<RedisTls>,
}

/// Where a Redis server listens.
#[derive(Clone, Debug, PartialEq)]
pub enum RedisAddress {
    /// A host and a port.
    Tcp {
        /// Name or address; an IPv6 address without its brackets.
        host: String,
        /// Port; default 6379.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
    /// Wherever these say that the master is.
    Sentinel(Sentinels),
}

impl RedisAddress {
    /// How messages name it, and by which two servers are told apart.
    pub fn label(&self) -> String {
        match self {
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(path) => path.display().to_string(),
            Self::Sentinel(sentinels) => sentinels.label(),
        }
    }
}

/// What is said of parameters that begin with `ssl_`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Plain,
    Encrypted,
    Sentinel,
}

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

impl RedisUrl {
    /// Reads what follows `redis://`.
    pub(crate) fn tcp(rest: &str) -> Result<Self, UrlError> {
        Self::with_host(rest, Scheme::Plain)
    }

    /// Reads what follows `rediss://`.
    pub(crate) fn encrypted(rest: &str) -> Result<Self, UrlError> {
        Self::with_host(rest, Scheme::Encrypted)
    }

    /// Reads what follows one `sentinel://`; the address is the sentinel's.
    pub(crate) fn sentinel(rest: &str) -> Result<Self, UrlError> {
        Self::with_host(rest, Scheme::Sentinel)
    }

    fn with_host(rest: &str, scheme: Scheme) -> Result<Self, UrlError> {
        refuse_fragment(rest)?;
        let (rest, query) = split_query(rest);
        let (authority, path) = match rest.find('/') {
            Some(slash) => (&rest[..slash], &rest[slash + 1..]),
            None => (rest, ""),
        };
        let (credentials, host) = split_credentials(authority);
        let (username, password) = read_credentials(credentials)?;
        let default_port = if scheme == Scheme::Sentinel {
            SENTINEL_PORT
        } else {
            REDIS_PORT
        };
        let (host, port) = read_host(host, default_port)?;
        let mut database = read_database(path)?;
        let mut tls = RedisTls::default();
        for (name, value) in read_query(query)? {
            match name.as_str() {
                "db" | "virtual_host" => database = read_database(&value)?,
                ssl if ssl.starts_with("ssl_") => match scheme {
                    Scheme::Plain => {
                        return Err(UrlError::Malformed(
                            "has ssl_ parameters, but redis:// is not encrypted",
                        ));
                    }
                    Scheme::Sentinel => {
                        return Err(UrlError::Malformed(
                            "has ssl_ parameters, which for sentinel:// belong into the use_ssl setting",
                        ));
                    }
                    Scheme::Encrypted if tls.set_parameter(ssl, &value)? => {}
                    Scheme::Encrypted => return Err(parameter(name)),
                },
                _ => return Err(parameter(name)),
            }
        }
        if tls.keyfile.is_some() && tls.certfile.is_none() {
            return Err(UrlError::Malformed(
                "has an ssl_keyfile without an ssl_certfile",
            ));
        }
        Ok(Self {
            address: RedisAddress::Tcp { host, port },
            username,
            password,
            database,
            tls: (scheme == Scheme::Encrypted).then_some(tls),
        })
    }

    /// Reads what follows `unix://` or `redis+socket://`.
    pub(crate) fn unix(rest: &str) -> Result<Self, UrlError> {
        refuse_fragment(rest)?;
        let (rest, query) = split_query(rest);
        let start = rest
            .find('/')
            .ok_or(UrlError::Malformed("has no path to a socket"))?;
        let (credentials, host) = split_credentials(&rest[..start]);
        if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
            return Err(UrlError::Malformed(
                "names a host before the path of a socket; three slashes are needed",
            ));
        }
        let (username, password) = read_credentials(credentials)?;
        let path = decode(&rest[start..])?;
        if path.trim_matches('/').is_empty() {
            return Err(UrlError::Malformed("has no path to a socket"));
        }
        if path.contains('\0') {
            return Err(UrlError::Malformed("has a zero byte in its path"));
        }
        let mut database = 0;
        for (name, value) in read_query(query)? {
            match name.as_str() {
                "db" | "virtual_host" => database = read_database(&value)?,
                _ => return Err(parameter(name)),
            }
        }
        let address = RedisAddress::Unix(PathBuf::from(path));
        Ok(Self {
            address,
            username,
            password,
            database,
            tls: None,
        })
    }
}

/// A bare `#` would end the URL, most likely in the middle of a password.
fn refuse_fragment(rest: &str) -> Result<(), UrlError> {
    if rest.contains('#') {
        return Err(UrlError::Malformed(
            "has a #; in a password it is written %23",
        ));
    }
    Ok(())
}

/// Behind a bare `?` in a password the rest of it would be a parameter's name: only what looks like a name is shown.
fn parameter(name: String) -> UrlError {
    if name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    {
        UrlError::Parameter { name }
    } else {
        UrlError::Malformed(
            "has a ? that does not begin parameters; in a password it is written %3F",
        )
    }
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// The last `@` ends the credentials: a password with a bare `@` in it still works.
fn split_credentials(authority: &str) -> (Option<&str>, &str) {
    match authority.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, authority),
    }
}

fn read_credentials(text: Option<&str>) -> Result<(Option<String>, Option<Secret>), UrlError> {
    let Some(text) = text else {
        return Ok((None, None));
    };
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let present = |part: &str| -> Result<Option<String>, UrlError> {
        if part.is_empty() {
            Ok(None)
        } else {
            decode(part).map(Some)
        }
    };
    Ok((present(user)?, present(password)?.map(Secret::new)))
}

fn read_host(text: &str, default_port: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest
            .split_once(']')
            .ok_or(UrlError::Malformed("has an IPv6 address without its ]"))?;
        (host, after.strip_prefix(':').unwrap_or(after))
    } else {
        text.split_once(':').unwrap_or((text, ""))
    };
    let port = match port {
        "" => default_port,
        port => port
            .parse()
            .map_err(|_| UrlError::Malformed("has a port that is not a number from 0 to 65535"))?,
    };
    let host = decode(host)?;
    // kombu's own default, which avoids asking a name server.
    let host = if host.is_empty() {
        "127.0.0.1".to_owned()
    } else {
        host
    };
    if host.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(UrlError::Malformed("has a host with blanks in it"));
    }
    Ok((host, port))
}

/// kombu takes `/3` and `//3` alike; nothing, or a slash alone, is 0.
fn read_database(path: &str) -> Result<i64, UrlError> {
    match path.trim_start_matches('/') {
        "" => Ok(0),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number
            .parse()
            .map_err(|_| UrlError::Malformed("has a database number that is too large")),
        _ => Err(UrlError::Malformed("has a database that is not a number")),
    }
}

fn read_query(query: &str) -> Result<Vec<(String, String)>, UrlError> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decode(name)?, decode(value)?))
        })
        .collect()
}

fn decode(text: &str) -> Result<String, UrlError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(UrlError::Malformed(
            "has percent signs that do not decode to UTF-8",
        )),
    }
}

/// What may stand in a user name or host as it is.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');
/// In a path also the slash.
const PLAIN_PATH: &AsciiSet = &PLAIN.remove(b'/');

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.address, &self.tls) {
            (RedisAddress::Unix(_), _) => "redis+socket",
            (RedisAddress::Sentinel(_), _) => "sentinel",
            (RedisAddress::Tcp { .. }, Some(_)) => "rediss",
            (RedisAddress::Tcp { .. }, None) => "redis",
        };
        write!(f, "{scheme}://")?;
        if let Some(user) = &self.username {
            write!(f, "{}", utf8_percent_encode(user, PLAIN))?;
        }
        if self.password.is_some() {
            write!(f, ":{MASK}")?;
        }
        if self.username.is_some() || self.password.is_some() {
            f.write_str("@")?;
        }
        let database = self.database;
        match &self.address {
            RedisAddress::Tcp { host, port } => {
                write_host(f, host, *port)?;
                write!(f, "/{database}")?;
                let parameters = self.tls.iter().flat_map(RedisTls::parameters);
                for (index, (name, value)) in parameters.enumerate() {
                    let between = if index == 0 { '?' } else { '&' };
                    let value = utf8_percent_encode(&value, PLAIN_PATH);
                    write!(f, "{between}{name}={value}")?;
                }
                Ok(())
            }
            RedisAddress::Unix(path) => {
                let path = path.to_string_lossy();
                write!(
                    f,
                    "{}?virtual_host={database}",
                    utf8_percent_encode(&path, PLAIN_PATH)
                )
            }
            RedisAddress::Sentinel(sentinels) => {
                for (index, (host, port)) in sentinels.addresses.iter().enumerate() {
                    if index > 0 {
                        f.write_str(";sentinel://")?;
                    }
                    write_host(f, host, *port)?;
                    write!(f, "/{database}")?;
                }
                Ok(())
            }
        }
    }
}

fn write_host(f: &mut fmt::Formatter<'_>, host: &str, port: u16) -> fmt::Result {
    if host.contains(':') {
        write!(f, "[{host}]:{port}")
    } else {
        write!(f, "{}:{port}", utf8_percent_encode(host, PLAIN))
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::{RedisAddress, RedisUrl};
    use crate::{Secret, UrlError};

    fn tcp(host: &str, port: u16, database: i64) -> RedisUrl {
        let address = RedisAddress::Tcp {
            host: host.to_owned(),
            port,
        };
        RedisUrl {
            address,
            username: None,
            password: None,
            database,
            tls: None,
        }
    }

    #[test]
    fn tcp_forms() {
        let check = |text: &str, expected: RedisUrl| {
            assert_eq!(RedisUrl::tcp(text), Ok(expected), "{text}");
        };
        check("", tcp("127.0.0.1", 6379, 0));
        check("cache", tcp("cache", 6379, 0));
        check("cache/", tcp("cache", 6379, 0));
        check("cache:7/3", tcp("cache", 7, 3));
        check("cache//3", tcp("cache", 6379, 3));
        check("cache/1?db=4", tcp("cache", 6379, 4));
        check("cache?virtual_host=/2", tcp("cache", 6379, 2));
        check("[::1]:7/1", tcp("::1", 7, 1));
        check("[::1]", tcp("::1", 6379, 0));
        let with = |user: Option<&str>, password: Option<&str>| RedisUrl {
            username: user.map(str::to_owned),
            password: password.map(Secret::new),
            ..tcp("h", 6379, 0)
        };
        check(":pw@h", with(None, Some("pw")));
        check("u@h", with(Some("u"), None));
        check("u:p%40%2F%3A%23@h", with(Some("u"), Some("p@/:#")));
        check("u%20x:a@b@h", with(Some("u x"), Some("a@b")));
    }

    #[test]
    fn socket_forms() {
        let check = |text: &str, path: &str, database| {
            let url = RedisUrl::unix(text).unwrap();
            assert_eq!(url.address, RedisAddress::Unix(path.into()), "{text}");
            assert_eq!(url.database, database, "{text}");
        };
        check("/run/redis.sock", "/run/redis.sock", 0);
        check("/run/redis.sock?virtual_host=1", "/run/redis.sock", 1);
        check("/run/redis.sock?db=2", "/run/redis.sock", 2);
        check(
            "/run/my%20redis.sock?virtual_host=/3",
            "/run/my redis.sock",
            3,
        );
        let with_password = RedisUrl::unix("u:pw@/run/redis.sock").unwrap();
        assert_eq!(with_password.password, Some(Secret::new("pw")));
        assert_eq!(with_password.username.as_deref(), Some("u"));
        for wrong in [
            "",
            "redis.sock",
            "run/redis.sock",
            "/",
            "/a?x=1",
            "/a?db=-1",
            "/a%00b",
        ] {
            assert!(RedisUrl::unix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wrong_parts_are_named_and_passwords_are_not() {
        let check = |text: &str, part: &str| {
            let message = RedisUrl::tcp(text).unwrap_err().to_string();
            assert!(message.contains(part), "{text}: {message}");
            assert!(!message.contains("hunter2"), "{text}: {message}");
        };
        check("h/x", "database");
        check("h/99999999999999999999", "database");
        check("h:99999", "port");
        check(":hunter2@h:x", "port");
        check("h?ssl_cert_reqs=none", "not encrypted");
        check(":1?hunter2@h", "%3F");
        check(":1#hunter2@h", "%23");
        check(":%ff@h", "UTF-8");
        check("[::1", "]");
        check("a b", "blanks");
        assert_eq!(
            RedisUrl::tcp("h?timeout=1"),
            Err(UrlError::Parameter {
                name: "timeout".to_owned()
            })
        );
    }

    #[test]
    fn printing_masks_the_password_and_reads_back() {
        let check = |url: RedisUrl, expected: &str| {
            assert_eq!(url.to_string(), expected);
            assert_eq!(format!("{url:?}"), expected);
        };
        check(
            RedisUrl::tcp("u%20x:hunter2@h/2").unwrap(),
            "redis://u%20x:********@h:6379/2",
        );
        check(RedisUrl::tcp("[::1]").unwrap(), "redis://[::1]:6379/0");
        check(
            RedisUrl::unix(":hunter2@/run/a%20b?db=1").unwrap(),
            "redis+socket://:********@/run/a%20b?virtual_host=1",
        );
    }
}
