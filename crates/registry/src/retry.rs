//! Which errors of a task run it again, and how long the pauses are.

use std::time::Duration;

/// What a task says of its retries; what is `None` or empty is as the worker has it (`celery/app/autoretry.py`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Exception classes that are retried although they are failures: `OSError`, `app.Busy`. A class of Python's own
    /// stands for those beneath it too, and `Exception` for all.
    pub retry_for: &'static [&'static str],
    /// Classes that are not retried although they would be; they win.
    pub dont_retry_for: &'static [&'static str],
    /// The first pause in seconds, doubled with each retry; 0 turns it off, so that each pause is `default_delay`.
    /// Default 1, or off when a `default_delay` is set.
    pub backoff: Option<u32>,
    /// Draws each pause between 0 and what it would be. Default true.
    pub jitter: Option<bool>,
    /// The pause without back-off. Default 180 s.
    pub default_delay: Option<Duration>,
}

impl RetryPolicy {
    /// What `self` leaves open is as `other` says.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        let list = |own: &'static [_], other| if own.is_empty() { other } else { own };
        Self {
            retry_for: list(self.retry_for, other.retry_for),
            dont_retry_for: list(self.dont_retry_for, other.dont_retry_for),
            backoff: self.backoff.or(other.backoff),
            jitter: self.jitter.or(other.jitter),
            default_delay: self.default_delay.or(other.default_delay),
        }
    }
}
