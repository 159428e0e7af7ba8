//! Celery's `worker_deduplicate_successful_tasks`: a redelivered task that has succeeded before is not run again.

use std::sync::Arc;

use lovage_broker::{Delivery, Settle};
use lovage_protocol::State;
use lovage_telemetry::Attempt;
use tracing::{info, warn};

use crate::{
    attempt::{self, Job, Shared},
    conclude::{self, Conclusion},
    context::{Context, Outlet, in_chord},
    gate,
    outcome::Outcome,
};

/// The end of a redelivered message whose task is stored as SUCCESS: it is not run again. What should follow it follows if it
/// cannot be seen that it has, as the worker before may have died in between (`celery/app/trace.py`, `trace_task`). Celery
/// takes stored children for a sign. They are one only where result and follow-ups are stored in one step, and never for the
/// part of a chord; a part that comes twice counts once.
pub(crate) async fn done_before(
    shared: &Shared,
    delivery: &Delivery,
    job: &Job,
) -> Option<Conclusion> {
    let message = &job.message;
    let stored = match shared.results.load(&message.headers.id).await {
        Ok(stored) => stored.filter(|meta| meta.status == State::Success)?,
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "it cannot be seen whether the task has succeeded before: it is run"
            );
            return None;
        }
    };
    info!(task.id = %message.headers.id, task.name = %message.headers.task, "task has succeeded before, it is not run again");
    let embed = &job.body.embed;
    let followed = shared.results_beside
        && matches!(embed.chord(), Ok(None))
        && stored.children.is_some_and(|children| !children.is_empty());
    if followed || embed.is_empty() {
        let mut finish = attempt::settle(delivery.clone(), Settle::Ack);
        finish.leave = gate::leave(message, job.task.rules.gated, finish.settle.as_ref(), None);
        return Some(finish.into());
    }
    let context = Context::new(
        Arc::clone(message),
        delivery.queue.clone(),
        Arc::clone(&shared.hostname),
        Arc::clone(&shared.results),
        shared.client.clone(),
        in_chord(embed),
        Outlet::Events(shared.announcer.clone()),
    );
    let outcome = Outcome::Success(stored.result);
    Some(conclude::conclude(
        shared,
        delivery,
        &job.body,
        &job.task,
        outcome,
        (&context, &Attempt::default()),
        None,
    ))
}
