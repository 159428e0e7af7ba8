//! `lovage beat`, as a process.

use std::time::Duration;

use rustix::process::Signal;

use crate::child::Child;
use crate::log::Log;
use crate::lovage_worker::lovage_command;
use crate::redis_server::RedisServer;

const PATIENCE: Duration = Duration::from_secs(20);

/// A running `lovage beat`; ends with the value.
#[derive(Debug)]
pub struct LovageBeat {
    process: Child,
}

impl LovageBeat {
    /// A beat on a Redis, which either leads or stands by.
    pub fn on(redis: &RedisServer) -> Self {
        Self::with(redis, &[], &[])
    }

    /// A beat with flags and variables.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn with(redis: &RedisServer, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut beat = Self::launch(redis, flags, variables);
        beat.process.wait_for("ready", PATIENCE);
        beat
    }

    /// The same without waiting for anything.
    pub fn launch(redis: &RedisServer, flags: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut command = lovage_command(redis, &[&["beat"], flags].concat());
        command.envs(variables.iter().copied());
        let process = Child::start("lovage beat", &mut command, "cargo build -p lovage");
        Self { process }
    }

    /// Waits until it leads.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until_it_leads(&mut self) {
        self.process.wait_for("this beat leads", PATIENCE);
    }

    /// What it has written.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Sends a signal.
    pub fn signal(&mut self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Asks for a stop and waits for it.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::TERM);
        self.process.wait(PATIENCE)
    }
}
