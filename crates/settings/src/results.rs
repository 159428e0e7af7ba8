//! Where results go and how long they stay.

use std::time::Duration;

use serde_json::Value;

use crate::{
    BrokerUrl, DatabaseOptions, RedisUrl, ResultDatabase, ResultUrl, SentinelOptions,
    complete::{self, Origin},
    known::nearest,
    lookup::Lookup,
    parse::{self, Problem},
    redis_tls, serializer, transport_options,
    variable::{
        REDIS_BACKEND_USE_SSL, RESULT_BACKEND, RESULT_BACKEND_TRANSPORT_OPTIONS,
        RESULT_CHORD_EXPIRES, RESULT_CHORD_JOIN_TIMEOUT, RESULT_CHORD_RETRY_INTERVAL,
        RESULT_COMPRESSION, RESULT_DATABASE_URL, RESULT_EXPIRES, RESULT_EXTENDED,
        RESULT_FAILURE_EXPIRES, RESULT_SERIALIZER,
    },
};

/// The result store and the life of what it holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ResultSettings {
    /// `CELERY_RESULT_BACKEND`. None: unset, results go where the broker is; see [`ResultSettings::place`].
    pub url: Option<ResultUrl>,
    /// `CELERY_RESULT_EXPIRES`, seconds; default one day, 0 keeps results for ever (None).
    pub expires: Option<Duration>,
    /// `CELERY_RESULT_FAILURE_EXPIRES`, seconds, for failures only; None: as `expires`.
    pub failure_expires: Option<Duration>,
    /// `CELERY_RESULT_EXTENDED`: store name, arguments, worker, retries and queue too. Default false.
    pub extended: bool,
    /// `CELERY_RESULT_SERIALIZER`: `json`, `msgpack` or `yaml`; default json.
    pub serializer: String,
    /// `CELERY_RESULT_COMPRESSION`, a compression's name; None: off.
    pub compression: Option<String>,
    /// `CELERY_RESULT_CHORD_EXPIRES`, seconds; None: as `expires`.
    pub chord_expires: Option<Duration>,
    /// `CELERY_RESULT_CHORD_JOIN_TIMEOUT`, seconds; default 3 s.
    pub chord_join_timeout: Duration,
    /// `CELERY_RESULT_CHORD_RETRY_INTERVAL`, seconds; default 1 s.
    pub chord_retry_interval: Duration,
    /// `global_keyprefix` of `CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS`, as keys carry it: with the `_` that Celery adds
    /// when the prefix does not end in one of `:_-.` itself. Default none.
    pub global_keyprefix: String,
    /// `master_name`, `min_other_sentinels`, `sentinel_kwargs` of the same: how a `sentinel://` store is asked for.
    pub sentinel: SentinelOptions,
    /// What a store in a database is asked with.
    pub database: DatabaseOptions,
}

/// Where the parts of a result store's address are set.
static RESULTS: Origin = Origin {
    options: &RESULT_BACKEND_TRANSPORT_OPTIONS,
    use_ssl: &REDIS_BACKEND_USE_SSL,
};

impl Default for ResultSettings {
    fn default() -> Self {
        Self {
            url: None,
            expires: Some(Duration::from_secs(86_400)),
            failure_expires: None,
            extended: false,
            serializer: "json".to_owned(),
            compression: None,
            chord_expires: None,
            chord_join_timeout: Duration::from_secs(3),
            chord_retry_interval: Duration::from_secs(1),
            global_keyprefix: String::new(),
            sentinel: SentinelOptions::default(),
            database: DatabaseOptions::default(),
        }
    }
}

impl ResultSettings {
    /// Where results go when the broker is `broker`.
    pub fn place(&self, broker: &BrokerUrl) -> ResultUrl {
        match (&self.url, broker) {
            (Some(url), _) => url.clone(),
            (None, BrokerUrl::Redis(urls)) => ResultUrl::Redis(urls.clone()),
            (None, BrokerUrl::Memory) => ResultUrl::Memory,
        }
    }

    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let url = read_url(lookup);
        let mut settings = Self {
            url,
            ..Self::default()
        };
        lookup.set(
            &RESULT_EXPIRES,
            &mut settings.expires,
            parse::optional_seconds,
        );
        lookup.set(
            &RESULT_FAILURE_EXPIRES,
            &mut settings.failure_expires,
            parse::optional_seconds,
        );
        lookup.set(&RESULT_EXTENDED, &mut settings.extended, parse::boolean);
        lookup.set(&RESULT_COMPRESSION, &mut settings.compression, compression);
        lookup.set(
            &RESULT_CHORD_EXPIRES,
            &mut settings.chord_expires,
            parse::optional_seconds,
        );
        lookup.set(
            &RESULT_CHORD_JOIN_TIMEOUT,
            &mut settings.chord_join_timeout,
            parse::seconds,
        );
        lookup.set(
            &RESULT_CHORD_RETRY_INTERVAL,
            &mut settings.chord_retry_interval,
            parse::seconds,
        );
        lookup.set(
            &RESULT_SERIALIZER,
            &mut settings.serializer,
            serializer::written,
        );
        if let Some(text) = lookup.text(&RESULT_BACKEND_TRANSPORT_OPTIONS) {
            settings.read_transport_options(lookup, &text);
        }
        let use_ssl = redis_tls::read_use_ssl(lookup, &REDIS_BACKEND_USE_SSL);
        if let Some(ResultUrl::Redis(urls)) = &mut settings.url {
            for url in urls {
                complete::with_options(url, &settings.sentinel, use_ssl.as_ref(), lookup, &RESULTS);
                require_cert_reqs(url, lookup);
            }
        }
        settings.database = DatabaseOptions::read(lookup);
        settings.without_what_tables_lack(lookup);
        settings
    }

    /// Celery's backend in a database neither compresses nor keeps failures for another time (`celery/backends/base.py`).
    fn without_what_tables_lack(&mut self, lookup: &mut Lookup) {
        if !matches!(self.url, Some(ResultUrl::Database(_))) {
            return;
        }
        if self.compression.take().is_some() {
            let text = "has no effect: results in a database are not compressed, as in Celery";
            lookup.warn(&RESULT_COMPRESSION, text.to_owned());
        }
        if self.failure_expires.take().is_some() {
            let text = "has no effect: in a database failures are kept as long as other results";
            lookup.warn(&RESULT_FAILURE_EXPIRES, text.to_owned());
        }
    }

    fn read_transport_options(&mut self, lookup: &mut Lookup, text: &str) {
        let variable = &RESULT_BACKEND_TRANSPORT_OPTIONS;
        let Some(options) = lookup.object(variable, text) else {
            return;
        };
        for (key, value) in options {
            match (key.as_str(), value) {
                ("global_keyprefix", Value::String(prefix)) => {
                    self.global_keyprefix = with_separator(prefix);
                }
                ("global_keyprefix", other) => {
                    lookup.fault(variable, &other, "global_keyprefix is not a text", "a text");
                }
                (other, value) => match self.sentinel.set(other, &value) {
                    Ok(true) => {}
                    Err(wrong) => transport_options::fault(lookup, variable, other, &value, &wrong),
                    Ok(false) => {
                        let known = ["global_keyprefix", "master_name", "sentinel_kwargs"];
                        lookup.warn(
                            variable,
                            format!(
                                "has the option {other}, which has no effect here{}",
                                nearest(other, known)
                            ),
                        );
                    }
                },
            }
        }
    }
}

/// Where results go. A backend that is only named `database` has its URL in a setting of its own.
fn read_url(lookup: &mut Lookup) -> Option<ResultUrl> {
    let text = lookup.text(&RESULT_BACKEND)?;
    if !["db", "database"].contains(&text.to_ascii_lowercase().as_str()) {
        return lookup.parsed(&RESULT_BACKEND, ResultUrl::of_setting);
    }
    if !lookup.is_set(&RESULT_DATABASE_URL) {
        let problem = "names a database and does not say which";
        let expected = "its URL in CELERY_DATABASE_URL, or here: db+sqlite:////path, db+postgresql://host/database";
        lookup.push_fault(RESULT_BACKEND.name, text, problem, expected);
        return None;
    }
    lookup.parsed(&RESULT_DATABASE_URL, |text| {
        let expected = "sqlite:////path or postgresql://[user:password@]host[:port]/database";
        let database = ResultDatabase::parse(text);
        let database = database.map_err(|error| Problem::new(error.to_string(), expected))?;
        Ok(ResultUrl::Database(Box::new(database)))
    })
}

/// Celery (celery/backends/redis.py) refuses an encrypted store of which nobody says what its certificate must be.
fn require_cert_reqs(url: &RedisUrl, lookup: &mut Lookup) {
    if url.tls.as_ref().is_some_and(|tls| tls.cert_reqs.is_none()) {
        lookup.push_fault(
            RESULT_BACKEND.name,
            url.to_string(),
            "is encrypted and does not say what is asked of the server's certificate",
            "ssl_cert_reqs=required, optional or none, in the URL or in CELERY_REDIS_BACKEND_USE_SSL",
        );
    }
}

/// Celery's rule (celery/backends/base.py): a prefix that ends in no separator gets an underscore.
fn with_separator(mut prefix: String) -> String {
    if !prefix.is_empty() && !prefix.ends_with([':', '_', '-', '.']) {
        prefix.push('_');
    }
    prefix
}

/// The compressions that kombu and Lovage share; `none` is off.
pub(crate) fn compression(text: &str) -> Result<Option<String>, Problem> {
    const NAMES: [&str; 10] = [
        "gzip",
        "zlib",
        "bzip2",
        "bzip",
        "lzma",
        "xz",
        "zstd",
        "zstandard",
        "brotli",
        "br",
    ];
    let name = text.to_ascii_lowercase();
    match name.as_str() {
        "none" | "null" => Ok(None),
        name if NAMES.contains(&name) => Ok(Some(name.to_owned())),
        _ => Err(Problem::new(
            "is not a compression known here",
            "one of gzip, zlib, bzip2, lzma, zstd, brotli, or none",
        )),
    }
}
