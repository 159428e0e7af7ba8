//! Names that Celery has and Lovage does not use, and the nearest name to one that nobody has.

use crate::{lookup::Lookup, variable};

/// Whether a name is of the kind that is checked.
pub(crate) fn is_ours(name: &str) -> bool {
    variable::all().any(|variable| variable.name == name)
        || ["LOVAGE_", "CELERY_", "MAIL_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
}

/// Celery's settings without effect, with the reason.
const WITHOUT_EFFECT: &[(&str, &[&str])] = &[
    (
        "schedules come from schedule.toml, `lovage schedule add` or `lovage schedule import`",
        &[
            "CELERY_BEAT_SCHEDULE",
            "CELERY_BEAT_SCHEDULE_FILENAME",
            "CELERY_BEAT_SCHEDULER",
        ],
    ),
    (
        "beat keeps each tick as it sends it, and looks for changes each second",
        &["CELERY_BEAT_SYNC_EVERY", "CELERY_BEAT_MAX_LOOP_INTERVAL"],
    ),
    (
        "it is for another scheduler of Celery's",
        &["CELERY_BEAT_*", "CELERY_REDBEAT_*"],
    ),
    (
        "Lovage reconnects for ever, with growing pauses",
        &[
            "CELERY_BROKER_CONNECTION_RETRY",
            "CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP",
            "CELERY_BROKER_CONNECTION_MAX_RETRIES",
            "CELERY_BROKER_CHANNEL_ERROR_RETRY",
            "CELERY_BROKER_FAILOVER_STRATEGY",
            "CELERY_RESULT_BACKEND_ALWAYS_RETRY",
            "CELERY_RESULT_BACKEND_MAX_RETRIES",
            "CELERY_RESULT_BACKEND_MAX_SLEEP_BETWEEN_RETRIES_MS",
            "CELERY_RESULT_BACKEND_BASE_SLEEP_BETWEEN_RETRIES_MS",
            "CELERY_TASK_PUBLISH_RETRY",
            "CELERY_TASK_PUBLISH_RETRY_POLICY",
            "CELERY_REDIS_RETRY_ON_TIMEOUT",
        ],
    ),
    (
        "CELERY_BROKER_URL and CELERY_RESULT_BACKEND say where things are",
        &[
            "CELERY_BROKER_READ_URL",
            "CELERY_BROKER_WRITE_URL",
            "CELERY_BROKER_TRANSPORT",
            "CELERY_BROKER_HOST",
            "CELERY_BROKER_PORT",
            "CELERY_BROKER_USER",
            "CELERY_BROKER_PASSWORD",
            "CELERY_BROKER_VHOST",
            "CELERY_REDIS_HOST",
            "CELERY_REDIS_PORT",
            "CELERY_REDIS_DB",
            "CELERY_REDIS_USERNAME",
            "CELERY_REDIS_PASSWORD",
        ],
    ),
    (
        "connections are few and shared here, and kept alive by Lovage itself",
        &[
            "CELERY_BROKER_HEARTBEAT",
            "CELERY_BROKER_HEARTBEAT_CHECKRATE",
            "CELERY_BROKER_POOL_LIMIT",
            "CELERY_BROKER_POOL_ACQUIRE_TIMEOUT",
            "CELERY_REDIS_MAX_CONNECTIONS",
            "CELERY_REDIS_SOCKET_TIMEOUT",
            "CELERY_REDIS_SOCKET_CONNECT_TIMEOUT",
            "CELERY_REDIS_SOCKET_KEEPALIVE",
        ],
    ),
    (
        "signed messages and SASL are not supported in this version",
        &["CELERY_BROKER_LOGIN_METHOD", "CELERY_SECURITY_*"],
    ),
    (
        "this version has no such result store",
        &[
            "CELERY_CACHE_*",
            "CELERY_CASSANDRA_*",
            "CELERY_S3_*",
            "CELERY_AZUREBLOCKBLOB_*",
            "CELERY_GCS_*",
            "CELERY_COUCHBASE_*",
            "CELERY_ARANGODB_*",
            "CELERY_MONGODB_*",
            "CELERY_COSMOSDBSQL_*",
            "CELERY_ELASTICSEARCH_*",
            "CELERY_RESULT_EXCHANGE",
            "CELERY_RESULT_EXCHANGE_TYPE",
            "CELERY_RESULT_PERSISTENT",
        ],
    ),
    (
        "it is for RabbitMQ, which this version does not speak to",
        &[
            "CELERY_BROKER_NATIVE_DELAYED_DELIVERY_QUEUE_TYPE",
            "CELERY_TASK_DEFAULT_QUEUE_TYPE",
            "CELERY_TASK_CREATE_MISSING_QUEUE_TYPE",
            "CELERY_TASK_CREATE_MISSING_QUEUE_EXCHANGE_TYPE",
            "CELERY_TASK_DEFAULT_DELIVERY_MODE",
            "CELERY_TASK_QUEUE_MAX_PRIORITY",
            "CELERY_WORKER_DETECT_QUORUM_QUEUES",
        ],
    ),
    (
        "events and remote control go over Celery's own names, celeryev and celery.pidbox, as JSON",
        &["CELERY_EVENT_*", "CELERY_CONTROL_*"],
    ),
    (
        "revoked tasks are kept at the broker",
        &["CELERY_WORKER_STATE_DB"],
    ),
    (
        "child processes are started and watched by Lovage itself",
        &[
            "CELERY_WORKER_PROC_ALIVE_TIMEOUT",
            "CELERY_WORKER_LOST_WAIT",
            "CELERY_WORKER_POOL_PUTLOCKS",
            "CELERY_WORKER_POOL_START_METHOD",
        ],
    ),
    (
        "it is Python's own",
        &[
            "CELERY_IMPORTS",
            "CELERY_DATABASE_ENGINE_CALLBACK",
            "CELERY_INCLUDE",
            "CELERY_WORKER_AGENT",
            "CELERY_WORKER_AUTOSCALER",
            "CELERY_WORKER_CONSUMER",
            "CELERY_WORKER_TIMER",
            "CELERY_WORKER_TIMER_PRECISION",
            "CELERY_WORKER_HIJACK_ROOT_LOGGER",
            "CELERY_WORKER_LOG_*",
            "CELERY_WORKER_TASK_LOG_*",
            "CELERY_WORKER_REDIRECT_STDOUTS",
            "CELERY_WORKER_REDIRECT_STDOUTS_LEVEL",
            "CELERY_TASK_ALWAYS_EAGER",
            "CELERY_TASK_EAGER_PROPAGATES",
            "CELERY_TASK_STORE_EAGER_RESULT",
            "CELERY_TASK_REMOTE_TRACEBACKS",
            "CELERY_TASK_REPR_MAXLEVELS",
            "CELERY_RESULT_CACHE_MAX",
        ],
    ),
    (
        "running tasks keep their messages over a lost connection, and so always count towards the prefetch",
        &["CELERY_WORKER_ENABLE_PREFETCH_COUNT_REDUCTION"],
    ),
    (
        "tasks with an eta wait at the broker, not in the worker",
        &["CELERY_WORKER_ETA_TASK_LIMIT"],
    ),
    (
        "Lovage sends one mail for each message, on connections that it keeps",
        &[
            "MAIL_MAX_EMAILS",
            "MAIL_ASCII_ATTACHMENTS",
            "MAIL_DEBUG",
            "MAIL_SUPPRESS_SEND",
        ],
    ),
    (
        "this version does not have it",
        &[
            "CELERY_ENABLE_UTC",
            "CELERY_RESULT_ACCEPT_CONTENT",
            "CELERY_TASK_ALLOW_ERROR_CB_ON_CHORD_HEADER",
            "CELERY_WORKER_DISABLE_PREFETCH",
        ],
    ),
];

/// Names that other programs of the family read: nothing to say about them.
const OTHER_PROGRAMS: [&str; 9] = [
    "CELERY_APP",
    "CELERY_BROKER",
    "CELERY_LOADER",
    "CELERY_CONFIG_MODULE",
    "CELERY_SKIP_CHECKS",
    "CELERY_TRACE_APP",
    "CELERY_RDB_HOST",
    "CELERY_RDB_PORT",
    "CELERY_NO_COLOR",
];

/// Warns of every name that looks like a setting and is none.
pub(crate) fn warn_of_unknown(lookup: &mut Lookup) {
    let names: Vec<&'static str> = variable::all().map(|variable| variable.name).collect();
    for name in lookup.names() {
        let secret = name.strip_suffix("_FILE");
        let known = names.contains(&name.as_str())
            || variable::all().any(|variable| variable.secret && secret == Some(variable.name))
            || OTHER_PROGRAMS.contains(&name.as_str())
            || name.starts_with("LOVAGE_TEST_");
        if known || !is_ours(&name) {
            continue;
        }
        let message = match reason(&name) {
            Some(reason) => format!("has no effect: {reason}"),
            None => format!(
                "is read by nothing{}",
                nearest(&name, names.iter().copied())
            ),
        };
        lookup.push_warning(name, message);
    }
}

fn reason(name: &str) -> Option<&'static str> {
    WITHOUT_EFFECT.iter().find_map(|(reason, names)| {
        let matches = |known: &&str| match known.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix),
            None => name == *known,
        };
        names.iter().any(matches).then_some(*reason)
    })
}

/// `; did you mean X?`, or nothing when no known name is like `name`.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    // Distances cost the product of both lengths; no name is that long.
    if name.len() > 100 {
        return String::new();
    }
    known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= known.len().min(12) / 3)
        .map(|(_, known)| format!("; did you mean {known}?"))
        .unwrap_or_default()
}
