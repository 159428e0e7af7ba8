//! What `DATABASE_URL` may hold.

use std::{fmt, path::PathBuf};

use crate::{Secret, parse::Problem, secret::MASK};

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// A SQLite file, relative to the current folder or absolute.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(PostgresUrl),
    /// Another program's: one of a kind that Lovage keeps no tables in. Workers do not mind; what needs a database refuses it.
    Foreign {
        /// The kind, such as `mysql`.
        scheme: String,
    },
}

/// A PostgreSQL server's URL. Prints without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    url: Secret,
    shown: String,
    password: Option<Secret>,
}

const EXPECTED: &str = "sqlite://data/lovage.db, sqlite:///var/lib/lovage.db or \
                        postgres://user:password@host:5432/name";

impl DatabaseUrl {
    /// Reads `sqlite://PATH` (a third slash makes it absolute) or `postgres://…`. SQLAlchemy's `postgresql+psycopg://…` is
    /// read too: its driver does not matter here.
    ///
    /// # Errors
    /// One line for people, without a password: what is wrong and what would be right.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::of_setting(text)
            .map_err(|wrong| format!("{}; expected {}", wrong.problem, wrong.expected))
    }

    pub(crate) fn of_setting(text: &str) -> Result<Self, Problem> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Problem::new("has no scheme", EXPECTED));
        };
        let scheme = scheme.to_ascii_lowercase();
        let kind = scheme
            .split_once('+')
            .map_or(scheme.as_str(), |(kind, _)| kind);
        match kind {
            "sqlite" => sqlite(rest.strip_prefix("//").unwrap_or(rest)),
            "postgres" | "postgresql" => match rest.strip_prefix("//") {
                Some(rest) => postgres(rest),
                None => Err(Problem::new("has no // after its scheme", EXPECTED)),
            },
            "mysql" | "mariadb" | "oracle" | "mssql" | "mongodb" => Ok(Self::Foreign {
                scheme: kind.to_owned(),
            }),
            _ => Err(Problem::new(
                "has a scheme that is not known here",
                EXPECTED,
            )),
        }
    }
}

fn sqlite(path: &str) -> Result<DatabaseUrl, Problem> {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if path.is_empty() || path.contains(":memory:") {
        return Err(Problem::new(
            "names no file, and a database in memory is not shared between processes",
            EXPECTED,
        ));
    }
    Ok(DatabaseUrl::Sqlite(PathBuf::from(path)))
}

fn postgres(rest: &str) -> Result<DatabaseUrl, Problem> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, name) = place.split_once('/').unwrap_or((place, ""));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let parameter = |wanted: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(name, _)| *name == wanted)
            .map(|(_, value)| value)
    };
    if host.is_empty() && parameter("host").is_none() && parameter("hostaddr").is_none() {
        return Err(Problem::new("names no host", EXPECTED));
    }
    if name.is_empty() && parameter("dbname").is_none() {
        return Err(Problem::new("names no database", EXPECTED));
    }
    let (user, in_user) = match user.split_once(':') {
        Some((user, password)) => (format!("{user}:{MASK}@"), Some(password)),
        None if user.is_empty() => (String::new(), None),
        None => (format!("{user}@"), None),
    };
    let shown_query: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| match pair.split_once('=') {
            Some(("password" | "sslpassword", _)) => {
                let name = pair.split('=').next().unwrap_or_default();
                format!("{name}={MASK}")
            }
            _ => pair.to_owned(),
        })
        .collect();
    let mut shown = format!("postgres://{user}{host}/{name}");
    if !shown_query.is_empty() {
        shown.push('?');
        shown.push_str(&shown_query.join("&"));
    }
    Ok(DatabaseUrl::Postgres(PostgresUrl {
        url: Secret::new(format!("postgres://{rest}")),
        shown,
        password: in_user.or_else(|| parameter("password")).map(Secret::new),
    }))
}

impl PostgresUrl {
    /// The URL as a driver wants it, password included.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.url.expose()
    }

    /// Its password, as it stands in the URL.
    pub(crate) fn password(&self) -> Option<&str> {
        self.password.as_ref().map(Secret::expose)
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            Self::Postgres(url) => url.fmt(f),
            Self::Foreign { scheme } => write!(f, "{scheme}://{MASK}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::DatabaseUrl;

    #[test]
    fn a_third_slash_makes_a_file_absolute() {
        let check = |text, path: &str| {
            assert_eq!(
                DatabaseUrl::parse(text),
                Ok(DatabaseUrl::Sqlite(PathBuf::from(path))),
                "{text}"
            );
        };
        check("sqlite://data/lovage.db", "data/lovage.db");
        check("sqlite:///var/lib/lovage.db", "/var/lib/lovage.db");
        check("sqlite:x.db?mode=rwc", "x.db");
    }

    #[test]
    fn a_printed_url_shows_no_password() {
        let check = |text, shown: &str, url: &str| {
            let parsed = DatabaseUrl::parse(text).unwrap();
            assert_eq!(format!("{parsed} {parsed:?}"), format!("{shown} {shown}"));
            let DatabaseUrl::Postgres(parsed) = parsed else {
                panic!("{text} is PostgreSQL");
            };
            assert_eq!(parsed.expose(), url);
        };
        check(
            "postgresql+psycopg2://app:hunter2@db:5433/jobs?sslmode=require",
            "postgres://app:********@db:5433/jobs?sslmode=require",
            "postgres://app:hunter2@db:5433/jobs?sslmode=require",
        );
        check(
            "postgres:///jobs?host=/run/pg&user=app&password=hunter2",
            "postgres:///jobs?host=/run/pg&user=app&password=********",
            "postgres:///jobs?host=/run/pg&user=app&password=hunter2",
        );
    }

    #[test]
    fn another_programs_database_is_known_as_such() {
        let parsed = DatabaseUrl::parse("mysql+pymysql://app:hunter2@db/jobs").unwrap();
        assert_eq!(format!("{parsed:?}"), "mysql://********");
    }

    #[test]
    fn what_is_no_database_of_ours_is_refused_with_a_reason() {
        let check = |text, reason: &str| {
            let told = DatabaseUrl::parse(text).unwrap_err();
            assert!(told.contains(reason), "{text}: {told}");
            assert!(!told.contains("hunter2"), "{told}");
        };
        check("hunter2", "scheme");
        check("sqlite::memory:", "no file");
        check("sqlite://", "no file");
        check("postgres://app:hunter2@db", "no database");
        check("postgres:///jobs", "no host");
        check("ftp://db/jobs", "scheme");
    }
}
