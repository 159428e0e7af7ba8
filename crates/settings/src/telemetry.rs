//! The log: what it shows and in which form; where a process tells its health and its numbers; and to whom it tells spans and
//! errors.

use std::net::SocketAddr;

use tracing_subscriber::EnvFilter;

use crate::{
    Environment, SentrySettings, TraceSettings, http,
    lookup::Lookup,
    parse::Problem,
    variable::{LOG, LOG_FORMAT, MONITOR_BIND},
};

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct TelemetrySettings {
    /// `LOVAGE_LOG`: a level, or a list such as `info,lovage_worker=debug`; default `info`. Always a good filter.
    pub level: String,
    /// `LOVAGE_LOG_FORMAT=json`: one JSON object a line; default text.
    pub json: bool,
    /// `LOVAGE_MONITOR_BIND`, address and port: where a worker, beat or keeper serves `/health/live`, `/health/ready` and
    /// `/metrics`; unset, nowhere.
    pub monitor_bind: Option<SocketAddr>,
    /// `OTEL_…`: where spans go; nothing, nowhere.
    pub traces: Option<TraceSettings>,
    /// `SENTRY_…`: where errors are told; nothing, nowhere.
    pub sentry: Option<SentrySettings>,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            json: false,
            monitor_bind: None,
            traces: None,
            sentry: None,
        }
    }
}

impl TelemetrySettings {
    pub(crate) fn read(lookup: &mut Lookup, environment: Environment) -> Self {
        let mut settings = Self::default();
        lookup.set(&LOG, &mut settings.level, level);
        lookup.set(&LOG_FORMAT, &mut settings.json, format);
        settings.monitor_bind = lookup.parsed(&MONITOR_BIND, http::address);
        settings.traces = TraceSettings::read(lookup);
        settings.sentry = SentrySettings::read(lookup, environment);
        settings
    }
}

/// Reads a level as `LOVAGE_LOG` and the `-l` flag take it: Celery's words (`WARNING`, `CRITICAL`) work too.
///
/// # Errors
/// One line for people: what is wrong and what would be right.
pub fn parse_level(text: &str) -> Result<String, String> {
    level(text).map_err(|Problem { problem, expected }| format!("{problem}; expected {expected}"))
}

fn level(text: &str) -> Result<String, Problem> {
    let level = match text.to_ascii_lowercase().as_str() {
        "warning" => "warn".to_owned(),
        "critical" | "fatal" => "error".to_owned(),
        word @ ("trace" | "debug" | "info" | "warn" | "error" | "off") => word.to_owned(),
        // Any other single word would be taken for a module's name and show everything of it. The filter cuts its text at bytes
        // and panics inside of longer characters; no module's name has any.
        _ if text.is_ascii() && text.contains('=') && EnvFilter::try_new(text).is_ok() => {
            text.to_owned()
        }
        _ => {
            return Err(Problem::new(
                "is not a log level",
                "debug, info, warning, error or a list such as info,lovage_worker=debug",
            ));
        }
    };
    Ok(level)
}

fn format(text: &str) -> Result<bool, Problem> {
    match text {
        "text" => Ok(false),
        "json" => Ok(true),
        _ => Err(Problem::new("is not a log format", "text or json")),
    }
}

impl TelemetrySettings {
    /// The level as a filter of log lines. rusty-celery's own lines (it writes through `log`, which is heard too) are cut to
    /// warnings: its runtime is not used, and what little of it runs speaks of a broker that is not there.
    pub fn filter(&self) -> String {
        if self.level.contains("celery=") {
            self.level.clone()
        } else {
            format!("{},celery=warn", self.level)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TelemetrySettings, parse_level};

    #[test]
    fn celery_levels_are_understood() {
        let check = |text, expected: Option<&str>| {
            assert_eq!(parse_level(text).ok().as_deref(), expected, "{text}");
        };
        check("WARNING", Some("warn"));
        check("CRITICAL", Some("error"));
        check("Debug", Some("debug"));
        check("info,lovage_worker=debug", Some("info,lovage_worker=debug"));
        check("inof", None);
        check("info,lovage_worker=loud", None);
        check(" debugke\u{fffd}C_worke\u{fffd}=", None);
    }

    #[test]
    fn rusty_celery_is_quiet_unless_asked_for() {
        let shown = |level: &str| {
            let settings = TelemetrySettings {
                level: level.to_owned(),
                ..TelemetrySettings::default()
            };
            settings.filter()
        };
        assert!(shown("debug").contains("celery=warn"));
        assert!(shown("info,celery=debug").contains("celery=debug"));
        assert!(!shown("info,celery=debug").contains("celery=warn"));
    }
}
