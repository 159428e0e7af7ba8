//! Messages whose task is not registered here: forwarded, kept waiting for a while, or given up with an answer.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use lovage_broker::{Broker, Delivery, Destination, Finish, Publish, Settle};
use lovage_flower_compat::Control;
use lovage_protocol::{Message, QueueName, State, Value};
use tokio::sync::Mutex;
use tracing::{info, warn};

use crate::{
    aftermath::Aftermath,
    announce,
    attempt::{Shared, settle},
    conclude::Conclusion,
    part, policy, records, workflow,
};

/// The header under which a waiting message remembers since when (unix seconds) nobody knew it.
const SINCE: &str = "lovage_unknown_since";
/// The header in which a forwarded message names the queues that it came from.
const FORWARDED: &str = "lovage_forwarded";
/// How long the list of names is believed.
const PEERS_FRESH: Duration = Duration::from_secs(10);
/// How long workers may take to say which tasks they know; Celery's own default.
const REPLY_WAIT: Duration = Duration::from_secs(1);
/// How often a waiting message is looked at again.
const GRACE_STEP: f64 = 1.0;

/// What to do with unknown names (`LOVAGE_FORWARD_UNKNOWN`, `LOVAGE_UNKNOWN_GRACE`).
pub(crate) struct Unknown {
    broker: Arc<dyn Broker>,
    forward: Option<QueueName>,
    grace: Option<Duration>,
    known_elsewhere: Mutex<Option<(Instant, HashSet<String>)>>,
}

impl Unknown {
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        forward: Option<QueueName>,
        grace: Option<Duration>,
    ) -> Self {
        Self {
            broker,
            forward,
            grace,
            known_elsewhere: Mutex::new(None),
        }
    }

    /// Decides about one message.
    pub(crate) async fn receive(
        &self,
        shared: &Shared,
        delivery: Delivery,
        message: &Arc<Message>,
    ) -> Conclusion {
        let name = message.headers.task.as_str();
        if let Some(queue) = &self.forward
            && *queue != delivery.queue
            && !came_from(message, queue)
            && self.peers_know(name).await
        {
            info!(task.name = name, task.id = %message.headers.id, %queue, "task is not registered here: forwarded");
            return forward(delivery, message, queue).into();
        }
        let now = unix(shared.client.clock().now());
        let since = message
            .headers
            .extra
            .get(SINCE)
            .and_then(Value::as_f64)
            .unwrap_or(now);
        if let Some(grace) = self.grace
            && now < since + grace.as_secs_f64()
        {
            if !message.headers.extra.contains_key(SINCE) {
                info!(task.name = name, task.id = %message.headers.id, "task is not registered here: it waits for a worker that registers it");
            }
            let mut waiting = Message::clone(message);
            waiting
                .headers
                .extra
                .insert(SINCE.to_owned(), Value::Float(since));
            let payload = Some(waiting.to_json().into());
            let until = now + GRACE_STEP;
            return settle(delivery, Settle::Delay { until, payload }).into();
        }
        warn!(task.name = name, task.id = %message.headers.id, "task is not registered here: dead-lettered");
        give_up(shared, delivery, message)
    }

    /// Whether a live worker registers the name. One asks, the others wait for its answer.
    async fn peers_know(&self, name: &str) -> bool {
        let mut known = self.known_elsewhere.lock().await;
        let fresh = known
            .as_ref()
            .is_some_and(|(at, _)| at.elapsed() < PEERS_FRESH);
        if !fresh {
            *known = Some((Instant::now(), self.ask_peers().await));
        }
        known
            .as_ref()
            .is_some_and(|(_, names)| names.contains(name))
    }

    /// The names of our own workers, from their leases, and of Python workers, by remote control.
    async fn ask_peers(&self) -> HashSet<String> {
        let asked = Control::new(Arc::clone(&self.broker)).ask("registered");
        let (ours, theirs) = tokio::join!(self.broker.peers(), asked.wait(REPLY_WAIT).send());
        let complain = |error: &lovage_broker::Error| {
            warn!(
                error = error as &dyn std::error::Error,
                "could not ask which tasks other workers know"
            );
        };
        let ours = ours.inspect_err(complain).unwrap_or_default();
        let mut names: HashSet<String> = ours.into_iter().flat_map(|peer| peer.tasks).collect();
        for reply in theirs.inspect_err(complain).unwrap_or_default() {
            let listed = reply.value.as_list().unwrap_or_default().iter();
            // Attributes may stand behind the name: `name [rate_limit=2/s]`.
            let listed = listed
                .filter_map(Value::as_str)
                .filter_map(|task| task.split(' ').next());
            names.extend(listed.map(str::to_owned));
        }
        names
    }
}

/// Whether the message was in this queue before, and forwarded from there: two workers must not send it to and fro.
fn came_from(message: &Message, queue: &QueueName) -> bool {
    let before = message.headers.extra.get(FORWARDED);
    let before = before.and_then(Value::as_list).unwrap_or_default();
    before
        .iter()
        .any(|name| name.as_str() == Some(queue.as_str()))
}

fn forward(delivery: Delivery, message: &Message, queue: &QueueName) -> Finish {
    let mut forwarded = message.clone();
    // A retry goes where the routing key says, so the new queue must stand there.
    forwarded.properties.delivery_info.exchange = String::new();
    forwarded.properties.delivery_info.routing_key = queue.as_str().to_owned();
    let before = forwarded.headers.extra.entry(FORWARDED.to_owned());
    let before = before.or_insert_with(|| Value::List(Vec::new()));
    match before {
        Value::List(names) => names.push(delivery.queue.as_str().into()),
        other => *other = Value::List(vec![delivery.queue.as_str().into()]),
    }
    let mut finish = settle(delivery, Settle::Ack);
    finish.publishes.push(Publish {
        destination: Destination::Queue(queue.clone()),
        priority: message.properties.priority,
        payload: forwarded.to_json().into(),
    });
    finish
}

fn give_up(shared: &Shared, delivery: Delivery, message: &Arc<Message>) -> Conclusion {
    let name = message.headers.task.as_str();
    let exception = records::celery_exception("NotRegistered", name);
    let detail = format!(
        "no task named `{name}` is registered on {}",
        shared.hostname
    );
    let mut finish = settle(
        delivery,
        Settle::DeadLetter(policy::dead_letter(message, "unknown-task", &detail)),
    );
    // The producer gets its answer even when the body cannot be read; a readable one also ends its chord.
    let meta = records::meta(message, State::Failure, exception.to_value(), Vec::new());
    let errors = shared.settings.tasks.store_errors_even_if_ignored;
    if errors || message.headers.ignore_result != Some(true) {
        finish.results.extend(shared.results.encode(&meta));
    }
    let mut after = Aftermath::default();
    if let Ok(body) = message.decode_body(&shared.decode) {
        let record = policy::Record {
            state: State::Failure,
            result: meta.result,
            traceback: None,
        };
        after.calls = workflow::after_failure(shared, message, &body, Some(&record), &mut finish);
        after.parts = part::parts(shared, message, &body, &State::Failure, &record.result);
    }
    let failed = announce::unregistered(&exception);
    let report = shared.announcer.report(message, [failed]);
    Conclusion {
        finish,
        report,
        after: after.boxed(),
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since 1970 stay under 2^53 until the year 2255"
)]
pub(crate) fn unix(at: chrono::DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1_000_000.0
}
