//! A redis-server of its own for a test: on a Unix socket in a temporary folder, gone with the value.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use lovage_settings::{BrokerSettings, BrokerUrl, RedisAddress, RedisUrl};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::ResultPlace;

/// How long a server may take to answer its first PING.
const START: Duration = Duration::from_secs(10);

/// A running (or killed, or stopped) `redis-server`, found in the `PATH`.
#[derive(Debug)]
pub struct RedisServer {
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not answer.
    pub fn start() -> io::Result<Self> {
        Self::with_arguments(&["--save", "", "--appendonly", "no"])
    }

    /// Starts a server that has everything on disk before it answers, so that a restart loses nothing.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn durable() -> io::Result<Self> {
        Self::with_arguments(&[
            "--save",
            "",
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
        ])
    }

    /// Starts a server with these arguments; socket and folder are added.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn with_arguments(arguments: &[&str]) -> io::Result<Self> {
        let arguments = arguments
            .iter()
            .map(|argument| (*argument).to_owned())
            .collect();
        let mut server = Self {
            folder: TempDir::with_prefix("lovage-redis-")?,
            arguments,
            child: None,
        };
        server.spawn()?;
        Ok(server)
    }

    fn spawn(&mut self) -> io::Result<()> {
        let child = Command::new("redis-server")
            .args(["--port", "0", "--daemonize", "no", "--dir"])
            .arg(self.folder.path())
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.child = Some(child);
        let began = Instant::now();
        while let Err(error) = self.ping() {
            if began.elapsed() > START {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn ping(&self) -> io::Result<()> {
        let mut connection = UnixStream::connect(self.socket())?;
        connection.set_read_timeout(Some(Duration::from_secs(1)))?;
        connection.write_all(b"PING\r\n")?;
        let mut answer = [0; 5];
        connection.read_exact(&mut answer)?;
        if &answer == b"+PONG" {
            Ok(())
        } else {
            Err(io::Error::other("the server is not ready"))
        }
    }

    /// The socket it listens on.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Its folder, for files of the test's own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its URL as Celery writes it.
    pub fn url(&self, database: i64) -> String {
        format!(
            "redis+socket://{}?virtual_host={database}",
            self.socket().display()
        )
    }

    /// Settings with this server as the broker.
    pub fn settings(&self) -> BrokerSettings {
        let address = RedisAddress::Unix(self.socket());
        let url = RedisUrl {
            address,
            username: None,
            password: None,
            database: 0,
            tls: None,
        };
        BrokerSettings {
            url: Some(BrokerUrl::Redis(vec![url])),
            ..BrokerSettings::default()
        }
    }

    /// A place for results on this server.
    pub fn place(&self, database: i64) -> ResultPlace {
        ResultPlace::Redis {
            address: self.socket().display().to_string().into(),
            database,
        }
    }

    /// A blocking connection, to look at keys.
    ///
    /// # Errors
    /// When the server does not answer.
    pub fn connection(&self, database: i64) -> redis::RedisResult<redis::Connection> {
        use redis::IntoConnectionInfo;
        let redis = redis::RedisConnectionInfo::default().set_db(database);
        let info = redis::ConnectionAddr::Unix(self.socket())
            .into_connection_info()?
            .set_redis_settings(redis);
        redis::Client::open(info)?.get_connection_with_timeout(START)
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill(&mut self) -> io::Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        child.kill()?;
        child.wait().map(drop)
    }

    /// Kills it and starts it again in the same folder.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn restart(&mut self) -> io::Result<()> {
        self.kill()?;
        self.spawn()
    }

    /// Makes it stand still until [`Self::resume`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let child = self
            .child
            .as_ref()
            .ok_or_else(|| io::Error::other("the server was killed"))?;
        kill_process(Pid::from_child(child), signal).map_err(io::Error::from)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        if let Err(error) = self.kill() {
            tracing::warn!(%error, "a test's redis-server could not be killed");
        }
    }
}
