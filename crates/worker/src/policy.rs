//! Pure decisions: what becomes of a message, and what is stored, after each outcome. No clock, no I/O, no randomness of
//! its own; the table in ARCHITECTURE.md is this file in words.

use std::time::Duration;

use lovage_broker::{Reason, Settle, Want};
use lovage_protocol::{ExceptionInfo, Message, Signature, State, Value};
use lovage_settings::TaskSettings;

use crate::{
    outcome::{Failure, Outcome, Retry, RetryChanges, When, traceback},
    pool::{
        limits::{Limits, Over},
        prefork::Death,
    },
    records, retrying,
    rules::Rules,
    unlock::{Header, Unlocked},
};

/// What one attempt leads to.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) settle: Settle,
    pub(crate) record: Option<Record>,
    pub(crate) next: Next,
}

/// What is stored.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) state: State,
    pub(crate) result: Value,
    pub(crate) traceback: Option<String>,
}

/// What is sent.
#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing.
    Nothing,
    /// Callbacks, the next step of a chain, the part of a chord, with this value.
    Continue(Value),
    /// The error path of a workflow.
    Fail(ExceptionInfo),
    /// The next attempt.
    Retry(When, Option<Box<RetryChanges>>),
    /// What takes its place.
    Replace(Box<Signature>),
    /// The body of a chord, or what tells of its failure.
    Unlock(Box<Unlocked>),
}

/// Decides about one attempt. `jitter` is a random number in `0.0..1.0`.
pub(crate) fn conclude(
    outcome: Outcome,
    message: &Message,
    rules: &Rules,
    settings: &TaskSettings,
    jitter: f64,
) -> Ending {
    match outcome {
        Outcome::Success(value) => Ending {
            settle: Settle::Ack,
            record: Some(Record {
                state: State::Success,
                result: value.clone(),
                traceback: None,
            }),
            next: Next::Continue(value),
        },
        Outcome::Failure(failure) if retrying::is_retried(&failure, &rules.retry) => {
            let retry = Retry {
                cause: Some(failure.exception),
                traceback: failure.traceback,
                when: None,
                changes: None,
            };
            retry_or_fail(retry, message, rules, settings, jitter)
        }
        Outcome::Failure(failure) => fail(failure, message, settings),
        Outcome::Retry(retry) => retry_or_fail(retry, message, rules, settings, jitter),
        Outcome::Terminated(_) => Ending {
            settle: Settle::Ack,
            record: Some(Record {
                state: State::Revoked,
                result: records::celery_exception("TaskRevokedError", "terminated").to_value(),
                traceback: None,
            }),
            next: Next::Nothing,
        },
        Outcome::Ignore => Ending {
            settle: Settle::Ack,
            record: None,
            next: Next::Nothing,
        },
        Outcome::Replace(by) => Ending {
            settle: Settle::Ack,
            record: None,
            next: Next::Replace(by),
        },
        Outcome::Unlock(unlocked) => {
            let record = match &unlocked.header {
                Header::GivenUp(exception) => Record {
                    state: State::Failure,
                    result: exception.to_value(),
                    traceback: Some(traceback(message.headers.task.as_str(), exception)),
                },
                _ => Record {
                    state: State::Success,
                    result: Value::Null,
                    traceback: None,
                },
            };
            Ending {
                settle: Settle::Ack,
                record: Some(record),
                next: Next::Unlock(unlocked),
            }
        }
        Outcome::Reject { requeue: true, .. } => Ending {
            settle: Settle::Requeue,
            record: None,
            next: Next::Nothing,
        },
        Outcome::Reject {
            requeue: false,
            reason,
        } => {
            let arguments = vec![Value::Str(reason.clone()), Value::Bool(false)];
            let exception = ExceptionInfo::new("celery.exceptions", "Reject", arguments);
            let failure = Failure {
                exception,
                traceback: None,
                timed_out: false,
                transient: false,
                from_outside: false,
            };
            let dead = Settle::DeadLetter(dead_letter(message, "rejected", &reason));
            Ending {
                settle: dead,
                ..fail(failure, message, settings)
            }
        }
    }
}

fn fail(failure: Failure, message: &Message, settings: &TaskSettings) -> Ending {
    let settle = match failure.timed_out {
        true if settings.acks_on_timeout => Settle::Ack,
        true => Settle::Requeue,
        false if settings.acks_on_failure => Settle::Ack,
        // Celery rejects without requeue, which on Redis forgets the message; here it stays findable.
        false => Settle::DeadLetter(dead_letter(
            message,
            "failed",
            &records::line(&failure.exception),
        )),
    };
    let record = Record {
        state: State::Failure,
        result: failure.exception.to_value(),
        traceback: failure.traceback,
    };
    Ending {
        settle,
        record: Some(record),
        next: Next::Fail(failure.exception),
    }
}

fn retry_or_fail(
    retry: Retry,
    message: &Message,
    rules: &Rules,
    settings: &TaskSettings,
    jitter: f64,
) -> Ending {
    let retries = message.headers.retries;
    let said = retry
        .changes
        .as_ref()
        .and_then(|changes| changes.max_retries);
    if said.or(rules.max_retries).is_some_and(|max| retries >= max) {
        let exception = retry.cause.unwrap_or_else(|| retries_used_up(message));
        let task = message.headers.task.as_str();
        let traceback = retry
            .traceback
            .unwrap_or_else(|| traceback(task, &exception));
        return fail(
            Failure {
                exception,
                traceback: Some(traceback),
                timed_out: false,
                transient: false,
                from_outside: false,
            },
            message,
            settings,
        );
    }
    let when = retry
        .when
        .unwrap_or_else(|| When::Countdown(retrying::pause(retries, rules, jitter)));
    let record = Record {
        state: State::Retry,
        result: retry
            .cause
            .as_ref()
            .map_or(Value::Null, ExceptionInfo::to_value),
        traceback: retry.traceback,
    };
    Ending {
        settle: Settle::Ack,
        record: Some(record),
        next: Next::Retry(when, retry.changes),
    }
}

pub(crate) fn retries_used_up(message: &Message) -> ExceptionInfo {
    let headers = &message.headers;
    let text = format!(
        "Can't retry {}[{}] args:{} kwargs:{}",
        headers.task,
        headers.id,
        headers.argsrepr.as_deref().unwrap_or("()"),
        headers.kwargsrepr.as_deref().unwrap_or("{}"),
    );
    records::celery_exception("MaxRetriesExceededError", &text)
}

/// The reason under which a readable message goes to the dead letters.
pub(crate) fn dead_letter(message: &Message, code: &str, detail: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        detail: detail.to_owned(),
        task: Some(message.headers.task.as_str().to_owned()),
        task_id: Some(message.headers.id.as_str().to_owned()),
    }
}

/// Whether a result of this kind is stored: the producer's header wins over the task's own setting, and errors may be
/// stored even when results are ignored.
pub(crate) fn stores(
    message: &Message,
    rules: &Rules,
    settings: &TaskSettings,
    state: &State,
) -> bool {
    let ignored = message.headers.ignore_result.unwrap_or(rules.ignore_result);
    let error = matches!(state, State::Failure | State::Revoked | State::Retry);
    !ignored || (settings.store_errors_even_if_ignored && error)
}

/// How long an attempt may take: the message's limits win over the task's, and 0 is none (`celery/worker/request.py`,
/// `execute_using_pool`).
pub(crate) fn limits(message: &Message, own: Limits) -> Limits {
    let seconds = |value: Option<f64>| {
        let limit = Duration::try_from_secs_f64(value?).ok();
        limit.filter(|limit| !limit.is_zero())
    };
    Limits {
        hard: seconds(message.headers.timelimit.hard).or(own.hard),
        soft: seconds(message.headers.timelimit.soft).or(own.soft),
    }
}

/// The failure of an attempt that took too long, as Celery stores it (`billiard.exceptions`).
pub(crate) fn timed_out(over: Over, hard: Option<Duration>) -> Outcome {
    match over {
        Over::Soft => Outcome::failed_without_traceback(records::soft_limit_exceeded()),
        Over::Hard => {
            let limit = hard.unwrap_or_default();
            let whole = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
            let value = if limit.subsec_nanos() == 0 {
                Value::Int(whole)
            } else {
                Value::Float(limit.as_secs_f64())
            };
            let exception =
                ExceptionInfo::new("billiard.exceptions", "TimeLimitExceeded", vec![value]);
            Outcome::failed_outside(exception, true)
        }
    }
}

/// What becomes of a task whose process died.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It counts as this outcome.
    Ends(Outcome),
    /// Its message goes back, and one death is counted.
    GoesBack,
}

/// Decides about a task whose child process died (`celery/worker/request.py`, `on_failure`). A retry goes before all else,
/// and when there is none left the task fails.
pub(crate) fn lost(death: Death, job: u64, message: &Message, rules: &Rules) -> Fate {
    let exception = records::child_lost(death, job);
    let failed = |exception| Fate::Ends(Outcome::failed_outside(exception, false));
    if rules.retry_on_worker_lost {
        if rules
            .max_retries
            .is_some_and(|max| message.headers.retries >= max)
        {
            return failed(exception);
        }
        return Fate::Ends(Outcome::Retry(Retry {
            cause: Some(exception),
            traceback: None,
            when: None,
            changes: None,
        }));
    }
    if rules.reject_on_worker_lost && rules.acks_late {
        return Fate::GoesBack;
    }
    failed(exception)
}

/// No fetch takes more, however large the prefetch: the server runs nothing else meanwhile.
const MOST_AT_ONCE: usize = 1_000;

/// How busy a worker is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    /// Slots.
    pub(crate) concurrency: usize,
    /// So many messages it may hold.
    pub(crate) prefetch: usize,
    /// So many it holds: those that wait, those that run, those whose end is on its way.
    pub(crate) held: usize,
    pub(crate) waiting: usize,
    pub(crate) running: usize,
    /// Tasks end within a few milliseconds, and have just done so.
    pub(crate) quick: bool,
    /// A death may be counted that was none: the first one does not end a task.
    pub(crate) lenient: bool,
}

/// What the next fetch takes, or none for now.
///
/// A worker holds at most `prefetch` messages. It asks for more when its waiting line has run dry, or when a quarter of
/// its room is free, so that a busy worker fetches in batches that Redis likes and an idle one at once.
///
/// While tasks are `quick` the next batch is fetched while the last one still runs: the slots will be free when it comes,
/// so that it is marked as started by the fetch itself, which saves a step for each. A longer line would save nothing.
pub(crate) fn room(load: &Load) -> Option<Want> {
    let free = load.concurrency.saturating_sub(load.running);
    let room = load.prefetch.saturating_sub(load.held).min(MOST_AT_ONCE);
    if room == 0 {
        return None;
    }
    if load.quick {
        // Half of the slots: the other half is run meanwhile, so that neither the server nor this worker waits for the other.
        let half = load.concurrency.div_ceil(2).min(MOST_AT_ONCE);
        let batch = half.min(load.prefetch.div_ceil(4));
        let room = room.min(half);
        // What is ending makes more room in a moment; what only runs may not.
        let ending = load.held > load.waiting + load.running;
        let worth_it = room >= batch || !ending;
        return (load.waiting == 0 && worth_it).then_some(Want {
            max: room,
            start: if load.lenient { room } else { free.min(room) },
        });
    }
    let dry = load.waiting == 0 && free > 0;
    let worth_it = room >= load.prefetch.div_ceil(4).min(MOST_AT_ONCE);
    (dry || worth_it).then_some(Want {
        max: room,
        start: free.min(room),
    })
}

#[cfg(test)]
mod tests;
