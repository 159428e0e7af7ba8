//! Settings written back as the variables that would give them.

mod written;

use std::time::Duration;

use lovage_settings::{BrokerUrl, Environment, MailEncryption, ResultUrl, Secret, Settings};

use self::written::{
    annotations, engine_options, optional, queues, redact, result_options, routes, seconds, size,
    table_names, table_schemas, transport_options, use_ssl, with_unit,
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

/// Who is told of spans and of errors. What is not read while nobody is told shows as unset.
fn watchers(settings: &Settings) -> Vec<(&'static str, String)> {
    let traces = settings.telemetry.traces.as_ref();
    let sampler = traces.map(|traces| traces.sampler).unwrap_or_default();
    let sentry = settings.telemetry.sentry.as_ref();
    let collector = traces.and_then(|traces| traces.url.strip_suffix("/v1/traces"));
    let headers = traces.map(|traces| {
        let headers = traces.headers.iter();
        let headers: Vec<String> = headers
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        headers.join(",")
    });
    let service = traces.and_then(|traces| traces.service_name.clone());
    vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", optional(collector)),
        ("OTEL_EXPORTER_OTLP_HEADERS", optional(headers)),
        ("OTEL_SERVICE_NAME", optional(service)),
        ("OTEL_TRACES_SAMPLER", sampler.name().to_owned()),
        ("OTEL_TRACES_SAMPLER_ARG", sampler.ratio.to_string()),
        ("SENTRY_DSN", optional(sentry.map(|sentry| &sentry.dsn))),
        (
            "SENTRY_ENVIRONMENT",
            optional(sentry.map(|sentry| &sentry.environment)),
        ),
        (
            "SENTRY_RELEASE",
            optional(sentry.and_then(|sentry| sentry.release.clone())),
        ),
        (
            "SENTRY_SEND_DEFAULT_PII",
            sentry
                .is_some_and(|sentry| sentry.send_arguments)
                .to_string(),
        ),
    ]
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

fn database(settings: &Settings) -> Vec<(&'static str, String)> {
    let database = &settings.database;
    let kept = |length: Option<Duration>| length.map_or_else(|| "forever".to_owned(), with_unit);
    let most =
        |most: Option<u64>| most.map_or_else(|| "unlimited".to_owned(), |most| most.to_string());
    let retention = &database.retention;
    vec![
        ("DATABASE_URL", database.url.to_string()),
        ("LOVAGE_DATABASE_POOL", database.pool.to_string()),
        ("LOVAGE_DATABASE_TIMEOUT", with_unit(database.timeout)),
        (
            "LOVAGE_DATABASE_STATEMENT_TIMEOUT",
            with_unit(database.statement_timeout),
        ),
        ("LOVAGE_DATABASE_SLOW", with_unit(database.slow)),
        ("LOVAGE_KEEP_TASKS", kept(retention.tasks)),
        ("LOVAGE_KEEP_MAX_TASKS", most(retention.max_tasks)),
        ("LOVAGE_KEEP_EVENTS", kept(retention.events)),
        ("LOVAGE_KEEP_MAX_EVENTS", most(retention.max_events)),
        ("LOVAGE_KEEP_MAIL", kept(retention.mail)),
        ("LOVAGE_KEEP_AUDIT", kept(retention.audit)),
        ("LOVAGE_KEEP_MAX_ROWS", most(retention.max_rows)),
    ]
}

fn mail(settings: &Settings) -> Vec<(&'static str, String)> {
    let mail = &settings.mail;
    let encryption = |kind| (mail.encryption == kind).to_string();
    vec![
        ("MAIL_SERVER", optional(mail.server.clone())),
        ("MAIL_PORT", mail.port.to_string()),
        ("MAIL_USE_TLS", encryption(MailEncryption::StartTls)),
        ("MAIL_USE_SSL", encryption(MailEncryption::Tls)),
        (
            "LOVAGE_MAIL_CA_FILE",
            optional(mail.ca_file.as_ref().map(|path| path.display())),
        ),
        ("MAIL_USERNAME", optional(mail.username.clone())),
        ("MAIL_PASSWORD", optional(mail.password.as_ref())),
        ("MAIL_DEFAULT_SENDER", optional(mail.sender.clone())),
        ("LOVAGE_MAIL_TIMEOUT", with_unit(mail.timeout)),
        ("LOVAGE_MAIL_OPERATORS", mail.operators.join(",")),
        ("LOVAGE_MAIL_DIGEST_EVERY", with_unit(mail.digest_every)),
        ("LOVAGE_MAIL_LANGUAGE", mail.language.clone()),
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

fn history(settings: &Settings) -> Vec<(&'static str, String)> {
    let history = &settings.history;
    vec![
        ("LOVAGE_JOURNAL_BYTES", size(history.journal_bytes)),
        ("LOVAGE_JOURNAL_LIFE", with_unit(history.journal_life)),
        ("LOVAGE_HISTORY_REDACT", redact(&history.redact)),
    ]
}

fn http(settings: &Settings) -> Vec<(&'static str, String)> {
    let http = &settings.http;
    let secret = |secret: &Option<Secret>| optional(secret.as_ref().map(Secret::to_string));
    vec![
        ("LOVAGE_API_BIND", http.bind.to_string()),
        ("LOVAGE_API_URL", optional(http.public_url.clone())),
        ("LOVAGE_API_CORS_ORIGINS", http.cors_origins.join(",")),
        ("LOVAGE_API_MAX_BODY", size(http.max_body)),
        ("LOVAGE_API_MAX_WAIT", with_unit(http.max_wait)),
        ("LOVAGE_API_DRAIN_TIMEOUT", with_unit(http.drain_timeout)),
        ("SECRET_KEY", secret(&http.secret_key)),
        ("JWT_SECRET_KEY", secret(&http.jwt_secret_key)),
        (
            "LOVAGE_ACCESS_TOKEN_LIFE",
            with_unit(http.access_token_life),
        ),
        (
            "LOVAGE_REFRESH_TOKEN_LIFE",
            with_unit(http.refresh_token_life),
        ),
        ("LOVAGE_ADMIN_EMAIL", optional(http.admin_email.clone())),
        ("LOVAGE_ADMIN_PASSWORD", secret(&http.admin_password)),
    ]
}

fn beat(settings: &Settings) -> Vec<(&'static str, String)> {
    let beat = &settings.beat;
    let file = beat.schedule_file.as_ref();
    vec![
        ("LOVAGE_BEAT_LEASE", with_unit(beat.lease)),
        ("LOVAGE_BEAT_STORE", beat.store.name().to_owned()),
        (
            "LOVAGE_SCHEDULE_FILE",
            optional(file.map(|path| path.display().to_string())),
        ),
        (
            "CELERY_BEAT_CRON_STARTING_DEADLINE",
            optional(beat.cron_starting_deadline.map(seconds)),
        ),
        (
            "CELERY_BEAT_ENABLE_REMOTE_CONTROL",
            beat.remote_control.to_string(),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use lovage_settings::{Settings, documented};

    use super::effective;

    /// Read only to be refused or to be the default of others: nothing of them is kept.
    const NOT_KEPT: [&str; 4] = [
        "REDIS_URL",
        "CELERY_DATABASE_URL",
        "CELERY_TASK_PROTOCOL",
        "CELERY_TASK_ACKS_ON_FAILURE_OR_TIMEOUT",
    ];

    fn read(pairs: &[(&str, &str)]) -> Settings {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Settings::from_lookup(pairs).unwrap().0
    }

    #[test]
    fn every_documented_variable_is_told() {
        let told: BTreeSet<&str> = effective(&Settings::default())
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        let documented: BTreeSet<&str> = documented()
            .iter()
            .map(|variable| variable.name)
            .filter(|name| !NOT_KEPT.contains(name))
            .collect();
        assert_eq!(told, documented);
    }

    #[test]
    fn what_is_told_gives_the_same_settings() {
        let check = |pairs: &[(&str, &str)]| {
            let mut settings = read(pairs);
            let told = effective(&settings);
            let told: Vec<(&str, &str)> = told
                .iter()
                .filter(|(_, value)| !value.is_empty())
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            // Unset, results go where the broker is; that place is told.
            let again = read(&told);
            settings.results.url.clone_from(&again.results.url);
            assert_eq!(again, settings);
        };
        check(&[]);
        check(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp"),
            ("OTEL_SERVICE_NAME", "billing"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ]);
        check(&[
            ("CELERY_BROKER_URL", "redis://cache/1;redis://other"),
            ("CELERY_RESULT_BACKEND", "disabled://"),
            ("CELERY_RESULT_EXPIRES", "0"),
            ("CELERY_RESULT_CHORD_RETRY_INTERVAL", "2.5"),
            ("CELERY_DATABASE_TABLE_NAMES", r#"{"task": "t"}"#),
            ("CELERY_DATABASE_TABLE_SCHEMAS", r#"{"group": "s"}"#),
            (
                "CELERY_DATABASE_ENGINE_OPTIONS",
                r#"{"pool_size": 3, "pool_recycle": -1}"#,
            ),
            ("CELERY_DATABASE_SHORT_LIVED_SESSIONS", "yes"),
            ("CELERY_RESULT_COMPRESSION", "zstd"),
            (
                "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
                r#"{"global_keyprefix": "x"}"#,
            ),
            (
                "CELERY_BROKER_TRANSPORT_OPTIONS",
                r#"{"visibility_timeout": 7.5, "queue_order_strategy": "sorted", "fanout_prefix": "/{db}/x.",
                    "socket_timeout": 5, "priority_steps": [0, 5]}"#,
            ),
            (
                "CELERY_TASK_ROUTES",
                r#"{"a.*": "q1", "b": {"queue": "q2", "priority": 3}, "re:c.+": "q3"}"#,
            ),
            ("CELERY_TASK_QUEUES", "q1,q2"),
            ("CELERY_TASK_ACKS_LATE", "no"),
            ("DATABASE_URL", "sqlite:///srv/tasks.db"),
            ("LOVAGE_DATABASE_POOL", "3"),
            ("LOVAGE_KEEP_TASKS", "36h"),
            ("LOVAGE_KEEP_MAX_TASKS", "unlimited"),
            ("LOVAGE_KEEP_AUDIT", "forever"),
            ("LOVAGE_KEEP_MAX_EVENTS", "5000"),
            ("LOVAGE_KEEP_MAX_ROWS", "unlimited"),
            ("CELERY_TASK_TIME_LIMIT", "2.5"),
            ("CELERY_WORKER_CONCURRENCY", "7"),
            ("CELERY_WORKER_POOL", "prefork"),
            ("CELERY_WORKER_MAX_TASKS_PER_CHILD", "100"),
            ("CELERY_WORKER_MAX_MEMORY_PER_CHILD", "200000"),
            ("AUTOSCALE_KEEPALIVE", "2.5"),
            ("CELERY_TASK_RETRY_ON_WORKER_LOST", "yes"),
            ("LOVAGE_LEASE", "2500ms"),
            ("LOVAGE_UNKNOWN_GRACE", "10m"),
            ("MAIL_SERVER", "smtp.example"),
            ("MAIL_USE_TLS", "1"),
            ("MAIL_DEFAULT_SENDER", "A <a@example.org>"),
            ("LOVAGE_MAIL_OPERATORS", "a@example.org,b@example.org"),
            ("LOVAGE_MAIL_DIGEST_EVERY", "90s"),
            ("LOVAGE_BEAT_LEASE", "12s"),
            ("LOVAGE_SCHEDULE_FILE", "/etc/lovage/schedule.toml"),
            ("CELERY_BEAT_CRON_STARTING_DEADLINE", "300"),
            ("LOVAGE_LOG", "info,lovage_worker=debug"),
            ("LOVAGE_MONITOR_BIND", "[::]:9540"),
            ("CELERY_TIMEZONE", "Europe/Zurich"),
        ]);
    }

    #[test]
    fn passwords_are_masked() {
        let settings = read(&[
            ("CELERY_BROKER_URL", "redis://u:sesame@cache"),
            ("CELERY_RESULT_BACKEND", "redis://:sesame@cache"),
        ]);
        let told = format!("{:?}", effective(&settings));
        assert!(!told.contains("sesame"), "{told}");
        assert!(told.contains("redis://u:********@cache:6379/0"), "{told}");
    }
}
