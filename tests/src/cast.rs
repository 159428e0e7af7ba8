//! A Redis, workers of one kind or both, and a Python that asks them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::peer::{Fleet, Kind, Peer, PeerBuilder};
use crate::python::Python;
use crate::redis_server::RedisServer;
use crate::wait;

/// The parts end in the order of the fields.
#[derive(Debug)]
pub struct Cast {
    /// An operator's script.
    pub python: Python,
    /// The workers.
    pub peers: Vec<Peer>,
    /// The broker and result store of all.
    pub redis: RedisServer,
}

impl Cast {
    /// A fleet as it is by default.
    pub fn of(fleet: Fleet) -> Self {
        Self::with(fleet, |peer| peer)
    }

    /// A fleet, each worker as `configure` makes it.
    pub fn with(fleet: Fleet, configure: impl Fn(PeerBuilder) -> PeerBuilder) -> Self {
        Self::start(fleet, None, configure)
    }

    /// A fleet whose workers start when Python has run a snippet.
    pub fn before(
        fleet: Fleet,
        first: &str,
        configure: impl Fn(PeerBuilder) -> PeerBuilder,
    ) -> Self {
        Self::start(fleet, Some(first), configure)
    }

    fn start(
        fleet: Fleet,
        first: Option<&str>,
        configure: impl Fn(PeerBuilder) -> PeerBuilder,
    ) -> Self {
        let redis = RedisServer::with_port();
        let url = redis.port_url();
        let mut python = Python::start(&url, &url, &json!({}));
        if let Some(first) = first {
            python.run(first);
        }
        let launch = |kind: &Kind| configure(Peer::builder(*kind, &url)).launch();
        // They start side by side: Python takes a second.
        let peers = fleet.kinds().iter().map(launch).collect();
        python.run("from asking import ask, timed");
        let mut cast = Self {
            python,
            peers,
            redis,
        };
        cast.peers.iter_mut().for_each(Peer::wait_until_ready);
        cast
    }

    /// The names of the nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.peers.iter().map(|peer| peer.node.clone()).collect()
    }

    /// One node's answer to a command.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ask(&mut self, node: &str, method: &str, arguments: &Value) -> Value {
        let code = format!("ask({method:?}, {}, [{node:?}])", literal(arguments));
        let mut answers = self.python.eval(&code);
        let answer = answers
            .as_object_mut()
            .and_then(|answers| answers.remove(node));
        answer
            .unwrap_or_else(|| panic!("{node} does not answer to {method} {arguments}: {answers}"))
    }

    /// The answers of all nodes to a command.
    ///
    /// # Panics
    /// When one does not answer.
    pub fn ask_all(&mut self, method: &str, arguments: &Value) -> BTreeMap<String, Value> {
        let nodes = self.nodes();
        nodes
            .into_iter()
            .map(|node| {
                let answer = self.ask(&node, method, arguments);
                (node, answer)
            })
            .collect()
    }

    /// Tells one node without wanting an answer.
    pub fn tell(&mut self, node: &str, method: &str, arguments: &Value) {
        self.python.run(&format!(
            "app.control.broadcast({method:?}, arguments={}, destination=[{node:?}])",
            literal(arguments)
        ));
    }

    /// Sends a task to a queue, with the options of `send_task`, and returns its id.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn send(&mut self, queue: &str, task: &str, args: &Value, options: &Value) -> String {
        let id = self.python.eval(&format!(
            "app.send_task({task:?}, tuple({}), queue={queue:?}, **{}).id",
            literal(args),
            literal(options)
        ));
        id.as_str().expect("an id is text").to_owned()
    }

    /// Waits until a node's answer is as wanted, and returns it.
    ///
    /// # Panics
    /// When it does not become so in time; the message holds the last answer.
    pub fn ask_until(
        &mut self,
        node: &str,
        method: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let started = std::time::Instant::now();
        loop {
            let answer = self.ask(node, method, &json!({}));
            if wanted(&answer) {
                return answer;
            }
            assert!(
                started.elapsed() < wait::PATIENCE,
                "{method} of {node} stays {answer}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until a node runs so many tasks.
    pub fn wait_for_active(&mut self, node: &str, tasks: usize) -> Value {
        self.ask_until(node, "active", |active| {
            active.as_array().is_some_and(|all| all.len() == tasks)
        })
    }
}

/// A JSON value in Python's words.
pub fn literal(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().map(literal).collect();
            format!("[{}]", all.join(", "))
        }
        Value::Object(all) => {
            let all: Vec<String> = all
                .iter()
                .map(|(key, value)| format!("{}: {}", Value::from(key.as_str()), literal(value)))
                .collect();
            format!("{{{}}}", all.join(", "))
        }
        // Numbers and JSON's strings are Python's, too.
        other => other.to_string(),
    }
}
