//! A worker of either kind, started alike and told the same things.

use serde_json::{Map, Value};

use crate::child::Child;
use crate::lovage_worker::LovageWorker;
use crate::place;
use crate::python_worker::PythonWorker;

/// Who a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Lovage with child processes, as Celery's default pool.
    Lovage,
    /// Lovage with its own default pool.
    LovageAsync,
    /// Celery with its default pool.
    Python,
}

/// Who works in a test: each test of a behaviour is run with all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fleet {
    /// Lovage with child processes, alone.
    Lovage,
    /// Lovage with its async pool, alone.
    LovageAsync,
    /// Celery alone.
    Python,
    /// Lovage and Celery side by side.
    Both,
}

impl Fleet {
    /// The workers of the fleet.
    pub fn kinds(self) -> &'static [Kind] {
        match self {
            Self::Lovage => &[Kind::Lovage],
            Self::LovageAsync => &[Kind::LovageAsync],
            Self::Python => &[Kind::Python],
            Self::Both => &[Kind::Lovage, Kind::Python],
        }
    }
}

/// A running worker that has the tasks of `interop/python/peers.py`.
#[derive(Debug)]
pub struct Peer {
    /// Who it is.
    pub kind: Kind,
    /// Its node name.
    pub node: String,
    /// The queue that it alone consumes.
    pub queue: String,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Lovage(LovageWorker),
    Python(PythonWorker),
}

/// What a peer is started with.
#[derive(Debug, Clone)]
pub struct PeerBuilder {
    kind: Kind,
    url: String,
    name: String,
    queues: Option<String>,
    flags: Vec<String>,
    settings: Map<String, Value>,
}

impl Peer {
    /// A worker to be configured: two tasks at a time from a queue of its own, without task events.
    pub fn builder(kind: Kind, url: &str) -> PeerBuilder {
        let name = match kind {
            Kind::Lovage | Kind::LovageAsync => "lovage",
            Kind::Python => "python",
        };
        PeerBuilder {
            kind,
            url: url.to_owned(),
            name: name.to_owned(),
            queues: None,
            flags: Vec::new(),
            settings: Map::new(),
        }
    }

    /// Whether it is one of ours.
    pub fn is_lovage(&self) -> bool {
        self.kind != Kind::Python
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Child {
        match &mut self.process {
            Process::Lovage(worker) => worker.process(),
            Process::Python(worker) => worker.process(),
        }
    }

    /// The process id.
    pub fn pid(&mut self) -> i32 {
        self.process().pid().as_raw_nonzero().get()
    }

    /// Waits until it consumes.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn wait_until_ready(&mut self) {
        match &mut self.process {
            Process::Lovage(worker) => worker.wait_for("ready"),
            Process::Python(worker) => worker.wait_until_ready(),
        }
    }
}

impl PeerBuilder {
    /// Names it otherwise: the part before the `@`, and its queue.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Consumes these queues, comma separated, in place of its own.
    #[must_use]
    pub fn queues(mut self, queues: &str) -> Self {
        self.queues = Some(queues.to_owned());
        self
    }

    /// Adds a flag of `celery worker`; both kinds understand the same.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    /// Sends task events from the start.
    #[must_use]
    pub fn events(self) -> Self {
        self.flag("-E")
    }

    /// Sets one of Celery's settings, by its lower-case name.
    #[must_use]
    pub fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.insert(name.to_owned(), value);
        self
    }

    /// Who is started.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts it without waiting for anything.
    pub fn launch(self) -> Peer {
        let node = format!("{}@peer", self.name);
        let queue = self.name.clone();
        let queues = self.queues.unwrap_or_else(|| queue.clone());
        let mut flags: Vec<String> = ["-Q", &queues, "--without-mingle"]
            .map(str::to_owned)
            .into();
        if !self
            .flags
            .iter()
            .any(|flag| flag.starts_with("--autoscale"))
        {
            flags.extend(["-c", "2"].map(str::to_owned));
        }
        flags.extend(self.flags);
        let process = match self.kind {
            Kind::Python => {
                let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
                let settings = Value::Object(self.settings);
                Process::Python(PythonWorker::launch(
                    "peers", &self.url, &node, &flags, &settings,
                ))
            }
            Kind::Lovage | Kind::LovageAsync => {
                let pool = if self.kind == Kind::Lovage {
                    "prefork"
                } else {
                    "async"
                };
                let mut worker = LovageWorker::at(&self.url, &self.url)
                    .program(&place::built("test-tasks").to_string_lossy())
                    .hostname(&node)
                    .pool(pool);
                for flag in &flags {
                    worker = worker.bare_flag(flag);
                }
                for (name, value) in &self.settings {
                    let name = format!("CELERY_{}", name.to_uppercase());
                    worker = worker.variable(&name, &as_variable(value));
                }
                Process::Lovage(worker.launch())
            }
        };
        Peer {
            kind: self.kind,
            node,
            queue,
            process,
        }
    }
}

/// A setting as an environment variable says it.
fn as_variable(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => u8::from(*on).to_string(),
        other => other.to_string(),
    }
}
