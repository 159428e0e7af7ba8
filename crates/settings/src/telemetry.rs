//! The log: what it shows and in which form; and where a process tells its health and its numbers.

use std::{env, io, io::IsTerminal, net::SocketAddr};

use tracing_subscriber::EnvFilter;

use crate::{
    http,
    lookup::Lookup,
    parse::Problem,
    variable::{LOG, LOG_FORMAT, MONITOR_BIND},
};

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetrySettings {
    /// `LOVAGE_LOG`: a level, or a list such as `info,lovage_worker=debug`; default `info`. Always a good filter.
    pub level: String,
    /// `LOVAGE_LOG_FORMAT=json`: one JSON object a line; default text.
    pub json: bool,
    /// `LOVAGE_MONITOR_BIND`, address and port: where a worker, beat or keeper serves `/health/live`, `/health/ready` and
    /// `/metrics`; unset, nowhere.
    pub monitor_bind: Option<SocketAddr>,
}

impl Default for TelemetrySettings {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            json: false,
            monitor_bind: None,
        }
    }
}

impl TelemetrySettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(&LOG, &mut settings.level, level);
        lookup.set(&LOG_FORMAT, &mut settings.json, format);
        settings.monitor_bind = lookup.parsed(&MONITOR_BIND, http::address);
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

/// The filter of `settings`. rusty-celery's own lines (it writes through `log`, which is heard too) are cut to warnings:
/// its runtime is not used, and what little of it runs speaks of a broker that is not there.
fn filter(settings: &TelemetrySettings) -> EnvFilter {
    let level = &settings.level;
    let text = if level.contains("celery=") {
        level.clone()
    } else {
        format!("{level},celery=warn")
    };
    EnvFilter::try_new(text).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Starts logging to standard error; in colours when that is a terminal and `NO_COLOR` is unset.
/// Only the first call of a process counts: a program that has set up its own log keeps it.
pub fn start_tracing(settings: &TelemetrySettings) {
    let colours =
        io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt()
        // Else a log that nobody reads any more would end the process: the complaint goes to the same broken pipe.
        .log_internal_errors(false)
        .with_env_filter(filter(settings))
        .with_writer(io::stderr);
    // An error says that a log is set up already, which is what the caller wants.
    let _already = if settings.json {
        lines.json().with_ansi(false).try_init().is_err()
    } else {
        lines.with_ansi(colours).try_init().is_err()
    };
}

#[cfg(test)]
mod tests {
    use super::{TelemetrySettings, filter, parse_level};

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
            filter(&TelemetrySettings {
                level: level.to_owned(),
                json: false,
                monitor_bind: None,
            })
            .to_string()
        };
        assert!(shown("debug").contains("celery=warn"));
        assert!(shown("info,celery=debug").contains("celery=debug"));
        assert!(!shown("info,celery=debug").contains("celery=warn"));
    }
}
