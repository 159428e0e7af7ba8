//! Python with Celery, as a conversation.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::place;
use crate::redis_server::RedisServer;

/// An interpreter in which `app` is a Celery application on the test's broker. Names live from one snippet to the next.
/// A snippet gives its answer with `answer(value)`; what it does not answer is null.
#[derive(Debug)]
pub struct Python {
    process: Child,
    input: ChildStdin,
    output: Receiver<String>,
}

impl Python {
    /// An interpreter on a Redis as broker and result store.
    pub fn on(redis: &RedisServer) -> Self {
        Self::start(&redis.url(), &redis.url(), &json!({}))
    }

    /// The same with Celery settings besides the two URLs.
    pub fn with_settings(redis: &RedisServer, settings: &Value) -> Self {
        Self::start(&redis.url(), &redis.url(), settings)
    }

    /// An interpreter on any broker and result store.
    ///
    /// # Panics
    /// When Python or Celery is missing.
    pub fn start(broker: &str, results: &str, settings: &Value) -> Self {
        let mut process = Command::new(place::python())
            .arg(place::python_sources().join("conversation.py"))
            .env("CELERY_BROKER_URL", broker)
            .env("CELERY_RESULT_BACKEND", results)
            .env("TEST_CELERY_SETTINGS", settings.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("Python can be started");
        let input = process.stdin.take().expect("standard input is piped");
        let pipe = process.stdout.take().expect("standard output is piped");
        let (sender, output) = channel();
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            process,
            input,
            output,
        }
    }

    /// Runs a snippet and returns its answer.
    ///
    /// # Panics
    /// When the snippet raises (the message holds the traceback) or takes longer than a minute.
    pub fn run(&mut self, code: &str) -> Value {
        let line = json!({ "code": unindented(code) }).to_string();
        writeln!(self.input, "{line}").expect("Python reads its input");
        let answer = self.output.recv_timeout(Duration::from_secs(60));
        let answer =
            answer.unwrap_or_else(|error| panic!("no answer from Python ({error}) to:\n{code}"));
        let mut answer: Value = serde_json::from_str(&answer)
            .unwrap_or_else(|error| panic!("Python's answer is no JSON ({error}): {answer}"));
        if let Some(error) = answer.get("error") {
            panic!(
                "Python failed:\n{}\nin:\n{code}",
                error.as_str().unwrap_or_default()
            );
        }
        answer["answer"].take()
    }

    /// Evaluates one expression.
    pub fn eval(&mut self, expression: &str) -> Value {
        self.run(&format!("answer({expression})"))
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Snippets are indented with the Rust code around them.
fn unindented(code: &str) -> String {
    let width = |line: &str| line.len() - line.trim_start().len();
    let indent = code
        .lines()
        .skip(1)
        .filter(|line| !line.trim().is_empty())
        .map(width)
        .min()
        .unwrap_or(0);
    let line = |line: &str| {
        if width(line) >= indent {
            line[indent..].to_owned()
        } else {
            line.trim_start().to_owned()
        }
    };
    code.lines().map(line).collect::<Vec<_>>().join("\n")
}
