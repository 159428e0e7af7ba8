//! A real Flower.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::child::Child;
use crate::http::{self, Answer};
use crate::place;
use crate::redis_server::free_port;
use crate::wait;

/// A running Flower on the application in `interop/python/peers.py`, whose tasks its API may start; ends with the value.
#[derive(Debug)]
pub struct Flower {
    process: Child,
    port: u16,
}

impl Flower {
    /// Starts one on a broker without waiting for anything.
    pub fn launch(url: &str) -> Self {
        let port = free_port();
        let mut command = Command::new(place::python());
        command
            .args([
                "-m",
                "celery",
                "-A",
                "peers",
                "flower",
                "--address=127.0.0.1",
            ])
            .arg(format!("--port={port}"))
            .current_dir(place::python_sources())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("FLOWER_UNAUTHENTICATED_API", "true")
            .env("CELERY_BROKER_URL", url)
            .env("CELERY_RESULT_BACKEND", url)
            .env("TEST_CELERY_SETTINGS", "{}");
        Self {
            process: Child::start("flower", &mut command, "run scripts/setup"),
            port,
        }
    }

    /// Waits until it answers and listens to events.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn wait_until_ready(&mut self) {
        self.process
            .wait_for("Connected to redis", Duration::from_secs(30));
        let port = self.port;
        wait::eventually("Flower to answer", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
                && http::get(port, "/healthcheck").status == 200
        });
    }

    /// The process, for its log.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// The address of a page.
    pub fn page(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Reads a page.
    pub fn get(&self, path: &str) -> Answer {
        http::get(self.port, path)
    }

    /// Sends a form: `a=b&c=d`.
    pub fn form(&self, path: &str, form: &str) -> Answer {
        http::post_form(self.port, path, form)
    }

    /// Sends JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        http::post_json(self.port, path, body)
    }

    /// Reads a page of JSON until it is as wanted, and returns it.
    ///
    /// # Panics
    /// When it does not become so in time; the message holds the last one.
    pub fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let answer = self.get(path);
            if answer.status == 200 {
                let value = answer.json();
                if wanted(&value) {
                    return value;
                }
            }
            assert!(
                started.elapsed() < wait::PATIENCE,
                "{path} stays {}: {}",
                answer.status,
                answer.text
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }
}
