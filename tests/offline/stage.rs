//! A worker in this process.

use std::sync::Arc;
use std::time::Duration;

use lovage_broker::{Broker, MemoryBroker};
use lovage_client::{Client, ClientOptions};
use lovage_protocol::{NodeName, QueueName, Value};
use lovage_settings::{BrokerUrl, Pool, Settings};
use lovage_worker::{Module, RawTask, Shutdown, Summary, Worker, WorkerParts, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running worker and what talks to it.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) broker: Arc<MemoryBroker>,
    shutdown: Shutdown,
    running: JoinHandle<Summary>,
}

impl Stage {
    /// A worker of queue `celery` that runs the tasks of this file and those given.
    pub(crate) async fn start(more: Module) -> Self {
        Self::with(&[], more).await
    }

    /// The same with further settings.
    pub(crate) async fn with(settings: &[(&str, &str)], more: Module) -> Self {
        let variables = [("CELERY_BROKER_URL", "memory://")]
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let (settings, _) = Settings::from_lookup(variables).expect("the settings are right");
        let broker = Arc::new(MemoryBroker::new());
        let results = lovage_results::connect(&settings.results, &BrokerUrl::Memory, Some(&broker))
            .await
            .expect("the memory can be reached");
        let client = Client::new(
            Arc::clone(&broker) as Arc<dyn Broker>,
            Arc::clone(&results),
            ClientOptions::from(&settings),
        );
        let parts = WorkerParts {
            broker: Arc::clone(&broker) as Arc<dyn Broker>,
            results,
            client: client.clone(),
            modules: vec![tasks(), more],
            settings: Arc::new(settings),
            node: NodeName::parse("offline@here").expect("the name is right"),
            queues: vec![QueueName::parse("celery").expect("the name is right")],
            concurrency: 4,
            pool: Pool::Async,
        };
        let worker = Worker::start(parts).await.expect("the worker can be built");
        let shutdown = Shutdown::new();
        let (ready, is_ready) = oneshot::channel();
        let running = tokio::spawn({
            let shutdown = shutdown.clone();
            async move {
                let run = worker.run(shutdown, || ready.send(()).expect("somebody waits"));
                run.await.expect("the worker ends in order")
            }
        });
        is_ready.await.expect("the worker becomes ready");
        Self {
            client,
            broker,
            shutdown,
            running,
        }
    }

    /// Ends the worker and returns what it counted.
    pub(crate) async fn stop(self) -> Summary {
        self.shutdown.warm();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended
            .expect("the worker ends in time")
            .expect("the worker does not panic")
    }
}

fn tasks() -> Module {
    let sum = RawTask::new("sum", |call| async move {
        Ok(Value::Int(call.args.iter().filter_map(Value::as_i64).sum()))
    });
    let fail = RawTask::new("fail", |_| async {
        Err(signal::raise("ValueError", "boom"))
    });
    let retry = RawTask::new("retry", |call| async move {
        match call.context.retries() {
            0 | 1 => Err(signal::retry(Some(Duration::ZERO))),
            retries => Ok(Value::from(retries)),
        }
    });
    let panics = RawTask::new("panics", |_| async { panic!("oh no") });
    Module::new("offline")
        .raw(sum)
        .raw(fail)
        .raw(retry)
        .raw(panics)
}
