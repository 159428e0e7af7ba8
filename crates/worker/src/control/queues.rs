//! What a worker consumes, and how that is changed while it runs (`celery/worker/consumer/consumer.py`, `add_task_queue`,
//! `cancel_task_queue`).

use std::{
    collections::BTreeSet,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use lovage_broker::{Binding, Broker, Consumer, Exclusive, Place, Topology, pause::LOOK};
use lovage_flower_compat::{Answer, Raised};
use lovage_protocol::{QueueName, Value};
use lovage_settings::ExchangeType;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{arguments::Arguments, object};

/// The queues of one worker. Cloning shares them.
#[derive(Clone)]
pub(crate) struct Queues {
    broker: Arc<dyn Broker>,
    consumer: Arc<dyn Consumer>,
    topology: Arc<Topology>,
    consumed: Arc<Mutex<Consumed>>,
}

#[derive(Debug)]
struct Consumed {
    shared: Vec<Binding>,
    exclusive: Vec<Exclusive>,
    /// Nothing is taken from these, though they are among the shared ones.
    paused: BTreeSet<QueueName>,
}

impl Consumed {
    fn taken_from(&self) -> impl Iterator<Item = &Binding> {
        let shared = self.shared.iter();
        shared.filter(|binding| !self.paused.contains(&binding.queue))
    }
}

/// The queues that are paused. A broker that does not answer now will be asked again.
pub(crate) async fn paused(broker: &dyn Broker) -> BTreeSet<QueueName> {
    broker.pauses().paused().await.unwrap_or_else(|error| {
        warn!(
            error = &error as &dyn std::error::Error,
            "it is not known which queues are paused; all are consumed for now"
        );
        BTreeSet::new()
    })
}

impl Queues {
    /// Those that a worker begins with.
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        consumer: Arc<dyn Consumer>,
        topology: Topology,
        shared: Vec<Binding>,
        exclusive: Vec<Exclusive>,
        paused: BTreeSet<QueueName>,
    ) -> Self {
        Self {
            broker,
            consumer,
            topology: Arc::new(topology),
            consumed: Arc::new(Mutex::new(Consumed {
                shared,
                exclusive,
                paused,
            })),
        }
    }

    fn consumed(&self) -> MutexGuard<'_, Consumed> {
        self.consumed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As `active_queues` shows them.
    pub(super) fn active(&self) -> Value {
        let consumed = self.consumed();
        let shared = consumed.taken_from().map(|binding| {
            let (exchange, kind) = (binding.exchange.as_str(), binding.kind.name());
            let key = binding.routing_key.as_str();
            describe(binding.queue.as_str(), exchange, kind, key, false)
        });
        let exclusive = consumed.exclusive.iter().map(|own| {
            let (queue, key) = (own.queue.as_str(), own.routing_key.as_str());
            describe(queue, &own.exchange, "fanout", key, true)
        });
        Value::List(shared.chain(exclusive).collect())
    }

    /// Consumes one more; done soon after the answer.
    pub(super) fn add(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let name = arguments.text("queue")?;
        let queue = QueueName::parse(name)
            .map_err(|error| Raised::new("ValueError", &format!("queue {name:?}: {error}")))?;
        let exchange = arguments.maybe_text("exchange")?;
        let key = arguments.maybe_text("routing_key")?;
        let kind = match arguments.maybe_text("exchange_type")?.unwrap_or("direct") {
            "direct" => ExchangeType::Direct,
            "topic" => ExchangeType::Topic,
            other => {
                let text =
                    format!("exchange type {other:?} cannot be added, expected direct or topic");
                return Err(Raised::new("ValueError", &text));
            }
        };
        let binding = match (exchange, self.topology.find(name)) {
            // A queue of the settings is as they say.
            (None, Ok(Some(Place::Shared(binding)))) => Binding {
                routing_key: key.map_or(binding.routing_key, str::to_owned),
                ..binding
            },
            (None, Ok(Some(_))) => {
                let text = format!(
                    "{name} is a broadcast, which a worker consumes from its start on or not at all"
                );
                return Err(Raised::new("ValueError", &text));
            }
            (exchange, _) => Binding {
                exchange: exchange.unwrap_or(name).to_owned(),
                kind,
                routing_key: key.unwrap_or(name).to_owned(),
                ..Binding::plain(&queue)
            },
        };
        let this = self.clone();
        tokio::spawn(async move { this.begin(binding).await });
        Ok(Answer::ok(format!("add consumer {name}")))
    }

    async fn begin(&self, binding: Binding) {
        if let Err(error) = self.broker.bind(std::slice::from_ref(&binding)).await {
            warn!(
                queue = %binding.queue,
                error = &error as &dyn std::error::Error,
                "the queue could not be bound; it is consumed all the same"
            );
        }
        info!("Started consuming from {}", binding.queue);
        let mut consumed = self.consumed();
        consumed.shared.retain(|known| known.queue != binding.queue);
        consumed.shared.push(binding);
        self.tell(&consumed);
    }

    /// Consumes one no more. What was taken from it is run.
    pub(super) fn cancel(&self, arguments: &Arguments) -> Result<Answer, Raised> {
        let name = arguments.text("queue")?;
        let mut consumed = self.consumed();
        consumed.shared.retain(|known| known.queue.as_str() != name);
        self.tell(&consumed);
        info!("Canceling queue {name}");
        Ok(Answer::ok(format!("no longer consuming from {name}")))
    }

    fn tell(&self, consumed: &Consumed) {
        let queues = consumed.taken_from().map(|binding| binding.queue.clone());
        self.consumer.set_queues(queues.collect());
    }

    /// Takes nothing from what is paused, and again from what is resumed, until the worker stops.
    pub(crate) async fn follow_pauses(self, stop: CancellationToken) {
        let mut silent = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = stop.cancelled() => return,
            }
            match self.broker.pauses().paused().await {
                Ok(paused) => {
                    silent = false;
                    self.pause(paused);
                }
                // What was paused stays so; said once.
                Err(error) if !silent => {
                    silent = true;
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "it is not known whether queues were paused or resumed"
                    );
                }
                Err(_) => {}
            }
        }
    }

    fn pause(&self, paused: BTreeSet<QueueName>) {
        let mut consumed = self.consumed();
        if consumed.paused == paused {
            return;
        }
        for binding in &consumed.shared {
            let queue = &binding.queue;
            match (consumed.paused.contains(queue), paused.contains(queue)) {
                (false, true) => info!("{queue} is paused: nothing is taken from it"),
                (true, false) => info!("{queue} is resumed"),
                _ => {}
            }
        }
        consumed.paused = paused;
        self.tell(&consumed);
    }
}

/// A queue as kombu describes it (`kombu/entity.py`, `Queue.as_dict`).
fn describe(queue: &str, exchange: &str, kind: &str, key: &str, exclusive: bool) -> Value {
    let null = || Value::Null;
    object([
        ("name", queue.into()),
        (
            "exchange",
            object([
                ("name", exchange.into()),
                ("type", kind.into()),
                ("arguments", null()),
                ("durable", true.into()),
                ("passive", false.into()),
                ("auto_delete", false.into()),
                ("delivery_mode", null()),
                ("no_declare", false.into()),
            ]),
        ),
        ("routing_key", key.into()),
        ("queue_arguments", null()),
        ("binding_arguments", null()),
        ("consumer_arguments", null()),
        ("durable", (!exclusive).into()),
        ("exclusive", exclusive.into()),
        ("auto_delete", exclusive.into()),
        ("no_ack", false.into()),
        ("alias", null()),
        ("bindings", Value::List(Vec::new())),
        ("no_declare", null()),
        ("expires", null()),
        ("message_ttl", null()),
        ("max_length", null()),
        ("max_length_bytes", null()),
        ("max_priority", null()),
    ])
}

impl fmt::Debug for Queues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Queues").field(&*self.consumed()).finish()
    }
}
