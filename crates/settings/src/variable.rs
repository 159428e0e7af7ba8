//! Every variable that is read, with its default and its meaning. `.env.example` and `docs/settings.md` are made from this list.

use std::fmt::Write as _;

/// One variable, as the code that reads it names it.
#[derive(Debug)]
pub(crate) struct Variable {
    pub(crate) name: &'static str,
    /// The default as one would write it; empty where unset is the default.
    pub(crate) default: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) secret: bool,
}

/// One variable, as it is documented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct VariableDoc {
    /// Its name.
    pub name: &'static str,
    /// Its default as one would write it; empty: unset.
    pub default: &'static str,
    /// Its unit or form.
    pub unit: &'static str,
    /// One line of meaning.
    pub doc: &'static str,
    /// Whether it may hold a password: masked everywhere, and `NAME_FILE` may name a file that holds it.
    pub secret: bool,
}

macro_rules! variables {
    (@is) => { false };
    (@is secret) => { true };
    ($($section:literal { $($id:ident = $name:literal, $default:literal, $unit:literal, $doc:literal $(, $secret:ident)?;)* })*) => {
        $($(
            pub(crate) static $id: Variable = Variable {
                name: $name,
                default: $default,
                unit: $unit,
                doc: $doc,
                secret: variables!(@is $($secret)?),
            };
        )*)*

        /// Sections in the order in which they are read.
        static SECTIONS: &[(&str, &[&Variable])] = &[$(($section, &[$(&$id),*])),*];
    };
}

variables! {
    "Environment" {
        ENVIRONMENT = "LOVAGE_ENV", "development", "development or production",
            "In production what is merely risky is refused, and no .env is read.";
    }
    "Broker" {
        BROKER_URL = "CELERY_BROKER_URL", "", "URL",
            "Where messages are: redis:// or rediss://[user:password@]host[:port][/db], redis+socket:///path?virtual_host=N, a list with ; between is tried in order; sentinel://host[:port][/db], a list with ; between is asked for the master.", secret;
        REDIS_URL = "REDIS_URL", "", "URL", "The broker when CELERY_BROKER_URL is unset.", secret;
        BROKER_TRANSPORT_OPTIONS = "CELERY_BROKER_TRANSPORT_OPTIONS", "{}", "JSON object",
            "kombu's options, such as visibility_timeout or global_keyprefix; every peer must have the same.";
        BROKER_USE_SSL = "CELERY_BROKER_USE_SSL", "false", "JSON object or false",
            "Encrypts connections to the broker: ssl_cert_reqs, ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_check_hostname.";
        BROKER_CONNECTION_TIMEOUT = "CELERY_BROKER_CONNECTION_TIMEOUT", "4", "seconds",
            "How long connecting to the broker may take.";
    }
    "Results" {
        RESULT_BACKEND = "CELERY_RESULT_BACKEND", "", "URL",
            "Where results go: a Redis URL, db+sqlite:////path, db+postgresql://[user:password@]host[:port]/database, or disabled://; unset, where the broker is.", secret;
        RESULT_EXPIRES = "CELERY_RESULT_EXPIRES", "86400", "seconds", "How long results are kept; 0 for ever.";
        RESULT_FAILURE_EXPIRES = "CELERY_RESULT_FAILURE_EXPIRES", "", "seconds",
            "How long failures are kept; unset, as other results.";
        RESULT_EXTENDED = "CELERY_RESULT_EXTENDED", "false", "yes or no",
            "Store a task's name, arguments, worker, retries and queue with its result.";
        RESULT_COMPRESSION = "CELERY_RESULT_COMPRESSION", "", "gzip, bzip2, lzma, zstd, brotli",
            "Compress results.";
        RESULT_CHORD_EXPIRES = "CELERY_RESULT_CHORD_EXPIRES", "", "seconds",
            "How long an unfinished chord is kept; unset, as results.";
        RESULT_CHORD_JOIN_TIMEOUT = "CELERY_RESULT_CHORD_JOIN_TIMEOUT", "3", "seconds",
            "How long collecting a chord's results may take; twice this is how long its claim holds.";
        RESULT_CHORD_RETRY_INTERVAL = "CELERY_RESULT_CHORD_RETRY_INTERVAL", "1", "seconds",
            "How often celery.chord_unlock looks whether a header has ended; with results in a database.";
        RESULT_SERIALIZER = "CELERY_RESULT_SERIALIZER", "json", "json, msgpack or yaml",
            "How results are written; clients must have the same.";
        RESULT_BACKEND_TRANSPORT_OPTIONS = "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS", "{}", "JSON object",
            "Of Celery's options, global_keyprefix and those of sentinels.";
        REDIS_BACKEND_USE_SSL = "CELERY_REDIS_BACKEND_USE_SSL", "false", "JSON object or false",
            "Encrypts connections to a CELERY_RESULT_BACKEND of its own, as CELERY_BROKER_USE_SSL; ssl_cert_reqs is mandatory.";
        RESULT_DATABASE_URL = "CELERY_DATABASE_URL", "", "URL",
            "Where results go when CELERY_RESULT_BACKEND is database: as there, without db+.", secret;
        RESULT_DATABASE_TABLE_NAMES = "CELERY_DATABASE_TABLE_NAMES", "{}", "JSON object",
            "Other names of the tables of results, {\"task\": \"celery_taskmeta\", \"group\": \"celery_tasksetmeta\"}.";
        RESULT_DATABASE_TABLE_SCHEMAS = "CELERY_DATABASE_TABLE_SCHEMAS", "{}", "JSON object",
            "The schemas of those tables, {\"task\": NAME, \"group\": NAME}.";
        RESULT_DATABASE_ENGINE_OPTIONS = "CELERY_DATABASE_ENGINE_OPTIONS", "{}", "JSON object",
            "Of SQLAlchemy's options, pool_size, max_overflow and pool_recycle.";
        RESULT_DATABASE_SHORT_LIVED = "CELERY_DATABASE_SHORT_LIVED_SESSIONS", "false", "yes or no",
            "Close connections to the database of results as soon as they are idle.";
        RESULT_DATABASE_CREATE_TABLES = "CELERY_DATABASE_CREATE_TABLES_AT_SETUP", "true", "yes or no",
            "Make the tables of results at the start; else at the first use.";
    }
    "Tasks" {
        TASK_DEFAULT_QUEUE = "CELERY_TASK_DEFAULT_QUEUE", "celery", "name", "The queue of tasks that have no route.";
        TASK_QUEUES = "CELERY_TASK_QUEUES", "", "list or JSON",
            "The queues, and what a worker without -Q consumes: a,b or a list of {\"name\", \"exchange\", \"exchange_type\", \"routing_key\", \"broadcast\", \"alias\", \"queue_arguments\"}; unset, the default queue.";
        TASK_CREATE_MISSING_QUEUES = "CELERY_TASK_CREATE_MISSING_QUEUES", "true", "yes or no",
            "Make a queue that -Q or a route names and CELERY_TASK_QUEUES does not.";
        TASK_DEFAULT_EXCHANGE = "CELERY_TASK_DEFAULT_EXCHANGE", "", "name",
            "The exchange of queues that name none; unset, as the default queue.";
        TASK_DEFAULT_EXCHANGE_TYPE = "CELERY_TASK_DEFAULT_EXCHANGE_TYPE", "direct", "direct, topic or fanout",
            "The kind of that exchange.";
        TASK_DEFAULT_ROUTING_KEY = "CELERY_TASK_DEFAULT_ROUTING_KEY", "", "name",
            "The routing key of queues that name none; unset, as the default queue.";
        TASK_ROUTES = "CELERY_TASK_ROUTES", "{}", "JSON",
            "Task name, pattern with *, or re:expression, to a queue's name or {\"queue\", \"priority\", \"exchange\", \"routing_key\"}.";
        TASK_DEFAULT_PRIORITY = "CELERY_TASK_DEFAULT_PRIORITY", "", "0 to 255",
            "The priority of messages that have none; on Redis 0 is the highest.";
        TASK_DEFAULT_RATE_LIMIT = "CELERY_TASK_DEFAULT_RATE_LIMIT", "", "10/s, 100/m, 5/h",
            "How often one worker starts a task that has no rate limit of its own.";
        TASK_ACKS_LATE = "CELERY_TASK_ACKS_LATE", "true", "yes or no",
            "Acknowledge a task after it ran (Celery's default is false): a dead worker's task is run by another.";
        TASK_ACKS_ON_FAILURE_OR_TIMEOUT = "CELERY_TASK_ACKS_ON_FAILURE_OR_TIMEOUT", "true", "yes or no",
            "The default of the next two; Celery's older name.";
        TASK_ACKS_ON_FAILURE = "CELERY_TASK_ACKS_ON_FAILURE", "true", "yes or no",
            "Acknowledge a late task that failed; else it is rejected.";
        TASK_ACKS_ON_TIMEOUT = "CELERY_TASK_ACKS_ON_TIMEOUT", "true", "yes or no",
            "Acknowledge a late task that ran out of its hard time limit; else it is queued again.";
        TASK_REJECT_ON_WORKER_LOST = "CELERY_TASK_REJECT_ON_WORKER_LOST", "true", "yes or no",
            "Queue a late task again when its worker died (Celery's default is false).";
        TASK_RETRY_ON_WORKER_LOST = "CELERY_TASK_RETRY_ON_WORKER_LOST", "false", "yes or no",
            "Retry a task whose child process died, within its max_retries; wins over the former.";
        TASK_TRACK_STARTED = "CELERY_TASK_TRACK_STARTED", "false", "yes or no", "Store the state STARTED.";
        TASK_IGNORE_RESULT = "CELERY_TASK_IGNORE_RESULT", "false", "yes or no", "Store no results.";
        TASK_STORE_ERRORS_EVEN_IF_IGNORED = "CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED", "false", "yes or no",
            "Store failures of tasks whose results are ignored.";
        TASK_TIME_LIMIT = "CELERY_TASK_TIME_LIMIT", "", "seconds", "A task is stopped after this time.";
        TASK_SOFT_TIME_LIMIT = "CELERY_TASK_SOFT_TIME_LIMIT", "", "seconds",
            "A task is told after this time; at most the hard limit.";
        TASK_COMPRESSION = "CELERY_TASK_COMPRESSION", "", "gzip, bzip2, lzma, zstd, brotli", "Compress messages sent.";
        ACCEPT_CONTENT = "CELERY_ACCEPT_CONTENT", "json", "list of json, msgpack, yaml, pickle",
            "Content types of messages taken, by short name or in full; pickles are read as plain data only.";
        TASK_INHERIT_PARENT_PRIORITY = "CELERY_TASK_INHERIT_PARENT_PRIORITY", "false", "yes or no",
            "Tasks sent by a task take its priority.";
        TASK_SERIALIZER = "CELERY_TASK_SERIALIZER", "json", "json, msgpack or yaml", "How messages are written.";
        TASK_ANNOTATIONS = "CELERY_TASK_ANNOTATIONS", "{}", "JSON object",
            "Options of tasks by name, {\"app.add\": {\"rate_limit\": \"10/s\"}}; those under * hold for all, and win.";
        TASK_PROTOCOL = "CELERY_TASK_PROTOCOL", "2", "2", "The message protocol; only 2 is written.";
    }
    "Worker" {
        WORKER_CONCURRENCY = "CELERY_WORKER_CONCURRENCY", "", "number",
            "Tasks at once; unset, 100 for the async pool, 1 for solo, and as many as cores for threads and prefork.";
        WORKER_PREFETCH_MULTIPLIER = "CELERY_WORKER_PREFETCH_MULTIPLIER", "4", "number",
            "Messages taken ahead, times concurrency; 0 takes without limit.";
        WORKER_POOL = "CELERY_WORKER_POOL", "async", "async, threads, prefork or solo",
            "How tasks are run: many in one process, on threads, in child processes, or one at a time.";
        WORKER_MAX_TASKS_PER_CHILD = "CELERY_WORKER_MAX_TASKS_PER_CHILD", "", "number",
            "Replace a child of the prefork pool after so many tasks; unset, never.";
        WORKER_MAX_MEMORY_PER_CHILD = "CELERY_WORKER_MAX_MEMORY_PER_CHILD", "", "KiB",
            "Replace a child of the prefork pool that has used more, after its task; unset, never.";
        AUTOSCALE_KEEPALIVE = "AUTOSCALE_KEEPALIVE", "30", "seconds",
            "How long --autoscale waits without need before it shrinks the pool.";
        WORKER_DISABLE_RATE_LIMITS = "CELERY_WORKER_DISABLE_RATE_LIMITS", "false", "yes or no",
            "Start tasks however often they come, whatever their rate limits.";
        WORKER_DEDUPLICATE = "CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS", "false", "yes or no",
            "Do not run a redelivered task again whose result is stored as SUCCESS.";
        WORKER_CANCEL_ON_LOSS = "CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS", "false", "yes or no",
            "Drop running tasks, acked late, when the broker was away for a whole lease: others may have been given them.";
        WORKER_DIRECT = "CELERY_WORKER_DIRECT", "false", "yes or no",
            "Consume also a queue of the worker's own, named after it: NODE.dq2 on the exchange C.dq2.";
        MAX_DEATHS = "LOVAGE_MAX_DEATHS", "3", "number",
            "How many workers a message may cost before it goes to the dead letters.";
        LEASE = "LOVAGE_LEASE", "6s", "duration",
            "How long a worker may be silent before its messages are given to others.";
        FORWARD_UNKNOWN = "LOVAGE_FORWARD_UNKNOWN", "", "queue",
            "Where tasks go that this worker does not know; unset, to the dead letters.";
        UNKNOWN_GRACE = "LOVAGE_UNKNOWN_GRACE", "", "duration",
            "How long a task that nobody knows waits for a worker that does; unset, not at all.";
        WORKER_REVOKES_MAX = "CELERY_WORKER_REVOKES_MAX", "50000", "number",
            "How many revoked tasks are remembered; beyond it the oldest are forgotten.";
        WORKER_REVOKE_EXPIRES = "CELERY_WORKER_REVOKE_EXPIRES", "10800", "seconds",
            "How long a revoked task is remembered.";
        SOFT_SHUTDOWN_TIMEOUT = "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT", "0", "seconds",
            "How long running tasks have after QUIT before they are given back.";
        SOFT_SHUTDOWN_ON_IDLE = "CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE", "false", "yes or no",
            "Wait as long after QUIT although nothing runs.";
        DRAIN_TIMEOUT = "LOVAGE_DRAIN_TIMEOUT", "", "duration",
            "How long running tasks have after TERM before they are given back; unset, as long as they take.";
        REMAP_SIGTERM = "REMAP_SIGTERM", "", "SIGQUIT", "SIGQUIT: TERM means what QUIT means.";
        DEMO_TASKS = "LOVAGE_DEMO_TASKS", "false", "yes or no",
            "Register the demo.* tasks; never in production, some of them kill the worker.";
        MAX_MESSAGE_BYTES = "LOVAGE_MAX_MESSAGE_BYTES", "64MiB", "size",
            "What a message may weigh once it is unpacked.";
    }
    "Events and remote control" {
        WORKER_SEND_TASK_EVENTS = "CELERY_WORKER_SEND_TASK_EVENTS", "false", "yes or no",
            "Send task events from the start on, as -E; else enable_events switches them on.";
        TASK_SEND_SENT_EVENT = "CELERY_TASK_SEND_SENT_EVENT", "false", "yes or no",
            "Whoever sends a task says so with an event.";
        EVENTS_FINAL_ONLY = "LOVAGE_EVENTS_FINAL_ONLY", "false", "yes or no",
            "Send of each task its last event alone, with all fields: a third of the events.";
        EVENTS_MAX_RATE = "LOVAGE_EVENTS_MAX_RATE", "", "events a second",
            "Send no more; what is beyond it is counted as lost. Unset, all.";
        EVENTS_BUFFER = "LOVAGE_EVENTS_BUFFER", "10000", "number",
            "How many events are kept while the broker is away; what is beyond it is counted as lost.";
        REPR_LIMIT = "LOVAGE_REPR_LIMIT", "1024", "characters",
            "How long arguments and results are as texts, in messages and events.";
        WORKER_ENABLE_REMOTE_CONTROL = "CELERY_WORKER_ENABLE_REMOTE_CONTROL", "true", "yes or no",
            "Obey celery inspect, celery control and Flower.";
        WORKER_POOL_RESTARTS = "CELERY_WORKER_POOL_RESTARTS", "false", "yes or no",
            "Obey pool_restart: the child processes are replaced.";
    }
    "History" {
        JOURNAL_BYTES = "LOVAGE_JOURNAL_BYTES", "64MiB", "size",
            "How much of what became of tasks is kept at the broker until a keeper reads it; some 300 bytes a task, beyond it the oldest goes and is recorded as a gap.";
        JOURNAL_LIFE = "LOVAGE_JOURNAL_LIFE", "1h", "duration",
            "How long workers go on writing it after the last keeper has gone; 30s or more.";
        HISTORY_REDACT = "LOVAGE_HISTORY_REDACT", "{}", "JSON object",
            "Fields that the database shows as ***, by task: {\"mail.send\": [\"password\"], \"*\": [\"token\"]}; a number is a place among the positional arguments, args, kwargs, result, exception and traceback are the whole.";
    }
    "API" {
        API_BIND = "LOVAGE_API_BIND", "127.0.0.1:5000", "address:port",
            "Where the HTTP API listens; port 0 takes a free one.";
        API_URL = "LOVAGE_API_URL", "", "URL",
            "Where people reach the API, for the links in mails; unset, http:// and LOVAGE_API_BIND.";
        API_CORS_ORIGINS = "LOVAGE_API_CORS_ORIGINS", "", "list of origins",
            "Pages of these origins may call the API from a browser; unset, none.";
        API_MAX_BODY = "LOVAGE_API_MAX_BODY", "4MiB", "size", "What the body of a request may weigh.";
        API_MAX_WAIT = "LOVAGE_API_MAX_WAIT", "60s", "duration",
            "The longest that a request waits for a result or for workers, whatever it asks for; a minute at most.";
        API_DRAIN_TIMEOUT = "LOVAGE_API_DRAIN_TIMEOUT", "30s", "duration",
            "How long requests and streams have to end when the API is stopped.";
        SECRET_KEY = "SECRET_KEY", "", "text",
            "Signs API keys and single-use tokens; production wants one of 32 characters or more.", secret;
        JWT_SECRET_KEY = "JWT_SECRET_KEY", "", "text",
            "Signs access tokens; unset, made from SECRET_KEY.", secret;
        ACCESS_TOKEN_LIFE = "LOVAGE_ACCESS_TOKEN_LIFE", "15m", "duration", "How long an access token holds.";
        REFRESH_TOKEN_LIFE = "LOVAGE_REFRESH_TOKEN_LIFE", "30d", "duration",
            "How long a refresh token that is not used holds.";
        ADMIN_EMAIL = "LOVAGE_ADMIN_EMAIL", "", "e-mail address", "The first user, made when there is none yet.";
        ADMIN_PASSWORD = "LOVAGE_ADMIN_PASSWORD", "", "text",
            "The password of the first user; `lovage up` makes one up and prints it once.", secret;
    }
    "Database" {
        DATABASE_URL = "DATABASE_URL", "sqlite://data/lovage.db", "URL",
            "Where the tables of every role but worker are: sqlite://PATH (a third slash makes it absolute) or postgres://user:password@host[:port]/name, for a socket postgres:///name?host=/folder&user=user.", secret;
        DATABASE_POOL = "LOVAGE_DATABASE_POOL", "10", "number", "Connections that one process opens at most.";
        DATABASE_TIMEOUT = "LOVAGE_DATABASE_TIMEOUT", "10s", "duration",
            "How long connecting, waiting for a free connection, or for another writer of a SQLite file may take.";
        DATABASE_STATEMENT_TIMEOUT = "LOVAGE_DATABASE_STATEMENT_TIMEOUT", "60s", "duration",
            "PostgreSQL ends a statement after so long; migrations excepted.";
        DATABASE_SLOW = "LOVAGE_DATABASE_SLOW", "1s", "duration", "A statement that takes longer is a warning in the log.";
        KEEP_TASKS = "LOVAGE_KEEP_TASKS", "30d", "duration or forever", "How long task runs are kept after their last change.";
        KEEP_MAX_TASKS = "LOVAGE_KEEP_MAX_TASKS", "1000000", "number or unlimited",
            "How many task runs are kept; the oldest go first.";
        KEEP_EVENTS = "LOVAGE_KEEP_EVENTS", "7d", "duration or forever",
            "How long the events of tasks are kept; on PostgreSQL they go by whole days.";
        KEEP_MAX_EVENTS = "LOVAGE_KEEP_MAX_EVENTS", "10000000", "number or unlimited",
            "How many events of tasks are kept; the oldest go first, on PostgreSQL by whole days.";
        KEEP_MAIL = "LOVAGE_KEEP_MAIL", "30d", "duration or forever", "How long mails are kept that were sent or given up.";
        KEEP_AUDIT = "LOVAGE_KEEP_AUDIT", "365d", "duration or forever", "How long the audit log is kept.";
        KEEP_MAX_ROWS = "LOVAGE_KEEP_MAX_ROWS", "1000000", "number or unlimited",
            "How many rows are kept of each other table that grows: settled dead letters and mails, the audit log, ticks, gaps.";
    }
    "Mail" {
        MAIL_SERVER = "MAIL_SERVER", "", "host", "Where mails are sent from; unset, they are printed to the log.";
        MAIL_PORT = "MAIL_PORT", "25", "port", "Its port: 587 with MAIL_USE_TLS, 465 with MAIL_USE_SSL, as a rule.";
        MAIL_USE_TLS = "MAIL_USE_TLS", "false", "yes or no", "Encrypt with STARTTLS; a server without it is refused.";
        MAIL_USE_SSL = "MAIL_USE_SSL", "false", "yes or no", "Encrypt from the first byte.";
        MAIL_CA_FILE = "LOVAGE_MAIL_CA_FILE", "", "path", "A PEM file of authorities to trust besides the public ones.";
        MAIL_USERNAME = "MAIL_USERNAME", "", "text", "The account at the server.";
        MAIL_PASSWORD = "MAIL_PASSWORD", "", "text", "Its password.", secret;
        MAIL_DEFAULT_SENDER = "MAIL_DEFAULT_SENDER", "", "address",
            "Whom mails are from: name@host, or A Name <name@host>; needed with MAIL_SERVER.";
        MAIL_TIMEOUT = "LOVAGE_MAIL_TIMEOUT", "30s", "duration", "How long the server may be silent.";
        MAIL_OPERATORS = "LOVAGE_MAIL_OPERATORS", "", "list of addresses",
            "Who is told of tasks that failed for good.";
        MAIL_DIGEST_EVERY = "LOVAGE_MAIL_DIGEST_EVERY", "1h", "duration",
            "At most one such mail in so long; it tells of all that failed since the last.";
        MAIL_LANGUAGE = "LOVAGE_MAIL_LANGUAGE", "en", "en or fr",
            "The language of mails to people whose own is not known.";
    }
    "Beat" {
        BEAT_LEASE = "LOVAGE_BEAT_LEASE", "6s", "duration",
            "How long the leading beat may be silent before another takes the lead.";
        BEAT_STORE = "LOVAGE_BEAT_STORE", "auto", "auto, database or broker",
            "Where schedules are kept; auto: in the database, where DATABASE_URL is set and migrated, else at the broker.";
        SCHEDULE_FILE = "LOVAGE_SCHEDULE_FILE", "", "path",
            "The file of declared schedules; unset, schedule.toml of the current folder if there is one.";
        BEAT_CRON_STARTING_DEADLINE = "CELERY_BEAT_CRON_STARTING_DEADLINE", "", "seconds",
            "A run of a crontab that is later than this is left out; unset, it runs however late.";
        BEAT_ENABLE_REMOTE_CONTROL = "CELERY_BEAT_ENABLE_REMOTE_CONTROL", "false", "yes or no",
            "Answer ping as celerybeat@host.";
    }
    "Log and time" {
        LOG = "LOVAGE_LOG", "info", "level", "debug, info, warning, error, or a list such as info,lovage_worker=debug.";
        LOG_FORMAT = "LOVAGE_LOG_FORMAT", "text", "text or json", "How lines are written; always to standard error.";
        MONITOR_BIND = "LOVAGE_MONITOR_BIND", "", "address:port",
            "Where a worker, beat or keeper serves /health/live, /health/ready and /metrics; unset, nowhere. The API has them at its own.";
        TIMEZONE = "CELERY_TIMEZONE", "UTC", "IANA name", "The zone of local times; stored times are UTC.";
    }
    "Traces and errors" {
        OTLP_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT", "", "URL",
            "The collector that spans are sent to, by OTLP over HTTP: http[s]://host[:port], to which /v1/traces is added; unset, nothing is traced.";
        OTLP_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS", "", "name=value,…",
            "Headers for the collector, values percent-encoded, such as an API key.", secret;
        OTEL_SERVICE_NAME = "OTEL_SERVICE_NAME", "", "name", "The service that spans are of; unset, lovage-worker, lovage-api and so on.";
        OTEL_SAMPLER = "OTEL_TRACES_SAMPLER", "parentbased_always_on", "sampler",
            "Which traces are kept: always_on, always_off, traceidratio, or one of them behind parentbased_, which does as the sender did.";
        OTEL_SAMPLER_ARG = "OTEL_TRACES_SAMPLER_ARG", "1", "0 to 1", "The share of traces that traceidratio keeps.";
        SENTRY_DSN = "SENTRY_DSN", "", "URL", "The Sentry that failures, panics and errors are told to: https://KEY@host/PROJECT; unset, none.", secret;
        SENTRY_ENVIRONMENT = "SENTRY_ENVIRONMENT", "", "name", "The environment that they are of; unset, LOVAGE_ENV.";
        SENTRY_RELEASE = "SENTRY_RELEASE", "", "name", "The release that they are of; unset, lovage@ and the version.";
        SENTRY_PII = "SENTRY_SEND_DEFAULT_PII", "false", "yes or no",
            "Send the arguments of a task that failed too, without those whose names speak of secrets.";
    }
}

pub(crate) fn all() -> impl Iterator<Item = &'static Variable> {
    SECTIONS
        .iter()
        .flat_map(|(_, variables)| variables.iter().copied())
}

/// Every variable that Lovage reads, in the order in which it reads them.
pub fn documented() -> Vec<VariableDoc> {
    all()
        .map(
            |&Variable {
                 name,
                 default,
                 unit,
                 doc,
                 secret,
             }| VariableDoc {
                name,
                default,
                unit,
                doc,
                secret,
            },
        )
        .collect()
}

/// The text of `.env.example`: every variable, commented out, at its default.
pub fn env_example() -> String {
    let mut text = String::from(
        "# Every variable that Lovage reads, at its default. Copy to .env and take away the # of what you change.\n\
         # A real environment variable wins over .env; with LOVAGE_ENV=production .env is not read at all.\n\
         # CELERY_ durations are numbers of seconds; LOVAGE_ durations carry a unit: ms, s, m, h or d.\n\
         # Where (or NAME_FILE) is noted, NAME_FILE may name a file that holds the value instead.\n\
         # JSON goes in single quotes here: NAME='{\"a\": 1}'.\n\
         # Made by `lovage config example`; a test compares.\n",
    );
    for (section, variables) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## {section}");
        for Variable {
            name,
            default,
            unit,
            doc,
            secret,
        } in *variables
        {
            let file = if *secret {
                format!(" (or {name}_FILE)")
            } else {
                String::new()
            };
            let _ = writeln!(text, "\n# {doc}\n# {unit}{file}\n#{name}={default}");
        }
    }
    text
}

/// The reference of settings as Markdown, `docs/settings.md`: a table for each section.
pub fn reference() -> String {
    let mut text = String::from(
        "# Settings\n\n\
         Every variable that Lovage reads. Made by `lovage config reference`; a test compares.\n\n\
         * A real environment variable wins over `.env`; with `LOVAGE_ENV=production` no `.env` is read.\n\
         * Names that Celery has mean what they mean there: its lower-case settings are `CELERY_` and upper case. Their durations are numbers of seconds.\n\
         * Durations of `LOVAGE_` variables carry a unit: `ms`, `s`, `m`, `h` or `d`. Sizes do too: `KiB`, `MiB`, `GiB`.\n\
         * Lists are separated by commas, maps are JSON.\n\
         * A variable marked † may hold a password: it is masked wherever settings are shown, and `NAME_FILE` may name a file that holds it instead.\n\
         * Wrong values are told all at once, before anything starts (exit code 78): `lovage config check`. A name that nothing reads is a warning \
         with the nearest one that something does.\n",
    );
    for (section, variables) in SECTIONS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n## {section}\n\n| variable | value | default | meaning |\n|---|---|---|---|\n"
        );
        for Variable {
            name,
            default,
            unit,
            doc,
            secret,
        } in *variables
        {
            let mark = if *secret { " †" } else { "" };
            let default = match *default {
                "" => "–".to_owned(),
                default => format!("`{}`", cell(default)),
            };
            let (unit, doc) = (cell(unit), cell(doc).replace('*', "\\*"));
            let _ = writeln!(text, "| `{name}`{mark} | {unit} | {default} | {doc} |");
        }
    }
    text
}

/// Text that ends no cell of a table and is taken for no tag.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
