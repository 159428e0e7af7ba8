//! A role of `lovage` that serves its health and its numbers at an address of its own.

use std::time::Duration;

use serde_json::Value;

use crate::child::Child;
use crate::http;
use crate::log::Log;
use crate::lovage_worker::{LovageWorker, lovage_at};
use crate::redis_server::RedisServer;
use crate::wait::within;

const PATIENCE: Duration = Duration::from_secs(30);
const BEFORE: &str = "health and metrics are at http://127.0.0.1:";

/// Where a role tells of itself.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// The port on the loopback address.
    pub port: u16,
}

impl Role {
    /// Starts `lovage ROLE` with these settings and a free port to tell of itself at.
    pub fn start(role: &str, variables: &[(&str, &str)]) -> (Child, Self) {
        let mut command = lovage_at(variables);
        command.env("LOVAGE_MONITOR_BIND", "127.0.0.1:0").arg(role);
        let name = format!("lovage {role}");
        let mut process = Child::start(&name, &mut command, "cargo build -p lovage");
        process.wait_for(BEFORE, PATIENCE);
        let role = Self::by(process.log());
        (process, role)
    }

    /// Starts a worker `lovage@here` with these settings besides, and waits until it consumes.
    pub fn worker(redis: &RedisServer, more: &[(&str, &str)]) -> (LovageWorker, Self) {
        let builder = LovageWorker::builder(redis)
            .hostname("lovage@here")
            .variable("LOVAGE_MONITOR_BIND", "127.0.0.1:0");
        let builder = more.iter().fold(builder, |builder, (name, value)| {
            builder.variable(name, value)
        });
        let worker = builder.start();
        let role = Self::by(worker.log());
        (worker, role)
    }

    fn by(log: &Log) -> Self {
        let log = log.text();
        let port = log
            .split(BEFORE)
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|port| port.parse().ok());
        Self {
            port: port.unwrap_or_else(|| panic!("no address in: {log}")),
        }
    }

    /// What `/health/ready` says, with its status code.
    pub fn ready(&self) -> (u16, Value) {
        let answer = http::get(self.port, "/health/ready");
        (answer.status, answer.value())
    }

    /// Waits until it can do its work.
    pub fn wait_until_ready(&self) {
        within(PATIENCE, "a role that is ready", || {
            (self.ready().0 == 200).then_some(())
        });
    }

    /// Its numbers, whole.
    ///
    /// # Panics
    /// When it does not give them.
    pub fn metrics(&self) -> String {
        let page = http::get(self.port, "/metrics");
        assert_eq!(page.status, 200, "{}", page.text);
        assert!(page.text.ends_with("# EOF\n"), "{}", page.text);
        page.text
    }

    /// Waits until its numbers have a line that begins so.
    ///
    /// # Panics
    /// When they do not get it; the message holds them.
    pub fn wait_for_line(&self, start: &str) {
        let mut page = String::new();
        let started = std::time::Instant::now();
        while started.elapsed() < PATIENCE {
            page = self.metrics();
            if page.lines().any(|line| line.starts_with(start)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no line begins with {start}:\n{page}");
    }
}
