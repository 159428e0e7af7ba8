//! The worker as a whole: built from its parts, run until it is told to stop.

use std::{fmt, sync::Arc};

use lovage_broker::{Binding, Broker, ConsumerOptions, Exclusive, Place, Topology};
use lovage_client::{Client, rusty};
use lovage_protocol::{DecodeOptions, NodeName, QueueName, Serializer};
use lovage_results::ResultStore;
use lovage_settings::{Pool, Settings, TaskSettings};
use tracing::info;

use crate::{
    attempt::Shared,
    catalogue::Catalogue,
    chord::Joiner,
    commit::Starter,
    engine::{self, Size, Summary},
    error::{BuildError, Error},
    module::Module,
    obituary, panics,
    shutdown::Shutdown,
    unknown::Unknown,
};

/// What a worker is made of.
#[derive(Debug)]
pub struct WorkerParts {
    /// Where messages come from.
    pub broker: Arc<dyn Broker>,
    /// Where results go.
    pub results: Arc<dyn ResultStore>,
    /// Sends what tasks send.
    pub client: Client,
    /// The tasks.
    pub modules: Vec<Module>,
    /// The environment, read once.
    pub settings: Arc<Settings>,
    /// Its name, `worker@host`.
    pub node: NodeName,
    /// The queues it consumes.
    pub queues: Vec<QueueName>,
    /// Tasks at once, at least 1.
    pub concurrency: usize,
    /// How tasks are run.
    pub pool: Pool,
}

/// A worker that is ready to run: its tasks are collected, their state is made.
pub struct Worker {
    parts: Kept,
    catalogue: Catalogue,
    states: lovage_registry::StateMap,
    app: Arc<celery::Celery>,
}

/// The parts without the modules, which the catalogue has taken.
struct Kept {
    broker: Arc<dyn Broker>,
    results: Arc<dyn ResultStore>,
    client: Client,
    settings: Arc<Settings>,
    node: NodeName,
    queues: Vec<QueueName>,
    size: Size,
    pool: Pool,
}

impl Worker {
    /// Collects the tasks and makes their state.
    ///
    /// # Errors
    /// When there are no tasks, two with one name, or a task lacks state that it asks for.
    pub async fn start(parts: WorkerParts) -> Result<Self, BuildError> {
        let WorkerParts {
            broker,
            results,
            client,
            modules,
            settings,
            node,
            queues,
            concurrency,
            pool,
        } = parts;
        let (catalogue, states) = Catalogue::build(modules, &settings).await?;
        if catalogue.is_empty() {
            return Err(BuildError::NoTasks);
        }
        let app = rusty::brokerless_app(client.clone())
            .await
            .map_err(|error| BuildError::Runtime(error.into()))?;
        let concurrency = concurrency.max(1);
        let prefetch = match settings.worker.prefetch_multiplier {
            0 => usize::MAX,
            multiplier => concurrency.saturating_mul(multiplier),
        };
        let size = Size {
            concurrency,
            prefetch,
        };
        let parts = Kept {
            broker,
            results,
            client,
            settings,
            node,
            queues,
            size,
            pool,
        };
        Ok(Self {
            parts,
            catalogue,
            states,
            app,
        })
    }

    /// The names of its tasks, sorted.
    pub fn task_names(&self) -> Vec<String> {
        self.catalogue.names()
    }

    /// Consumes until a shutdown is asked for and everything that began has ended. Calls `ready` once it consumes.
    ///
    /// # Errors
    /// When the broker refuses for good; a broker that is away is waited for.
    pub async fn run(self, shutdown: Shutdown, ready: impl FnOnce()) -> Result<Summary, Error> {
        panics::install_hook();
        let Kept {
            broker,
            results,
            client,
            settings,
            node,
            queues,
            size,
            pool,
        } = self.parts;
        let (bindings, exclusive) = places(&queues, &settings.tasks)?;
        broker.bind(&bindings).await?;
        let shared_queues = bindings.into_iter().map(|binding| binding.queue).collect();
        let mut options = ConsumerOptions::new(node.clone(), shared_queues);
        options.exclusive = exclusive;
        options.tasks = self.catalogue.names();
        options.lease = settings.worker.lease;
        // Without requeue on loss, as Celery's default has it, the first death of a started task is its failure.
        options.max_deaths = if settings.tasks.reject_on_worker_lost {
            settings.worker.max_deaths
        } else {
            0
        };
        let chords_beside = results
            .place()
            .is_some_and(|place| broker.shares_server_with(&place));
        // The script cannot look into a compressed record to see whether a SUCCESS stands there; the store can.
        let results_beside = chords_beside && settings.results.compression.is_none();
        let accept = settings
            .tasks
            .accept_content
            .iter()
            .filter_map(|name| Serializer::from_name(name))
            .collect();
        let decode = DecodeOptions {
            accept,
            max_decompressed: settings.worker.max_message_bytes,
        };
        options.obituary = Some(obituary::writer(
            Arc::clone(&results),
            results_beside,
            decode.clone(),
        ));
        let consumer = broker.consumer(options).await?;
        let joiner = Joiner {
            broker: Arc::clone(&broker),
            client: client.clone(),
            results: Arc::clone(&results),
            decode: decode.clone(),
        };
        // Settings were checked when they were read: a name that is none was refused there.
        let forward = settings
            .worker
            .forward_unknown
            .as_deref()
            .and_then(|name| QueueName::parse(name).ok());
        let shared = Shared {
            catalogue: self.catalogue,
            states: self.states,
            decode,
            hostname: node.as_str().into(),
            pool,
            app: self.app,
            client,
            results,
            results_beside,
            chords_beside,
            starter: Starter::spawn(Arc::clone(&consumer)),
            consumer: Arc::clone(&consumer),
            joiner,
            unknown: Unknown::new(broker, forward, settings.worker.unknown_grace),
            shutdown: shutdown.clone(),
            settings,
        };
        ready();
        // On a task of its own: the thread that waits for `run` would otherwise be woken for every message.
        let engine = engine::run(Arc::new(shared), Arc::clone(&consumer), size, shutdown);
        let summary = tokio::spawn(engine)
            .await
            .unwrap_or_else(|error| Err(Error::Engine(error)));
        let closed = consumer.close().await;
        let summary = summary?;
        closed?;
        info!(
            received = summary.received,
            returned = summary.returned,
            "worker stopped"
        );
        Ok(summary)
    }
}

/// What is behind the names of queues: bindings of those that workers share, and a queue of our own for each broadcast.
fn places(
    queues: &[QueueName],
    settings: &TaskSettings,
) -> Result<(Vec<Binding>, Vec<Exclusive>), Error> {
    let topology = Topology::new(settings)?;
    let (mut bindings, mut exclusive) = (Vec::new(), Vec::new());
    for queue in queues {
        match topology.find(queue.as_str())? {
            Some(Place::Shared(binding)) => bindings.push(binding),
            Some(place) => exclusive.extend(place.exclusive()),
            // Whoever named it has seen that it may not be made, and insists.
            None => bindings.push(Binding::plain(queue)),
        }
    }
    Ok((bindings, exclusive))
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("node", &self.parts.node)
            .field("tasks", &self.catalogue)
            .finish_non_exhaustive()
    }
}
