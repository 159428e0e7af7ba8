//! A mail server of Python's, whose answers a test chooses by the recipient.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place;

const PATIENCE: Duration = Duration::from_secs(30);

/// `interop/python/smtp_server.py`, which says what its answers are; ends with the value.
#[derive(Debug)]
pub struct SmtpServer {
    process: Child,
    lines: Receiver<Value>,
    port: u16,
}

impl SmtpServer {
    /// One without encryption, which lets everybody in.
    pub fn plain() -> Self {
        Self::start(&json!({"encryption": "none", "auth": false}))
    }

    /// One that lets in the user `app` with the password `sesame, open`, encrypted as said: `starttls` or `tls`.
    pub fn encrypted(how: &str, certificate: &Path, key: &Path) -> Self {
        Self::start(&json!({
            "encryption": how, "auth": how == "starttls", "certificate": certificate, "key": key,
        }))
    }

    fn start(options: &Value) -> Self {
        let mut process = Command::new(place::python())
            .arg(place::python_sources().join("smtp_server.py"))
            .arg(options.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python can be started");
        let pipe = process.stdout.take().expect("standard output is piped");
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("it writes JSON");
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let first: Value = lines
            .recv_timeout(PATIENCE)
            .expect("aiosmtpd starts: run scripts/setup");
        let port = first["port"]
            .as_u64()
            .and_then(|port| u16::try_from(port).ok());
        Self {
            process,
            lines,
            port: port.expect("it tells its port first"),
        }
    }

    /// Where it listens, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next thing that happens to it: a mail taken, refused or dropped.
    ///
    /// # Panics
    /// When nothing does.
    pub fn next(&self) -> Value {
        self.lines
            .recv_timeout(PATIENCE)
            .expect("something comes to the mail server")
    }

    /// What has happened that [`SmtpServer::next`] has not told.
    pub fn rest(&self) -> Vec<Value> {
        self.lines.try_iter().collect()
    }
}

impl Drop for SmtpServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
