//! A child process that ends with its test.

use std::os::unix::process::CommandExt;
use std::process::{Child as Process, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::log::Log;
use crate::wait::within;

/// A running program in a process group of its own. Dropping it kills the group; when the test is failing, its output is
/// shown.
#[derive(Debug)]
pub struct Child {
    name: String,
    process: Process,
    log: Log,
    status: Option<ExitStatus>,
    quiet: bool,
}

impl Child {
    /// Starts a program with its output (both streams) collected in a [`Log`].
    ///
    /// # Panics
    /// When the program cannot be started; `hint` says what to do about it.
    pub fn start(name: &str, command: &mut Command, hint: &str) -> Self {
        command.stdin(Stdio::null());
        Self::start_with_input(name, command, hint)
    }

    /// As [`Child::start`], with standard input as the command says.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start_with_input(name: &str, command: &mut Command, hint: &str) -> Self {
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut process = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}; {hint}"));
        let log = Log::default();
        log.follow(process.stdout.take().expect("standard output is piped"));
        log.follow(process.stderr.take().expect("standard error is piped"));
        Self {
            name: name.to_owned(),
            process,
            log,
            status: None,
            quiet: false,
        }
    }

    /// Keeps its output out of the report of a failing test.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The process id.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process)
    }

    /// Standard input, once, when it was piped.
    pub fn take_input(&mut self) -> Option<std::process::ChildStdin> {
        self.process.stdin.take()
    }

    /// What it has written.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits for a text in its output.
    ///
    /// # Panics
    /// When the program ends or the time is over first; the message holds the output.
    pub fn wait_for(&mut self, needle: &str, limit: Duration) {
        if !self.log.wait_for(needle, limit) {
            let state = if self.is_running() {
                "is still running"
            } else {
                "has ended"
            };
            panic!(
                "{} {state} without having written {needle:?}; its output:\n{}",
                self.name,
                self.log.text()
            );
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.status.is_none() {
            self.status = self
                .process
                .try_wait()
                .expect("the state of a child can be asked");
        }
        self.status.is_none()
    }

    /// Sends a signal to the process alone; nothing when it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            // An error means that it ended in this moment.
            let _ = kill_process(self.pid(), signal);
        }
    }

    /// Kills the whole group with SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // Also when the leader has ended: its children may live on.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        if self.status.is_none() {
            self.status = self.process.wait().ok();
        }
    }

    /// Waits for the end.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        within(limit, &what, || (!self.is_running()).then_some(()));
        self.status
            .expect("a process that does not run has a status")
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() && !self.quiet {
            show(&self.name, &self.log.text());
        }
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the output of a failing test is where this belongs"
)]
fn show(name: &str, output: &str) {
    let lines: Vec<&str> = output.lines().collect();
    let tail = &lines[lines.len().saturating_sub(60)..];
    eprintln!("--- the last lines of {name}:\n{}\n---", tail.join("\n"));
}
