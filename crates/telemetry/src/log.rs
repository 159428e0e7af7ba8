//! The log: lines to standard error, and what else hears what is logged.

use std::{env, io, io::IsTerminal, sync::Arc};

use lovage_settings::TelemetrySettings;
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::{
    EnvFilter, Layer, Registry,
    filter::{FilterFn, LevelFilter},
    fmt::format::JsonFields,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{error_layer::ErrorLayer, json_line::JsonLine, traces::SCOPE};

/// A filter that is always a good one: the settings were checked.
fn filter(settings: &TelemetrySettings) -> EnvFilter {
    EnvFilter::try_new(settings.filter()).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Starts logging to standard error; in colours when that is a terminal and `NO_COLOR` is unset.
/// Only the first call of a process counts: a program that has set up its own log keeps it.
pub(crate) fn start(
    settings: &TelemetrySettings,
    traces: Option<&SdkTracerProvider>,
    sentry: Option<&Arc<sentry::Client>>,
) {
    let colours =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    // An error says that a log is set up already, which is what the caller wants.
    let _already = if traces.is_none() && sentry.is_none() {
        // Nobody else listens: what is filtered away is not even looked at.
        let lines = tracing_subscriber::fmt()
            // Else a log that nobody reads any more would end the process: the complaint goes to the same broken pipe.
            .log_internal_errors(false)
            .with_env_filter(filter(settings))
            .with_writer(io::stderr);
        if settings.json {
            let lines = lines.fmt_fields(JsonFields::new()).with_ansi(false);
            lines.event_format(JsonLine::default()).try_init().is_err()
        } else {
            lines.with_ansi(colours).try_init().is_err()
        }
    } else {
        let lines = tracing_subscriber::fmt::layer::<Registry>()
            .log_internal_errors(false)
            .with_writer(io::stderr);
        let lines: Box<dyn Layer<Registry> + Send + Sync> = if settings.json {
            let lines = lines.fmt_fields(JsonFields::new()).with_ansi(false);
            let lines = lines.event_format(JsonLine::default());
            lines.with_filter(filter(settings)).boxed()
        } else {
            let lines = lines.with_ansi(colours);
            lines.with_filter(filter(settings)).boxed()
        };
        let errors = sentry
            .map(|client| ErrorLayer::new(Arc::clone(client)).with_filter(LevelFilter::ERROR));
        let spans = traces.map(|traces| {
            tracing_opentelemetry::layer()
                .with_tracer(traces.tracer(SCOPE))
                .with_location(false)
                .with_threads(false)
                .with_filter(FilterFn::new(of_a_task_s_code))
        });
        Registry::default()
            .with(lines)
            .with(errors)
            .with(spans)
            .try_init()
            .is_err()
    };
}

/// Spans that a task's own code opens become spans of its trace, whatever the log shows. Those of Lovage and of the libraries
/// below it do not: a trace tells what tasks do, and Lovage's own part of that is told without them.
fn of_a_task_s_code(metadata: &tracing::Metadata<'_>) -> bool {
    const OTHERS: [&str; 9] = [
        "lovage", "hyper", "h2", "sqlx", "sea_orm", "redis", "rustls", "poem", "tokio",
    ];
    let root = metadata.target().split("::").next().unwrap_or_default();
    let others = OTHERS.contains(&root) || root.starts_with("lovage_");
    metadata.is_span() && *metadata.level() <= tracing::Level::INFO && !others
}
