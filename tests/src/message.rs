//! Task messages made by hand, exactly as Celery 5.7 writes them, to be damaged at will.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use uuid::Uuid;

/// An envelope under construction.
#[derive(Debug, Clone)]
pub struct TaskMessage {
    /// The task's id.
    pub id: String,
    /// The envelope, free to be changed.
    pub envelope: Value,
}

impl TaskMessage {
    /// A complete protocol 2 message for queue `celery`.
    pub fn new(task: &str, args: &Value, kwargs: &Value) -> Self {
        let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": null});
        Self::with_body(task, json!([args, kwargs, embed]).to_string().as_bytes())
    }

    /// A complete message with any bytes as its body.
    pub fn with_body(task: &str, body: &[u8]) -> Self {
        let id = Uuid::new_v4().to_string();
        let envelope = json!({
            "body": STANDARD.encode(body), "content-encoding": "utf-8", "content-type": "application/json",
            "headers": {
                "lang": "py", "task": task, "id": id, "shadow": null, "eta": null, "expires": null, "group": null,
                "group_index": null, "retries": 0, "timelimit": [null, null], "root_id": id, "parent_id": null,
                "argsrepr": "(2, 3)", "kwargsrepr": "{}", "origin": "gen1@host1", "ignore_result": false,
                "replaced_task_nesting": 0, "stamped_headers": null, "stamps": {}},
            "properties": {
                "correlation_id": id, "reply_to": "", "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "celery"}, "priority": 0, "body_encoding": "base64",
                "delivery_tag": Uuid::new_v4().to_string()}});
        Self { id, envelope }
    }

    /// The positional arguments of a body that was made from JSON.
    ///
    /// # Panics
    /// When the body is something else.
    pub fn arguments(&self) -> Value {
        let body = self.envelope["body"].as_str().expect("a body");
        let body = STANDARD.decode(body).expect("base64");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        body[0].clone()
    }

    /// Sets a value, creating the path: `.set("headers.eta", json!("…"))`.
    #[must_use]
    pub fn set(mut self, path: &str, value: Value) -> Self {
        let mut place = &mut self.envelope;
        for key in path.split('.') {
            place = &mut place[key];
        }
        *place = value;
        self
    }

    /// Removes a value: `.without("properties.delivery_info")`.
    ///
    /// # Panics
    /// When there is nothing to remove.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        let (parents, last) = path.rsplit_once('.').unwrap_or(("", path));
        let mut place = &mut self.envelope;
        for key in parents.split('.').filter(|key| !key.is_empty()) {
            place = &mut place[key];
        }
        let removed = place.as_object_mut().and_then(|object| object.remove(last));
        assert!(removed.is_some(), "the message has no {path}");
        self
    }

    /// Replaces the body, without its base64.
    #[must_use]
    pub fn body(self, body: &[u8]) -> Self {
        let text = STANDARD.encode(body);
        self.set("body", Value::String(text))
    }

    /// The text that goes into the queue.
    pub fn to_json(&self) -> String {
        self.envelope.to_string()
    }
}
