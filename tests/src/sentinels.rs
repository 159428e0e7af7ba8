//! A replicated Redis that sentinels watch.

use std::process::Command;
use std::time::Duration;

use redis::Connection;
use tempfile::TempDir;

use crate::child::Child;
use crate::place;
use crate::redis_server::{RedisServer, free_port};
use crate::wait::within;

const PATIENCE: Duration = Duration::from_secs(20);
/// The name of the master.
pub const MASTER: &str = "mymaster";

/// A master, a replica, and three sentinels that agree after 500 ms of silence. All ends with the value.
#[derive(Debug)]
pub struct WatchedRedis {
    /// The first master and the first replica.
    pub servers: [RedisServer; 2],
    sentinels: Vec<(u16, Child)>,
    _folder: TempDir,
}

impl WatchedRedis {
    /// Starts all of them, and waits until the sentinels know the replica and each other. The master refuses to write
    /// while its replica is gone or more than a second behind.
    pub fn start() -> Self {
        let quorum = [
            "--min-replicas-to-write",
            "1",
            "--min-replicas-max-lag",
            "1",
        ];
        let master = RedisServer::with_arguments(&quorum);
        let port = master.port().to_string();
        let replica = RedisServer::with_arguments(&["--replicaof", "127.0.0.1", &port]);
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
                let own = free_port();
                let file = folder.path().join(format!("{number}.conf"));
                let text = format!(
                    "port {own}\nbind 127.0.0.1\ndir {}\nsentinel monitor {MASTER} 127.0.0.1 {port} 2\n\
                     sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n\
                     sentinel parallel-syncs {MASTER} 1\n",
                    folder.path().display()
                );
                std::fs::write(&file, text).expect("the folder is writable");
                let mut command = Command::new(place::redis_server());
                command.arg(&file).arg("--sentinel");
                let child = Child::start("redis-sentinel", &mut command, "install redis-server").quiet();
                (own, child)
            })
            .collect();
        let watched = Self {
            servers: [master, replica],
            sentinels,
            _folder: folder,
        };
        for (port, _) in &watched.sentinels {
            within(PATIENCE, "a sentinel that knows the others", || {
                let state = watched.state(*port)?;
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

    fn state(&self, port: u16) -> Option<Vec<String>> {
        redis::cmd("SENTINEL")
            .arg("MASTER")
            .arg(MASTER)
            .query(&mut connection(port)?)
            .ok()
    }

    /// The URL of database 0, through all three sentinels.
    pub fn url(&self) -> String {
        let parts: Vec<String> = self
            .sentinels
            .iter()
            .map(|(port, _)| format!("sentinel://127.0.0.1:{port}"))
            .collect();
        parts.join(";")
    }

    /// The transport options that name the master.
    pub fn options() -> String {
        format!(r#"{{"master_name": "{MASTER}"}}"#)
    }

    /// Ends one of the sentinels.
    pub fn kill_sentinel(&mut self, number: usize) {
        self.sentinels[number].1.kill();
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
        let port = self.sentinels[0].0;
        redis::cmd("SENTINEL")
            .arg("FAILOVER")
            .arg(MASTER)
            .exec(&mut connection(port).expect("the sentinel answers"))
            .expect("the sentinels agree");
    }

    /// Waits until a server says that it is the master.
    pub fn wait_for_master(&self, number: usize) {
        within(PATIENCE, "a new master", || {
            let role: redis::Value = self.servers[number].command(&["ROLE"]);
            match role {
                redis::Value::Array(items) => (items.first()
                    == Some(&redis::Value::BulkString(b"master".to_vec())))
                .then_some(()),
                _ => None,
            }
        });
    }
}

fn connection(port: u16) -> Option<Connection> {
    redis::Client::open(format!("redis://127.0.0.1:{port}"))
        .ok()?
        .get_connection()
        .ok()
}
