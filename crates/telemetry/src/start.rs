//! What a role starts, and flushes at its end.

use std::{fmt, sync::Arc, time::Duration};

use lovage_settings::TelemetrySettings;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::{errors, log, traces};

/// How long what was not sent yet may take at the end.
const FAREWELL: Duration = Duration::from_secs(3);

/// Why something that was asked for cannot be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The collector's address, or a header for it, cannot be used.
    #[error("OTEL_EXPORTER_OTLP_ENDPOINT cannot be used: {0}")]
    Traces(String),
    /// Sentry's own client does not take the DSN.
    #[error("SENTRY_DSN cannot be used: {0}")]
    Sentry(String),
}

/// What was started. Dropped, it sends what is left, for three seconds at most.
#[must_use = "what is not sent yet is lost with the process"]
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    sentry: Option<Arc<sentry::Client>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("traces", &self.traces.is_some())
            .field("sentry", &self.sentry.is_some())
            .finish()
    }
}

/// Starts the log and what else the settings ask for, for a role such as `worker`. Only the first call of a process counts; a
/// program that has set up its own log keeps it, and then its own spans and its errors are told to nobody from here, while those
/// of tasks are.
///
/// # Errors
/// When an address cannot be used.
pub fn start(settings: &TelemetrySettings, role: &str) -> Result<Telemetry, StartError> {
    let traces = settings.traces.as_ref();
    let traces = traces
        .map(|traces| traces::start(traces, role))
        .transpose()?;
    let sentry = settings.sentry.as_ref();
    let sentry = sentry
        .map(|sentry| errors::start(sentry, role))
        .transpose()?;
    log::start(settings, traces.as_ref(), sentry.as_ref());
    Ok(Telemetry { traces, sentry })
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(traces) = self.traces.take() {
            // Whoever does not answer by then has been warned of.
            let _late = traces.shutdown_with_timeout(FAREWELL).is_err();
        }
        if let Some(sentry) = self.sentry.take() {
            sentry.close(Some(FAREWELL));
        }
    }
}
