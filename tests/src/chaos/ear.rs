//! Hears every end that is announced: a task ends once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Counts the announced ends of each task from its making on. Its thread ends with the Redis that it listens to.
#[derive(Debug, Clone)]
pub struct Ear {
    heard: Arc<Mutex<HashMap<String, u32>>>,
}

const CHANNELS: &str = "celery-task-meta-";

impl Ear {
    /// Begins to listen.
    ///
    /// # Panics
    /// When Redis cannot be reached.
    pub fn open(client: &redis::Client) -> Self {
        let mut connection = client.get_connection().expect("Redis can be reached");
        let subscribe = redis::cmd("PSUBSCRIBE")
            .arg(format!("{CHANNELS}*"))
            .get_packed_command();
        connection
            .send_packed_command(&subscribe)
            .expect("PSUBSCRIBE works");
        connection.recv_response().expect("PSUBSCRIBE is answered");
        let heard = Arc::<Mutex<HashMap<String, u32>>>::default();
        let ear = Self {
            heard: Arc::clone(&heard),
        };
        thread::spawn(move || {
            while let Ok(reply) = connection.recv_response() {
                let Some(message) = redis::Msg::from_value(&reply) else {
                    continue;
                };
                let Ok(text) = message.get_payload::<String>() else {
                    continue;
                };
                let ended = ["SUCCESS", "FAILURE", "REVOKED"]
                    .iter()
                    .any(|state| text.starts_with(&format!("{{\"status\": \"{state}\"")));
                if ended && let Some(id) = message.get_channel_name().strip_prefix(CHANNELS) {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    *heard.entry(id.to_owned()).or_default() += 1;
                }
            }
        });
        ear
    }

    /// How often the end of a task was announced.
    pub fn ends(&self, id: &str) -> u32 {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(id).copied().unwrap_or(0)
    }
}
