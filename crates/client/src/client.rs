//! The client: what it is made of and what it sends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use celery::task::{Signature as RustySignature, Task};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use lovage_broker::{Broker, Publish};
use lovage_protocol::{Body, Message, QueueName, Signature, TaskId, TaskName, Value};
use lovage_results::ResultStore;
use lovage_settings::{Settings, TaskSettings};

use crate::{
    Composer, Error, Outgoing, Prepared, PublishPolicy, SendBuilder, TaskHandle,
    context::Sending,
    publisher::Publisher,
    retry::{self, RetryOptions},
    rusty,
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
    publisher: Publisher,
    results: Arc<dyn ResultStore>,
    composer: Composer,
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
    /// What tasks say of themselves, by name: it holds when a call does not say otherwise, and wins over routes, as a
    /// task's own attributes do in Celery.
    pub own: HashMap<TaskName, OwnOptions>,
}

/// What a task says of how it is sent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct OwnOptions {
    /// Its queue.
    pub queue: Option<QueueName>,
    /// Its priority.
    pub priority: Option<i64>,
    /// How long after it is sent it is still worth running.
    pub expires: Option<Duration>,
}

impl From<&Settings> for ClientOptions {
    fn from(settings: &Settings) -> Self {
        Self {
            tasks: settings.tasks.clone(),
            timezone: settings.timezone,
            publish: PublishPolicy::default(),
            own: HashMap::new(),
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
        let composer = Composer::new(options);
        // Settings with a queue that cannot be are refused where a task is routed.
        let topology = composer.router().topology().cloned().unwrap_or_default();
        let publisher = Publisher::new(broker, policy, topology);
        Self {
            inner: Arc::new(Inner {
                publisher,
                results,
                composer,
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
    ) -> Result<Vec<TaskHandle<R>>, Error> {
        let sending = Sending::current();
        let prepared = calls
            .into_iter()
            .map(|call| {
                self.inner
                    .composer
                    .compose(call.into_outgoing(sending.as_ref())?)
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let handles = prepared
            .iter()
            .map(|prepared| self.handle_of(prepared))
            .collect();
        self.publish(prepared).await?;
        Ok(handles)
    }

    /// Sends one call.
    ///
    /// # Errors
    /// As the call's own [`SendBuilder`].
    pub async fn send_outgoing<R>(&self, mut call: Outgoing) -> Result<TaskHandle<R>, Error> {
        let sending = Sending::current();
        if let Some(sending) = &sending {
            sending.apply(&mut call);
        }
        let prepared = self.inner.composer.compose(call)?;
        let handle = self.handle_of(&prepared);
        self.inner
            .publisher
            .publish(std::slice::from_ref(&prepared.publish))
            .await?;
        if let Some(sending) = &sending {
            sending.record(&prepared.id);
        }
        Ok(handle)
    }

    /// Writes a message without sending it. The task that runs here, if one does, is not looked at.
    ///
    /// # Errors
    /// When what is asked for cannot be sent.
    pub fn prepare(&self, call: &Outgoing) -> Result<Prepared, Error> {
        self.inner.composer.compose(call.clone())
    }

    /// Sends messages prepared before, in their order, and notes them as children of the task that runs here.
    ///
    /// # Errors
    /// When the broker fails for longer than the publish policy bears; part may have been sent.
    pub async fn publish(&self, prepared: Vec<Prepared>) -> Result<(), Error> {
        let sending = Sending::current();
        let mut rest = prepared.into_iter();
        loop {
            let (ids, chunk): (Vec<TaskId>, Vec<Publish>) = rest
                .by_ref()
                .take(CHUNK)
                .map(|prepared| (prepared.id, prepared.publish))
                .unzip();
            if chunk.is_empty() {
                return Ok(());
            }
            self.inner.publisher.publish(&chunk).await?;
            if let Some(sending) = &sending {
                ids.iter().for_each(|id| sending.record(id));
            }
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
        let prepared = signature::publish_of(&self.inner.composer, signature, follow)?;
        Ok((prepared.id, prepared.publish))
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
    pub fn handle<R>(&self, id: impl Into<TaskId>) -> TaskHandle<R> {
        TaskHandle::new(Arc::clone(&self.inner.results), id.into(), false)
    }

    /// Where messages are written.
    pub fn composer(&self) -> &Composer {
        &self.inner.composer
    }

    /// Where messages go.
    pub fn broker(&self) -> &Arc<dyn Broker> {
        self.inner.publisher.broker()
    }

    /// Where results come from.
    pub fn results(&self) -> &Arc<dyn ResultStore> {
        &self.inner.results
    }

    fn handle_of<R>(&self, prepared: &Prepared) -> TaskHandle<R> {
        TaskHandle::new(
            Arc::clone(&self.inner.results),
            prepared.id.clone(),
            prepared.ignores_result,
        )
    }
}
