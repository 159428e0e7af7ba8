//! `lovage api`, on a SQLite database of its own, and whoever asks it.

use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::child::Child;
use crate::http::{self, Answer};
use crate::keeper::KeeperProcess;
use crate::lovage_worker::{command_with, lovage_with};
use crate::redis_server::RedisServer;

const PATIENCE: Duration = Duration::from_secs(30);

/// The first administrator.
pub const ADMIN: &str = "root@example.org";
/// And the password.
pub const PASSWORD: &str = "correct horse battery";

/// A running `lovage api` with the demo tasks; ends with the value.
#[derive(Debug)]
pub struct ApiServer {
    process: Child,
    port: u16,
    variables: Vec<(String, String)>,
    _folder: TempDir,
}

/// Somebody who asks, with a token or key.
#[derive(Debug, Clone)]
pub struct Caller {
    port: u16,
    token: Option<String>,
}

impl ApiServer {
    /// One on a Redis, with its tables made and its administrator there.
    pub fn on(redis: &RedisServer) -> Self {
        Self::with(redis, &[])
    }

    /// The same with further settings.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn with(redis: &RedisServer, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let database = format!("sqlite://{}/api.db", folder.path().display());
        let mut variables = vec![
            ("CELERY_BROKER_URL".to_owned(), redis.url()),
            ("CELERY_RESULT_BACKEND".to_owned(), redis.url()),
            ("LOVAGE_DEMO_TASKS".to_owned(), "1".to_owned()),
            ("DATABASE_URL".to_owned(), database),
            ("LOVAGE_API_BIND".to_owned(), "127.0.0.1:0".to_owned()),
            ("LOVAGE_ADMIN_EMAIL".to_owned(), ADMIN.to_owned()),
            ("LOVAGE_ADMIN_PASSWORD".to_owned(), PASSWORD.to_owned()),
            (
                "SECRET_KEY".to_owned(),
                "a key for tests, 0123456789 abcdef".to_owned(),
            ),
        ];
        for (name, value) in more {
            variables.retain(|(known, _)| known != name);
            variables.push(((*name).to_owned(), (*value).to_owned()));
        }
        let pairs: Vec<(&str, &str)> = variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let migrated = lovage_with(&pairs, &["migrate", "up"]);
        assert!(
            migrated.status.success(),
            "{}",
            String::from_utf8_lossy(&migrated.stderr)
        );
        Self::started(variables, folder)
    }

    fn started(variables: Vec<(String, String)>, folder: TempDir) -> Self {
        let mut command = command_with(&variables);
        command.args(["api"]);
        let mut process = Child::start("lovage api", &mut command, "cargo build -p lovage");
        let before = "the API is at http://127.0.0.1:";
        process.wait_for(before, PATIENCE);
        let log = process.log().text();
        let port = log
            .split(before)
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|port| port.parse().ok())
            .unwrap_or_else(|| panic!("no port in: {log}"));
        Self {
            process,
            port,
            variables,
            _folder: folder,
        }
    }

    /// A second process on the same database and broker.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn twin(&self) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        Self::started(self.variables.clone(), folder)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The variables that a command of `lovage` needs to find the same database and broker.
    pub fn variables(&self) -> Vec<(&str, &str)> {
        self.variables
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    /// A keeper of its database.
    pub fn keeper(&self) -> KeeperProcess {
        KeeperProcess::start(self.variable("CELERY_BROKER_URL"), self.database())
    }

    /// The URL of its database.
    pub fn database(&self) -> &str {
        self.variable("DATABASE_URL")
    }

    fn variable(&self, name: &str) -> &str {
        let found = self.variables.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The process, for its log and for signals.
    pub fn process(&mut self) -> &mut Child {
        &mut self.process
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        self.process.wait(PATIENCE)
    }

    /// Nobody in particular.
    pub fn nobody(&self) -> Caller {
        Caller {
            port: self.port,
            token: None,
        }
    }

    /// Somebody with a token or key.
    pub fn with_token(&self, token: &str) -> Caller {
        Caller {
            port: self.port,
            token: Some(token.to_owned()),
        }
    }

    /// The administrator, logged in.
    pub fn admin(&self) -> Caller {
        self.log_in(ADMIN, PASSWORD)
    }

    /// Somebody who logs in.
    ///
    /// # Panics
    /// When that does not work.
    pub fn log_in(&self, email: &str, password: &str) -> Caller {
        let login = json!({"email": email, "password": password});
        let tokens = self.nobody().post("/api/v1/auth/login", &login).json();
        self.with_token(tokens["access_token"].as_str().expect("there is a token"))
    }

    /// A user of this role, logged in.
    ///
    /// # Panics
    /// When that does not work.
    pub fn somebody(&self, role: &str) -> Caller {
        let email = format!("{role}@example.org");
        let user = json!({"email": email, "password": PASSWORD, "role": role});
        let made = self.admin().post("/api/v1/users", &user);
        assert_eq!(made.status, 201, "{}", made.text);
        self.log_in(&email, PASSWORD)
    }
}

impl Caller {
    /// The token or key.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Asks.
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    /// Sends JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send("POST", path, &[], &body.to_string())
    }

    /// Sends JSON with another method.
    pub fn change(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.send(method, path, &[], &body.to_string())
    }

    /// Sends anything.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut all = headers.to_vec();
        let is_typed = all.iter().any(|(name, _)| *name == "Content-Type");
        if !body.is_empty() && !is_typed {
            all.push(("Content-Type", "application/json"));
        }
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        if let Some(bearer) = &bearer {
            all.push(("Authorization", bearer));
        }
        http::request(self.port, method, path, &all, body)
    }

    /// Makes an API key and gives whoever has it.
    ///
    /// # Panics
    /// When that does not work.
    pub fn key(&self, key: &Value) -> Self {
        let made = self.post("/api/v1/api-keys", key);
        assert_eq!(made.status, 201, "{}", made.text);
        let secret = made.value()["secret"].as_str().map(str::to_owned);
        Self {
            port: self.port,
            token: secret,
        }
    }
}
