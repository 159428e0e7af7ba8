//! A real browser, driven through its WebDriver.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use lovage_integration_tests::child::Child;
use lovage_integration_tests::place;
use lovage_integration_tests::redis_server::free_port;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const PATIENCE: Duration = Duration::from_secs(20);
const HINT: &str =
    "Debian: apt-get install chromium chromium-driver (as root), or run scripts/test";

/// A headless Chromium with a profile of its own; both end with the value.
pub(super) struct Browser {
    client: Option<Client>,
    runtime: Runtime,
    _driver: Child,
    _profile: tempfile::TempDir,
}

impl Browser {
    pub(super) fn start() -> Self {
        let port = free_port();
        let mut driver = Child::start(
            "chromedriver",
            Command::new("chromedriver").arg(format!("--port={port}")),
            HINT,
        );
        driver.wait_for("started successfully", PATIENCE);
        let profile = tempfile::tempdir().expect("the temporary folder is writable");
        let mut flags: Vec<String> = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--window-size=1400,1000",
        ]
        .map(str::to_owned)
        .into();
        flags.push(format!("--user-data-dir={}", profile.path().display()));
        let options = json!({"goog:chromeOptions": {"args": flags}});
        let runtime = Runtime::new().expect("a runtime can be made");
        let mut builder = ClientBuilder::new(HttpConnector::new());
        builder.capabilities(options.as_object().expect("an object").clone());
        let client = runtime.block_on(builder.connect(&format!("http://127.0.0.1:{port}")));
        Self {
            client: Some(client.unwrap_or_else(|error| panic!("no browser: {error}; {HINT}"))),
            runtime,
            _driver: driver,
            _profile: profile,
        }
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is closed at the end only")
    }

    pub(super) fn open(&self, url: &str) {
        self.runtime
            .block_on(self.client().goto(url))
            .expect("the page can be opened");
    }

    /// What a reader sees of an element; empty when it is not there.
    pub(super) fn text(&self, css: &str) -> String {
        self.run(
            "const e = document.querySelector(arguments[0]); return e ? e.innerText : '';",
            &[json!(css)],
        )
        .as_str()
        .unwrap_or_default()
        .to_owned()
    }

    /// What a reader sees of each element.
    pub(super) fn texts(&self, css: &str) -> Vec<String> {
        let all = self.run(
            "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText.trim());",
            &[json!(css)],
        );
        let all = all.as_array().cloned().unwrap_or_default();
        all.iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Waits until what a reader sees of an element is as wanted.
    #[track_caller]
    pub(super) fn wait_for(&self, css: &str, what: &str, wanted: impl Fn(&str) -> bool) {
        let started = Instant::now();
        loop {
            let text = self.text(css);
            if wanted(&text) {
                return;
            }
            assert!(started.elapsed() < PATIENCE, "no {what} in {css}:\n{text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until an element shows a text.
    #[track_caller]
    pub(super) fn wait_for_text(&self, css: &str, needle: &str) {
        self.wait_for(css, needle, |text| text.contains(needle));
    }

    /// Waits until an element is wholly visible: panes fade in.
    #[track_caller]
    pub(super) fn wait_until_shown(&self, css: &str) {
        let script = "const e = document.querySelector(arguments[0]); \
            return !!e && e.offsetParent !== null && getComputedStyle(e).opacity === '1';";
        let started = Instant::now();
        while self.run(script, &[json!(css)]) != true {
            assert!(started.elapsed() < PATIENCE, "{css} is not shown");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub(super) fn click(&self, css: &str) {
        let click = async { self.client().find(Locator::Css(css)).await?.click().await };
        self.runtime
            .block_on(click)
            .unwrap_or_else(|error| panic!("{css} cannot be clicked: {error}"));
    }

    pub(super) fn enter(&self, css: &str, text: &str) {
        let enter = async {
            let field = self.client().find(Locator::Css(css)).await?;
            field.clear().await?;
            field.send_keys(text).await
        };
        self.runtime
            .block_on(enter)
            .unwrap_or_else(|error| panic!("{css} takes no text: {error}"));
    }

    /// Keeps a picture of the page under `target/screenshots`, for people.
    pub(super) fn picture(&self, name: &str) {
        let picture = self
            .runtime
            .block_on(self.client().screenshot())
            .expect("a picture can be taken");
        let folder = folder();
        fs::create_dir_all(&folder).expect("the target folder is writable");
        fs::write(folder.join(format!("{name}.png")), picture)
            .expect("the target folder is writable");
    }

    fn run(&self, script: &str, arguments: &[Value]) -> Value {
        let run = self.client().execute(script, arguments.to_vec());
        self.runtime.block_on(run).expect("the page runs a script")
    }
}

fn folder() -> PathBuf {
    place::repository().join("target/screenshots")
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It closes its windows in order; should that fail, its driver's process group is ended all the same.
        if let Some(client) = self.client.take() {
            let _ = self.runtime.block_on(client.close());
        }
    }
}
