//! A real Celery worker.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::child::Child;
use crate::place;
use crate::redis_server::RedisServer;

/// `celery worker` on the application in `interop/python/app.py`; ends with the value.
#[derive(Debug)]
pub struct PythonWorker {
    process: Child,
}

impl PythonWorker {
    /// A worker of queue `celery` with one thread, ready to consume.
    pub fn on(redis: &RedisServer) -> Self {
        Self::start(redis, &["-P", "solo"], &json!({}))
    }

    /// A worker with flags and settings of the caller's choice, ready to consume.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(redis: &RedisServer, flags: &[&str], settings: &Value) -> Self {
        let flags = [&["--without-mingle"], flags].concat();
        let mut worker = Self::launch("app", &redis.url(), "python@%h", &flags, settings);
        worker.wait_until_ready();
        worker
    }

    /// A worker of one of the applications in `interop/python`, on any Redis, without waiting for anything.
    pub fn launch(app: &str, url: &str, node: &str, flags: &[&str], settings: &Value) -> Self {
        let mut command = Command::new(place::python());
        command
            .args([
                "-m", "celery", "-A", app, "worker", "-l", "info", "-n", node,
            ])
            .args(flags)
            .current_dir(place::python_sources())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("CELERY_BROKER_URL", url)
            .env("CELERY_RESULT_BACKEND", url)
            .env("TEST_CELERY_SETTINGS", settings.to_string());
        Self {
            process: Child::start("celery worker", &mut command, "run scripts/setup"),
        }
    }

    /// Waits until it consumes.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn wait_until_ready(&mut self) {
        self.process.wait_for(" ready.", Duration::from_secs(30));
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }
}
