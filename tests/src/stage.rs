//! A Redis, a Lovage worker and a Python producer together.

use serde_json::Value;

use crate::lovage_worker::{LovageWorker, LovageWorkerBuilder};
use crate::python::Python;
use crate::redis_server::RedisServer;

/// The usual cast of a test. The parts end in the order of the fields.
#[derive(Debug)]
pub struct Stage {
    /// The producer.
    pub python: Python,
    /// The worker under test.
    pub worker: LovageWorker,
    /// The broker and result store of both.
    pub redis: RedisServer,
}

impl Stage {
    /// A worker of queue `celery` with its defaults.
    pub fn new() -> Self {
        Self::with(|worker| worker)
    }

    /// A worker as `configure` makes it.
    pub fn with(configure: impl FnOnce(LovageWorkerBuilder) -> LovageWorkerBuilder) -> Self {
        let redis = RedisServer::start();
        let worker = configure(LovageWorker::builder(&redis)).launch();
        // Both start at the same time; Python takes longer.
        let python = Python::on(&redis);
        let mut stage = Self {
            python,
            worker,
            redis,
        };
        stage.worker.wait_for("ready");
        stage
    }

    /// Evaluates one Python expression.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.python.eval(expression)
    }
}

impl Default for Stage {
    fn default() -> Self {
        Self::new()
    }
}
