//! `lovage keeper`, beside a broker and a database.

use std::process::Command;
use std::time::Duration;

use crate::child::Child;
use crate::lovage_worker::lovage_at;

const PATIENCE: Duration = Duration::from_secs(30);

/// A running `lovage keeper`; ends with the value.
#[derive(Debug)]
pub struct KeeperProcess {
    process: Child,
}

impl KeeperProcess {
    /// One that keeps this database, once it is ready.
    pub fn start(broker: &str, database: &str) -> Self {
        Self::with(broker, database, &[])
    }

    /// The same with more variables.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn with(broker: &str, database: &str, variables: &[(&str, &str)]) -> Self {
        let mut keeper = Self::launch(broker, database, variables);
        keeper.process.wait_for("keeper ready", PATIENCE);
        keeper
    }

    /// One that may have to wait for something.
    pub fn launch(broker: &str, database: &str, variables: &[(&str, &str)]) -> Self {
        let mut all = vec![("CELERY_BROKER_URL", broker), ("DATABASE_URL", database)];
        all.extend(variables);
        let mut command: Command = lovage_at(&all);
        command.arg("keeper");
        Self {
            process: Child::start("lovage keeper", &mut command, "cargo build -p lovage"),
        }
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Ends it with SIGKILL: it can do nothing more.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Asks it to stop and waits for its end.
    ///
    /// # Panics
    /// When it does not end, or not well.
    pub fn stop(&mut self) {
        self.process.signal(rustix::process::Signal::TERM);
        let status = self.process.wait(PATIENCE);
        assert!(status.success(), "lovage keeper ended with {status}");
    }
}
