//! How a task begins: the broker's note that it does, its STARTED record, and its job taken apart. Apart from the attempt, so that the
//! room for it is free again while the task runs.

use std::sync::Arc;

use lovage_broker::{Delivery, Start};
use lovage_protocol::{Body, Message, State};
use tracing::{debug, warn};

use crate::{
    attempt::{Job, Shared, nothing},
    catalogue::Registered,
    conclude::Conclusion,
    context::{Context, Outlet, in_chord},
    handler::Call,
    intake, policy,
    pool::Place,
    records, revoking,
};

/// Whether STARTED is stored.
pub(crate) fn is_tracked(shared: &Shared, job: &Job) -> bool {
    let rules = &job.task.rules;
    rules.track_started
        && policy::stores(&job.message, rules, &shared.settings.tasks, &State::Started)
}

/// Has the broker note that a task begins, and stores STARTED where that is wanted. An error says how it ends instead; nothing:
/// its message went back. By itself, so that the room for it is free again while the task runs.
pub(crate) async fn begin(
    shared: &Shared,
    delivery: &Delivery,
    job: &Job,
    place: &Place,
) -> Result<(), Option<Box<Conclusion>>> {
    let rules = &job.task.rules;
    let mut result = if is_tracked(shared, job) {
        started_record(shared, job, place.pid())
    } else {
        None
    };
    let elsewhere = result.take_if(|_| !shared.results_beside);
    let start = Start {
        tag: delivery.tag,
        ack: !rules.acks_late,
        result,
        // From here on nobody else would tell.
        record: (!rules.acks_late)
            .then(|| {
                let queue = delivery.queue.as_str();
                shared.announcer.chronicle.started(&job.message, queue)
            })
            .flatten(),
    };
    if !shared.starter.start(start).await {
        debug!(task.id = %job.message.headers.id, "the message went back before its task began");
        return Err(None);
    }
    // The broker may have been away for long.
    if let Some(why) = not_to_run(shared, job) {
        let mut conclusion =
            revoking::not_run(shared, delivery.clone(), &job.message, &job.body, why);
        conclusion.finish.settle.take_if(|_| !rules.acks_late);
        return Err(Some(Box::new(conclusion)));
    }
    if let Some(elsewhere) = elsewhere
        && let Err(error) = shared.results.write(&[elsewhere]).await
    {
        warn!(
            error = &error as &dyn std::error::Error,
            "STARTED was not stored"
        );
    }
    Ok(())
}

/// Why it is not to be run any more.
pub(crate) fn not_to_run(shared: &Shared, job: &Job) -> Option<&'static str> {
    let now = shared.client.clock().now();
    intake::not_to_run(shared, &job.message.headers, job.expires, now)
}

fn started_record(shared: &Shared, job: &Job, pid: u32) -> Option<lovage_broker::ResultWrite> {
    let mut result = lovage_protocol::Map::new();
    result.insert("pid".to_owned(), i64::from(pid).into());
    result.insert("hostname".to_owned(), shared.hostname.as_ref().into());
    let mut meta = records::meta(&job.message, State::Started, result.into(), Vec::new());
    intake::extend(shared, &job.message, Some(&job.body), &mut meta);
    shared.results.encode(&meta)
}

/// A job taken apart for its run.
pub(crate) struct Opened {
    pub(crate) task: Arc<Registered>,
    pub(crate) message: Arc<Message>,
    pub(crate) context: Context,
    pub(crate) call: Box<Call>,
    /// What its end needs of the body.
    pub(crate) kept: Arc<Body>,
}

/// Takes a job apart; its box and its body are given back here rather than at the end of the task. Only an extended result needs
/// the arguments once more; else the copy is spared.
pub(crate) fn open(shared: &Shared, delivery: &Delivery, job: Box<Job>) -> Opened {
    let Job {
        task,
        message,
        body,
        ..
    } = *job;
    let context = Context::new(
        Arc::clone(&message),
        delivery.queue.clone(),
        Arc::clone(&shared.hostname),
        Arc::clone(&shared.results),
        shared.client.clone(),
        in_chord(&body.embed),
        Outlet::Events(shared.announcer.clone()),
    );
    let Body {
        args,
        kwargs,
        embed,
    } = body;
    let kept = match shared.settings.results.extended {
        true => Arc::new(Body {
            args: args.clone(),
            kwargs: kwargs.clone(),
            embed,
        }),
        // Most tasks have nothing that follows; they share what is left.
        false if embed.is_empty() => Arc::clone(&shared.nothing),
        false => Arc::new(Body { embed, ..nothing() }),
    };
    let call = Box::new(Call {
        message: Arc::clone(&message),
        args,
        kwargs,
        context: context.clone(),
        app: Arc::clone(&shared.app),
    });
    Opened {
        task,
        message,
        context,
        call,
        kept,
    }
}
