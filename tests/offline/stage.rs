//! A worker in this process that runs beside its test.

use std::sync::Arc;
use std::time::Duration;

use lovage::testing::Harness;
use lovage_broker::MemoryBroker;
use lovage_client::Client;
use lovage_protocol::Value;
use lovage_worker::{Module, RawTask, Summary, signal};

/// How long anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A running worker and what talks to it.
pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) broker: Arc<MemoryBroker>,
    pub(crate) harness: Harness,
}

impl Stage {
    /// A worker of queue `celery` that runs the tasks of this file and those given.
    pub(crate) async fn start(more: Module) -> Self {
        Self::with(&[], more).await
    }

    /// The same with further settings.
    pub(crate) async fn with(settings: &[(&str, &str)], more: Module) -> Self {
        let mut harness = Harness::builder().module(tasks()).module(more);
        for (variable, value) in settings {
            harness = harness.setting(*variable, *value);
        }
        let harness = harness.concurrency(4).free_running().start().await;
        let harness = harness.expect("the worker starts");
        Self {
            client: harness.client().clone(),
            broker: Arc::clone(harness.broker()),
            harness,
        }
    }

    /// Ends the worker and returns what it counted.
    pub(crate) async fn stop(self) -> Summary {
        let ended = tokio::time::timeout(PATIENCE, self.harness.stop()).await;
        ended
            .expect("the worker ends in time")
            .expect("the worker ends in order")
    }
}

/// Tasks for every need.
pub(crate) fn tasks() -> Module {
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
