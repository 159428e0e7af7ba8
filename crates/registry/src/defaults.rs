//! A task's options as its definition gives them, before settings and messages override them.

use std::fmt;
use std::time::Duration;

use celery::task::{Task, TaskOptions};
use lovage_protocol::QueueName;

use crate::RetryPolicy;
use crate::admission::Admission;

/// The options that a task's definition gives; `None` leaves one to the settings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TaskDefaults {
    /// The queue it is sent to when neither caller nor routes name one.
    pub queue: Option<QueueName>,
    /// The priority it is sent with when the caller gives none, 0 to 255.
    pub priority: Option<i64>,
    /// How often one worker starts it at most.
    pub rate_limit: Option<RateLimit>,
    /// Whether its results are not stored.
    pub ignore_result: Option<bool>,
    /// Whether the state `STARTED` is stored when it starts.
    pub track_started: Option<bool>,
    /// How long after sending it is no longer worth running.
    pub expires: Option<Duration>,
    /// How long it may run: `time_limit` in `#[lovage::task]`, `soft_time_limit` in Python.
    pub soft_time_limit: Option<Duration>,
    /// How long it may run before its process is killed: `hard_time_limit` here, `time_limit` in Python.
    pub hard_time_limit: Option<Duration>,
    /// How often it is retried.
    pub max_retries: Option<u32>,
    /// The shortest wait before a retry.
    pub min_retry_delay: Option<Duration>,
    /// The longest wait before a retry.
    pub max_retry_delay: Option<Duration>,
    /// Which errors are retried beside those that are by their kind, and how long the pauses are.
    pub retry: RetryPolicy,
    /// Whether `TaskError::UnexpectedError` is retried too.
    pub retry_for_unexpected: Option<bool>,
    /// Whether its message is acknowledged after it ran rather than before.
    pub acks_late: Option<bool>,
    /// Uniqueness, debouncing and limits over all workers.
    pub admission: Admission,
}

impl TaskDefaults {
    /// Reads what rusty-celery's macro recorded for a task.
    #[must_use]
    pub fn of<T: Task>() -> Self {
        // A binding first: clippy would have the constant's fields read one by one.
        let options: TaskOptions = T::DEFAULTS;
        let seconds = |number: Option<u32>| number.map(|n| Duration::from_secs(u64::from(n)));
        Self {
            soft_time_limit: seconds(options.time_limit),
            hard_time_limit: seconds(options.hard_time_limit),
            max_retries: options.max_retries,
            min_retry_delay: seconds(options.min_retry_delay),
            max_retry_delay: seconds(options.max_retry_delay),
            retry_for_unexpected: options.retry_for_unexpected,
            acks_late: options.acks_late,
            ..Self::default()
        }
    }
}

/// How often a task may start: a number per second, minute or hour.
#[derive(Debug, Clone, PartialEq)]
pub struct RateLimit {
    text: String,
    per_second: f64,
}

/// Says that a text is no rate limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no rate limit: write \"10/s\", \"100/m\" or \"5/h\"")]
pub struct InvalidRateLimit(String);

impl RateLimit {
    /// Reads a rate limit as `celery/utils/time.py` does; zero and the empty text mean that there is none.
    ///
    /// # Errors
    ///
    /// The text is not a number with `/s`, `/m`, `/h` or nothing after it, or the number is negative, with which Celery would
    /// never start the task.
    pub fn parse(text: &str) -> Result<Option<Self>, InvalidRateLimit> {
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = || InvalidRateLimit(text.to_owned());
        let (count, divisor) = match text.split_once('/') {
            None => (text, 1.0),
            Some((count, "s")) => (count, 1.0),
            Some((count, "m")) => (count, 60.0),
            Some((count, "h")) => (count, 3600.0),
            Some(_) => return Err(invalid()),
        };
        // Python's float() allows blanks around the number.
        let number: f64 = count.trim().parse().map_err(|_| invalid())?;
        if !number.is_finite() || number < 0.0 {
            return Err(invalid());
        }
        let limit = Self {
            text: text.to_owned(),
            per_second: number / divisor,
        };
        Ok((number > 0.0).then_some(limit))
    }

    /// A limit that the macro has already read.
    #[doc(hidden)]
    #[must_use]
    pub fn checked(text: &str, per_second: f64) -> Self {
        Self {
            text: text.to_owned(),
            per_second,
        }
    }

    /// The limit as written, such as `10/m`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Starts per second; always above zero.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// The time from one start to the next; a century at most.
    #[must_use]
    pub fn interval(&self) -> Duration {
        const CENTURY: f64 = 100.0 * 365.0 * 24.0 * 3600.0;
        Duration::from_secs_f64((1.0 / self.per_second).min(CENTURY))
    }
}

impl fmt::Display for RateLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::RateLimit;

    #[test]
    fn reads_rates_as_celery_does() {
        let check = |text: &str, expected: Option<f64>| {
            let limit = RateLimit::parse(text).unwrap();
            assert_eq!(
                limit.as_ref().map(RateLimit::per_second),
                expected,
                "{text:?}"
            );
            assert!(limit.is_none_or(|limit| limit.as_str() == text));
        };
        check("10/s", Some(10.0));
        check("10", Some(10.0));
        check("90/m", Some(1.5));
        check("900/h", Some(0.25));
        check(" 10 /m", Some(10.0 / 60.0));
        check("1e2/m", Some(100.0 / 60.0));
        check("0", None);
        check("0/m", None);
        check("", None);
    }

    #[test]
    fn refuses_other_texts() {
        for text in [
            "x", "/s", "10/d", "-1/s", "inf", "nan", "1.2.3", "10/s/s", "10/",
        ] {
            assert!(RateLimit::parse(text).is_err(), "{text:?} was accepted");
        }
    }
}
