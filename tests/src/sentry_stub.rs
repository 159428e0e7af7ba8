//! A Sentry that takes events, and the events that came to it.

use serde_json::Value;

use crate::http_stub::HttpStub;
use crate::wait::PATIENCE;

/// Takes envelopes as a project of Sentry does.
#[derive(Debug)]
pub struct SentryStub {
    stub: HttpStub,
}

impl SentryStub {
    /// A project with the number 7 and the key `0123456789abcdef`.
    pub fn start() -> Self {
        Self {
            stub: HttpStub::start(),
        }
    }

    /// What `SENTRY_DSN` is to be.
    pub fn dsn(&self) -> String {
        format!("http://0123456789abcdef@127.0.0.1:{}/7", self.stub.port())
    }

    /// The events that came so far.
    ///
    /// # Panics
    /// When something came that is no envelope for this project.
    pub fn events(&self) -> Vec<Value> {
        let mut events = Vec::new();
        for posted in self.stub.posted() {
            assert_eq!(posted.path, "/api/7/envelope/");
            let key = posted.headers.get("x-sentry-auth");
            assert!(key.is_some_and(|key| key.contains("sentry_key=0123456789abcdef")));
            let mut lines = posted.body.split(|byte| *byte == b'\n').skip(1);
            while let Some(header) = lines.next() {
                let Ok(header) = serde_json::from_slice::<Value>(header) else {
                    continue;
                };
                let payload = lines.next().expect("an item has a payload");
                if header["type"] == "event" {
                    events.push(serde_json::from_slice(payload).expect("an event is JSON"));
                }
            }
        }
        events
    }

    /// Waits for an event that is as wanted.
    ///
    /// # Panics
    /// When none comes; those that came are printed.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = std::time::Instant::now();
        loop {
            let events = self.events();
            if let Some(event) = events.iter().find(|event| wanted(event)) {
                return event.clone();
            }
            assert!(
                started.elapsed() < PATIENCE,
                "no event of {what} is among {events:#?}"
            );
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
