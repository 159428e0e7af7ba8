//! The Redis that `lovage up` starts for itself, and ends.
//!
//! It listens on loopback only and keeps its data in an append-only file. A guard stops it when this process dies without
//! being able to. A lock that the server inherits keeps a second one off the folder for as long as it runs.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

use crate::{
    failure::Failure,
    guard::{self, free_port},
    pidfile::is_alive,
};

/// Loading a big append-only file takes its time.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Writing out what is left takes its time too.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A running server.
#[derive(Debug)]
pub(crate) struct RedisChild {
    server: Child,
    /// Ends the server when its standard input, which we hold, is closed.
    guard: Child,
    port: u16,
    log: PathBuf,
}

impl RedisChild {
    /// Starts a server on the folder and waits until it answers.
    pub(crate) async fn start(folder: &Path) -> Result<Self, Failure> {
        let cannot = |what: &str, error: io::Error| {
            Failure::failed(format!("cannot {what} {}: {error}", folder.display()))
        };
        fs::create_dir_all(folder).map_err(|error| cannot("make the folder", error))?;
        let folder = &folder
            .canonicalize()
            .map_err(|error| cannot("find the folder", error))?;
        let lock = lock(folder).await?;
        let port_file = folder.join("port");
        // The port of the last time, if it is free: what was pasted into another terminal then still holds.
        let last = fs::read_to_string(&port_file)
            .ok()
            .and_then(|text| text.trim().parse().ok());
        let mut failure = None;
        for wanted in [last.unwrap_or(0), 0, 0] {
            let port = free_port(wanted).map_err(|error| cannot("find a port for", error))?;
            let mut child = Self::spawn(folder, port, &lock)?;
            match child.answer().await {
                Ok(()) => {
                    // Only a comfort for the next start.
                    let _ = fs::write(&port_file, format!("{port}\n"));
                    return Ok(child);
                }
                Err(why) => {
                    let in_use = child.log_tail().contains("Address already in use");
                    child.stop().await;
                    failure = Some(why);
                    if !in_use {
                        break;
                    }
                }
            }
        }
        Err(failure.expect("the loop runs at least once, and returns unless it failed"))
    }

    /// The URL to reach it by.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// Where its own log is.
    pub(crate) fn log(&self) -> &Path {
        &self.log
    }

    /// Waits for an end that nobody asked for.
    pub(crate) async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.server.wait().await
    }

    /// Ends it and waits until its data is written.
    pub(crate) async fn stop(mut self) {
        guard::stop(&mut self.server, &mut self.guard, STOP_LIMIT).await;
    }

    fn spawn(folder: &Path, port: u16, lock: &File) -> Result<Self, Failure> {
        let log = folder.join("server.log");
        let log_file = File::create(&log)
            .map_err(|error| Failure::failed(format!("cannot write {}: {error}", log.display())))?;
        let inherited = |file: &File| {
            file.try_clone()
                .map(Stdio::from)
                .map_err(|error| Failure::failed(format!("cannot start redis-server: {error}")))
        };
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
            .arg(folder)
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--save",
                "",
            ])
            .args([
                "--daemonize",
                "no",
                "--logfile",
                "",
                "--maxmemory-policy",
                "noeviction",
            ])
            .stdin(Stdio::null())
            .stdout(inherited(&log_file)?)
            // It writes nothing there; holding the lock is what this is for.
            .stderr(inherited(lock)?)
            .process_group(0)
            .kill_on_drop(true);
        let server = command.spawn().map_err(|error| not_started(&error))?;
        let guard = guard::guard(&server, STOP_LIMIT)
            .map_err(|error| Failure::failed(format!("cannot start /bin/sh: {error}")))?;
        Ok(Self {
            server,
            guard,
            port,
            log,
        })
    }

    /// Waits until the server itself answers, and not whoever else may have got the port.
    async fn answer(&mut self) -> Result<(), Failure> {
        let own = format!("process_id:{}\r", self.server.id().unwrap_or_default());
        let limit = Instant::now() + START_LIMIT;
        loop {
            if let Ok(Some(status)) = self.server.try_wait() {
                let tail = self.log_tail();
                return Err(Failure::failed(format!(
                    "redis-server ended at its start ({status}):\n{tail}"
                )));
            }
            let info = timeout(Duration::from_secs(2), info(self.port)).await;
            if let Ok(Ok(info)) = info
                && info.contains(&own)
                && info.contains("\nloading:0")
            {
                return Ok(());
            }
            if Instant::now() > limit {
                let (log, seconds) = (self.log.display(), START_LIMIT.as_secs());
                return Err(Failure::failed(format!(
                    "redis-server does not answer after {seconds} s; see {log}"
                )));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

fn not_started(error: &io::Error) -> Failure {
    if error.kind() != io::ErrorKind::NotFound {
        return Failure::failed(format!("cannot start redis-server: {error}"));
    }
    Failure::failed(
        "redis-server is not installed; install it (apt install redis-server, dnf install redis, brew install redis), \
         or set CELERY_BROKER_URL to a Redis that runs",
    )
}

/// Takes the folder for this process and the server that inherits the lock.
async fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join("lock");
    let cannot =
        |error: io::Error| Failure::failed(format!("cannot lock {}: {error}", path.display()));
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(cannot)?;
    let limit = Instant::now() + STOP_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            Err(TryLockError::Error(error)) => return Err(cannot(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let mut holder = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut holder))
            .map_err(cannot)?;
        let holder: Option<u32> = holder.trim().parse().ok();
        // When the process has died, its server is about to.
        if holder.is_none_or(is_alive) || Instant::now() > limit {
            let who = holder
                .map(|pid| format!(" (process {pid})"))
                .unwrap_or_default();
            return Err(Failure::held(format!(
                "another `lovage up`{who} uses {}; stop it, or use another folder with --data",
                folder.display()
            )));
        }
        sleep(Duration::from_millis(50)).await;
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(cannot)?;
    Ok(file)
}

/// The answer to `INFO`, as far as it says who answers and whether data is still being loaded.
async fn info(port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.write_all(b"INFO\r\nQUIT\r\n").await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
