//! A Prometheus of the test's own, from Debian's package.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::child::Child;
use crate::http;
use crate::redis_server::free_port;

const PATIENCE: Duration = Duration::from_secs(30);

/// A Prometheus that looks each second; it ends with the value.
#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    _process: Child,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts one that asks these ports of the loopback address, each with the name of its job.
    ///
    /// # Panics
    /// When it does not come up; the message says what to install.
    pub fn of(targets: &[(&str, u16)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let mut config =
            "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n".to_owned();
        for (number, (job, port)) in targets.iter().enumerate() {
            config += &format!(
                "  - job_name: job{number}\n    static_configs: [{{targets: ['127.0.0.1:{port}'], labels: {{job: {job}}}}}]\n"
            );
        }
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config).expect("the folder is writable");
        let port = free_port();
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}/data",
                folder.path().display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"));
        let hint = "Debian, Ubuntu: apt-get install prometheus";
        let mut process = Child::start("prometheus", &mut command, hint).quiet();
        process.wait_for("Server is ready to receive web requests", PATIENCE);
        Self {
            port,
            _process: process,
            _folder: folder,
        }
    }

    /// The values that a query has now.
    ///
    /// # Panics
    /// When it is no query.
    pub fn query(&self, query: &str) -> Vec<f64> {
        let mut path = String::from("/api/v1/query?query=");
        for byte in query.bytes() {
            path += &format!("%{byte:02X}");
        }
        let answer = http::get(self.port, &path);
        assert_eq!(answer.status, 200, "{query}: {}", answer.text);
        let answer = answer.value();
        let found = answer["data"]["result"].as_array().cloned();
        let value = |one: &Value| one["value"][1].as_str().and_then(|text| text.parse().ok());
        found.unwrap_or_default().iter().filter_map(value).collect()
    }
}
