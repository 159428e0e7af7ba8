//! Revoking tasks: for workers of ours it is recorded, Python workers are told by remote control.

use std::time::{SystemTime, UNIX_EPOCH};

use lovage_broker::{Revoke, Target};
use lovage_protocol::{
    Map, TaskId, Value,
    control::{EXCHANGE, Request},
};

use crate::{Client, Error};

/// Celery's default signal.
const TERM: &str = "SIGTERM";

/// What is to be revoked, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Revocation {
    targets: Vec<Target>,
    terminate: Option<String>,
}

impl Revocation {
    /// Tasks by id.
    pub fn of_tasks<I: Into<TaskId>>(ids: impl IntoIterator<Item = I>) -> Self {
        let targets = ids.into_iter().map(|id| Target::Task(id.into()));
        Self {
            targets: targets.collect(),
            terminate: None,
        }
    }

    /// Also every task that carries the stamp `header` with this value, or with it among its values
    /// (`celery/worker/control.py`, `revoke_by_stamped_headers`).
    #[must_use]
    pub fn stamp(mut self, header: impl Into<String>, value: impl Into<Value>) -> Self {
        self.targets.push(Target::Stamp {
            header: header.into(),
            value: value.into(),
        });
        self
    }

    /// Also ends those that run already. The signal is for workers that run tasks in processes, `SIGTERM` if it is not
    /// named; where a task is a future it is dropped, and where it is on a thread it runs on.
    #[must_use]
    pub fn terminate(mut self, signal: Option<&str>) -> Self {
        self.terminate = Some(signal.unwrap_or(TERM).to_owned());
        self
    }

    /// The requests for Python workers: one for the tasks, one for the stamps.
    fn requests(&self) -> Vec<Request> {
        let mut ids = Vec::new();
        let mut headers = Map::new();
        for target in &self.targets {
            match target {
                Target::Task(id) => ids.push(Value::from(id.as_str())),
                Target::Stamp { header, value } => {
                    let values = headers
                        .entry(header.clone())
                        .or_insert_with(|| Value::List(Vec::new()));
                    if let Value::List(values) = values {
                        values.push(value.clone());
                    }
                }
                _ => {}
            }
        }
        let mut requests = Vec::new();
        let mut add = |method: &str, name: &str, what: Value| {
            let mut request = Request::new(method);
            let signal = Value::from(self.terminate.as_deref().unwrap_or(TERM));
            request.arguments.insert(name.to_owned(), what);
            request
                .arguments
                .insert("terminate".to_owned(), self.terminate.is_some().into());
            request.arguments.insert("signal".to_owned(), signal);
            requests.push(request);
        };
        if !ids.is_empty() {
            add("revoke", "task_id", Value::List(ids));
        }
        if !headers.is_empty() {
            add("revoke_by_stamped_headers", "headers", Value::Map(headers));
        }
        requests
    }
}

impl Client {
    /// Revokes tasks: whatever of them has not begun ends as REVOKED instead, be it in a queue, in a worker or delayed.
    /// Workers of ours that start later know of it for `CELERY_WORKER_REVOKE_EXPIRES`; Python workers only if they run.
    ///
    /// # Errors
    /// When the broker does not answer; it can be said again at any time.
    pub async fn revoke(&self, revocation: &Revocation) -> Result<(), Error> {
        if revocation.targets.is_empty() {
            return Ok(());
        }
        let keep = self.revokes();
        let broker = self.broker();
        let revoke = Revoke {
            targets: revocation.targets.clone(),
            terminate: revocation.terminate.clone(),
            life: keep.expires,
            most: keep.max,
        };
        broker.revocations().revoke(&revoke).await?;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64();
        for request in revocation.requests() {
            let payload = request.to_json_without_reply(1, now);
            broker.broadcast(EXCHANGE, "", payload.into()).await?;
        }
        Ok(())
    }

    /// Whether a task was revoked by its id and that is still remembered.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn is_revoked(&self, id: impl Into<TaskId>) -> Result<bool, Error> {
        let target = Target::Task(id.into());
        let life = self.revokes().expires;
        Ok(self
            .broker()
            .revocations()
            .is_revoked(&target, life)
            .await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_workers_are_told_of_tasks_and_stamps_apart() {
        let revocation = Revocation::of_tasks(["1", "2"])
            .stamp("customer", "acme")
            .stamp("customer", 7)
            .terminate(None);
        let requests = revocation.requests();
        let told: Vec<_> = requests
            .iter()
            .map(|request| {
                let arguments = Value::Map(request.arguments.clone()).to_json();
                (request.method.as_str(), arguments)
            })
            .collect();
        let tasks = r#"{"task_id": ["1", "2"], "terminate": true, "signal": "SIGTERM"}"#;
        let stamps =
            r#"{"headers": {"customer": ["acme", 7]}, "terminate": true, "signal": "SIGTERM"}"#;
        assert_eq!(
            told,
            [
                ("revoke", tasks.to_owned()),
                ("revoke_by_stamped_headers", stamps.to_owned())
            ]
        );
    }
}
