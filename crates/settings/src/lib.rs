//! The environment read once into typed structs.
//!
//! Names that Celery has are kept: its lower-case settings are `CELERY_` and upper case here. Lovage's own begin with
//! `LOVAGE_`. Celery's durations are numbers of seconds, Lovage's carry a unit (`10m`). Every fault is reported, in one
//! list; a name that nothing reads is a warning with the nearest name that something does.
//!
//! This crate opens no connection and decides nothing: which roles need a broker, and what follows from a fault, is for
//! the binary, which is the only caller of [`Settings::from_env`]. Tests pass a map to [`Settings::from_lookup`].
//!
//! | module | knows |
//! |---|---|
//! | `settings` | the whole, and where the variables come from |
//! | `broker`, `transport_options` | the broker, and kombu's options for it |
//! | `results` | where results go and how long they stay |
//! | `task`, `route` | what holds for every task, and which queue it takes |
//! | `annotation`, `rate` | what holds for tasks by name, and rate limits |
//! | `serializer` | the names of serializers |
//! | `worker` | concurrency, pool, leases, poison |
//! | `http` | the HTTP API and its secrets |
//! | `database`, `database_url` | the database, and how long what is in it is kept |
//! | `telemetry` | the log, and where health and numbers are told |
//! | `traces`, `sentry` | who is told of spans and of errors |
//! | `url`, `redis_url` | what a broker or result URL may look like |
//! | `lookup`, `parse` | typed reads of one variable |
//! | `variable` | every variable, its default and its meaning: `.env.example`, `docs/settings.md` |
//! | `known` | names that are Celery's but have no effect here, and the nearest name to a mistyped one |
//! | `fault`, `secret` | how faults are told, and that secrets are not |
//!
//! ```
//! use lovage_settings::Settings;
//!
//! let (settings, warnings) = Settings::from_lookup([
//!     ("CELERY_BROKER_URL".to_owned(), "redis://:pw@cache/1".to_owned()),
//!     ("LOVAGE_LEASE".to_owned(), "10s".to_owned()),
//! ])
//! .expect("both are right");
//! assert!(warnings.is_empty());
//! assert_eq!(settings.broker.url.expect("set").to_string(), "redis://:********@cache:6379/1");
//! ```

mod annotation;
mod beat;
mod broker;
mod complete;
mod database;
mod database_url;
mod event;
mod fault;
mod history;
mod http;
mod known;
mod lookup;
mod mail;
mod ordered;
mod parse;
mod rate;
mod redis_tls;
mod redis_url;
mod result_database;
mod results;
mod route;
mod secret;
mod sentinel;
mod sentry;
mod serializer;
mod settings;
mod shutdown;
mod task;
mod task_queue;
mod telemetry;
mod traces;
mod transport_options;
mod url;
mod variable;
mod worker;

pub use annotation::{Annotation, Annotations};
pub use beat::{BeatSettings, BeatStore};
pub use broker::BrokerSettings;
pub use database::{DatabaseSettings, RetentionSettings};
pub use database_url::{DatabaseUrl, PostgresUrl};
pub use event::EventSettings;
pub use fault::{Fault, Faults, Warning};
pub use history::{HistorySettings, Redact};
pub use http::HttpSettings;
pub use mail::{MailEncryption, MailSettings};
pub use parse::parse_duration;
pub use rate::RateLimit;
pub use redis_tls::{CertReqs, RedisTls};
pub use redis_url::{RedisAddress, RedisUrl};
pub use result_database::{DatabaseOptions, ResultDatabase, ResultPostgres, TableName};
pub use results::ResultSettings;
pub use route::{Route, RoutePattern};
pub use secret::Secret;
pub use sentinel::{SentinelOptions, Sentinels};
pub use sentry::SentrySettings;
pub use settings::{Environment, Settings};
pub use shutdown::ShutdownSettings;
pub use task::TaskSettings;
pub use task_queue::{ExchangeType, TaskQueue};
pub use telemetry::{TelemetrySettings, parse_level};
pub use traces::{Sampler, TraceSettings};
pub use transport_options::{FanoutPrefix, QueueOrder, TransportOptions};
pub use url::{BrokerUrl, ResultUrl, UrlError};
pub use variable::{VariableDoc, documented, env_example, reference};
pub use worker::{Pool, RevokeSettings, WorkerSettings};
