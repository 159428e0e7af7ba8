//! The client: what it is made of and what it sends.

mod composed;

pub use composed::Composed;

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use celery::task::{Signature as RustySignature, Task};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use lovage_broker::{Broker, Demand, Destination, Entry, Publish};
use lovage_protocol::{Body, Clock, Message, QueueName, Signature, TaskId, TaskName, Value};
use lovage_results::ResultStore;
use lovage_settings::{RevokeSettings, Settings, TaskSettings};
use lovage_telemetry::{Publishing, Trace};

use crate::{
    AsyncResult, Composer, Error, Outgoing, Prepared, PublishLayer, PublishPolicy, SendBuilder,
    composer::Routed,
    context::Sending,
    layer::PublishLayers,
    publisher::Publisher,
    retry::{self, RetryOptions},
    rusty,
    sent::Sent,
    signature::{self, Follow},
};

/// So many messages go out in one round trip.
const CHUNK: usize = 500;

/// Sends tasks and reads their results. Cloning shares it.
#[derive(Debug, Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    publisher: Arc<Publisher>,
    results: Arc<dyn ResultStore>,
    composer: Composer,
    layers: PublishLayers,
    revokes: RevokeSettings,
    chord_expires: Option<Duration>,
    /// Nothing: sending is not told.
    sent: Option<Arc<Sent>>,
}

/// What a client takes from the settings.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// Routes, default queue, priority and compression.
    pub tasks: TaskSettings,
    /// The zone of times that carry none.
    pub timezone: Tz,
    /// How often a publish is repeated.
    pub publish: PublishPolicy,
    /// How long, and how many, revoked tasks are remembered.
    pub revokes: RevokeSettings,
    /// Sending a task is told by an event, `task-sent`.
    pub sent_event: bool,
    /// How long arguments are as texts, in characters; `None`: 1,024, as in Celery.
    pub repr_limit: Option<usize>,
    /// What tasks say of themselves, by name: it holds when a call does not say otherwise, and wins over routes, as a
    /// task's own attributes do in Celery.
    pub own: HashMap<TaskName, OwnOptions>,
    /// From which etas and expiries are counted; a worker takes it over.
    pub clock: Clock,
    /// How long the keys of a chord live; `None`: for ever.
    pub chord_expires: Option<Duration>,
}

/// What a task says of how it is sent.
#[derive(Debug, Clone, Default)]
pub struct OwnOptions {
    /// Its queue.
    pub queue: Option<QueueName>,
    /// Its priority.
    pub priority: Option<i64>,
    /// How long after it is sent it is still worth running.
    pub expires: Option<Duration>,
    /// What a call asks for as it is sent: to be unique, the last of several, or within limits.
    pub demand: Option<DemandOf>,
    /// The serializer of its body.
    pub serializer: Option<String>,
    /// The compression of its body.
    pub compression: Option<String>,
}

/// Gives what a call asks for as it is sent to a queue.
#[derive(Clone)]
pub struct DemandOf(Arc<MakeDemand>);

type MakeDemand = dyn Fn(&Outgoing, &QueueName) -> Demand + Send + Sync;

impl DemandOf {
    /// From a function of the call and its queue.
    pub fn new(demand: impl Fn(&Outgoing, &QueueName) -> Demand + Send + Sync + 'static) -> Self {
        Self(Arc::new(demand))
    }

    /// What the broker is asked as this call is sent; `None` when that is nothing. Where an exchange leads is known by nobody
    /// but the broker: then the worker asks.
    fn entry(&self, call: &Outgoing, prepared: &Prepared) -> Option<Entry> {
        let Destination::Queue(queue) = &prepared.publish.destination else {
            return None;
        };
        let demand = (self.0)(call, queue);
        (!demand.is_free()).then(|| Entry {
            owner: prepared.id.as_str().to_owned(),
            not_before: prepared.not_before.map(unix_time),
            demand,
        })
    }
}

/// In seconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "microseconds since 1970 stay under 2^53 until the year 2255"
)]
fn unix_time(at: DateTime<Utc>) -> f64 {
    at.timestamp_micros() as f64 / 1_000_000.0
}

impl fmt::Debug for DemandOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DemandOf")
    }
}

impl From<&Settings> for ClientOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            tasks: settings.tasks.clone(),
            timezone: settings.timezone,
            publish: PublishPolicy::default(),
            revokes: settings.worker.revokes,
            sent_event: settings.events.sent_event,
            repr_limit: Some(settings.events.repr_limit),
            own: HashMap::new(),
            clock: Clock::system(),
            chord_expires: settings.results.chord_expires.or(settings.results.expires),
        }
    }
}

impl Client {
    /// A client that sends through `broker` and reads from `results`.
    pub fn new(
        broker: Arc<dyn Broker>,
        results: Arc<dyn ResultStore>,
        options: ClientOptions,
    ) -> Self {
        let policy = options.publish;
        let (revokes, tells) = (options.revokes, options.sent_event);
        let chord_expires = options.chord_expires;
        let composer = Composer::new(options);
        let sent = tells.then(|| Arc::new(Sent::new(composer.origin())));
        // Settings with a queue that cannot be are refused where a task is routed.
        let topology = composer.router().topology().cloned().unwrap_or_default();
        let publisher = Publisher::new(broker, policy, topology);
        Self {
            inner: Arc::new(Inner {
                publisher: Arc::new(publisher),
                results,
                composer,
                layers: PublishLayers::default(),
                revokes,
                chord_expires,
                sent,
            }),
        }
    }

    /// The same client with a layer around what is sent through it, inside of those that it has.
    #[must_use]
    pub fn layer(&self, layer: Arc<dyn PublishLayer>) -> Self {
        let mut layers = self.inner.layers.clone();
        layers.push(layer);
        Self {
            inner: Arc::new(Inner {
                publisher: Arc::clone(&self.inner.publisher),
                results: Arc::clone(&self.inner.results),
                composer: self.inner.composer.clone(),
                layers,
                revokes: self.inner.revokes,
                chord_expires: self.inner.chord_expires,
                sent: self.inner.sent.clone(),
            }),
        }
    }

    /// Begins a call of a task defined with `#[celery::task]` or `#[lovage::task]`: `client.send(add::new(2, 3)).await`.
    pub fn send<T: Task>(&self, call: RustySignature<T>) -> SendBuilder<T::Returns> {
        SendBuilder::new(self.clone(), rusty::outgoing(call))
    }

    /// Begins a call of a task known by its name only, such as a Python one.
    pub fn send_task(&self, name: impl Into<TaskName>) -> SendBuilder<Value> {
        SendBuilder::new(self.clone(), Ok(Outgoing::new(name)))
    }

    /// Sends many calls, hundreds to a round trip, in their order.
    ///
    /// # Errors
    /// When one of them cannot be written, nothing is sent. When the broker fails, those before may have been sent.
    pub async fn send_many<R>(
        &self,
        calls: impl IntoIterator<Item = SendBuilder<R>>,
    ) -> Result<Vec<AsyncResult<R>>, Error> {
        let sending = Sending::current();
        let prepared = calls
            .into_iter()
            .map(|call| self.compose(call.into_outgoing(sending.as_ref())?))
            .collect::<Result<Vec<_>, Error>>()?;
        let handles = prepared
            .iter()
            .map(|prepared| self.handle_of(prepared))
            .collect();
        self.publish(prepared).await?;
        Ok(handles)
    }

    /// Writes a message without sending it. The task that runs here, if one does, is not looked at.
    ///
    /// # Errors
    /// When what is asked for cannot be sent.
    pub fn prepare(&self, call: &Outgoing) -> Result<Prepared, Error> {
        self.compose(call.clone())
    }

    /// As [`prepare`](Self::prepare), of a message that will not be sent: where it would go, and whether it could. No span is begun for it.
    ///
    /// # Errors
    /// When what is asked for cannot be sent.
    pub fn preview(&self, call: &Outgoing) -> Result<Prepared, Error> {
        let mut call = call.clone();
        self.inner.layers.before(&mut call)?;
        self.inner.composer.compose(call)
    }

    fn compose(&self, mut call: Outgoing) -> Result<Prepared, Error> {
        self.inner.layers.before(&mut call)?;
        self.write(call)
    }

    /// Writes a message, in the span of its sending where that is traced.
    fn write(&self, call: Outgoing) -> Result<Prepared, Error> {
        self.seal(self.inner.composer.route(call)?)
    }

    /// The same of a call of which it is known where it goes.
    fn seal(&self, mut routed: Routed) -> Result<Prepared, Error> {
        let composer = &self.inner.composer;
        if !Trace::is_on() {
            return composer.write(routed);
        }
        let call = &mut routed.outgoing;
        let id = call.id.get_or_insert_with(TaskId::new);
        let span = Publishing::begin(call.task.as_str(), id.as_str(), &mut call.headers);
        if let Destination::Queue(queue) = routed.destination() {
            span.to_queue(queue.as_str());
        }
        let prepared = composer.write(routed)?;
        Ok(Prepared { span, ..prepared })
    }

    /// Sends messages prepared before, in their order, and notes them as children of the task that runs here.
    ///
    /// # Errors
    /// When the broker fails for longer than the publish policy bears; part may have been sent.
    pub async fn publish(&self, prepared: Vec<Prepared>) -> Result<(), Error> {
        let ids: Vec<TaskId> = prepared.iter().map(|one| one.id.clone()).collect();
        self.publish_unrecorded(prepared).await?;
        if let Some(sending) = Sending::current() {
            ids.iter().for_each(|id| sending.record(id));
        }
        Ok(())
    }

    /// Sends messages prepared before, in their order.
    pub(crate) async fn publish_unrecorded(&self, prepared: Vec<Prepared>) -> Result<(), Error> {
        let mut rest = prepared.into_iter();
        loop {
            let chunk: Vec<Prepared> = rest.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            // Cloning a publish shares its payload.
            let publishes: Vec<Publish> = chunk.iter().map(|one| one.publish.clone()).collect();
            let outcome = self.inner.publisher.publish(&publishes).await;
            self.inner.layers.after(&chunk, outcome.as_ref().copied());
            outcome?;
            self.tell_sent(&publishes).await;
        }
    }

    /// Whether sending is told by events.
    pub fn tells_sent(&self) -> bool {
        self.inner.sent.is_some()
    }

    /// Tells that these messages were sent, where that is to be told. Sending does it by itself; this is for messages that a
    /// worker's step sends.
    pub async fn tell_sent(&self, batch: &[Publish]) {
        if let Some(sent) = &self.inner.sent {
            Box::pin(sent.tell(&**self.broker(), batch)).await;
        }
    }

    /// Writes the message of a signature that follows a task: a callback, an error callback, the next step of a chain.
    ///
    /// # Errors
    /// When the signature is no plain task, or an option of it cannot be understood.
    pub fn follow(
        &self,
        signature: &Signature,
        follow: Follow,
    ) -> Result<(TaskId, Publish), Error> {
        let prepared = self.compose(signature::outgoing(signature, follow)?)?;
        Ok((prepared.id, prepared.publish))
    }

    /// Makes the queues known to peers that these messages are for, each once. Sending does it by itself; this is for messages
    /// that a worker's step sends.
    ///
    /// # Errors
    /// When the broker cannot be reached, or refuses.
    pub async fn declare(&self, batch: &[Publish]) -> Result<(), Error> {
        self.inner.publisher.declare_all(batch).await
    }

    /// Writes the message that runs a received task again, changed in nothing but the attempt and its time.
    pub fn retry_publish(
        &self,
        message: &Message,
        body: &Body,
        eta: Option<DateTime<Utc>>,
    ) -> Publish {
        retry::prepare_unchanged(&self.inner.composer, message, body, eta).publish
    }

    /// Writes the message that runs a received task again with the changes of `options`.
    ///
    /// # Errors
    /// When a time of the options is none.
    pub fn prepare_retry(
        &self,
        message: &Message,
        body: &Body,
        options: RetryOptions,
    ) -> Result<Prepared, Error> {
        retry::prepare(&self.inner.composer, message, body, options)
    }

    /// The result of a task sent before, perhaps by another process.
    pub fn handle<R>(&self, id: impl Into<TaskId>) -> AsyncResult<R> {
        AsyncResult::new(self.clone(), id.into())
    }

    /// Where messages are written.
    pub fn composer(&self) -> &Composer {
        &self.inner.composer
    }

    /// From which etas and expiries are counted.
    pub fn clock(&self) -> &Clock {
        self.inner.composer.clock()
    }

    /// How long the keys of a chord live.
    pub(crate) fn chord_expires(&self) -> Option<Duration> {
        self.inner.chord_expires
    }

    /// How long, and how many, revoked tasks are remembered.
    pub(crate) fn revokes(&self) -> RevokeSettings {
        self.inner.revokes
    }

    /// Where messages go.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        self.inner.publisher.broker()
    }

    /// Where results come from.
    pub fn results(&self) -> &Arc<dyn ResultStore> {
        &self.inner.results
    }

    fn handle_of<R>(&self, prepared: &Prepared) -> AsyncResult<R> {
        AsyncResult::new(self.clone(), prepared.id.clone()).with_ignored(prepared.ignores_result)
    }
}
