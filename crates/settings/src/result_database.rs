//! A database of results, as Celery's `db+` URLs name one, and what Celery's `database_` settings say of it.

use std::{fmt, path::PathBuf, time::Duration};

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::{Map, Value};

use crate::{
    Secret, UrlError,
    known::nearest,
    lookup::Lookup,
    parse,
    secret::MASK,
    variable::{
        RESULT_DATABASE_CREATE_TABLES, RESULT_DATABASE_ENGINE_OPTIONS, RESULT_DATABASE_SHORT_LIVED,
        RESULT_DATABASE_TABLE_NAMES, RESULT_DATABASE_TABLE_SCHEMAS, Variable,
    },
};

/// A database that keeps results in Celery's own tables. Prints with the password masked.
#[derive(Clone, PartialEq, Eq)]
pub enum ResultDatabase {
    /// A file; it is made when it is missing.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(ResultPostgres),
}

/// A PostgreSQL server and the database to use there.
#[derive(Clone, PartialEq, Eq)]
pub struct ResultPostgres {
    /// As it is written, percent-encoded.
    user: Option<String>,
    password: Option<Secret>,
    /// `host:port/database?parameters`, any of them missing.
    rest: String,
}

/// Parameters of libpq that are understood.
const PARAMETERS: [&str; 10] = [
    "user",
    "dbname",
    "host",
    "port",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "options",
];

/// Whether this is one of Celery's URLs of a database: it gives what follows `db+`.
pub(crate) fn after_prefix(text: &str) -> Option<&str> {
    let (family, rest) = text.split_once('+')?;
    let is_family = ["db", "database"].contains(&family.to_ascii_lowercase().as_str());
    is_family.then_some(rest)
}

impl ResultDatabase {
    /// Reads what follows `db+`: a URL as SQLAlchemy takes it, `sqlite:///relative`, `sqlite:////absolute`, or
    /// `postgresql://[user[:password]@][host][:port]/database`; a driver of Python's after a `+` means nothing here.
    ///
    /// # Errors
    /// Says which part is wrong, never showing the password.
    pub(crate) fn parse(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let scheme = scheme.to_ascii_lowercase();
        match scheme.split('+').next() {
            Some("sqlite") => sqlite(rest).map(Self::Sqlite),
            Some("postgresql" | "postgres") => ResultPostgres::parse(rest).map(Self::Postgres),
            Some("mysql" | "mariadb" | "oracle" | "mssql" | "cockroachdb") => {
                Err(UrlError::Unsupported {
                    scheme: format!("db+{scheme}"),
                })
            }
            _ => Err(UrlError::Malformed(
                "has another database after db+ than sqlite or postgresql",
            )),
        }
    }

    /// The URL as Celery takes it, with its password.
    pub fn exposed(&self) -> String {
        match self {
            Self::Sqlite(_) => self.to_string(),
            Self::Postgres(url) => format!("db+postgresql://{}", url.after_scheme(true)),
        }
    }

    /// How messages name it: without user and password.
    pub fn label(&self) -> String {
        match self {
            Self::Sqlite(path) => path.display().to_string(),
            Self::Postgres(url) => {
                let (place, _) = split_query(&url.rest);
                format!("postgresql://{place}")
            }
        }
    }
}

impl ResultPostgres {
    fn parse(rest: &str) -> Result<Self, UrlError> {
        let (place, query) = split_query(rest);
        let (credentials, place) = match place.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, place),
        };
        let (user, password) = match credentials.map(|both| both.split_once(':')) {
            None => (None, None),
            Some(None) => (credentials.map(str::to_owned), None),
            Some(Some((user, password))) => {
                let decoded = percent_decode_str(password).decode_utf8();
                let decoded = decoded.map_err(|_| {
                    UrlError::Malformed("has a password that is not percent-encoded UTF-8")
                })?;
                (Some(user.to_owned()), Some(Secret::new(decoded)))
            }
        };
        let mut kept = Vec::new();
        for parameter in query.split('&').filter(|one| !one.is_empty()) {
            let name = parameter.split('=').next().unwrap_or_default();
            match name {
                // Ours is fixed.
                "connect_timeout" => {}
                "password" => {
                    return Err(UrlError::Malformed(
                        "has its password among the parameters; it belongs before the @",
                    ));
                }
                name if PARAMETERS.contains(&name) => kept.push(parameter),
                _ => {
                    return Err(UrlError::Malformed(
                        "has a parameter other than user, dbname, host, port, sslmode, sslrootcert, sslcert, sslkey, \
                         application_name, options and connect_timeout",
                    ));
                }
            }
        }
        let mut rest = place.to_owned();
        if !kept.is_empty() {
            rest.push('?');
            rest.push_str(&kept.join("&"));
        }
        Ok(Self {
            user: user.filter(|user| !user.is_empty()),
            password,
            rest,
        })
    }

    /// The URL as a driver takes it, with its password.
    pub fn exposed(&self) -> String {
        format!("postgres://{}", self.after_scheme(true))
    }

    /// Its password, when it has one.
    pub fn password(&self) -> Option<&Secret> {
        self.password.as_ref()
    }

    fn after_scheme(&self, exposed: bool) -> String {
        let user = self.user.as_deref().unwrap_or_default();
        match &self.password {
            Some(password) if exposed => {
                let password = utf8_percent_encode(password.expose(), NON_ALPHANUMERIC);
                format!("{user}:{password}@{}", self.rest)
            }
            Some(_) => format!("{user}:{MASK}@{}", self.rest),
            None if user.is_empty() => self.rest.clone(),
            None => format!("{user}@{}", self.rest),
        }
    }
}

/// What comes before the parameters, and they.
fn split_query(text: &str) -> (&str, &str) {
    let (place, query) = text.split_once('?').unwrap_or((text, ""));
    (place.trim(), query.trim())
}

fn sqlite(rest: &str) -> Result<PathBuf, UrlError> {
    let (path, query) = split_query(rest);
    let unknown = query.split('&').filter(|one| !one.is_empty()).any(|one| {
        !["timeout", "check_same_thread"].contains(&one.split('=').next().unwrap_or_default())
    });
    if unknown {
        return Err(UrlError::Malformed(
            "has a parameter other than timeout and check_same_thread",
        ));
    }
    match path.strip_prefix('/') {
        Some("" | ":memory:") => Err(UrlError::Malformed(
            "is a database in memory, which no other process sees; name a file: db+sqlite:////var/lib/results.db",
        )),
        Some(path) => Ok(PathBuf::from(path)),
        None if path.is_empty() => sqlite("/"),
        None => Err(UrlError::Malformed(
            "names a host; a file begins with three slashes, an absolute path with four",
        )),
    }
}

impl fmt::Display for ResultDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "db+sqlite:///{}", path.display()),
            Self::Postgres(url) => write!(f, "db+postgresql://{}", url.after_scheme(false)),
        }
    }
}

impl fmt::Debug for ResultDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for ResultPostgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.after_scheme(false))
    }
}

/// What Celery's `database_` settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseOptions {
    /// Where results of tasks are: `task` of `CELERY_DATABASE_TABLE_NAMES` and `_SCHEMAS`; default `celery_taskmeta`.
    pub task_table: TableName,
    /// Where saved groups are: `group` of the same; default `celery_tasksetmeta`.
    pub group_table: TableName,
    /// `pool_size` plus `max_overflow` of `CELERY_DATABASE_ENGINE_OPTIONS`; default 5.
    pub connections: u32,
    /// `pool_recycle` of the same: a connection is not used for longer; default one hour, None for ever.
    pub recycle: Option<Duration>,
    /// `CELERY_DATABASE_SHORT_LIVED_SESSIONS`: connections are closed when nothing is asked for a second. Default no.
    pub short_lived: bool,
    /// `CELERY_DATABASE_CREATE_TABLES_AT_SETUP`: the tables are made at the start rather than at the first use. Default yes.
    pub tables_at_start: bool,
}

/// A table, and the schema it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableName {
    /// The schema; None: the connection's own.
    pub schema: Option<String>,
    /// The name.
    pub name: String,
}

impl Default for DatabaseOptions {
    fn default() -> Self {
        let table = |name: &str| TableName {
            schema: None,
            name: name.to_owned(),
        };
        Self {
            task_table: table("celery_taskmeta"),
            group_table: table("celery_tasksetmeta"),
            connections: 5,
            recycle: Some(Duration::from_secs(3_600)),
            short_lived: false,
            tables_at_start: true,
        }
    }
}

impl DatabaseOptions {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut options = Self::default();
        for (table, name) in of_tables(lookup, &RESULT_DATABASE_TABLE_NAMES) {
            match table {
                Table::Task => options.task_table.name = name,
                Table::Group => options.group_table.name = name,
            }
        }
        for (table, schema) in of_tables(lookup, &RESULT_DATABASE_TABLE_SCHEMAS) {
            match table {
                Table::Task => options.task_table.schema = Some(schema),
                Table::Group => options.group_table.schema = Some(schema),
            }
        }
        if let Some(set) = object(lookup, &RESULT_DATABASE_ENGINE_OPTIONS) {
            options.read_engine(lookup, set);
        }
        lookup.set(
            &RESULT_DATABASE_SHORT_LIVED,
            &mut options.short_lived,
            parse::boolean,
        );
        lookup.set(
            &RESULT_DATABASE_CREATE_TABLES,
            &mut options.tables_at_start,
            parse::boolean,
        );
        options
    }

    fn read_engine(&mut self, lookup: &mut Lookup, set: Map<String, Value>) {
        let variable = &RESULT_DATABASE_ENGINE_OPTIONS;
        let (mut size, mut overflow) = (None, None);
        for (name, value) in set {
            let number = value.as_i64().and_then(|number| u32::try_from(number).ok());
            match (name.as_str(), number) {
                ("pool_size", Some(number)) => size = Some(number),
                ("max_overflow", Some(number)) => overflow = Some(number),
                ("pool_recycle", Some(seconds)) => {
                    self.recycle = Some(Duration::from_secs(u64::from(seconds.max(1))));
                }
                ("pool_recycle", None) if value.as_i64() == Some(-1) => self.recycle = None,
                ("pool_size" | "max_overflow" | "pool_recycle", None) => {
                    let problem = format!("{name} is not a whole number");
                    lookup.fault(variable, &value, &problem, "a whole number, 0 or more");
                }
                // Connections are looked at before they are used, always.
                ("pool_pre_ping", _) => {}
                (other, _) => {
                    let near = nearest(other, ["pool_size", "max_overflow", "pool_recycle"]);
                    let text = format!("has the option {other}, which has no effect here{near}");
                    lookup.warn(variable, text);
                }
            }
        }
        if size.is_some() || overflow.is_some() {
            let sum = size.unwrap_or(5).saturating_add(overflow.unwrap_or(0));
            self.connections = sum.clamp(1, 1_000);
        }
    }
}

enum Table {
    Task,
    Group,
}

fn object(lookup: &mut Lookup, variable: &'static Variable) -> Option<Map<String, Value>> {
    let text = lookup.text(variable)?;
    lookup.object(variable, &text)
}

/// The texts of `{"task": …, "group": …}`.
fn of_tables(lookup: &mut Lookup, variable: &'static Variable) -> Vec<(Table, String)> {
    let mut found = Vec::new();
    for (key, value) in object(lookup, variable).unwrap_or_default() {
        let table = match key.as_str() {
            "task" => Table::Task,
            "group" => Table::Group,
            other => {
                let near = nearest(other, ["task", "group"]);
                lookup.warn(
                    variable,
                    format!("names a table {other}, which results do not have{near}"),
                );
                continue;
            }
        };
        match value.as_str() {
            Some(name) if !name.is_empty() && !name.contains('\0') => {
                found.push((table, name.to_owned()));
            }
            _ => lookup.fault(
                variable,
                &value,
                "is not a name",
                "a text that is a name in SQL",
            ),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ResultUrl, Settings};

    fn parse(text: &str) -> Result<ResultDatabase, UrlError> {
        match ResultUrl::parse(text)? {
            ResultUrl::Database(database) => Ok(*database),
            other => panic!("{text} is {other}"),
        }
    }

    fn settings(pairs: &[(&str, &str)]) -> Result<Settings, String> {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs)
            .map(|(settings, _)| settings)
            .map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_file_has_three_slashes_before_its_path() {
        let check = |text: &str, path: &str| {
            assert_eq!(
                parse(text),
                Ok(ResultDatabase::Sqlite(path.into())),
                "{text}"
            );
        };
        check("db+sqlite:///results.db", "results.db");
        check("db+sqlite:////var/results.db", "/var/results.db");
        check(
            "database+sqlite+pysqlite:////a%20b.db?timeout=5",
            "/a%20b.db",
        );
        for memory in ["db+sqlite://", "db+sqlite:///", "db+sqlite:///:memory:"] {
            assert!(parse(memory).unwrap_err().to_string().contains("memory"));
        }
        assert!(parse("db+sqlite://host/x").is_err());
        assert!(parse("db+sqlite:///x?mode=ro").is_err());
    }

    #[test]
    fn a_password_is_handed_on_and_never_shown() {
        let text = "db+postgresql+psycopg2://me:s%40same@db.example:5433/celery?sslmode=require&connect_timeout=3";
        let database = parse(text).unwrap();
        let shown = format!("{database} {database:?} {}", database.label());
        assert!(!shown.contains("same"), "{shown}");
        assert_eq!(
            database.to_string(),
            "db+postgresql://me:********@db.example:5433/celery?sslmode=require"
        );
        assert_eq!(database.label(), "postgresql://db.example:5433/celery");
        let ResultDatabase::Postgres(url) = &database else {
            panic!("another database")
        };
        assert_eq!(
            url.exposed(),
            "postgres://me:s%40same@db.example:5433/celery?sslmode=require"
        );
        let wrong = parse("db+postgresql://h/d?password=sesame").unwrap_err();
        assert!(!wrong.to_string().contains("sesame"));
    }

    #[test]
    fn a_socket_is_a_parameter() {
        let database = parse("db+postgresql:///celery?host=/run/postgresql").unwrap();
        assert_eq!(
            database.exposed(),
            "db+postgresql:///celery?host=/run/postgresql"
        );
    }

    #[test]
    fn other_databases_are_refused_by_name() {
        let scheme = "db+mysql+pymysql".to_owned();
        assert_eq!(
            parse("db+mysql+pymysql://u:p@h/d"),
            Err(UrlError::Unsupported { scheme })
        );
        assert!(parse("db+sqllite:///x").is_err());
    }

    #[test]
    fn the_backend_may_be_named_and_its_url_stand_elsewhere() {
        let read = settings(&[
            ("CELERY_RESULT_BACKEND", "database"),
            ("CELERY_DATABASE_URL", "sqlite:////x.db"),
        ]);
        let place = read.unwrap().results.url.unwrap();
        assert_eq!(place.to_string(), "db+sqlite:////x.db");
        let missing = settings(&[("CELERY_RESULT_BACKEND", "db")]).unwrap_err();
        assert!(missing.contains("CELERY_DATABASE_URL"), "{missing}");
    }

    #[test]
    fn tables_and_pool_are_as_celery_says() {
        let read = settings(&[
            (
                "CELERY_DATABASE_TABLE_NAMES",
                r#"{"task": "t", "group": "g"}"#,
            ),
            ("CELERY_DATABASE_TABLE_SCHEMAS", r#"{"group": "s"}"#),
            (
                "CELERY_DATABASE_ENGINE_OPTIONS",
                r#"{"pool_size": 2, "max_overflow": 1, "pool_recycle": -1, "echo": true}"#,
            ),
            ("CELERY_DATABASE_SHORT_LIVED_SESSIONS", "true"),
        ]);
        let options = read.unwrap().results.database;
        assert_eq!(
            (options.task_table.schema, options.task_table.name),
            (None, "t".into())
        );
        assert_eq!(options.group_table.schema.as_deref(), Some("s"));
        assert_eq!((options.connections, options.recycle), (3, None));
        assert!(options.short_lived && options.tables_at_start);
        let wrong = settings(&[("CELERY_DATABASE_TABLE_NAMES", r#"{"task": 3}"#)]);
        assert!(wrong.unwrap_err().contains("CELERY_DATABASE_TABLE_NAMES"));
    }
}
