//! A replicated Redis that sentinels watch.

use std::process::Command;
use std::time::Duration;

use redis::Connection;
use tempfile::TempDir;

use crate::authority::Authority;
use crate::child::Child;
use crate::place;
use crate::redis_server::{RedisServer, free_port};
use crate::wait::within;

const PATIENCE: Duration = Duration::from_secs(20);
/// The name of the master.
pub const MASTER: &str = "mymaster";

/// The password of sentinels that are encrypted.
const PASSWORD: &str = "between-sentinels";

/// A master, a replica, and three sentinels that agree after 500 ms of silence. All ends with the value.
#[derive(Debug)]
pub struct WatchedRedis {
    /// The first master and the first replica.
    pub servers: [RedisServer; 2],
    sentinels: Vec<Sentinel>,
    encrypted: bool,
    _folder: TempDir,
}

#[derive(Debug)]
struct Sentinel {
    /// Not encrypted; for the test itself where there is another.
    plain: u16,
    /// Where others find it.
    port: u16,
    process: Child,
}

impl WatchedRedis {
    /// Starts all of them, and waits until the sentinels know the replica and each other. The master refuses to write
    /// while its replica is gone or more than a second behind.
    pub fn start() -> Self {
        Self::build(None)
    }

    /// The same with encrypted connections everywhere: between the servers, between the sentinels, and from sentinels to
    /// servers; whoever connects shows a certificate, and the sentinels want a password besides.
    pub fn encrypted(authority: &Authority) -> Self {
        Self::build(Some(authority))
    }

    fn build(authority: Option<&Authority>) -> Self {
        let encryption = |port: u16| {
            let mut settings: Vec<(&str, String)> = Vec::new();
            if let Some(authority) = authority {
                settings = authority.settings(port, "server", true);
                settings.push(("tls-replication", "yes".to_owned()));
            }
            settings
        };
        let server = |more: &[&str]| {
            let encrypted = free_port();
            let words = encryption(encrypted).into_iter();
            let mut words: Vec<String> = words
                .flat_map(|(name, value)| [format!("--{name}"), value])
                .collect();
            words.extend(more.iter().map(|word| (*word).to_owned()));
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let server = RedisServer::with_arguments(&words);
            let port = authority.map_or(server.port(), |_| encrypted);
            (server, port.to_string())
        };
        let (master, port) = server(&[
            "--min-replicas-to-write",
            "1",
            "--min-replicas-max-lag",
            "1",
        ]);
        let (replica, _) = server(&["--replicaof", "127.0.0.1", &port]);
        within(PATIENCE, "the replica follows", || {
            let info: String = replica.command(&["INFO", "replication"]);
            info.contains("master_link_status:up").then_some(())
        });
        let folder = tempfile::Builder::new()
            .prefix("lovage-sentinels-")
            .tempdir()
            .expect("the temporary folder is writable");
        let sentinels = (0..3)
            .map(|number| {
                let (plain, encrypted) = (free_port(), free_port());
                let file = folder.path().join(format!("{number}.conf"));
                let mut text = format!(
                    "port {plain}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {port} 2\n\
                     sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n\
                     sentinel parallel-syncs {MASTER} 1\n",
                    folder.path().display()
                );
                for (name, value) in encryption(encrypted) {
                    text += &format!("{name} {value}\n");
                }
                if authority.is_some() {
                    text += &format!("requirepass {PASSWORD}\nsentinel sentinel-pass {PASSWORD}\n");
                }
                std::fs::write(&file, text).expect("the folder is writable");
                let mut command = Command::new(place::redis_server());
                command.arg(&file).arg("--sentinel");
                let process = Child::start("redis-sentinel", &mut command, "install redis-server").quiet();
                let port = authority.map_or(plain, |_| encrypted);
                Sentinel { plain, port, process }
            })
            .collect();
        let watched = Self {
            servers: [master, replica],
            sentinels,
            encrypted: authority.is_some(),
            _folder: folder,
        };
        for sentinel in &watched.sentinels {
            within(PATIENCE, "a sentinel that knows the others", || {
                let state = watched.state(sentinel)?;
                let has = |name: &str, wanted: &str| {
                    state
                        .chunks(2)
                        .any(|pair| pair[0] == name && pair[1] == wanted)
                };
                (has("num-slaves", "1") && has("num-other-sentinels", "2")).then_some(())
            });
        }
        watched
    }

    fn connection(&self, sentinel: &Sentinel) -> Option<Connection> {
        let login = if self.encrypted {
            format!(":{PASSWORD}@")
        } else {
            String::new()
        };
        let url = format!("redis://{login}127.0.0.1:{}", sentinel.plain);
        redis::Client::open(url).ok()?.get_connection().ok()
    }

    fn state(&self, sentinel: &Sentinel) -> Option<Vec<String>> {
        redis::cmd("SENTINEL")
            .arg("MASTER")
            .arg(MASTER)
            .query(&mut self.connection(sentinel)?)
            .ok()
    }

    /// The URL of database 0, through all three sentinels.
    pub fn url(&self) -> String {
        let parts: Vec<String> = self
            .sentinels
            .iter()
            .map(|sentinel| format!("sentinel://127.0.0.1:{}", sentinel.port))
            .collect();
        parts.join(";")
    }

    /// The transport options that name the master.
    pub fn options() -> String {
        format!(r#"{{"master_name": "{MASTER}"}}"#)
    }

    /// The transport options of a client of encrypted sentinels.
    pub fn encrypted_options(authority: &Authority) -> String {
        let mut kwargs = authority.client_options();
        kwargs["ssl"] = true.into();
        kwargs["password"] = PASSWORD.into();
        serde_json::json!({"master_name": MASTER, "sentinel_kwargs": kwargs}).to_string()
    }

    /// The ports at which the sentinels find each other, as the first one tells them, and as they are.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ports_of_others(&self) -> (Vec<String>, Vec<String>) {
        let connection = self.connection(&self.sentinels[0]);
        let told: Vec<Vec<String>> = redis::cmd("SENTINEL")
            .arg("SENTINELS")
            .arg(MASTER)
            .query(&mut connection.expect("the sentinel answers"))
            .expect("it knows the master");
        let told = told.iter().flat_map(|one| one.chunks(2));
        let told = told.filter(|pair| pair[0] == "port");
        let mut told: Vec<String> = told.map(|pair| pair[1].clone()).collect();
        let others = self.sentinels[1..].iter();
        let mut others: Vec<String> = others.map(|one| one.port.to_string()).collect();
        told.sort_unstable();
        others.sort_unstable();
        (told, others)
    }

    /// Ends one of the sentinels.
    pub fn kill_sentinel(&mut self, number: usize) {
        self.sentinels[number].process.kill();
    }

    /// Kills the first master; the replica takes over after a while.
    pub fn kill_master(&mut self) {
        self.servers[0].kill();
    }

    /// Has the sentinels make the replica the master, with both alive.
    ///
    /// # Panics
    /// When they refuse.
    pub fn fail_over(&self) {
        let connection = self.connection(&self.sentinels[0]);
        redis::cmd("SENTINEL")
            .arg("FAILOVER")
            .arg(MASTER)
            .exec(&mut connection.expect("the sentinel answers"))
            .expect("the sentinels agree");
    }

    /// Waits until a server says that it is the master.
    pub fn wait_for_master(&self, number: usize) {
        within(PATIENCE, "a new master", || {
            // Sentinels end the connections of a server whose role they change.
            let mut connection = self.servers[number].client().get_connection().ok()?;
            match redis::cmd("ROLE").query(&mut connection).ok()? {
                redis::Value::Array(items) => (items.first()
                    == Some(&redis::Value::BulkString(b"master".to_vec())))
                .then_some(()),
                _ => None,
            }
        });
    }
}
