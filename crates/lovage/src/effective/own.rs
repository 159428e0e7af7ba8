//! The variables that are not Celery's: database, mails, history, HTTP, beat, and who watches.

use std::time::Duration;

use lovage_settings::{MailEncryption, Secret, Settings};

use super::written::{optional, redact, seconds, size, with_unit};

/// Who is told of spans and of errors. What is not read while nobody is told shows as unset.
pub(super) fn watchers(settings: &Settings) -> Vec<(&'static str, String)> {
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

pub(super) fn database(settings: &Settings) -> Vec<(&'static str, String)> {
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

pub(super) fn mail(settings: &Settings) -> Vec<(&'static str, String)> {
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

pub(super) fn history(settings: &Settings) -> Vec<(&'static str, String)> {
    let history = &settings.history;
    vec![
        ("LOVAGE_JOURNAL_BYTES", size(history.journal_bytes)),
        ("LOVAGE_JOURNAL_LIFE", with_unit(history.journal_life)),
        ("LOVAGE_HISTORY_REDACT", redact(&history.redact)),
    ]
}

pub(super) fn http(settings: &Settings) -> Vec<(&'static str, String)> {
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

pub(super) fn beat(settings: &Settings) -> Vec<(&'static str, String)> {
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
