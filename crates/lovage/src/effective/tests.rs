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
