//! The queues of the settings, and the exchanges they hang on (celery/app/amqp.py, `Queues`).

use lovage_protocol::{NameError, QueueName};
use lovage_settings::{ExchangeType, TaskQueue, TaskSettings};

use crate::{Binding, transport::Exclusive};

/// Every queue that the settings name; what they do not name is made as Celery makes it.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    known: Vec<Known>,
    create_missing: bool,
}

#[derive(Debug, Clone)]
struct Known {
    queue: TaskQueue,
    place: Place,
}

/// What is behind the name of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A queue, which its consumers share.
    Shared(Binding),
    /// A fanout exchange, on which each consumer has a queue of its own.
    Broadcast {
        /// The exchange.
        exchange: String,
        /// The key by which it is listened to.
        routing_key: String,
    },
}

/// A queue of the settings that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the queue {name:?} cannot be")]
pub struct BadQueue {
    /// Its name there.
    pub name: String,
    /// What is wrong with it.
    #[source]
    pub source: NameError,
}

impl Topology {
    /// Reads the settings.
    ///
    /// # Errors
    /// When a queue has a name that no queue can have.
    pub fn new(settings: &TaskSettings) -> Result<Self, BadQueue> {
        let mut queues = settings.queues.clone();
        if queues.is_empty() {
            // Celery's own list, when there is none: the default queue on the default exchange.
            queues.push(TaskQueue {
                exchange: None,
                exchange_type: None,
                routing_key: None,
                ..TaskQueue::plain(&settings.default_queue)
            });
        }
        let known = queues.into_iter().map(|queue| {
            let place = place_of(&queue, settings)?;
            Ok(Known { queue, place })
        });
        Ok(Self {
            known: known.collect::<Result<_, BadQueue>>()?,
            create_missing: settings.create_missing_queues,
        })
    }

    /// What is behind a name or an alias. `None`: the settings do not name it and do not let it be made.
    ///
    /// # Errors
    /// When no queue can have this name.
    pub fn find(&self, name: &str) -> Result<Option<Place>, BadQueue> {
        if let Some(known) = self.known.iter().find(|known| known.queue.is_called(name)) {
            return Ok(Some(known.place.clone()));
        }
        if !self.create_missing {
            return Ok(None);
        }
        Ok(Some(Place::Shared(Binding::plain(&parse(name)?))))
    }

    /// Whether a queue is reached by its own name alone, as nearly every queue is. Makes nothing.
    pub fn is_direct(&self, queue: &QueueName) -> bool {
        let name = queue.as_str();
        match self.known.iter().find(|known| known.queue.is_called(name)) {
            Some(known) => matches!(
                &known.place,
                Place::Shared(binding) if binding.kind == ExchangeType::Direct && binding.queue == *queue
            ),
            None => self.create_missing,
        }
    }

    /// How a queue is bound; one that the settings do not name to an exchange of its own name.
    pub fn binding(&self, queue: &QueueName) -> Binding {
        self.bindings()
            .find(|binding| binding.queue == *queue)
            .cloned()
            .unwrap_or_else(|| Binding::plain(queue))
    }

    /// The queues of the settings that are bound to this exchange.
    pub fn on_exchange(&self, exchange: &str) -> impl Iterator<Item = &Binding> {
        self.bindings()
            .filter(move |binding| binding.exchange == exchange)
    }

    /// Whether the settings say that this exchange sends to all that listen.
    pub fn is_fanout(&self, exchange: &str) -> bool {
        self.known.iter().any(|known| match &known.place {
            Place::Broadcast { exchange: name, .. } => name == exchange,
            Place::Shared(_) => false,
        })
    }

    fn bindings(&self) -> impl Iterator<Item = &Binding> {
        self.known.iter().filter_map(|known| match &known.place {
            Place::Shared(binding) => Some(binding),
            Place::Broadcast { .. } => None,
        })
    }
}

impl Place {
    /// A queue of one consumer's own on a broadcast's exchange, named as kombu names it; `None` for a shared queue.
    pub fn exclusive(&self) -> Option<Exclusive> {
        match self {
            Self::Broadcast {
                exchange,
                routing_key,
            } => Some(Exclusive {
                queue: QueueName::parse(&format!("bcast.{}", uuid::Uuid::new_v4()))
                    .expect("letters and a number are a name"),
                exchange: exchange.clone(),
                routing_key: routing_key.clone(),
            }),
            Self::Shared(_) => None,
        }
    }
}

fn place_of(queue: &TaskQueue, settings: &TaskSettings) -> Result<Place, BadQueue> {
    let default_exchange = settings
        .default_exchange
        .as_ref()
        .unwrap_or(&settings.default_queue);
    let exchange = queue.exchange.as_ref().unwrap_or(default_exchange).clone();
    let kind = queue
        .exchange_type
        .unwrap_or(if exchange == *default_exchange {
            settings.default_exchange_type
        } else {
            ExchangeType::Direct
        });
    let routing_key = queue
        .routing_key
        .as_ref()
        .or(settings.default_routing_key.as_ref())
        .unwrap_or(&settings.default_queue)
        .clone();
    // Behind a fanout exchange no two consumers share a queue on Redis: kombu listens on the channel (wire 2.7).
    if queue.broadcast || kind == ExchangeType::Fanout {
        return Ok(Place::Broadcast {
            exchange,
            routing_key,
        });
    }
    Ok(Place::Shared(Binding {
        queue: parse(&queue.name)?,
        exchange,
        kind,
        routing_key,
        expires: queue.expires,
    }))
}

fn parse(name: &str) -> Result<QueueName, BadQueue> {
    QueueName::parse(name).map_err(|source| BadQueue {
        name: name.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use lovage_settings::{ExchangeType, Settings};

    use super::{Place, Topology};
    use crate::Binding;

    fn topology(variables: &[(&str, &str)]) -> Topology {
        let pairs = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Topology::new(&Settings::from_lookup(pairs).unwrap().0.tasks).unwrap()
    }

    fn shared(topology: &Topology, name: &str) -> Binding {
        match topology.find(name).unwrap() {
            Some(Place::Shared(binding)) => binding,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn check(binding: &Binding, exchange: &str, kind: ExchangeType, key: &str) {
        assert_eq!(
            (
                binding.exchange.as_str(),
                binding.kind,
                binding.routing_key.as_str()
            ),
            (exchange, kind, key),
            "{}",
            binding.queue
        );
    }

    #[test]
    fn without_a_list_there_is_the_default_queue_on_the_default_exchange() {
        let plain = topology(&[]);
        check(
            &shared(&plain, "celery"),
            "celery",
            ExchangeType::Direct,
            "celery",
        );
        check(
            &shared(&plain, "other"),
            "other",
            ExchangeType::Direct,
            "other",
        );
        let all = topology(&[
            ("CELERY_TASK_DEFAULT_QUEUE", "jobs"),
            ("CELERY_TASK_DEFAULT_EXCHANGE", "work"),
            ("CELERY_TASK_DEFAULT_EXCHANGE_TYPE", "topic"),
            ("CELERY_TASK_DEFAULT_ROUTING_KEY", "work.#"),
        ]);
        check(&shared(&all, "jobs"), "work", ExchangeType::Topic, "work.#");
    }

    #[test]
    fn an_entry_is_bound_as_celery_binds_it() {
        let topology = topology(&[
            ("CELERY_TASK_DEFAULT_QUEUE", "jobs"),
            (
                "CELERY_TASK_QUEUES",
                r#"[{"name": "bare"}, {"name": "video", "alias": "films", "exchange": "media", "exchange_type": "topic",
                     "routing_key": "media.*"}, {"name": "bcast", "broadcast": true}, "own",
                    {"name": "loud", "exchange": "all", "exchange_type": "fanout"}]"#,
            ),
        ]);
        check(
            &shared(&topology, "bare"),
            "jobs",
            ExchangeType::Direct,
            "jobs",
        );
        check(
            &shared(&topology, "films"),
            "media",
            ExchangeType::Topic,
            "media.*",
        );
        check(
            &shared(&topology, "own"),
            "own",
            ExchangeType::Direct,
            "own",
        );
        let Some(broadcast) = topology.find("bcast").unwrap() else {
            panic!()
        };
        let (one, other) = (
            broadcast.exclusive().unwrap(),
            broadcast.exclusive().unwrap(),
        );
        assert_ne!(one.queue, other.queue);
        assert!(one.queue.as_str().starts_with("bcast."));
        assert_eq!(
            (one.exchange.as_str(), one.routing_key.as_str()),
            ("bcast", "jobs")
        );
        let fanout = topology.find("loud").unwrap();
        assert!(matches!(fanout, Some(Place::Broadcast { exchange, .. }) if exchange == "all"));
        assert!(topology.is_fanout("bcast") && !topology.is_fanout("media"));
        assert_eq!(topology.on_exchange("media").count(), 1);
    }

    #[test]
    fn a_queue_nobody_named_is_made_unless_that_is_off() {
        let strict = topology(&[
            ("CELERY_TASK_CREATE_MISSING_QUEUES", "false"),
            ("CELERY_TASK_QUEUES", "a"),
        ]);
        assert_eq!(strict.find("b").unwrap(), None);
        assert!(strict.find("a").unwrap().is_some());
        assert!(topology(&[]).find("bad\nname").is_err());
    }
}
