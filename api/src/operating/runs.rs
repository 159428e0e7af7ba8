//! What is done to task runs: revoked, terminated, sent once more.

use chrono::Utc;
use lovage_client::Revocation;
use lovage_database::store::{
    lease::Lease,
    operation::{self, Operation, Step},
    outbox::{self, Outgoing},
    task_run::{self, Cursor, Filter, TaskRun},
};
use lovage_protocol::TaskId;
use serde_json::Value;

use super::{counted, fail, still_may};
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

/// So many are one page.
const PAGE: u64 = 200;
/// So many refusals are told.
const TOLD: usize = 20;

/// Does one page of it.
pub(super) async fn page(app: &App, lease: &Lease, operation: &Operation) -> Result<(), Problem> {
    let Some(who) = still_may(app, operation, Permission::RunsControl).await? else {
        return Ok(());
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
