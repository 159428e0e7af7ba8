//! One message's life in this worker, from the delivery to its end: read it, refuse or delay it, run it, conclude.

use std::sync::{Arc, atomic::Ordering};

use celery::Celery;
use chrono::{DateTime, Utc};
use lovage_broker::{Consumer, Delivery, Finish, Settle};
use lovage_client::Client;
use lovage_flower_compat::machine;
use lovage_protocol::{Body, DecodeOptions, Embed, Headers, Map, Message, Value};
use lovage_results::ResultStore;
use lovage_settings::Settings;
use lovage_telemetry::Attempt;
use tokio::time::Instant;
use tracing::{Instrument, debug, error, error_span, info, warn};

use crate::{
    announce::{Announcer, Tiding},
    aside::{self, accepted, delay, receive, wait_for_turn},
    beginning::{Opened, begin, is_tracked, not_to_run, open},
    catalogue::{Catalogue, Registered},
    chord::Joiner,
    commit::{self, Starter, Ticket},
    conclude::{self, Conclusion},
    dedup,
    engine::{EngineLine, Slot},
    gate::{self, Gatekeeper, Passed},
    intake::{self, Intake},
    outcome::Outcome,
    policy::{self, Fate},
    pool::{self, Place, Pool, Ran, prefork::Death},
    rate::{self, Token, Turn},
    revoked::Revoked,
    revoking,
    rules::Rules,
    running::Running,
    shutdown::Shutdown,
    tally::Tally,
    turns::Turns,
    unknown::Unknown,
};

/// What every attempt needs.
pub(crate) struct Shared {
    pub(crate) catalogue: Catalogue,
    pub(crate) settings: Arc<Settings>,
    pub(crate) decode: DecodeOptions,
    /// A body without anything, for all who have none to keep.
    pub(crate) nothing: Arc<Body>,
    pub(crate) hostname: Arc<str>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) app: Arc<Celery>,
    pub(crate) client: Client,
    pub(crate) results: Arc<dyn ResultStore>,
    /// Results can take part in the finish: they live on the broker's server, in a form that its script can read.
    pub(crate) results_beside: bool,
    /// Chords can: their keys live on the broker's server.
    pub(crate) chords_beside: bool,
    pub(crate) consumer: Arc<dyn Consumer>,
    pub(crate) starter: Starter,
    pub(crate) gatekeeper: Gatekeeper,
    pub(crate) turns: Turns,
    pub(crate) joiner: Joiner,
    pub(crate) unknown: Unknown,
    pub(crate) shutdown: Shutdown,
    pub(crate) revoked: Revoked,
    pub(crate) announcer: Announcer,
    pub(crate) running: Running,
    pub(crate) line: EngineLine,
    pub(crate) tally: Option<Arc<Tally>>,
}

/// A task read and ready to run.
pub(crate) struct Job {
    pub(crate) task: Arc<Registered>,
    pub(crate) message: Arc<Message>,
    pub(crate) body: Body,
    /// Not to be run after.
    pub(crate) expires: Option<DateTime<Utc>>,
    /// Unix time before which it only asks for its lock.
    pub(crate) not_before: Option<f64>,
    /// What its task's rate limit asks for.
    pub(crate) token: Option<Token>,
}

/// Lives one message to its end; `told`: its reception was told already.
pub(crate) async fn live(
    shared: Arc<Shared>,
    delivery: Delivery,
    told: bool,
    mut slot: Slot,
    ticket: Ticket,
) {
    slot.begin();
    let now = shared.client.clock().now();
    let came = intake::unix(now);
    let granted = shared.turns.granted(delivery.tag);
    let intake = intake::read(&shared, &delivery, now);
    if !told
        && (shared.announcer.tells_all() || shared.tally.is_some())
        && let Some(message) = accepted(&intake)
    {
        receive(&shared, message, &delivery, came);
    }
    let conclusion: Conclusion = match intake {
        Intake::Run(mut job) => match rate::turn(&mut job, granted, came) {
            // Boxed, so that spawning a message's life does not move the room for it about.
            Turn::Now => match Box::pin(run(&shared, &delivery, job, slot)).await {
                Some(conclusion) => conclusion,
                None => return,
            },
            Turn::Away(time) => {
                let until = intake::unix(conclude::add(now, time));
                return Box::pin(delay(&shared, delivery, ticket, until, &job.message)).await;
            }
            Turn::Here => {
                aside::note(&shared, &delivery, &job.message);
                drop(slot);
                let engine = ticket.engine.clone();
                drop(ticket);
                return Box::pin(wait_for_turn(&shared, delivery, &job.task, &engine)).await;
            }
        },
        Intake::Refuse(reason) => {
            warn!(code = reason.code, detail = reason.detail, queue = %delivery.queue, "message refused, see `lovage dlq`");
            settle(delivery, Settle::DeadLetter(reason)).into()
        }
        Intake::Delay(until, message) => {
            return Box::pin(delay(&shared, delivery, ticket, until, &message)).await;
        }
        Intake::NotRun(why, message, body) => {
            revoking::not_run(&shared, delivery, &message, &body, why)
        }
        Intake::Unknown(message) => {
            Box::pin(shared.unknown.receive(&shared, delivery, &message)).await
        }
    };
    // Boxed, too: only the end of a task needs the room.
    Box::pin(end(&shared, conclusion, came, ticket)).await;
}

/// Stores how a message's life has ended, and tells of it.
async fn end(shared: &Arc<Shared>, conclusion: Conclusion, came: f64, ticket: Ticket) {
    let Conclusion {
        mut finish,
        mut report,
        after,
    } = conclusion;
    if let Some(report) = &mut report {
        report.received = came;
        finish.record = shared.announcer.chronicle.end(report, &finish);
        // Before it can be delivered once more.
        shared.announcer.tell_of_return(report);
    }
    if let Some(tally) = &shared.tally {
        tally.left(&finish);
    }
    let recorded = commit::finish(shared, Box::new(finish), after).await;
    drop(ticket);
    if let Some(report) = report {
        shared.announcer.tell(&report, &recorded);
    }
}

/// A finish that only settles.
pub(crate) fn settle(delivery: Delivery, settle: Settle) -> Finish {
    Finish {
        delivery,
        settle: Some(settle),
        publishes: Vec::new(),
        results: Vec::new(),
        chord: None,
        leave: None,
        record: None,
    }
}

async fn run(
    shared: &Arc<Shared>,
    delivery: &Delivery,
    mut job: Box<Job>,
    slot: Slot,
) -> Option<Conclusion> {
    let task = Arc::clone(&job.task);
    let rules = &task.rules;
    if shared.settings.worker.deduplicate
        && rules.acks_late
        && job.message.redelivered()
        && let Some(conclusion) = Box::pin(dedup::done_before(shared, delivery, &job)).await
    {
        return Some(conclusion);
    }
    if rules.gated {
        // Boxed, so that tasks that do not pass here need no room for it.
        match Box::pin(gate::pass(shared, delivery, &job)).await {
            Passed::Yes => {}
            Passed::Gone => return None,
            Passed::Ends(conclusion) => return Some(*conclusion),
        }
    }
    let Some(place) = shared.pool.place().await else {
        debug!(task.id = %job.message.headers.id, "the worker stops before there was a child process for the task");
        return Some(settle(delivery.clone(), Settle::Restore).into());
    };
    // It may have waited for the gate, or for a child process.
    if let Some(why) = not_to_run(shared, &job) {
        return Some(revoking::not_run(
            shared,
            delivery.clone(),
            &job.message,
            &job.body,
            why,
        ));
    }
    if (!delivery.started || !rules.acks_late || is_tracked(shared, &job))
        && let Err(instead) = begin(shared, delivery, &job, &place).await
    {
        return instead.map(|conclusion| *conclusion);
    }
    if let Some(token) = job.token.take() {
        token.spend();
    }
    let headers = &job.message.headers;
    // Of a level that every log shows: also where only warnings are wanted, a line is to say which task it is of.
    let span = error_span!(
        "task",
        task.id = %headers.id,
        task.name = %headers.task,
        task.retries = headers.retries,
        task.root_id = other_root(headers),
        queue = %delivery.queue,
    );
    let traced = Attempt::begin(&job.message, &shared.hostname);
    let trace = traced.trace().clone();
    trace
        .within(attempt(shared, delivery, job, (place, slot), traced))
        .instrument(span)
        .await
}

/// The first task of the workflow, when that is another one.
pub(crate) fn other_root(headers: &Headers) -> Option<&str> {
    let root = headers.root_id.as_ref()?;
    (*root != headers.id).then(|| root.as_str())
}

async fn attempt(
    shared: &Arc<Shared>,
    delivery: &Delivery,
    job: Box<Job>,
    (place, slot): (Place, Slot),
    traced: Attempt,
) -> Option<Conclusion> {
    let Opened {
        task,
        message,
        context,
        call,
        kept,
    } = open(shared, delivery, job);
    let rules = &task.rules;
    let began = machine::now();
    let _listed = shared.running.enter(
        delivery.tag,
        context.clone(),
        place.pid(),
        began,
        !rules.acks_late,
    );
    task.accepted.fetch_add(1, Ordering::Relaxed);
    let told = shared.announcer.is_wanted();
    shared.announcer.started(&message, began);
    if let Some(tally) = &shared.tally {
        tally.started(&message, delivery.queue.as_str());
    }
    let is_measured = told || !task.layers.is_empty() || shared.tally.is_some();
    let begun = is_measured.then(Instant::now);
    let limits = policy::limits(&message, task.limits.get());
    let job = pool::Job {
        task: &task,
        call,
        limits,
        delivery,
    };
    let outcome = match shared.pool.run(place, job).await {
        Ran::Ended(outcome) => outcome,
        Ran::Lost(death, number) => {
            context.end();
            Box::pin(after_death(
                shared,
                delivery,
                &message,
                rules,
                (death, number),
            ))
            .await?
        }
        Ran::Cancelled => {
            context.end();
            let report = shared.announcer.report(&message, [Tiding::Cancelled]);
            let finish = conclude::cancelled(shared, delivery, &message, &kept, rules);
            return Some(Conclusion {
                finish,
                report,
                after: None,
            });
        }
        Ran::Dropped => {
            context.end();
            let report = shared.announcer.report(&message, [Tiding::Cancelled]);
            let finish = if rules.acks_late {
                info!("cold shutdown: the task is dropped, its message goes back");
                settle(delivery.clone(), Settle::Restore)
            } else {
                warn!(
                    "cold shutdown: the task is dropped, and lost, since its message was acknowledged when it began"
                );
                conclude::dropped(shared, delivery, &message, &kept, rules)
            };
            return Some(Conclusion {
                finish,
                report,
                after: None,
            });
        }
    };
    context.end();
    drop(slot);
    let mut conclusion = conclude::conclude(
        shared,
        delivery,
        &kept,
        &task,
        outcome,
        (&context, &traced),
        begun.map(|begun| begun.elapsed()),
    );
    if let Some(report) = &mut conclusion.report {
        report.started = Some(began);
    }
    Some(conclusion)
}

/// A body without anything.
pub(crate) fn nothing() -> Body {
    Body {
        args: Value::Null,
        kwargs: Map::new(),
        embed: Embed::default(),
    }
}

/// A task whose child process died: its message goes back with one death more, or that is its end.
async fn after_death(
    shared: &Shared,
    delivery: &Delivery,
    message: &Message,
    rules: &Rules,
    (death, number): (Death, u64),
) -> Option<Outcome> {
    match policy::lost(death, number, message, rules) {
        Fate::Ends(outcome) => Some(outcome),
        Fate::GoesBack => {
            warn!("the task's child process died, {death}: its message goes back to its queue");
            if let Err(error) = shared.consumer.died(vec![delivery.tag]).await {
                // It stays recorded as ours and goes back when this worker's lease ends.
                error!(
                    error = &error as &dyn std::error::Error,
                    "a message could not be put back"
                );
            }
            None
        }
    }
}
