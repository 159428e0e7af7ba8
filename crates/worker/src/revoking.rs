//! Keeps [`crate::revoked`] fresh, and applies what is new.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use lovage_broker::{
    Broadcast, Broker, Delivery, Error, Recorded, Settle, Target, revocation::EXCHANGE,
};
use lovage_protocol::{
    Body, ExceptionInfo, Headers, Message, State, TaskId, TaskMeta, Value, time,
};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::{
    aftermath::Aftermath,
    announce::Tiding,
    attempt::{self, Shared},
    conclude::Conclusion,
    engine::Event,
    gate, intake,
    layer::{self, End},
    part, policy,
    pool::KillSignal,
    records,
    revoked::{News, Revoked},
    shutdown::Shutdown,
};

/// A broadcast that was missed is made good after at most so long.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The pause before an unreachable broker is asked again.
const PAUSE: Duration = Duration::from_millis(200);

/// What is heard of the broker's revocations.
pub(crate) struct Ear(Option<BoxStream<'static, Broadcast>>);

/// Reads what is revoked, for as long as it takes the broker to answer, and listens from then on.
pub(crate) async fn begin(
    broker: &Arc<dyn Broker>,
    life: Duration,
    shutdown: &Shutdown,
) -> Result<(Revoked, Ear), Error> {
    // Before the first look, so that nothing is missed in between.
    let ear = match broker.subscribe(EXCHANGE, "").await {
        Ok(heard) => Ear(Some(heard)),
        Err(error) => {
            warn!(
                error = &error as &dyn std::error::Error,
                "revocations cannot be listened to: they are looked up every {} s",
                LOOK_EVERY.as_secs()
            );
            Ear(None)
        }
    };
    let revoked = Revoked::new(life);
    loop {
        match broker.revocations().recorded(0.0).await {
            Ok(recorded) => {
                revoked.learn(recorded);
                return Ok((revoked, ear));
            }
            Err(error) if error.is_transient() && !shutdown.is_asked() => {
                tokio::time::sleep(PAUSE).await;
            }
            // Nothing will be fetched any more.
            Err(error) if error.is_transient() => return Ok((revoked, ear)),
            Err(error) => return Err(error),
        }
    }
}

/// Applies what comes until the value is dropped.
#[derive(Debug)]
pub(crate) struct Watch(JoinHandle<()>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Watch {
    pub(crate) fn spawn(shared: Arc<Shared>, ear: Ear) -> Self {
        Self(tokio::spawn(async move {
            watch(&shared, ear).await;
        }))
    }
}

async fn watch(shared: &Shared, mut ear: Ear) {
    // What was revoked while no worker was there may be delayed.
    let mut first = true;
    loop {
        first &= !catch_up_since_start(shared, first).await;
        tokio::select! {
            () = ear.next() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Learns what was recorded of late, and applies it: when this returns it holds here.
pub(crate) async fn catch_up(shared: &Shared) {
    catch_up_since_start(shared, false).await;
}

/// False when the broker is away. `first`: everything is read, not what was recorded since the last time.
async fn catch_up_since_start(shared: &Shared, first: bool) -> bool {
    // Whoever finds nothing new must not be ahead of him who is applying it.
    let _one_at_a_time = shared.revoked.turn.lock().await;
    let since = if first { 0.0 } else { shared.revoked.since() };
    match shared.joiner.broker.revocations().recorded(since).await {
        Ok(recorded) => {
            let all_stamps = first.then(|| recorded.clone());
            let mut news = shared.revoked.learn(recorded);
            if let Some(all) = all_stamps {
                news.stamps = stamp_names(&all);
            }
            apply(shared, news).await;
            true
        }
        Err(error) => {
            debug!(
                error = &error as &dyn std::error::Error,
                "what is revoked cannot be read now"
            );
            false
        }
    }
}

impl Ear {
    async fn next(&mut self) {
        let heard = match &mut self.0 {
            Some(heard) => heard.next().await,
            None => None,
        };
        if heard.is_none() {
            self.0 = None;
            std::future::pending::<()>().await;
        }
    }
}

fn stamp_names(recorded: &Recorded) -> Vec<String> {
    let mut names: Vec<String> = recorded
        .revoked
        .iter()
        .filter_map(|(target, _)| match target {
            Target::Stamp { header, .. } => Some(header.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

async fn apply(shared: &Shared, news: News) {
    if news.concerns_messages() {
        info!(
            tasks = news.ids.len(),
            stamps = news.stamps.len(),
            "tasks flagged as revoked"
        );
        // Without an engine there is nothing that waits.
        shared.line.tell(Event::Revoked);
    }
    // Before they are ended: who is ended says so himself.
    let waiting = news.ids.iter().filter(|id| !shared.running.has(id));
    let waiting: Vec<TaskId> = waiting.cloned().collect();
    if !news.terminated.is_empty() {
        shared.pool.terminate_all(orders(news.terminated));
    }
    let revocations = shared.joiner.broker.revocations();
    let recalled = async {
        let mut recalled = revocations.recall(&news.recent).await?;
        if !news.stamps.is_empty() {
            let texts: Vec<String> = news.stamps.iter().map(|name| quoted(name)).collect();
            let revoked = |raw: &[u8]| shared.revoked.has_raw(raw, &shared.decode);
            recalled += revocations.recall_where(&texts, &revoked).await?;
        }
        Ok::<u64, Error>(recalled)
    };
    match recalled.await {
        Ok(0) => {}
        Ok(recalled) => info!(recalled, "delayed tasks were revoked and come back at once"),
        // They are met when they are due.
        Err(error) => warn!(
            error = &error as &dyn std::error::Error,
            "revoked tasks that are delayed could not be called back"
        ),
    }
    mark(shared, &waiting).await;
}

/// A name that is no signal ends the task all the same: somebody wants it to end.
fn orders(terminated: Vec<(Target, String)>) -> Vec<(Target, KillSignal)> {
    let order = |(target, name): (Target, String)| {
        let signal = name.parse().unwrap_or_else(|error| {
            warn!(
                error = &error as &dyn std::error::Error,
                "SIGTERM is sent instead"
            );
            KillSignal::TERM
        });
        (target, signal)
    };
    terminated.into_iter().map(order).collect()
}

/// As the name stands in a message: kombu writes JSON without anything but ASCII.
fn quoted(name: &str) -> String {
    Value::Str(name.to_owned()).to_json()
}

/// Stores REVOKED for tasks that nobody has begun, as far as can be seen: their producers need not wait until a worker
/// meets the message (`celery/worker/control.py`, `_revoke`).
async fn mark(shared: &Shared, ids: &[TaskId]) {
    if ids.is_empty() {
        return;
    }
    let stored = async {
        for ids in ids.chunks(500) {
            let states = shared.results.load_many(ids).await?;
            let open = ids
                .iter()
                .zip(states)
                .filter(|(_, meta)| meta.as_ref().is_none_or(|meta| not_begun(&meta.status)));
            let writes: Vec<_> = open
                .filter_map(|(id, _)| shared.results.encode(&revoked_record(id)))
                .collect();
            if !writes.is_empty() {
                shared.results.write(&writes).await?;
            }
        }
        Ok::<(), lovage_results::Error>(())
    };
    if let Err(error) = stored.await {
        warn!(
            error = &error as &dyn std::error::Error,
            "revoked tasks could not be marked so in the result store"
        );
    }
}

fn not_begun(state: &State) -> bool {
    matches!(
        state,
        State::Pending | State::Received | State::Retry | State::Rejected
    )
}

fn revoked_record(id: &TaskId) -> TaskMeta {
    TaskMeta {
        status: State::Revoked,
        result: exception("revoked").to_value(),
        traceback: None,
        children: Some(Vec::new()),
        date_done: Some(time::format_iso(chrono::Utc::now())),
        group_id: None,
        parent_id: None,
        traceparent: None,
        extended: None,
        task_id: id.clone(),
    }
}

fn exception(why: &str) -> ExceptionInfo {
    records::celery_exception("TaskRevokedError", why)
}

/// A message that was delayed while its task was being revoked comes back: whoever looked for it there may have looked
/// too early.
pub(crate) async fn recall_if_revoked(shared: &Shared, headers: &Headers) {
    if !shared.revoked.has(headers) {
        return;
    }
    let ids = std::slice::from_ref(&headers.id);
    if let Err(error) = shared.joiner.broker.revocations().recall(ids).await {
        warn!(
            task.id = %headers.id,
            error = &error as &dyn std::error::Error,
            "a revoked task that is delayed could not be called back"
        );
    }
}

/// The end of a task that is not run, for a reason: Celery's `expired` or `revoked` (`celery/worker/request.py`,
/// `_announce_revoked`), or `duplicate of ID`.
pub(crate) fn not_run(
    shared: &Shared,
    delivery: Delivery,
    message: &Arc<Message>,
    body: &Body,
    why: &str,
) -> Conclusion {
    let headers = &message.headers;
    info!(
        why,
        "Discarding revoked task: {}[{}]", headers.task, headers.id
    );
    let exception = exception(why).to_value();
    let task = shared.catalogue.get(headers.task.as_str());
    if let Some(task) = task {
        let end = End::Revoked(why);
        layer::tell(&task.layers, message, &delivery.queue, end, None);
    }
    if let Some(tally) = &shared.tally {
        tally.not_run(message, delivery.queue.as_str());
    }
    let mut finish = attempt::settle(delivery, Settle::Ack);
    let after = Aftermath {
        parts: part::parts(shared, message, body, &State::Revoked, &exception),
        ..Aftermath::default()
    };
    let rules = task.map(|task| task.rules);
    finish.leave = gate::leave(
        message,
        rules.is_some_and(|rules| rules.gated),
        finish.settle.as_ref(),
        None,
    );
    if rules.is_none_or(|rules| {
        policy::stores(message, &rules, &shared.settings.tasks, &State::Revoked)
    }) {
        let mut meta = records::meta(message, State::Revoked, exception, Vec::new());
        intake::extend(shared, message, Some(body), &mut meta);
        finish.results.extend(shared.results.encode(&meta));
    }
    let revoked = Tiding::Revoked {
        by: None,
        expired: why == "expired",
    };
    let report = shared.announcer.report(message, [revoked]);
    Conclusion {
        finish,
        report,
        after: after.boxed(),
    }
}
