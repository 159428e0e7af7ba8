//! A Redis of the test's own.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use redis::{Commands, Connection, RedisResult};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::child::Child;
use crate::message::TaskMessage;
use crate::place;
use crate::wait::within;

const PATIENCE: Duration = Duration::from_secs(10);

/// A `redis-server` on a unix socket in a temporary folder, and on a loopback port when asked for. It ends with the value.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    port: Option<u16>,
    durable: bool,
    password: Option<String>,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts one on a unix socket alone, keeping nothing.
    pub fn start() -> Self {
        Self::new(false, false, None)
    }

    /// Starts one that also listens on a free loopback port.
    pub fn with_port() -> Self {
        Self::new(true, false, None)
    }

    /// Starts one with a port that writes every command to disk before answering, so that nothing is lost when it is
    /// killed.
    pub fn durable() -> Self {
        Self::new(true, true, None)
    }

    /// Starts one with a port that wants a password from the default user.
    pub fn with_password(password: &str) -> Self {
        Self::new(true, false, Some(password))
    }

    /// Starts one with a port and these arguments besides.
    pub fn with_arguments(arguments: &[&str]) -> Self {
        Self::build(true, false, None, arguments)
    }

    fn new(port: bool, durable: bool, password: Option<&str>) -> Self {
        Self::build(port, durable, password, &[])
    }

    fn build(port: bool, durable: bool, password: Option<&str>, arguments: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("lovage-redis-")
            .tempdir()
            .expect("the temporary folder is writable");
        let mut server = Self {
            folder,
            port: port.then(free_port),
            durable,
            password: password.map(str::to_owned),
            arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
            process: None,
        };
        server.restart();
        server
    }

    /// Starts it again after [`RedisServer::stop`] or [`RedisServer::kill`], at the same place.
    ///
    /// # Panics
    /// When it does not answer in time.
    pub fn restart(&mut self) {
        self.process = None;
        let mut command = Command::new(place::redis_server());
        command
            .arg("--port")
            .arg(self.port.unwrap_or(0).to_string())
            .args(["--bind", "127.0.0.1"]);
        command
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .args(["--save", ""]);
        if self.durable {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        } else {
            command.args(["--appendonly", "no"]);
        }
        if let Some(password) = &self.password {
            command.arg("--requirepass").arg(password);
        }
        command.args(&self.arguments);
        let mut process = Child::start(
            "redis-server",
            &mut command,
            "install redis-server, or run scripts/setup",
        )
        .quiet();
        process.wait_for("ready to accept connections", PATIENCE);
        self.process = Some(process);
        within(PATIENCE, "an answer from redis-server", || {
            self.try_connection(0).ok().map(drop)
        });
    }

    /// Ends it in order (SIGTERM) and waits.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.signal(Signal::TERM);
            process.wait(PATIENCE);
        }
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// The process, for signals.
    ///
    /// # Panics
    /// When it does not run.
    pub fn process(&mut self) -> &mut Child {
        self.process.as_mut().expect("redis-server runs")
    }

    /// The path of the socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// The loopback port.
    ///
    /// # Panics
    /// When it was started without one.
    pub fn port(&self) -> u16 {
        self.port
            .expect("this redis-server was started with a port")
    }

    /// A URL that Celery and Lovage understand: database 0 over the socket.
    pub fn url(&self) -> String {
        self.database_url(0)
    }

    /// The same for another logical database.
    pub fn database_url(&self, database: i64) -> String {
        let password = self
            .password
            .as_ref()
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        format!(
            "redis+socket://{password}{}?virtual_host={database}",
            self.socket().display()
        )
    }

    /// A URL of database 0 over the loopback port.
    ///
    /// # Panics
    /// When it was started without a port.
    pub fn port_url(&self) -> String {
        let password = self
            .password
            .as_ref()
            .map(|password| format!(":{password}@"))
            .unwrap_or_default();
        format!("redis://{password}127.0.0.1:{}/0", self.port())
    }

    /// A client of database 0, for a thread that connects by itself.
    ///
    /// # Panics
    /// Never: the address is well formed.
    pub fn client(&self) -> redis::Client {
        let url = format!("redis+unix://{}", self.socket().display());
        redis::Client::open(url).expect("the address is well formed")
    }

    /// A connection to a logical database.
    ///
    /// # Panics
    /// When Redis cannot be reached.
    pub fn connection_to(&self, database: i64) -> Connection {
        self.try_connection(database)
            .expect("the test's redis-server can be reached")
    }

    /// A connection to database 0.
    pub fn connection(&self) -> Connection {
        self.connection_to(0)
    }

    fn try_connection(&self, database: i64) -> RedisResult<Connection> {
        let password = self
            .password
            .as_ref()
            .map(|password| format!("&pass={password}"))
            .unwrap_or_default();
        let url = format!(
            "redis+unix://{}?db={database}{password}",
            self.socket().display()
        );
        let mut connection = redis::Client::open(url)?.get_connection()?;
        redis::cmd("PING").exec(&mut connection)?;
        Ok(connection)
    }

    /// Runs one command, given as words.
    ///
    /// # Panics
    /// When Redis refuses it.
    pub fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command
            .query(&mut self.connection())
            .unwrap_or_else(|error| panic!("redis: {words:?}: {error}"))
    }

    /// Publishes a task message as Python does.
    pub fn publish(&self, queue: &str, message: &TaskMessage) {
        self.publish_raw(queue, message.to_json().as_bytes());
    }

    /// Puts any bytes at the end of a queue.
    pub fn publish_raw(&self, queue: &str, raw: &[u8]) {
        let _: i64 = self.connection().lpush(queue, raw).expect("LPUSH works");
    }

    /// The messages waiting in one list, the next to be served first.
    pub fn waiting(&self, list: &str) -> Vec<Vec<u8>> {
        let mut messages: Vec<Vec<u8>> =
            self.connection().lrange(list, 0, -1).expect("LRANGE works");
        messages.reverse();
        messages
    }

    /// The messages waiting in one list, parsed.
    pub fn waiting_json(&self, list: &str) -> Vec<Value> {
        self.waiting(list)
            .iter()
            .map(|raw| serde_json::from_slice(raw).expect("a waiting message is JSON"))
            .collect()
    }

    /// How many messages wait in one list.
    pub fn depth(&self, list: &str) -> usize {
        self.connection().llen(list).expect("LLEN works")
    }

    /// How many deliveries are not acknowledged.
    pub fn unacked(&self) -> usize {
        self.connection().hlen("unacked").expect("HLEN works")
    }

    /// A stored result, as text.
    pub fn result_text(&self, id: &str) -> Option<String> {
        self.connection()
            .get(format!("celery-task-meta-{id}"))
            .expect("GET works")
    }

    /// A stored result.
    pub fn result(&self, id: &str) -> Option<Value> {
        self.result_text(id)
            .map(|text| serde_json::from_str(&text).expect("a stored result is JSON"))
    }

    /// The stored state, `PENDING` when nothing is stored.
    pub fn state(&self, id: &str) -> String {
        let text = self.result_text(id);
        // Only the state is looked at: the value may hold NaN, which is no JSON.
        let status = text
            .as_deref()
            .and_then(|text| text.strip_prefix("{\"status\": \"")?.split('"').next());
        status.unwrap_or("PENDING").to_owned()
    }

    /// Waits for a state and returns what is stored.
    ///
    /// # Panics
    /// When it is not reached in time.
    pub fn wait_for_state(&self, id: &str, state: &str) -> Value {
        let what = format!("state {state} of {id}");
        within(crate::wait::PATIENCE, &what, || {
            (self.state(id) == state).then_some(())
        });
        self.result(id)
            .expect("a state other than PENDING is stored")
    }
}

/// A loopback port that was free a moment ago.
///
/// # Panics
/// When the system has none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    listener
        .local_addr()
        .expect("a listener has an address")
        .port()
}
