//! One message's life in this worker, from the delivery to its end: read it, refuse or delay it, run it, conclude.

use std::{sync::Arc, time::Duration};

use celery::Celery;
use chrono::{DateTime, Utc};
use lovage_broker::{Consumer, Delivery, Finish, Settle, Start};
use lovage_client::{Client, context as sending};
use lovage_protocol::{Body, DecodeOptions, ExceptionInfo, Map, Message, State, TaskMeta, Value};
use lovage_registry::StateMap;
use lovage_results::ResultStore;
use lovage_settings::{Pool, Settings};
use tokio::runtime::Handle;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{
    catalogue::{Catalogue, Registered, Rules},
    chord::Joiner,
    commit::{self, Starter, Ticket},
    context::{CURRENT, Context},
    engine::Slot,
    handler::Call,
    intake::{self, Intake},
    outcome::{Failure, Outcome, When, traceback},
    policy::{self, Ending, Next, Record},
    records,
    shutdown::Shutdown,
    unknown::Unknown,
    workflow,
};

/// What every attempt needs.
pub(crate) struct Shared {
    pub(crate) catalogue: Catalogue,
    pub(crate) states: StateMap,
    pub(crate) settings: Arc<Settings>,
    pub(crate) decode: DecodeOptions,
    pub(crate) hostname: Arc<str>,
    pub(crate) pool: Pool,
    pub(crate) app: Arc<Celery>,
    pub(crate) client: Client,
    pub(crate) results: Arc<dyn ResultStore>,
    /// Results can take part in the finish: they live on the broker's server, in a form that its script can read.
    pub(crate) results_beside: bool,
    /// Chords can: their keys live on the broker's server.
    pub(crate) chords_beside: bool,
    pub(crate) consumer: Arc<dyn Consumer>,
    pub(crate) starter: Starter,
    pub(crate) joiner: Joiner,
    pub(crate) unknown: Unknown,
    pub(crate) shutdown: Shutdown,
}

/// A task read and ready to run.
pub(crate) struct Job {
    pub(crate) task: Arc<Registered>,
    pub(crate) message: Arc<Message>,
    pub(crate) body: Body,
    /// Not to be run after.
    pub(crate) expires: Option<DateTime<Utc>>,
}

/// Lives one message to its end.
pub(crate) async fn live(shared: Arc<Shared>, delivery: Delivery, mut slot: Slot, ticket: Ticket) {
    slot.begin();
    let finish = match intake::read(&shared, &delivery, Utc::now()) {
        Intake::Run(job) => match run(&shared, &delivery, *job, slot).await {
            Some(finish) => finish,
            None => return,
        },
        Intake::Refuse(reason) => {
            warn!(code = reason.code, detail = reason.detail, queue = %delivery.queue, "message refused, see `lovage dlq`");
            settle(delivery, Settle::DeadLetter(reason))
        }
        Intake::Delay(until) => settle(
            delivery,
            Settle::Delay {
                until,
                payload: None,
            },
        ),
        Intake::Expired(message, body) => expired(&shared, delivery, &message, &body),
        Intake::Unknown(message) => {
            Box::pin(shared.unknown.receive(&shared, delivery, &message)).await
        }
    };
    commit::finish(&shared, finish).await;
    drop(ticket);
}

/// A finish that only settles.
pub(crate) fn settle(delivery: Delivery, settle: Settle) -> Finish {
    Finish {
        delivery,
        settle: Some(settle),
        publishes: Vec::new(),
        results: Vec::new(),
        chord: None,
    }
}

fn expired(shared: &Shared, delivery: Delivery, message: &Message, body: &Body) -> Finish {
    info!(task.id = %message.headers.id, task.name = %message.headers.task, "task expired before it began");
    let exception = records::celery_exception("TaskRevokedError", "expired").to_value();
    let mut finish = settle(delivery, Settle::Ack);
    finish.chord = workflow::chord_part(shared, message, body, &State::Revoked, &exception);
    let rules = shared
        .catalogue
        .get(message.headers.task.as_str())
        .map(|task| task.rules);
    if rules.is_none_or(|rules| {
        policy::stores(message, &rules, &shared.settings.tasks, &State::Revoked)
    }) {
        let mut meta = records::meta(message, State::Revoked, exception, Vec::new());
        intake::extend(shared, message, Some(body), &mut meta);
        finish.results.extend(shared.results.encode(&meta));
    }
    finish
}

async fn run(shared: &Arc<Shared>, delivery: &Delivery, job: Job, slot: Slot) -> Option<Finish> {
    let rules = job.task.rules;
    let tracked = rules.track_started
        && policy::stores(
            &job.message,
            &rules,
            &shared.settings.tasks,
            &State::Started,
        );
    if !delivery.started || !rules.acks_late || tracked {
        let mut result = if tracked {
            started_record(shared, &job)
        } else {
            None
        };
        let elsewhere = result.take_if(|_| !shared.results_beside);
        let start = Start {
            tag: delivery.tag,
            ack: !rules.acks_late,
            result,
        };
        if !shared.starter.start(start).await {
            debug!(task.id = %job.message.headers.id, "the message went back before its task began");
            return None;
        }
        // The broker may have been away for long.
        if job.expires.is_some_and(|expires| expires <= Utc::now()) {
            let mut finish = expired(shared, delivery.clone(), &job.message, &job.body);
            finish.settle.take_if(|_| !rules.acks_late);
            return Some(finish);
        }
        if let Some(elsewhere) = elsewhere
            && let Err(error) = shared.results.write(&[elsewhere]).await
        {
            warn!(
                error = &error as &dyn std::error::Error,
                "STARTED was not stored"
            );
        }
    }
    let span = info_span!(
        "task",
        task.id = %job.message.headers.id,
        task.name = %job.message.headers.task,
        task.retries = job.message.headers.retries,
        queue = %delivery.queue,
    );
    attempt(shared, delivery, job, slot).instrument(span).await
}

fn started_record(shared: &Shared, job: &Job) -> Option<lovage_broker::ResultWrite> {
    let mut result = lovage_protocol::Map::new();
    result.insert("pid".to_owned(), i64::from(std::process::id()).into());
    result.insert("hostname".to_owned(), shared.hostname.as_ref().into());
    let mut meta = records::meta(&job.message, State::Started, result.into(), Vec::new());
    intake::extend(shared, &job.message, Some(&job.body), &mut meta);
    shared.results.encode(&meta)
}

async fn attempt(
    shared: &Arc<Shared>,
    delivery: &Delivery,
    job: Job,
    slot: Slot,
) -> Option<Finish> {
    let Job {
        task,
        message,
        body,
        expires: _,
    } = job;
    let rules = task.rules;
    let context = Context::new(
        Arc::clone(&message),
        Arc::clone(&shared.hostname),
        Arc::clone(&shared.results),
        shared.client.clone(),
    );
    // Only an extended result needs the arguments once more; else the copy is spared.
    let Body {
        args,
        kwargs,
        embed,
    } = body;
    let kept = match shared.settings.results.extended {
        true => Body {
            args: args.clone(),
            kwargs: kwargs.clone(),
            embed,
        },
        false => Body {
            args: Value::Null,
            kwargs: Map::new(),
            embed,
        },
    };
    let call = Call {
        message: Arc::clone(&message),
        args,
        kwargs,
        context: context.clone(),
        app: Arc::clone(&shared.app),
    };
    let outcome = tokio::select! {
        outcome = execute(shared, &task, call, context.clone()) => outcome,
        () = shared.shutdown.asked_cold() => {
            context.end();
            if rules.acks_late {
                info!("cold shutdown: the task is dropped, its message goes back");
                return Some(settle(delivery.clone(), Settle::Restore));
            }
            warn!("cold shutdown: the task is dropped, and lost, since its message was acknowledged when it began");
            return None;
        }
    };
    context.end();
    drop(slot);
    Some(conclude(
        shared, delivery, &message, &kept, &rules, outcome, &context,
    ))
}

/// Runs the task where it belongs, within its time limit.
async fn execute(
    shared: &Arc<Shared>,
    task: &Arc<Registered>,
    call: Call,
    context: Context,
) -> Outcome {
    let limit = policy::limit(&call.message, &task.rules);
    let sending = sending::Sending {
        parent_id: Some(context.task_id().clone()),
        root_id: Some(context.root_id().clone()),
        priority: shared
            .settings
            .tasks
            .inherit_parent_priority
            .then_some(call.message.properties.priority),
        children: context.recorder(),
    };
    let running = {
        let task = Arc::clone(task);
        let scoped = async move { task.handler.run(call).await };
        let scoped = sending::SENDING.scope(sending, scoped);
        CURRENT.scope(
            context,
            lovage_registry::state::scope(shared.states.clone(), scoped),
        )
    };
    if task.rules.blocking || shared.pool == Pool::Threads {
        // The future is driven on a blocking thread: a sync task never holds up the executor.
        let handle = Handle::current();
        let span = tracing::Span::current();
        let running = Box::pin(running);
        let thread =
            tokio::task::spawn_blocking(move || span.in_scope(|| handle.block_on(running)));
        let ended = async { thread.await.unwrap_or_else(|_| lost_thread()) };
        Box::pin(within(limit, ended)).await
    } else {
        match limit {
            None => running.await,
            limit => Box::pin(within(limit, running)).await,
        }
    }
}

/// The handler catches panics, so a thread that ends without an outcome was stopped with the runtime.
fn lost_thread() -> Outcome {
    Outcome::Reject {
        requeue: true,
        reason: "the worker stopped".to_owned(),
    }
}

async fn within(
    limit: Option<(Duration, policy::Limit)>,
    running: impl Future<Output = Outcome>,
) -> Outcome {
    match limit {
        None => running.await,
        Some((limit, kind)) => match tokio::time::timeout(limit, running).await {
            Ok(outcome) => outcome,
            Err(_) => policy::timed_out(limit, kind),
        },
    }
}

fn conclude(
    shared: &Shared,
    delivery: &Delivery,
    message: &Message,
    body: &Body,
    rules: &Rules,
    outcome: Outcome,
    context: &Context,
) -> Finish {
    let settings = &shared.settings.tasks;
    let outcome = storable(shared, message, rules, outcome);
    let Ending {
        settle,
        record,
        next,
    } = policy::conclude(outcome, message, rules, settings, fastrand::f64());
    log(&next, record.as_ref());
    let mut finish = Finish {
        delivery: delivery.clone(),
        settle: rules.acks_late.then_some(settle),
        publishes: Vec::new(),
        results: Vec::new(),
        chord: None,
    };
    let mut record = record;
    let mut children = Vec::new();
    match next {
        Next::Nothing => {}
        Next::Retry(when) => {
            let eta = match when {
                When::Eta(eta) => Some(eta.min(LAST_MOMENT)),
                // Celery takes a countdown of 0 for none.
                When::Countdown(Duration::ZERO) => None,
                When::Countdown(wait) => Some(add(Utc::now(), wait)),
            };
            // It was decoded once already, so it can be again.
            let again = message
                .decode_body(&shared.decode)
                .unwrap_or_else(|_| body.clone());
            finish
                .publishes
                .push(shared.client.retry_publish(message, &again, eta));
            children.push(records::reference(&message.headers.id));
        }
        Next::Continue(value) => {
            match workflow::after_success(shared, message, body, &value, &mut finish) {
                Ok(followers) => children = followers,
                Err(refused) => {
                    // What follows cannot be sent: the task itself fails, as in Celery after its publishing failed.
                    record = Some(workflow::broken(message, &refused));
                    workflow::after_failure(shared, message, body, record.as_ref(), &mut finish);
                }
            }
        }
        Next::Fail(_) => {
            workflow::after_failure(shared, message, body, record.as_ref(), &mut finish)
        }
    }
    if let Some(Record {
        state,
        result,
        traceback,
    }) = record
    {
        let part = workflow::chord_part(shared, message, body, &state, &result);
        if policy::stores(message, rules, settings, &state) {
            let mut meta: TaskMeta = context.meta(state, result);
            meta.traceback = traceback;
            meta.children.get_or_insert_default().extend(children);
            intake::extend(shared, message, Some(body), &mut meta);
            finish.results.splice(0..0, shared.results.encode(&meta));
        }
        finish.chord = part;
    }
    finish
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
    })
}

fn add(now: DateTime<Utc>, wait: Duration) -> DateTime<Utc> {
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
        (Next::Retry(_), _) => info!("task will be retried"),
        (Next::Continue(_), _) => debug!("task succeeded"),
        (Next::Nothing, _) => info!("task ended without a result"),
    }
}
