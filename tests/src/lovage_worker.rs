//! The `lovage` binary.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::child::Child;
use crate::log::Log;
use crate::place;
use crate::redis_server::RedisServer;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running `lovage worker` with the demo tasks; ends with the value.
#[derive(Debug)]
pub struct LovageWorker {
    process: Child,
}

/// What a worker is started with.
#[derive(Debug, Clone)]
pub struct LovageWorkerBuilder {
    program: Option<PathBuf>,
    hostname: String,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
}

impl LovageWorker {
    /// A worker of queue `celery` with a Redis as broker and result store, ready to consume.
    pub fn on(redis: &RedisServer) -> Self {
        Self::builder(redis).start()
    }

    /// A worker to be configured.
    pub fn builder(redis: &RedisServer) -> LovageWorkerBuilder {
        Self::at(&redis.url(), &redis.url())
    }

    /// A worker to be configured, on any broker and result store.
    pub fn at(broker: &str, results: &str) -> LovageWorkerBuilder {
        let builder = LovageWorkerBuilder {
            program: None,
            hostname: "lovage@%h".to_owned(),
            flags: Vec::new(),
            variables: Vec::new(),
        };
        builder
            .flag("--loglevel", "info")
            .variable("CELERY_BROKER_URL", broker)
            .variable("CELERY_RESULT_BACKEND", results)
            .variable("LOVAGE_DEMO_TASKS", "1")
    }

    /// The process id.
    pub fn pid(&self) -> i32 {
        self.process.pid().as_raw_nonzero().get()
    }

    /// What it has written.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks for a warm shutdown (SIGTERM) without waiting.
    pub fn terminate(&mut self) {
        self.signal(Signal::TERM);
    }

    /// Ends it with SIGKILL: it can do nothing more.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait(PATIENCE)
    }

    /// Asks for a warm shutdown and waits for it.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        self.wait()
    }

    /// Waits for a line in its log.
    pub fn wait_for(&mut self, needle: &str) {
        self.process.wait_for(needle, PATIENCE);
    }
}

impl LovageWorkerBuilder {
    /// Runs another binary made with `lovage::main`.
    #[must_use]
    pub fn program(mut self, path: &str) -> Self {
        self.program = Some(path.into());
        self
    }

    /// Its node name, `lovage@%h` unless said otherwise.
    #[must_use]
    pub fn hostname(mut self, name: &str) -> Self {
        name.clone_into(&mut self.hostname);
        self
    }

    /// Adds a flag with a value.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.flags.extend([name.to_owned(), value.to_owned()]);
        self
    }

    /// Adds a word to the command line.
    #[must_use]
    pub fn bare_flag(mut self, word: &str) -> Self {
        self.flags.push(word.to_owned());
        self
    }

    /// What is logged, `info` unless said otherwise.
    #[must_use]
    pub fn log_level(mut self, level: &str) -> Self {
        let place = self.flags.iter().position(|flag| flag == "--loglevel");
        if let Some(value) = place.and_then(|place| self.flags.get_mut(place + 1)) {
            level.clone_into(value);
        }
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes an environment variable away again.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(other, _)| other != name);
        self
    }

    /// How many tasks run at once.
    #[must_use]
    pub fn concurrency(self, tasks: usize) -> Self {
        self.flag("--concurrency", &tasks.to_string())
    }

    /// Which queues are consumed, comma separated.
    #[must_use]
    pub fn queues(self, queues: &str) -> Self {
        self.flag("--queues", queues)
    }

    /// Which pool runs the tasks.
    #[must_use]
    pub fn pool(self, pool: &str) -> Self {
        self.flag("--pool", pool)
    }

    /// Starts it and waits until it consumes.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(self) -> LovageWorker {
        let mut worker = self.launch();
        worker.process.wait_for("ready", PATIENCE);
        worker
    }

    /// Starts it without waiting for anything.
    pub fn launch(self) -> LovageWorker {
        let program = self.program.unwrap_or_else(place::lovage);
        let mut command = command(program, &self.variables);
        command
            .args(["worker", "--hostname", &self.hostname])
            .args(self.flags);
        LovageWorker {
            process: Child::start("lovage worker", &mut command, "cargo build -p lovage"),
        }
    }
}

/// Runs a `lovage` command on a Redis to its end.
///
/// # Panics
/// When the binary cannot be started.
pub fn lovage(redis: &RedisServer, words: &[&str]) -> Output {
    lovage_command(redis, words)
        .output()
        .expect("the lovage binary can be started")
}

/// A `lovage` command on a Redis, to be started.
pub fn lovage_command(redis: &RedisServer, words: &[&str]) -> Command {
    let variables = [
        ("CELERY_BROKER_URL".to_owned(), redis.url()),
        ("CELERY_RESULT_BACKEND".to_owned(), redis.url()),
        ("LOVAGE_DEMO_TASKS".to_owned(), "1".to_owned()),
    ];
    let mut command = command(place::lovage(), &variables);
    command.args(words);
    command
}

/// A `lovage` command with these settings alone, to be started.
pub fn lovage_at(variables: &[(&str, &str)]) -> Command {
    let variables: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    command(place::lovage(), &variables)
}

/// Runs a `lovage` command with these settings alone to its end.
///
/// # Panics
/// When the binary cannot be started.
pub fn lovage_with(variables: &[(&str, &str)], words: &[&str]) -> Output {
    let variables: Vec<(String, String)> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    command(place::lovage(), &variables)
        .args(words)
        .output()
        .expect("the lovage binary can be started")
}

/// Runs a `lovage` command that answers with JSON.
///
/// # Panics
/// When it fails or answers otherwise.
pub fn lovage_json(redis: &RedisServer, words: &[&str]) -> Value {
    let output = lovage(redis, words);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "lovage {words:?} failed with {}:\n{out}{err}",
        output.status
    );
    serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("lovage {words:?} wrote no JSON ({error}):\n{out}"))
}

/// The binary with these settings alone, to be given words and started.
pub fn command_with(variables: &[(String, String)]) -> Command {
    command(place::lovage(), variables)
}

/// The binary with an environment of its own: no variable of the caller's shell reaches it.
fn command(program: PathBuf, variables: &[(String, String)]) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if [
            "CELERY_",
            "LOVAGE_",
            "REDIS_",
            "MAIL_",
            "DATABASE_",
            "SECRET_",
            "JWT_",
            "OTEL_",
            "SENTRY_",
        ]
        .iter()
        .any(|prefix| name_text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    // An empty folder of its own: no .env of the repository reaches it either.
    command.current_dir(std::env::temp_dir());
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command
}
