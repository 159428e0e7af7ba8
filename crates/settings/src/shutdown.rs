//! How a worker stops when it is told to.

use std::time::Duration;

use crate::{
    lookup::Lookup,
    parse::{self, Problem},
    variable::{DRAIN_TIMEOUT, REMAP_SIGTERM, SOFT_SHUTDOWN_ON_IDLE, SOFT_SHUTDOWN_TIMEOUT},
};

/// What TERM and QUIT mean, and how long running tasks have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownSettings {
    /// `CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT`, seconds: how long running tasks have after QUIT; default 0, none.
    pub soft_timeout: Duration,
    /// `CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE`: wait as long although nothing runs; default false.
    pub soft_on_idle: bool,
    /// `LOVAGE_DRAIN_TIMEOUT`: how long running tasks have after TERM; None: as long as they take.
    pub drain_timeout: Option<Duration>,
    /// `REMAP_SIGTERM=SIGQUIT`: TERM means what QUIT means; default false.
    pub term_is_quit: bool,
}

impl ShutdownSettings {
    pub(crate) fn read(lookup: &mut Lookup) -> Self {
        let mut settings = Self::default();
        lookup.set(
            &SOFT_SHUTDOWN_TIMEOUT,
            &mut settings.soft_timeout,
            parse::seconds,
        );
        lookup.set(
            &SOFT_SHUTDOWN_ON_IDLE,
            &mut settings.soft_on_idle,
            parse::boolean,
        );
        lookup.set(&DRAIN_TIMEOUT, &mut settings.drain_timeout, drain);
        lookup.set(&REMAP_SIGTERM, &mut settings.term_is_quit, remap);
        settings
    }
}

fn drain(text: &str) -> Result<Option<Duration>, Problem> {
    if matches!(text, "off" | "none") {
        return Ok(None);
    }
    parse::positive_duration(text).map(Some)
}

/// billiard knows no other (`billiard/common.py`).
fn remap(text: &str) -> Result<bool, Problem> {
    match text.to_ascii_uppercase().as_str() {
        "SIGQUIT" => Ok(true),
        "SIGTERM" => Ok(false),
        _ => Err(Problem::new(
            "is not a signal that TERM can stand for",
            "SIGQUIT, or unset",
        )),
    }
}
