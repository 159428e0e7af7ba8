//! One child process: how it is started, signalled and found dead.

use std::{
    ffi::OsString,
    fmt, fs, io,
    os::unix::{
        net::UnixStream,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child as Process, Command};
use tracing::{debug, warn};

use super::{connection::Connection, wire::Frame};
use crate::pool::kill_signal::{KillSignal, name_of};

/// How long a child may take to start before that is worth a word.
const SLOW_START: Duration = Duration::from_secs(30);
/// How long a child that was asked to end may take.
const FAREWELL: Duration = Duration::from_secs(5);

/// How a child process of this worker is started: the same program, told to serve ([`crate::serve_child`]).
#[derive(Debug, Clone)]
pub struct ChildCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables that it gets beside this process's own.
    pub variables: Vec<(String, String)>,
}

impl ChildCommand {
    /// The program that runs here, with other arguments. On Linux it is the very same even after the file was replaced by
    /// a newer one, which may speak differently to its children.
    ///
    /// # Errors
    /// When the path of the program is not known.
    pub fn this_program(arguments: Vec<OsString>) -> io::Result<Self> {
        let same = Path::new("/proc/self/exe");
        let program = if same.exists() {
            same.to_owned()
        } else {
            std::env::current_exe()?
        };
        Ok(Self {
            program,
            arguments,
            variables: Vec::new(),
        })
    }
}

/// Why a child did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("it could not be started: {0}")]
    Spawn(#[from] io::Error),
    #[error("{0}")]
    Refused(String),
    #[error("it ended before it was ready, {0}")]
    Ended(Death),
}

/// How a process ended, in billiard's words (`billiard/common.py`, `human_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    Signal(i32),
    Exit(i32),
}

impl From<ExitStatus> for Death {
    fn from(status: ExitStatus) -> Self {
        match (status.signal(), status.code()) {
            (Some(signal), _) => Self::Signal(signal),
            (None, code) => Self::Exit(code.unwrap_or_default()),
        }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signal(number) => match name_of(*number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
            Self::Exit(code) => write!(f, "exitcode {code}"),
        }
    }
}

/// A child that is ready to take a job.
#[derive(Debug)]
pub(super) struct Child {
    process: Process,
    pub(super) connection: Connection,
    pid: Pid,
}

impl Child {
    /// Starts one and waits until it is ready.
    ///
    /// It leads a process group of its own: Ctrl-C on the terminal is the parent's, and what a task starts beside itself
    /// can be ended with it. That the parent has died it learns from its end of the pipe; a signal of the kernel's at the
    /// parent's death would come at the end of the *thread* that started it.
    ///
    /// # Cancel safety
    /// Dropping the future kills the process.
    pub(super) async fn start(command: &ChildCommand) -> Result<Self, StartError> {
        let mut child = Self::spawn(command)?;
        loop {
            let first = tokio::time::timeout(SLOW_START, child.connection.next()).await;
            match first {
                Ok(Ok(Some(Frame::Ready))) => return Ok(child),
                Ok(Ok(Some(Frame::Refused(why)))) => {
                    child.stop().await;
                    return Err(StartError::Refused(why));
                }
                Ok(Ok(Some(_)) | Err(_)) => {
                    return Err(StartError::Ended(child.end().await));
                }
                Ok(Ok(None)) => return Err(StartError::Ended(child.end().await)),
                Err(_) => warn!(
                    pid = child.pid(),
                    "a child process is still not ready; does a state of its tasks wait for something?"
                ),
            }
        }
    }

    fn spawn(command: &ChildCommand) -> Result<Self, StartError> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut start = std::process::Command::new(&command.program);
        if let Some(name) = std::env::args_os().next() {
            start.arg0(name);
        }
        start
            .args(&command.arguments)
            .envs(command.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
            .process_group(0);
        let process = Command::from(start).kill_on_drop(true).spawn()?;
        let pid = process
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw)
            .ok_or_else(|| io::Error::other("it has no process id"))?;
        debug!(pid = pid.as_raw_nonzero().get(), "a child process starts");
        Ok(Self {
            process,
            connection: Connection::new(ours)?,
            pid,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Sends a signal to the process alone. Its id is its own until [`Self::end`] has fetched its status.
    pub(super) fn signal(&self, signal: KillSignal) {
        // An error means that it ended in this moment.
        let _ = kill_process(self.pid, signal.signal());
    }

    /// Kills what is left of it, and all that it started beside itself, and tells how it ended. Of one that has closed its
    /// pipe by ending the status is settled already, and this signal changes nothing.
    pub(super) async fn end(&mut self) -> Death {
        let _ = kill_process_group(self.pid, Signal::KILL);
        match self.process.wait().await {
            Ok(status) => status.into(),
            // Somebody else has fetched it, which only a task that meddles with processes can do.
            Err(_) => Death::Signal(Signal::KILL.as_raw()),
        }
    }

    /// Asks it to end and sees to it.
    pub(super) async fn stop(mut self) {
        self.connection.send(&Frame::Stop);
        let gone = async { while let Ok(Some(_)) = self.connection.next().await {} };
        if tokio::time::timeout(FAREWELL, gone).await.is_err() {
            warn!(
                pid = self.pid(),
                "a child process did not end when asked, it is killed"
            );
        }
        self.end().await;
    }

    /// The most memory that it has used so far, KiB (`billiard/compat.py`, `mem_rss`); `None` where nobody says.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_in_billiards_words() {
        let told = |wait_status| Death::from(ExitStatus::from_raw(wait_status)).to_string();
        assert_eq!(told(9), "signal 9 (SIGKILL)");
        assert_eq!(told(6 | 0x80), "signal 6 (SIGABRT)");
        assert_eq!(told(3 << 8), "exitcode 3");
        assert_eq!(Death::Signal(40).to_string(), "signal 40");
    }
}
