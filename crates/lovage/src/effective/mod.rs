//! Settings written back as the variables that would give them.

mod own;
#[cfg(test)]
mod tests;
mod written;

use lovage_settings::{BrokerUrl, Environment, ResultUrl, Settings};

use self::{
    own::{beat, database, history, http, mail, watchers},
    written::{
        annotations, engine_options, optional, queues, result_options, routes, seconds, size,
        table_names, table_schemas, transport_options, use_ssl, with_unit,
    },
};

/// Every variable with the value that holds, as one would write it. An empty one is unset.
pub(crate) fn effective(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut rows = general(settings);
    rows.extend(tasks(settings));
    rows.extend(mail(settings));
    rows.extend(worker(settings));
    rows.extend(events(settings));
    rows.extend(history(settings));
    rows.extend(http(settings));
    rows.extend(database(settings));
    rows.extend(beat(settings));
    rows.extend(watchers(settings));
    rows
}

fn general(settings: &Settings) -> Vec<(&'static str, String)> {
    let Settings {
        broker,
        results,
        telemetry,
        ..
    } = settings;
    let environment = match settings.environment {
        Environment::Development => "development",
        Environment::Production => "production",
    };
    let place = match (&results.url, &broker.url) {
        (Some(url), _) => url.to_string(),
        (None, Some(url)) => results.place(url).to_string(),
        (None, None) => String::new(),
    };
    vec![
        ("LOVAGE_ENV", environment.to_owned()),
        (
            "CELERY_BROKER_URL",
            optional(broker.url.as_ref().map(BrokerUrl::to_string)),
        ),
        (
            "CELERY_BROKER_TRANSPORT_OPTIONS",
            transport_options(&broker.options),
        ),
        (
            "CELERY_BROKER_USE_SSL",
            use_ssl(match &broker.url {
                Some(BrokerUrl::Redis(urls)) => Some(urls),
                _ => None,
            }),
        ),
        (
            "CELERY_BROKER_CONNECTION_TIMEOUT",
            seconds(broker.connect_timeout),
        ),
        ("CELERY_RESULT_BACKEND", place),
        (
            "CELERY_RESULT_EXPIRES",
            results.expires.map_or_else(|| "0".to_owned(), seconds),
        ),
        (
            "CELERY_RESULT_FAILURE_EXPIRES",
            optional(results.failure_expires.map(seconds)),
        ),
        ("CELERY_RESULT_EXTENDED", results.extended.to_string()),
        ("CELERY_RESULT_SERIALIZER", results.serializer.clone()),
        (
            "CELERY_RESULT_COMPRESSION",
            optional(results.compression.clone()),
        ),
        (
            "CELERY_RESULT_CHORD_EXPIRES",
            optional(results.chord_expires.map(seconds)),
        ),
        (
            "CELERY_RESULT_CHORD_JOIN_TIMEOUT",
            seconds(results.chord_join_timeout),
        ),
        (
            "CELERY_RESULT_CHORD_RETRY_INTERVAL",
            seconds(results.chord_retry_interval),
        ),
        (
            "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
            result_options(results),
        ),
        (
            "CELERY_REDIS_BACKEND_USE_SSL",
            use_ssl(match &results.url {
                Some(ResultUrl::Redis(urls)) => Some(urls),
                _ => None,
            }),
        ),
        (
            "CELERY_DATABASE_TABLE_NAMES",
            table_names(&results.database),
        ),
        (
            "CELERY_DATABASE_TABLE_SCHEMAS",
            table_schemas(&results.database),
        ),
        (
            "CELERY_DATABASE_ENGINE_OPTIONS",
            engine_options(&results.database),
        ),
        (
            "CELERY_DATABASE_SHORT_LIVED_SESSIONS",
            results.database.short_lived.to_string(),
        ),
        (
            "CELERY_DATABASE_CREATE_TABLES_AT_SETUP",
            results.database.tables_at_start.to_string(),
        ),
        ("LOVAGE_LOG", telemetry.level.clone()),
        (
            "LOVAGE_LOG_FORMAT",
            if telemetry.json { "json" } else { "text" }.to_owned(),
        ),
        ("LOVAGE_MONITOR_BIND", optional(telemetry.monitor_bind)),
        ("CELERY_TIMEZONE", settings.timezone.to_string()),
    ]
}

fn tasks(settings: &Settings) -> Vec<(&'static str, String)> {
    let tasks = &settings.tasks;
    vec![
        ("CELERY_TASK_DEFAULT_QUEUE", tasks.default_queue.clone()),
        ("CELERY_TASK_QUEUES", queues(&tasks.queues)),
        (
            "CELERY_TASK_CREATE_MISSING_QUEUES",
            tasks.create_missing_queues.to_string(),
        ),
        (
            "CELERY_TASK_DEFAULT_EXCHANGE",
            optional(tasks.default_exchange.clone()),
        ),
        (
            "CELERY_TASK_DEFAULT_EXCHANGE_TYPE",
            tasks.default_exchange_type.name().to_owned(),
        ),
        (
            "CELERY_TASK_DEFAULT_ROUTING_KEY",
            optional(tasks.default_routing_key.clone()),
        ),
        ("CELERY_TASK_ROUTES", routes(&tasks.routes)),
        (
            "CELERY_TASK_DEFAULT_PRIORITY",
            optional(tasks.default_priority),
        ),
        (
            "CELERY_TASK_DEFAULT_RATE_LIMIT",
            optional(
                tasks
                    .default_rate_limit
                    .map(|limit| format!("{}/s", limit.per_second)),
            ),
        ),
        ("CELERY_TASK_ACKS_LATE", tasks.acks_late.to_string()),
        (
            "CELERY_TASK_ACKS_ON_FAILURE",
            tasks.acks_on_failure.to_string(),
        ),
        (
            "CELERY_TASK_ACKS_ON_TIMEOUT",
            tasks.acks_on_timeout.to_string(),
        ),
        (
            "CELERY_TASK_REJECT_ON_WORKER_LOST",
            tasks.reject_on_worker_lost.to_string(),
        ),
        (
            "CELERY_TASK_RETRY_ON_WORKER_LOST",
            tasks.retry_on_worker_lost.to_string(),
        ),
        ("CELERY_TASK_TRACK_STARTED", tasks.track_started.to_string()),
        ("CELERY_TASK_IGNORE_RESULT", tasks.ignore_result.to_string()),
        (
            "CELERY_TASK_STORE_ERRORS_EVEN_IF_IGNORED",
            tasks.store_errors_even_if_ignored.to_string(),
        ),
        (
            "CELERY_TASK_TIME_LIMIT",
            optional(tasks.time_limit.map(seconds)),
        ),
        (
            "CELERY_TASK_SOFT_TIME_LIMIT",
            optional(tasks.soft_time_limit.map(seconds)),
        ),
        (
            "CELERY_TASK_COMPRESSION",
            optional(tasks.compression.clone()),
        ),
        ("CELERY_ACCEPT_CONTENT", tasks.accept_content.join(",")),
        ("CELERY_TASK_SERIALIZER", tasks.serializer.clone()),
        ("CELERY_TASK_ANNOTATIONS", annotations(&tasks.annotations)),
        (
            "CELERY_TASK_INHERIT_PARENT_PRIORITY",
            tasks.inherit_parent_priority.to_string(),
        ),
    ]
}

fn worker(settings: &Settings) -> Vec<(&'static str, String)> {
    let worker = &settings.worker;
    vec![
        ("CELERY_WORKER_CONCURRENCY", optional(worker.concurrency)),
        (
            "CELERY_WORKER_PREFETCH_MULTIPLIER",
            worker.prefetch_multiplier.to_string(),
        ),
        ("CELERY_WORKER_POOL", worker.pool.name().to_owned()),
        (
            "CELERY_WORKER_MAX_TASKS_PER_CHILD",
            optional(worker.max_tasks_per_child),
        ),
        (
            "CELERY_WORKER_MAX_MEMORY_PER_CHILD",
            optional(worker.max_memory_per_child),
        ),
        ("AUTOSCALE_KEEPALIVE", seconds(worker.autoscale_keepalive)),
        (
            "CELERY_WORKER_DISABLE_RATE_LIMITS",
            worker.disable_rate_limits.to_string(),
        ),
        (
            "CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS",
            worker.deduplicate.to_string(),
        ),
        (
            "CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS",
            worker.cancel_on_loss.to_string(),
        ),
        ("CELERY_WORKER_DIRECT", worker.direct.to_string()),
        ("LOVAGE_MAX_DEATHS", worker.max_deaths.to_string()),
        ("LOVAGE_LEASE", with_unit(worker.lease)),
        (
            "LOVAGE_FORWARD_UNKNOWN",
            optional(worker.forward_unknown.clone()),
        ),
        (
            "LOVAGE_UNKNOWN_GRACE",
            optional(worker.unknown_grace.map(with_unit)),
        ),
        ("CELERY_WORKER_REVOKES_MAX", worker.revokes.max.to_string()),
        (
            "CELERY_WORKER_REVOKE_EXPIRES",
            seconds(worker.revokes.expires),
        ),
        (
            "CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT",
            seconds(worker.shutdown.soft_timeout),
        ),
        (
            "CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE",
            worker.shutdown.soft_on_idle.to_string(),
        ),
        (
            "LOVAGE_DRAIN_TIMEOUT",
            optional(worker.shutdown.drain_timeout.map(with_unit)),
        ),
        (
            "REMAP_SIGTERM",
            optional(worker.shutdown.term_is_quit.then_some("SIGQUIT")),
        ),
        ("LOVAGE_DEMO_TASKS", worker.demo_tasks.to_string()),
        ("LOVAGE_MAX_MESSAGE_BYTES", size(worker.max_message_bytes)),
    ]
}

fn events(settings: &Settings) -> Vec<(&'static str, String)> {
    let events = &settings.events;
    vec![
        (
            "CELERY_WORKER_SEND_TASK_EVENTS",
            events.task_events.to_string(),
        ),
        ("CELERY_TASK_SEND_SENT_EVENT", events.sent_event.to_string()),
        ("LOVAGE_EVENTS_FINAL_ONLY", events.final_only.to_string()),
        ("LOVAGE_EVENTS_MAX_RATE", optional(events.max_rate)),
        ("LOVAGE_EVENTS_BUFFER", events.buffer.to_string()),
        ("LOVAGE_REPR_LIMIT", events.repr_limit.to_string()),
        (
            "CELERY_WORKER_ENABLE_REMOTE_CONTROL",
            events.remote_control.to_string(),
        ),
        (
            "CELERY_WORKER_POOL_RESTARTS",
            events.pool_restarts.to_string(),
        ),
    ]
}
