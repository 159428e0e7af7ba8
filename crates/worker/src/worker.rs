//! The worker as a whole: built from its parts, run until it is told to stop.

use std::{fmt, sync::Arc};

use lovage_broker::{Binding, Broker, ConsumerOptions, Exclusive, Place, Topology};
use lovage_client::{Client, rusty};
use lovage_flower_compat::{Emitter, EmitterOptions, machine};
use lovage_protocol::{Lamport, NodeName, QueueName, event::Origin};
use lovage_results::ResultStore;
use lovage_settings::{Pool as Kind, Settings};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    absence,
    announce::Announcer,
    attempt::{self, Shared},
    catalogue::Catalogue,
    chord::Joiner,
    chronicle,
    commit::Starter,
    control::{Queues, paused},
    engine::{self, EngineLine, Summary},
    error::{BuildError, Error},
    gate::Gatekeeper,
    handle::{Hold, WorkerHandle},
    hook::{Hooks, Started},
    intake,
    module::Module,
    obituary, panics,
    pool::{
        Autoscale, ChildCommand, Pool, Size, in_process::Runner, prefork::Prefork,
        threads::Abandoned,
    },
    presence::{Presence, Showing},
    reaping, revoking,
    running::Running,
    shutdown::Shutdown,
    tally::Tally,
    turns::Turns,
    unknown::Unknown,
};

/// So many threads at least may run on after their tasks were given up, before the worker asks to be started afresh.
const FEWEST_ABANDONED: usize = 16;

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
    pub pool: Kind,
    /// How a child process is started; needed by the prefork pool.
    pub child: Option<ChildCommand>,
    /// Between what sizes the pool scales by itself; then it begins with the fewest.
    pub autoscale: Option<Autoscale>,
    /// What it shows of itself to others.
    pub presence: Presence,
}

/// A worker that is ready to run: its tasks are collected, their state is made.
pub struct Worker {
    parts: Kept,
    catalogue: Catalogue,
    pool: Arc<Pool>,
    app: Arc<celery::Celery>,
    hooks: Hooks,
    announcer: Announcer,
    hold: Hold,
    /// Only for who reads it.
    tally: Option<Arc<Tally>>,
    /// For the hooks; empty where child processes make it.
    states: lovage_registry::StateMap,
}

/// The parts without the modules, which the catalogue has taken.
struct Kept {
    broker: Arc<dyn Broker>,
    results: Arc<dyn ResultStore>,
    client: Client,
    settings: Arc<Settings>,
    node: NodeName,
    queues: Vec<QueueName>,
    presence: Presence,
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
            mut client,
            mut modules,
            settings,
            node,
            queues,
            concurrency,
            pool: kind,
            child,
            autoscale,
            presence,
        } = parts;
        let hooks = Hooks::of(&mut modules);
        for layer in modules.iter().flat_map(|module| &module.publish_layers) {
            client = client.layer(Arc::clone(layer));
        }
        // Child processes make the state of their tasks themselves.
        let (catalogue, states) = match kind {
            Kind::Prefork => (Catalogue::without_state(&modules, &settings)?, None),
            _ => {
                let (catalogue, states) = Catalogue::build(modules, &settings).await?;
                (catalogue, Some(states))
            }
        };
        if catalogue.is_empty() {
            return Err(BuildError::NoTasks);
        }
        let app = rusty::brokerless_app(client.clone())
            .await
            .map_err(|error| BuildError::Runtime(error.into()))?;
        let slots = match (kind, autoscale) {
            (Kind::Solo, _) => 1,
            (_, Some(bounds)) => bounds.min,
            (_, None) => concurrency,
        };
        let size = Size::new(slots, settings.worker.prefetch_multiplier);
        let hook_states = states.clone().unwrap_or_default();
        let pool = match states {
            None => {
                let command = child.ok_or(BuildError::NoChildCommand)?;
                let prefork = Prefork::new(command, &settings.worker);
                Pool::prefork(prefork, size)
            }
            Some(states) => {
                let most = slots.max(FEWEST_ABANDONED);
                let runner = Runner {
                    states,
                    app: Arc::clone(&app),
                    all_on_threads: matches!(kind, Kind::Threads | Kind::Solo),
                    inherit_priority: settings.tasks.inherit_parent_priority,
                    abandoned: Abandoned::new(most),
                };
                Pool::in_process(kind, runner, size)
            }
        };
        if let Some(bounds) = autoscale
            && kind != Kind::Solo
        {
            pool.set_autoscale(bounds)?;
        }
        let announcer = announcer(&broker, &node, &settings);
        let served = settings.telemetry.monitor_bind.is_some();
        let tally = served.then(|| Arc::new(Tally::new(&catalogue)));
        let parts = Kept {
            broker,
            results,
            client,
            settings,
            node,
            queues,
            presence,
        };
        Ok(Self {
            parts,
            catalogue,
            pool: Arc::new(pool),
            app,
            hooks,
            announcer,
            hold: Hold::default(),
            tally,
            states: hook_states,
        })
    }

    /// The names of its tasks, sorted.
    pub fn task_names(&self) -> Vec<String> {
        self.catalogue.names()
    }

    /// Its controls, for as long as it runs.
    pub fn handle(&self) -> WorkerHandle {
        let disabled = self.parts.settings.worker.disable_rate_limits;
        let rates = self.catalogue.rate_limits(disabled);
        let (pool, catalogue) = (Arc::clone(&self.pool), self.catalogue.clone());
        WorkerHandle::new(
            pool,
            catalogue,
            rates,
            self.announcer.emitter.clone(),
            self.parts.node.as_str(),
            Arc::clone(&self.hold),
            self.tally.clone(),
        )
    }

    /// Consumes until a shutdown is asked for and everything that began has ended. Calls `ready` once it consumes.
    ///
    /// # Errors
    /// When the broker refuses for good; a broker that is away is waited for.
    pub async fn run(self, shutdown: Shutdown, ready: impl FnOnce()) -> Result<Summary, Error> {
        panics::install_hook();
        let handle = self.handle();
        let Kept {
            broker,
            results,
            client,
            settings,
            node,
            queues,
            presence,
        } = self.parts;
        let stopped = CancellationToken::new();
        let ended = stopped.clone();
        let _stop = stopped.clone().drop_guard();
        let keepalive = settings.worker.autoscale_keepalive;
        tokio::select! {
            opened = self.pool.open(&shutdown, keepalive, stopped) => if let Err(why) = opened {
                self.pool.close().await;
                return Err(Error::Children { why });
            },
            () = shutdown.asked() => {
                self.pool.close().await;
                return Ok(Summary::default());
            }
        }
        let topology = Topology::new(&settings.tasks)?;
        let (mut bindings, exclusive) = places(&queues, &topology)?;
        if settings.worker.direct {
            bindings.extend(direct(&node));
        }
        broker.bind(&bindings).await?;
        let started = Started {
            node: node.clone(),
            queues: queues.as_slice().into(),
            settings: Arc::clone(&settings),
            client: client.clone(),
            states: self.states.clone(),
            handle: handle.clone(),
        };
        let stopping = self.hooks.start(&started).await?;
        let paused = paused(&*broker).await;
        let shared_queues = bindings
            .iter()
            .map(|binding| binding.queue.clone())
            .filter(|queue| !paused.contains(queue));
        let mut options = ConsumerOptions::new(node.clone(), shared_queues.collect());
        options.exclusive.clone_from(&exclusive);
        options.tasks = self.catalogue.names();
        options.lease = settings.worker.lease;
        options.max_deaths = reaping::max_deaths(&settings);
        let chords_beside = results
            .place()
            .is_some_and(|place| broker.shares_server_with(&place));
        // The script cannot look into a compressed record to see whether a SUCCESS stands there; the store can.
        let results_beside = chords_beside && settings.results.compression.is_none();
        let decode = intake::decode_options(&settings);
        options.obituary = Some(obituary::writer(
            Arc::clone(&results),
            results_beside,
            decode.clone(),
            self.announcer.clone(),
        ));
        options.recorder = Some(chronicle::recorder(decode.clone()));
        let life = settings.worker.revokes.expires;
        let (revoked, ear) = revoking::begin(&broker, life, &shutdown).await?;
        warn_of_namesakes(&*broker, &node).await;
        let consumer = broker.consumer(options).await?;
        self.announcer.chronicle.attach(&consumer);
        // It is opened once.
        let _ = self.hold.set(Arc::clone(&consumer));
        let consumed = Queues::new(
            Arc::clone(&broker),
            Arc::clone(&consumer),
            topology,
            bindings,
            exclusive,
            paused,
        );
        tokio::spawn(consumed.clone().follow_pauses(ended.clone()));
        if settings.worker.cancel_on_loss {
            let (consumer, pool) = (Arc::clone(&consumer), Arc::clone(&self.pool));
            let lease = settings.worker.lease;
            tokio::spawn(absence::watch(consumer, pool, lease, ended));
        }
        let joiner = Joiner {
            broker: Arc::clone(&broker),
            client: client.clone(),
            results: Arc::clone(&results),
            inherit_priority: settings.tasks.inherit_parent_priority,
        };
        // Settings were checked when they were read: a name that is none was refused there.
        let forward = settings
            .worker
            .forward_unknown
            .as_deref()
            .and_then(|name| QueueName::parse(name).ok());
        let shared = Shared {
            catalogue: self.catalogue,
            decode,
            nothing: Arc::new(attempt::nothing()),
            hostname: node.as_str().into(),
            pool: Arc::clone(&self.pool),
            app: self.app,
            client,
            results,
            results_beside,
            chords_beside,
            starter: Starter::spawn(Arc::clone(&consumer)),
            turns: Turns::default(),
            gatekeeper: Gatekeeper::spawn(Arc::clone(&consumer), shutdown.clone()),
            consumer: Arc::clone(&consumer),
            joiner,
            unknown: Unknown::new(broker, forward, settings.worker.unknown_grace),
            shutdown: shutdown.clone(),
            revoked,
            announcer: self.announcer,
            running: Running::default(),
            line: EngineLine::default(),
            tally: self.tally,
            settings,
        };
        let shared = Arc::new(shared);
        let showing = Showing::begin(&shared, handle, consumed, presence).await;
        ready();
        // On a task of its own: the thread that waits for `run` would otherwise be woken for every message.
        let engine = engine::run(shared, Arc::clone(&consumer), shutdown.clone(), ear);
        let summary = tokio::spawn(engine)
            .await
            .unwrap_or_else(|error| Err(Error::Engine(error)));
        showing.end().await;
        self.pool.close().await;
        let closed = consumer.close().await;
        stopping.stop(&started, &shutdown).await;
        let summary = summary?;
        closed?;
        if let Some(task) = self.pool.abandoned().last_straw() {
            let count = self.pool.abandoned().count();
            return Err(Error::Abandoned { count, task });
        }
        info!(
            received = summary.received,
            returned = summary.returned,
            "worker stopped"
        );
        Ok(summary)
    }
}

/// Says so when another worker has this name: nobody who asks for one of them can tell them apart.
async fn warn_of_namesakes(broker: &dyn Broker, node: &NodeName) {
    // A broker that is away is waited for later, and told of there.
    let Ok(peers) = broker.peers().await else {
        return;
    };
    let namesakes = peers.iter().filter(|peer| peer.node == node.as_str());
    let count = namesakes.count();
    if count > 0 {
        warn!(
            count,
            "another worker is called {node}, or one died within its lease: give each a name of its own with -n"
        );
    }
}

/// The queue of a worker's own (`celery/utils/nodenames.py`, `worker_direct`); `None` for a node whose name no queue can have.
fn direct(node: &NodeName) -> Option<Binding> {
    let queue = QueueName::parse(&format!("{node}.dq2")).ok()?;
    Some(Binding {
        exchange: "C.dq2".to_owned(),
        routing_key: node.to_string(),
        ..Binding::plain(&queue)
    })
}

/// Tells of this worker's tasks.
fn announcer(broker: &Arc<dyn Broker>, node: &NodeName, settings: &Settings) -> Announcer {
    let events = &settings.events;
    let options = EmitterOptions {
        origin: Origin {
            hostname: node.to_string(),
            pid: std::process::id(),
            utcoffset: machine::utcoffset(),
        },
        clock: Lamport::default(),
        task_events: events.task_events,
        waiting: events.buffer,
        rate: events.max_rate,
    };
    let emitter = Emitter::new(Arc::clone(broker), options);
    Announcer::new(emitter, events)
}

/// What is behind the names of queues: bindings of those that workers share, and a queue of our own for each broadcast.
fn places(
    queues: &[QueueName],
    topology: &Topology,
) -> Result<(Vec<Binding>, Vec<Exclusive>), Error> {
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
