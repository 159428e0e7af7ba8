//! Doing what was begun to all task runs that match, a page at a time.
//!
//! Of all processes that serve one does it, the one with the lease. How far it came is written down with each page, so another
//! goes on from there. What is sent again goes through the outbox, in the transaction that says so: each once, whoever dies when.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use lovage_client::Revocation;
use lovage_database::{
    lead,
    store::{
        lease::Lease,
        operation::{self, Operation, Step},
        outbox::{self, Outgoing},
        task_run::{self, Cursor, Filter, TaskRun},
    },
};
use lovage_protocol::TaskId;
use serde_json::Value;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Identity, Permission, away},
    problem::Problem,
    routes::within_reach,
    schema::{
        operation::{Action, Refusal, action_of, filter_of, refusals_of, stored},
        task::CallBody,
    },
    sending::{again, sender},
};

/// What the lease is called.
const LEASE: &str = "operations";
/// How long a process may be silent before another goes on.
const LENGTH: Duration = Duration::from_secs(10);
/// How often is looked for what another process has begun.
const LOOK: Duration = Duration::from_secs(2);
/// The pause after an error.
const PAUSE: Duration = Duration::from_secs(1);
/// So many task runs are one page.
const PAGE: u64 = 200;
/// So many refusals are told.
const TOLD: usize = 20;

/// Tells who does it that there is something to be done.
#[derive(Debug, Default)]
pub(crate) struct Operations {
    woken: Notify,
}

impl Operations {
    /// There is something new.
    pub(crate) fn wake(&self) {
        self.woken.notify_one();
    }
}

/// Does what there is to be done until the API stops, whenever no other process does.
pub(crate) async fn operate(app: Arc<App>) {
    let holder = format!("api-{}", Uuid::new_v4());
    let stop = app.stopping().clone();
    while !stop.is_cancelled() {
        let pause = match operation::next(app.database().reader()).await {
            Ok(None) => LOOK,
            Ok(Some(_)) => {
                take_over(&app, &holder).await;
                PAUSE
            }
            Err(error) => {
                // Readiness says so already: a database that is away or has no tables yet.
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "it is not known whether there is anything to be done"
                );
                LOOK
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = app.operations().woken.notified() => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn take_over(app: &Arc<App>, holder: &str) {
    let begun = AtomicBool::new(false);
    let leading = lead(app.database(), LEASE, holder, LENGTH, async |lease| {
        begun.store(true, Ordering::Relaxed);
        work(app, &lease).await
    });
    tokio::pin!(leading);
    let led = tokio::select! {
        led = &mut leading => led,
        () = app.stopping().cancelled() => {
            if !begun.load(Ordering::Relaxed) {
                return;
            }
            // It ends by itself, after its page.
            leading.await
        }
    };
    match led {
        // Done, or another process goes on.
        Ok(Some(Ok(())) | None) => {}
        Ok(Some(Err(problem))) => interrupted(&problem),
        Err(error) => interrupted(&away(error)),
    }
}

fn interrupted(problem: &Problem) {
    tracing::warn!(%problem, "operations are interrupted, they go on in a moment");
}

async fn work(app: &App, lease: &Lease) -> Result<(), Problem> {
    while !app.stopping().is_cancelled() {
        let next = operation::next(app.database().writer()).await;
        let Some(operation) = next.map_err(away)? else {
            return Ok(());
        };
        page(app, lease, &operation).await?;
    }
    Ok(())
}

/// Does one page of an operation. What can never go on is ended with the reason.
async fn page(app: &App, lease: &Lease, operation: &Operation) -> Result<(), Problem> {
    let what = &operation.what;
    let who = app.accounts().who_began(what.user, what.key).await?;
    let Some(who) = who.filter(|who| who.may(Permission::RunsControl)) else {
        return fail(app, operation, "whoever began it may not do so any more").await;
    };
    let read = action_of(operation).and_then(|action| {
        let filter = filter_of(operation)?;
        Ok((action, filter, refusals_of(operation)?))
    });
    let (action, filter, refusals) = match read {
        Ok(read) => read,
        Err(error) => return fail(app, operation, &error.to_string()).await,
    };
    let Ok(cursor) = operation
        .cursor
        .as_deref()
        .map(str::parse::<Cursor>)
        .transpose()
    else {
        return fail(app, operation, "its place is no longer known").await;
    };
    let filter = Filter::from(filter);
    let found = task_run::page(app.database().writer(), &filter, cursor.as_ref(), PAGE).await;
    let found = found.map_err(away)?;
    let mut done = Done {
        refusals,
        ..Done::default()
    };
    let runs = found.runs.iter().filter(|run| within_reach(&who, run));
    match action {
        Action::Revoke => revoke(app, runs, false, &mut done).await?,
        Action::Terminate => revoke(app, runs, true, &mut done).await?,
        Action::Retry => retry(app, &who, runs, &mut done),
    }
    let step = Step {
        cursor: found.next.map(|next| next.to_string()),
        looked_at: counted(found.runs.len()),
        acted: done.acted,
        refused: done.refused,
        refusals: stored(&done.refusals),
    };
    let transaction = app.database().begin().await.map_err(away)?;
    lease.confirm(&transaction).await.map_err(away)?;
    let goes_on = operation::advance(&transaction, operation.id, step, Utc::now()).await;
    if goes_on.map_err(away)? {
        outbox::enqueue_many(&transaction, done.messages)
            .await
            .map_err(away)?;
        lovage_database::commit(transaction).await.map_err(away)?;
    }
    Ok(())
}

async fn fail(app: &App, operation: &Operation, why: &str) -> Result<(), Problem> {
    let ended = operation::end(app.database().writer(), operation.id, Some(why), Utc::now());
    ended.await.map(drop).map_err(away)
}

/// What came of a page.
#[derive(Default)]
struct Done {
    acted: i64,
    refused: i64,
    refusals: Vec<Refusal>,
    messages: Vec<Outgoing>,
}

impl Done {
    fn refuse(&mut self, id: &TaskId, problem: &Problem) {
        self.refused += 1;
        if self.refusals.len() < TOLD {
            self.refusals.push(Refusal {
                task_id: id.as_str().to_owned(),
                code: problem.code().as_str().to_owned(),
                detail: problem.detail().to_owned(),
            });
        }
    }
}

/// Doing it twice is harmless, so it is done before it is written down.
async fn revoke<'a>(
    app: &App,
    runs: impl Iterator<Item = &'a TaskRun>,
    terminate: bool,
    done: &mut Done,
) -> Result<(), Problem> {
    let ids: Vec<&str> = runs
        .filter(|run| !run.state.is_ready())
        .map(|run| run.task_id.as_str())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    done.acted = counted(ids.len());
    let mut revocation = Revocation::of_tasks(ids);
    if terminate {
        revocation = revocation.terminate(None);
    }
    let revoked = app.sender().client().revoke(&revocation).await;
    revoked.map_err(|error| sender::problem(&error))
}

fn retry<'a>(app: &App, who: &Identity, runs: impl Iterator<Item = &'a TaskRun>, done: &mut Done) {
    for run in runs {
        let call = again::call_of(run).and_then(|call| {
            app.sender().check(who, &call)?;
            Ok(call)
        });
        match call {
            Ok(call) => {
                done.acted += 1;
                done.messages.push(message(call));
            }
            Err(problem) => done.refuse(&run.task_id, &problem),
        }
    }
}

fn message(call: CallBody) -> Outgoing {
    let mut message = Outgoing::call(TaskId::new(), call.task.into());
    message.args = Value::Array(call.args.unwrap_or_default()).to_string();
    let kwargs = call.kwargs.unwrap_or_default();
    message.kwargs = Value::Object(kwargs.into_iter().collect()).to_string();
    message.queue = call.queue;
    message.priority = call.priority.and_then(|number| i16::try_from(number).ok());
    message
}

fn counted(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
