//! What a harness is made of.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use lovage_broker::{Broker, MemoryBroker};
use lovage_client::{Client, ClientOptions};
use lovage_protocol::{NodeName, QueueName};
use lovage_registry::TaskSpec;
use lovage_settings::{BrokerUrl, Pool, Settings};
use lovage_worker::{Catalogue, Module, Presence, Shutdown, Worker, WorkerParts};
use tokio::sync::oneshot;

use crate::{Error, FakeClock, Harness};

/// How long a worker may take to come to rest, when nobody says.
const PATIENCE: Duration = Duration::from_secs(10);

/// A harness about to be started.
#[derive(Debug)]
#[must_use = "a harness begins with `start`"]
pub struct HarnessBuilder {
    modules: Vec<Module>,
    variables: Vec<(String, String)>,
    queues: Vec<String>,
    concurrency: usize,
    pool: Pool,
    now: Option<DateTime<Utc>>,
    patience: Duration,
    free: bool,
}

impl HarnessBuilder {
    pub(crate) fn new() -> Self {
        Self {
            modules: Vec::new(),
            variables: vec![("CELERY_BROKER_URL".to_owned(), "memory://".to_owned())],
            queues: Vec::new(),
            concurrency: 1,
            pool: Pool::Async,
            now: None,
            patience: PATIENCE,
            free: false,
        }
    }

    /// The tasks of a module; with their state, as in production or one that a test prefers.
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// A setting, by its variable: `CELERY_TASK_ACKS_LATE`. The environment of the test's process is not read.
    pub fn setting(mut self, variable: impl Into<String>, value: impl Into<String>) -> Self {
        self.variables.push((variable.into(), value.into()));
        self
    }

    /// A queue more to consume, beside the default one and those that the routes and the tasks themselves name.
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queues.push(queue.into());
        self
    }

    /// Tasks at once; default 1, so that they run in the order in which they were sent.
    pub fn concurrency(mut self, tasks: usize) -> Self {
        self.concurrency = tasks;
        self
    }

    /// How tasks are run; default async.
    pub fn pool(mut self, pool: Pool) -> Self {
        self.pool = pool;
        self
    }

    /// What the clock says at the start; default the time of now.
    pub fn at(mut self, now: DateTime<Utc>) -> Self {
        self.now = Some(now);
        self
    }

    /// How long the worker may take to come to rest, by the clock on the wall; default 10 s.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Lets the worker run beside the test, all the time: for tests of what happens at once, which then wait for results and
    /// signals themselves.
    pub fn free_running(mut self) -> Self {
        self.free = true;
        self
    }

    /// Starts the worker.
    ///
    /// # Errors
    /// When a setting is none, or as [`Worker::start`] and [`Worker::run`] refuse.
    pub async fn start(self) -> Result<Harness, Error> {
        let setup = |text: &dyn ToString| Error::Setup(text.to_string());
        let (settings, warnings) =
            Settings::from_lookup(self.variables).map_err(|faults| setup(&faults))?;
        // In a test a name that means nothing is a mistake.
        if let Some(warning) = warnings.first() {
            return Err(setup(warning));
        }
        let clock = FakeClock::at(self.now.unwrap_or_else(Utc::now));
        let specs = Catalogue::specs(&self.modules)?;
        let broker = Arc::new(MemoryBroker::with_clock(clock.clock()));
        broker.note_publishes();
        let shared: Arc<dyn Broker> = Arc::<MemoryBroker>::clone(&broker);
        let results = lovage_results::connect(&settings.results, &BrokerUrl::Memory, Some(&broker))
            .await
            .map_err(|error| setup(&error))?;
        let mut options = ClientOptions::from(&settings);
        options.own = Catalogue::own_options(&specs, &settings)?;
        options.clock = clock.clock();
        let client = Client::new(Arc::clone(&shared), Arc::clone(&results), options);
        let mut queues = consumed(&client, &specs, &settings)?;
        for name in &self.queues {
            queues.push(QueueName::parse(name).map_err(|error| setup(&error))?);
        }
        queues.sort();
        queues.dedup();
        let worker = Worker::start(WorkerParts {
            broker: shared,
            results,
            client: client.clone(),
            modules: self.modules,
            settings: Arc::new(settings),
            node: NodeName::parse("test@harness").expect("two words around an @ are a name"),
            queues,
            concurrency: self.concurrency,
            pool: self.pool,
            child: None,
            autoscale: None,
            presence: Presence::silent(),
        })
        .await?;
        let controls = worker.handle();
        if !self.free {
            broker.hold_up();
        }
        let shutdown = Shutdown::new();
        let (ready, is_ready) = oneshot::channel();
        let stop = shutdown.clone();
        let running = tokio::spawn(async move {
            let tell = || {
                // A test that was dropped meanwhile has nobody to tell.
                let _ = ready.send(());
            };
            worker.run(stop, tell).await
        });
        if is_ready.await.is_err() {
            return Err(match running.await {
                Ok(Err(refused)) => refused.into(),
                _ => Error::Stopped,
            });
        }
        Ok(Harness {
            client,
            controls,
            broker,
            clock,
            specs,
            patience: self.patience,
            free: self.free,
            shutdown,
            running: Some(running),
        })
    }
}

/// Where the tasks of this worker are sent to when nobody says.
fn consumed(
    client: &Client,
    specs: &[TaskSpec],
    settings: &Settings,
) -> Result<Vec<QueueName>, Error> {
    let default = QueueName::parse(&settings.tasks.default_queue)
        .map_err(|error| Error::Setup(error.to_string()))?;
    let mut queues = vec![default];
    for spec in specs {
        match &spec.options.queue {
            Some(own) => queues.push(own.clone()),
            None => {
                let routed = client.composer().router().route(&spec.name);
                queues.push(routed.map_err(|bad| Error::Setup(bad.to_string()))?.queue);
            }
        }
    }
    Ok(queues)
}
