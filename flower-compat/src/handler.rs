//! What a command is for the mailbox: a name, arguments, and what comes of it.

use std::fmt;

use async_trait::async_trait;
use lovage_protocol::Value;

/// Whoever obeys remote control.
#[async_trait]
pub trait ControlHandler: Send + Sync + 'static {
    /// Does what a command asks. `arguments` is an object where the asker knows what he does.
    ///
    /// One after the other in the order in which requests come; only one that takes long goes on beside the next.
    async fn handle(&self, method: &str, arguments: Value) -> Result<Answer, Raised>;
}

/// What a command gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// This, to be replied.
    Value(Value),
    /// No reply, even to who waits for one.
    Silence,
}

impl Answer {
    /// `{"ok": text}`.
    pub fn ok(text: impl Into<String>) -> Self {
        Self::Value(single("ok", text.into()))
    }

    /// `{"error": text}`.
    pub fn error(text: impl Into<String>) -> Self {
        Self::Value(single("error", text.into()))
    }
}

/// The exception that a Python worker would raise, as its `repr`: `KeyError('x')`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raised(String);

impl Raised {
    /// An exception of this class with one text.
    pub fn new(class: &str, text: &str) -> Self {
        Self(format!(
            "{class}({})",
            lovage_protocol::repr::python_string(text)
        ))
    }

    /// As the reply says it.
    pub(crate) fn to_value(&self) -> Value {
        single("error", self.0.clone())
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn single(name: &str, text: String) -> Value {
    Value::Map([(name.to_owned(), Value::Str(text))].into_iter().collect())
}
