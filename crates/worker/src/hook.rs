//! Code of the modules at a worker's start and end.

use std::{fmt, future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use lovage_client::Client;
use lovage_protocol::{NodeName, QueueName};
use lovage_registry::{State, StateMap};
use lovage_settings::Settings;
use tracing::error;

use crate::{error::Error, handle::WorkerHandle, module::Module, panics, shutdown::Shutdown};

/// The worker, as its hooks see it. Cloning shares it.
#[derive(Clone)]
pub struct Started {
    pub(crate) node: NodeName,
    pub(crate) queues: Arc<[QueueName]>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: Client,
    pub(crate) states: StateMap,
    pub(crate) handle: WorkerHandle,
}

impl Started {
    /// Its name, `worker@host`.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The queues it consumes.
    pub fn queues(&self) -> &[QueueName] {
        &self.queues
    }

    /// The environment, read once.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sends tasks and reads results.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Its controls and counts.
    pub fn handle(&self) -> &WorkerHandle {
        &self.handle
    }

    /// The state that a module provides; `None` when none does, and in the prefork pool, whose child processes make it.
    pub fn state<T: Send + Sync + 'static>(&self) -> Option<State<T>> {
        self.states.get()
    }
}

impl fmt::Debug for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Started")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

pub(crate) type Hook = Box<dyn FnOnce(Started) -> BoxFuture<'static, anyhow::Result<()>> + Send>;

pub(crate) fn boxed<F, Fut>(hook: F) -> Hook
where
    F: FnOnce(Started) -> Fut + Send + 'static,
    Fut: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    Box::new(move |worker| hook(worker).boxed())
}

/// The hooks of all modules.
#[derive(Default)]
pub(crate) struct Hooks {
    start: Vec<(String, Hook)>,
    stop: Vec<(String, Hook)>,
}

impl Hooks {
    /// Takes them out of the modules.
    pub(crate) fn of(modules: &mut [Module]) -> Self {
        let mut hooks = Self::default();
        for module in modules {
            let name = module.name().to_owned();
            let named = |hook| (name.clone(), hook);
            hooks
                .start
                .extend(std::mem::take(&mut module.on_start).into_iter().map(named));
            hooks
                .stop
                .extend(std::mem::take(&mut module.on_stop).into_iter().map(named));
        }
        hooks
    }

    /// Runs those of the start, one after the other; gives those of the end.
    pub(crate) async fn start(self, worker: &Started) -> Result<StopHooks, Error> {
        for (module, hook) in self.start {
            let ran = run(hook, worker.clone()).await;
            ran.map_err(|source| Error::Hook { module, source })?;
        }
        Ok(StopHooks(self.stop))
    }
}

/// The hooks of the end.
pub(crate) struct StopHooks(Vec<(String, Hook)>);

impl StopHooks {
    /// Runs them, the last first, until a cold shutdown is asked for.
    pub(crate) async fn stop(self, worker: &Started, shutdown: &Shutdown) {
        for (module, hook) in self.0.into_iter().rev() {
            let ran = tokio::select! {
                biased;
                () = shutdown.asked_cold() => return,
                ran = run(hook, worker.clone()) => ran,
            };
            if let Err(refusal) = ran {
                error!(module, "a stop hook failed: {refusal:#}");
            }
        }
    }
}

/// A panic is an error like any other.
async fn run(hook: Hook, worker: Started) -> anyhow::Result<()> {
    let running = AssertUnwindSafe(async move { hook(worker).await });
    match running.catch_unwind().await {
        Ok(ran) => ran,
        Err(panic) => Err(anyhow::anyhow!("{}", panics::describe(panic.as_ref()))),
    }
}
