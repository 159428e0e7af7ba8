//! What follows from the outcome of an attempt: the message's end, what is stored, what is sent.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lovage_broker::{Delivery, Finish, Publish, Settle};
use lovage_client::{Moment, retry::RetryOptions};
use lovage_protocol::{Body, ExceptionInfo, Message, State, TaskMeta, Value};
use lovage_telemetry::{Attempt, Ending as SpanEnding};
use tracing::{debug, info, warn};

use crate::{
    aftermath::Aftermath,
    announce::{self, Report, Tiding, exception_text},
    attempt::{self, Shared},
    catalogue::Registered,
    chord,
    context::Context,
    gate, intake, layer,
    outcome::{Failure, Outcome, RetryChanges, When, traceback},
    part,
    policy::{self, Ending, Next, Record},
    pool::KillSignal,
    records, retrying,
    rules::Rules,
    workflow,
};

/// What becomes of a message, and what is told of it once that is recorded.
pub(crate) struct Conclusion {
    pub(crate) finish: Finish,
    pub(crate) report: Option<Box<Report>>,
    pub(crate) after: Option<Box<Aftermath>>,
}

impl From<Finish> for Conclusion {
    /// Nothing is told.
    fn from(finish: Finish) -> Self {
        Self {
            finish,
            report: None,
            after: None,
        }
    }
}

pub(crate) fn conclude(
    shared: &Shared,
    delivery: &Delivery,
    body: &Body,
    task: &Registered,
    outcome: Outcome,
    (context, traced): (&Context, &Attempt),
    ran: Option<Duration>,
) -> Conclusion {
    let (rules, message) = (&task.rules, context.message());
    let signal = match &outcome {
        Outcome::Terminated(signal) => Some(*signal),
        _ => None,
    };
    let settings = &shared.settings.tasks;
    let outcome = storable(shared, message, rules, outcome);
    let Ending {
        settle,
        record,
        next,
    } = policy::conclude(outcome, message, rules, settings, fastrand::f64());
    log(&next, record.as_ref());
    let rejected = layer::rejected(&settle, record.as_ref());
    let mut finish = Finish {
        delivery: delivery.clone(),
        settle: rules.acks_late.then_some(settle),
        publishes: Vec::new(),
        results: Vec::new(),
        chord: None,
        leave: None,
        record: None,
    };
    let mut record = record;
    let mut report = None;
    let mut children = Vec::new();
    let mut retry_in = None;
    let mut after = Aftermath::default();
    let (mut more, mut outer) = (0, Vec::new());
    match next {
        Next::Nothing => {}
        Next::Replace(by) => {
            if let Err(refused) = workflow::replace(shared, message, body, &by, &mut finish) {
                let failure = workflow::broken(message, &refused);
                after.calls =
                    workflow::after_failure(shared, message, body, Some(&failure), &mut finish);
                record = Some(failure);
            }
        }
        Next::Unlock(unlocked) => {
            let end = chord::unlocked(shared, message, *unlocked);
            finish.publishes = end.publishes;
            finish.results = end.results;
            after.calls = end.calls;
            outer = end.parts;
        }
        Next::Retry(when, changes) => {
            let eta: Option<DateTime<Utc>> = match when {
                When::Eta(eta) => Some(eta.min(LAST_MOMENT)),
                // Celery takes a countdown of 0 for none.
                When::Countdown(Duration::ZERO) => None,
                When::Countdown(wait) => Some(add(shared.client.clock().now(), wait)),
            };
            retry_in = Some(eta.map_or(Duration::ZERO, |eta| {
                (eta - shared.client.clock().now())
                    .to_std()
                    .unwrap_or_default()
            }));
            // It was decoded once already, so it can be again.
            let again = message
                .decode_body(&shared.decode)
                .unwrap_or_else(|_| body.clone());
            let next = next_attempt(shared, message, &again, task, eta, changes);
            finish.publishes.push(next);
            children.push(records::reference(&message.headers.id));
        }
        Next::Continue(value) => {
            let joined =
                workflow::join_chord(shared, message, body, context.take_added(), &mut finish);
            let followed = joined.and_then(|(count, joined)| {
                (more, children) = (count, joined);
                workflow::after_success(shared, message, body, &value, &mut finish)
            });
            match followed {
                Ok(followers) => children.extend(followers),
                Err(refused) => {
                    (more, children) = (0, Vec::new());
                    finish.publishes.clear();
                    finish.results.clear();
                    // What follows cannot be sent: the task itself fails, as in Celery after its publishing failed.
                    record = Some(workflow::broken(message, &refused));
                    after.calls = workflow::after_failure(
                        shared,
                        message,
                        body,
                        record.as_ref(),
                        &mut finish,
                    );
                }
            }
        }
        Next::Fail(_) => {
            after.calls =
                workflow::after_failure(shared, message, body, record.as_ref(), &mut finish);
        }
    }
    end_span(traced, record.as_ref());
    if !task.layers.is_empty() {
        let end = layer::end(record.as_ref(), rejected);
        layer::tell(&task.layers, message, &delivery.queue, end, ran);
    }
    if let Some(tally) = &shared.tally {
        tally.ended(
            message,
            delivery.queue.as_str(),
            record.as_ref(),
            rejected,
            ran,
        );
    }
    if shared.announcer.is_wanted() {
        let tidings = tidings(shared, message, record.as_ref(), rejected, signal, ran);
        report = shared.announcer.report(context.shared_message(), tidings);
    }
    finish.leave = gate::leave(message, rules.gated, finish.settle.as_ref(), retry_in);
    if let Some(Record {
        state,
        result,
        traceback,
    }) = record
    {
        after.parts = part::parts(shared, message, body, &state, &result);
        if let Some(own) = after.parts.first_mut() {
            own.part.more = more;
        }
        after.parts.append(&mut outer);
        if policy::stores(message, rules, settings, &state) {
            let mut meta: TaskMeta = context.meta(state, result);
            meta.traceback = traceback;
            // Whoever ends the chord links the body to it.
            if !after.parts.is_empty() {
                meta.traceparent = traced.trace().parent();
            }
            meta.children.get_or_insert_default().extend(children);
            intake::extend(shared, message, Some(body), &mut meta);
            finish.results.splice(0..0, shared.results.encode(&meta));
        }
    }
    after.trace = traced.trace().clone();
    Conclusion {
        finish,
        report,
        after: after.boxed(),
    }
}

/// Ends the span of an attempt with what was decided of it.
fn end_span(traced: &Attempt, record: Option<&Record>) {
    if !traced.is_recorded() {
        return;
    }
    let cause = record.and_then(|record| ExceptionInfo::from_value(&record.result).ok());
    let state = record.map(|record| &record.state);
    traced.end(SpanEnding {
        state: state.map(State::as_str),
        failure: cause.as_ref().filter(|_| state == Some(&State::Failure)),
        traceback: record.and_then(|record| record.traceback.as_deref()),
        retried_for: cause
            .as_ref()
            .filter(|_| state == Some(&State::Retry))
            .map(exception_text),
    });
}

/// The message of the next attempt.
fn next_attempt(
    shared: &Shared,
    message: &Message,
    body: &Body,
    task: &Registered,
    eta: Option<DateTime<Utc>>,
    changes: Option<Box<RetryChanges>>,
) -> Publish {
    let Some(changes) = changes else {
        return shared.client.retry_publish(message, body, eta);
    };
    let (args, kwargs) = retrying::arguments(&task.spec, body, &changes);
    let options = RetryOptions {
        eta: eta.map(Moment::from),
        args,
        kwargs,
        expires: changes.expires.map(Moment::from),
        ..RetryOptions::default()
    };
    match shared.client.prepare_retry(message, body, options) {
        Ok(prepared) => prepared.publish,
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "what a retry changes cannot be written, it is run again as it was"
            );
            shared.client.retry_publish(message, body, eta)
        }
    }
}

/// What is told of an end, in Celery's order.
fn tidings(
    shared: &Shared,
    message: &Message,
    record: Option<&Record>,
    rejected: Option<bool>,
    signal: Option<KillSignal>,
    ran: Option<Duration>,
) -> Vec<Tiding> {
    let task = message.headers.task.as_str();
    let turned_away = rejected.map(|requeue| Tiding::Rejected { requeue });
    let Some(record) = record else {
        return turned_away.into_iter().collect();
    };
    let cause = || ExceptionInfo::from_value(&record.result).ok();
    let ended = match record.state {
        State::Success => Tiding::Succeeded {
            result: shared.announcer.text_of(&record.result),
            runtime: ran.map(|ran| ran.as_secs_f64()),
        },
        State::Retry => {
            let cause = cause();
            Tiding::Retried {
                exception: cause
                    .as_ref()
                    .map_or_else(|| "None".to_owned(), exception_text),
                traceback: record.traceback.clone().or_else(|| {
                    let cause = cause.unwrap_or_else(|| {
                        records::celery_exception("Retry", "the task asks to run again")
                    });
                    Some(traceback(task, &cause))
                }),
            }
        }
        State::Revoked => Tiding::Revoked {
            by: signal,
            expired: false,
        },
        _ => match cause() {
            Some(cause) if turned_away.is_some() => {
                let reason = cause.exc_message.first().and_then(Value::as_str);
                Tiding::Failed {
                    exception: format!("reject requeue=False: {}", reason.unwrap_or_default()),
                    traceback: Some(traceback(task, &cause)),
                }
            }
            Some(cause) => announce::failed(task, &cause, record.traceback.clone()),
            None => Tiding::Failed {
                exception: shared.announcer.text_of(&record.result),
                traceback: record.traceback.clone(),
            },
        },
    };
    [ended].into_iter().chain(turned_away).collect()
}

/// A value that cannot be stored makes a failure of its task before anything follows it, as in Celery the exception of
/// kombu does that storing it raises.
fn storable(shared: &Shared, message: &Message, rules: &Rules, outcome: Outcome) -> Outcome {
    let Outcome::Success(value) = &outcome else {
        return outcome;
    };
    let Some(error) = shared.results.refuses(value) else {
        return outcome;
    };
    if !policy::stores(message, rules, &shared.settings.tasks, &State::Success) {
        return outcome;
    }
    let text = vec![Value::Str(error.to_string())];
    let exception = ExceptionInfo::new("kombu.exceptions", "EncodeError", text);
    let traceback = traceback(message.headers.task.as_str(), &exception);
    Outcome::Failure(Failure {
        exception,
        traceback: Some(traceback),
        timed_out: false,
        transient: false,
        from_outside: true,
    })
}

pub(crate) fn add(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
    chrono::TimeDelta::from_std(wait)
        .ok()
        .and_then(|wait| now.checked_add_signed(wait))
        .map_or(LAST_MOMENT, |at| at.min(LAST_MOMENT))
}

/// The last second of the year 9999: a later eta is one that no worker can read.
const LAST_MOMENT: DateTime<Utc> =
    DateTime::from_timestamp(253_402_300_799, 0).expect("the year 9999 is in the calendar");

fn log(next: &Next, record: Option<&Record>) {
    match (next, record) {
        (Next::Fail(exception), _) => warn!(exception = %exception.exc_type, "task failed"),
        (Next::Unlock(_), _) => debug!("the header of a chord has ended"),
        (Next::Replace(_), _) => info!("task is replaced by another"),
        (Next::Retry(..), _) => info!("task will be retried"),
        (Next::Continue(_), _) => debug!("task succeeded"),
        (Next::Nothing, Some(_)) => info!("task terminated"),
        (Next::Nothing, _) => info!("task ended without a result"),
    }
}

/// The end of a task that a cold shutdown drops and that nobody will run again: RETRY, as Celery stores it, though there is none
/// (`celery/worker/request.py`, `cancel`).
pub(crate) fn dropped(
    shared: &Shared,
    delivery: &Delivery,
    message: &Message,
    body: &Body,
    rules: &Rules,
) -> Finish {
    let mut finish = attempt::settle(delivery.clone(), Settle::Ack);
    finish.settle = None;
    finish.leave = gate::leave(message, rules.gated, None, None);
    if policy::stores(message, rules, &shared.settings.tasks, &State::Retry) {
        let exception = records::cancelled().to_value();
        let mut meta = records::meta(message, State::Retry, exception, Vec::new());
        intake::extend(shared, message, Some(body), &mut meta);
        finish.results.extend(shared.results.encode(&meta));
    }
    finish
}

/// The end of an attempt that was dropped because the broker was away for a whole lease (`celery/worker/request.py`, `cancel`):
/// RETRY is stored, and the message goes back, unless somebody else has it by then.
pub(crate) fn cancelled(
    shared: &Shared,
    delivery: &Delivery,
    message: &Message,
    body: &Body,
    rules: &Rules,
) -> Finish {
    warn!(
        "the broker was not heard of for a whole lease: the task is cancelled, its message goes back"
    );
    let mut finish = dropped(shared, delivery, message, body, rules);
    finish.settle = Some(Settle::Restore);
    finish.leave = None;
    finish
}
