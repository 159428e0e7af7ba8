//! Doing what was begun to all that match, a page at a time: task runs, dead letters.
//!
//! Of all processes that serve one does it, the one with the lease. How far it came is written down with each page, so another
//! goes on from there. What is sent again goes through the outbox, in the transaction that says so: each once, whoever dies when.

mod letters;
mod runs;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chrono::Utc;
use lovage_database::{
    lead,
    store::{
        lease::Lease,
        operation::{self, Operation},
    },
};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::{
    app::App,
    auth::{Identity, Permission, away},
    problem::Problem,
    schema::letter_operation::LetterAction,
};

/// What the lease is called.
const LEASE: &str = "operations";
/// How long a process may be silent before another goes on.
const LENGTH: Duration = Duration::from_secs(10);
/// How often is looked for what another process has begun.
const LOOK: Duration = Duration::from_secs(2);
/// The pause after an error.
const PAUSE: Duration = Duration::from_secs(1);

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
        match LetterAction::stored(&operation.what.action) {
            Some(action) => letters::page(app, lease, &operation, action).await?,
            None => runs::page(app, lease, &operation).await?,
        }
    }
    Ok(())
}

/// Who began it, if they may still do it; else the operation is ended.
async fn still_may(
    app: &App,
    operation: &Operation,
    needs: Permission,
) -> Result<Option<Identity>, Problem> {
    let what = &operation.what;
    let who = app.accounts().who_began(what.user, what.key).await?;
    let who = who.filter(|who| who.may(needs));
    if who.is_none() {
        fail(app, operation, "whoever began it may not do so any more").await?;
    }
    Ok(who)
}

/// Ends what can never go on, with the reason.
async fn fail(app: &App, operation: &Operation, why: &str) -> Result<(), Problem> {
    let ended = operation::end(app.database().writer(), operation.id, Some(why), Utc::now());
    ended.await.map(drop).map_err(away)
}

fn counted(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
