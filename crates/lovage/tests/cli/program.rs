//! The binary under test, with an environment of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use lovage_broker::redis_server::RedisServer;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The command with no variable of the caller's shell and no `.env` of the repository.
pub(crate) fn command(words: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lovage"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["CELERY_", "LOVAGE_", "REDIS_", "DATABASE_"]
            .iter()
            .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    command
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null());
    command.args(words).envs(variables.iter().copied());
    command
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Fails unless the code is this one.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// Fails unless it said exactly one line on standard error, and that holds `part`.
    #[track_caller]
    pub(crate) fn one_line_with(&self, part: &str) {
        assert_eq!(self.err.lines().count(), 1, "{self:#?}");
        assert!(self.err.contains(part), "{part}: {self:#?}");
    }
}

/// Runs a command to its end.
pub(crate) fn run(words: &[&str], variables: &[(&str, &str)]) -> Ended {
    command(words, variables).output().unwrap().into()
}

/// A Redis, and commands on it.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) redis: RedisServer,
    url: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self::on(RedisServer::start().unwrap())
    }

    pub(crate) fn on(redis: RedisServer) -> Self {
        let url = redis.url(0);
        Self { redis, url }
    }

    pub(crate) fn variables(&self) -> [(&str, &str); 2] {
        [("CELERY_BROKER_URL", &self.url), ("LOVAGE_DEMO_TASKS", "1")]
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        run(words, &self.variables())
    }

    pub(crate) fn worker(&self, flags: &[&str]) -> Running {
        let mut words = vec!["worker"];
        words.extend(flags);
        Running::start(&words, &self.variables())
    }
}

/// A command that runs; dropping it kills it.
#[derive(Debug)]
pub(crate) struct Running {
    process: Child,
    folder: TempDir,
}

impl Running {
    pub(crate) fn start(words: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = command(words, variables)
            .stdout(fs::File::create(folder.path().join("out")).unwrap())
            .stderr(fs::File::create(folder.path().join("err")).unwrap())
            .spawn()
            .unwrap();
        Self { process, folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn out(&self) -> String {
        fs::read_to_string(self.folder.path().join("out")).unwrap()
    }

    pub(crate) fn err(&self) -> String {
        fs::read_to_string(self.folder.path().join("err")).unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_for(&mut self, needle: &str) {
        let limit = Instant::now() + PATIENCE;
        while !self.err().contains(needle) {
            let ended = self.process.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < limit,
                "no {needle:?} ({ended:?}):\n{}{}",
                self.out(),
                self.err()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < limit, "it does not end:\n{}", self.err());
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A path in a temporary folder, as text.
pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder of the test's own.
pub(crate) fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}
