//! What holds for one task: annotations win over what its definition and registration say, and those over the settings.

use std::time::Duration;

use lovage_registry::{RateLimit, RetryPolicy};
use lovage_settings::{Annotation, Settings};

use crate::{module::TaskOptions, pool::limits::Limits};

/// A task's options after the settings have been asked for what the task leaves open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rules {
    pub(crate) blocking: bool,
    pub(crate) acks_late: bool,
    pub(crate) track_started: bool,
    pub(crate) ignore_result: bool,
    /// `None`: for ever.
    pub(crate) max_retries: Option<u32>,
    pub(crate) min_retry_delay: Duration,
    pub(crate) max_retry_delay: Duration,
    pub(crate) reject_on_worker_lost: bool,
    pub(crate) retry_on_worker_lost: bool,
    pub(crate) retry: RetryPolicy,
    /// It is unique or limited: it passes the gate before it runs.
    pub(crate) gated: bool,
}

/// Celery's `retry_backoff_max`.
const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

impl Rules {
    pub(crate) fn resolve(set: &Annotation, said: &TaskOptions, settings: &Settings) -> Self {
        let tasks = &settings.tasks;
        Self {
            blocking: said.blocking.unwrap_or(true),
            acks_late: set.acks_late.or(said.acks_late).unwrap_or(tasks.acks_late),
            track_started: set
                .track_started
                .or(said.track_started)
                .unwrap_or(tasks.track_started),
            ignore_result: set
                .ignore_result
                .or(said.ignore_result)
                .unwrap_or(tasks.ignore_result),
            max_retries: set.max_retries.or(said.max_retries).unwrap_or(Some(3)),
            min_retry_delay: said.min_retry_delay.unwrap_or_default(),
            retry: RetryPolicy {
                default_delay: set.default_retry_delay.or(said.retry.default_delay),
                ..said.retry
            },
            max_retry_delay: said.max_retry_delay.unwrap_or(MAX_RETRY_DELAY),
            // Of the settings alone: what a whole worker's death means is one rule for all, too.
            reject_on_worker_lost: tasks.reject_on_worker_lost,
            retry_on_worker_lost: said
                .retry_on_worker_lost
                .unwrap_or(tasks.retry_on_worker_lost),
            gated: false,
        }
    }

    /// Those of a task that says nothing.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self::resolve(
            &Annotation::default(),
            &TaskOptions::default(),
            &Settings::default(),
        )
    }
}

/// The time limits that a worker begins with.
pub(crate) fn time_limits(set: &Annotation, said: &TaskOptions, settings: &Settings) -> Limits {
    let tasks = &settings.tasks;
    Limits {
        hard: set
            .time_limit
            .unwrap_or(said.time_limit.or(tasks.time_limit)),
        soft: set
            .soft_time_limit
            .unwrap_or(said.soft_time_limit.or(tasks.soft_time_limit)),
    }
}

/// The rate limit that a worker begins with.
pub(crate) fn rate_limit(
    set: &Annotation,
    said: &TaskOptions,
    settings: &Settings,
) -> Option<RateLimit> {
    if settings.worker.disable_rate_limits {
        return None;
    }
    let per_second = |limit: lovage_settings::RateLimit| {
        let rate = limit.per_second;
        RateLimit::checked(&format!("{rate}/s"), rate)
    };
    match set.rate_limit {
        Some(limit) => limit.map(per_second),
        None => {
            let default = settings.tasks.default_rate_limit;
            said.rate_limit.clone().or_else(|| default.map(per_second))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type All = (Rules, Limits, Option<f64>);

    fn rules(annotations: &str) -> All {
        let variables = [
            ("CELERY_TASK_ANNOTATIONS", annotations),
            ("CELERY_TASK_TIME_LIMIT", "60"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (settings, _) = Settings::from_lookup(variables).unwrap();
        let said = TaskOptions::new().acks_late(true).max_retries(Some(9));
        let set = settings.tasks.annotations.of("x");
        let rate = rate_limit(&set, &said, &settings).map(|limit| limit.per_second());
        (
            Rules::resolve(&set, &said, &settings),
            time_limits(&set, &said, &settings),
            rate,
        )
    }

    #[test]
    fn an_annotation_wins_over_the_task_and_the_task_over_the_settings() {
        let plain = rules("{}");
        let (said, limits, rate) = &plain;
        assert_eq!((said.acks_late, said.max_retries), (true, Some(9)));
        assert_eq!(limits.hard, Some(Duration::from_secs(60)));
        assert_eq!(*rate, None);
        let (set, limits, rate) = rules(
            r#"{"x": {"acks_late": false, "max_retries": null, "time_limit": null, "rate_limit": "30/m",
                "default_retry_delay": 5, "track_started": true, "ignore_result": true}}"#,
        );
        assert_eq!((set.acks_late, set.max_retries), (false, None));
        assert_eq!((limits.hard, rate), (None, Some(0.5)));
        assert!(set.track_started && set.ignore_result);
        assert_eq!(set.retry.default_delay, Some(Duration::from_secs(5)));
        assert_eq!(rules(r#"{"y": {"max_retries": 1}}"#), plain, "another task");
    }
}
