//! The dead letters as the command line shows them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::lovage_worker::lovage_json;
use crate::redis_server::RedisServer;

/// One message that could not be run.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its name among the dead letters.
    pub id: String,
    /// Why, as a word.
    pub code: String,
    /// Why, as a sentence.
    pub detail: String,
    /// The task's name, when it could be read.
    pub task: Option<String>,
    /// The message as it came.
    pub raw: Vec<u8>,
}

/// All dead letters, the newest first.
///
/// # Panics
/// When `lovage dlq list --json` fails or has another form.
pub fn dead_letters(redis: &RedisServer) -> Vec<DeadLetter> {
    let list = lovage_json(redis, &["dlq", "list", "--json", "--limit", "1000"]);
    list.as_array()
        .unwrap_or_else(|| panic!("dlq list is no array: {list}"))
        .iter()
        .map(read)
        .collect()
}

fn read(letter: &Value) -> DeadLetter {
    let text = |name: &str| letter[name].as_str().map(str::to_owned);
    let raw = match (&letter["raw"], &letter["raw_base64"]) {
        (Value::String(raw), _) => raw.clone().into_bytes(),
        (_, Value::String(raw)) => STANDARD.decode(raw).expect("raw_base64 is base64"),
        _ => panic!("a dead letter without its message: {letter}"),
    };
    DeadLetter {
        id: text("id").unwrap_or_else(|| panic!("a dead letter without an id: {letter}")),
        code: text("code")
            .or_else(|| text("reason"))
            .unwrap_or_else(|| panic!("a dead letter without a reason: {letter}")),
        detail: text("detail").unwrap_or_default(),
        task: text("task"),
        raw,
    }
}
