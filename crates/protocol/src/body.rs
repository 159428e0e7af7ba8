//! The body of a task message: arguments, and what happens afterwards.

use crate::content::Serializer;
use crate::format::WriteError;
use crate::signature::{Signature, SignatureError};
use crate::value::{Map, Value, write_list, write_map};

/// The names of an embed's members in Celery's order.
const MEMBERS: [&str; 4] = ["callbacks", "errbacks", "chain", "chord"];

/// Arguments and follow-ups of a task: `[args, kwargs, embed]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Body {
    /// Positional arguments as they came: normally a list, but an object or null also reach the task, which then fails.
    pub args: Value,
    /// Keyword arguments.
    pub kwargs: Map,
    /// What happens after the task.
    pub embed: Embed,
}

impl Body {
    /// Makes a body without follow-ups.
    #[must_use]
    pub fn new(args: Vec<Value>, kwargs: Map) -> Self {
        Self {
            args: Value::List(args),
            kwargs,
            embed: Embed::default(),
        }
    }

    /// Writes the body in any serializer.
    ///
    /// # Errors
    ///
    /// When the arguments hold what that serializer cannot, as kombu's `EncodeError`.
    pub fn to_bytes(&self, serializer: Serializer) -> Result<Vec<u8>, WriteError> {
        match serializer {
            Serializer::Json => Ok(self.to_json()),
            other => {
                let kwargs = Value::Map(self.kwargs.clone());
                let parts = vec![self.args.clone(), kwargs, self.embed.to_value()];
                Value::List(parts).write_as(other)
            }
        }
    }

    /// Writes the JSON form.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = String::with_capacity(128);
        out.push('[');
        match &self.args {
            Value::List(items) => write_list(&mut out, items),
            other => other.write_json(&mut out),
        }
        out.push_str(", ");
        write_map(&mut out, &self.kwargs);
        out.push_str(", ");
        self.embed.write_json(&mut out);
        out.push(']');
        out.into_bytes()
    }
}

/// What happens after a task: callbacks, error callbacks, the rest of a chain, the body of a chord.
///
/// The raw values are kept, so that a retry sends on exactly what came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Embed {
    /// The members as they came: `callbacks`, `errbacks`, `chain`, `chord` and any that this crate does not know.
    pub raw: Map,
}

impl Embed {
    /// Takes the members as they came. What Celery writes when there is nothing, four times null, is kept as nothing: most
    /// messages have it, and an object of four costs more memory than all else of a small body.
    pub(crate) fn read(raw: Map) -> Self {
        let nothing = raw.len() == MEMBERS.len()
            && MEMBERS
                .iter()
                .all(|name| matches!(raw.get(*name), Some(Value::Null)));
        Self {
            raw: if nothing { Map::new() } else { raw },
        }
    }

    /// Tells whether nothing is to happen afterwards.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        MEMBERS.iter().all(|name| match self.raw.get(*name) {
            None | Some(Value::Null) => true,
            Some(Value::List(items)) => items.is_empty(),
            Some(_) => false,
        })
    }

    fn member(&self, name: &str) -> &Value {
        self.raw.get(name).unwrap_or(&Value::Null)
    }

    /// Reads the tasks to send after success.
    ///
    /// # Errors
    ///
    /// When they are no signatures.
    pub fn callbacks(&self) -> Result<Vec<Signature>, SignatureError> {
        Signature::list_from_value(self.member("callbacks"))
    }

    /// Reads the tasks to send after failure.
    ///
    /// # Errors
    ///
    /// When they are no signatures.
    pub fn errbacks(&self) -> Result<Vec<Signature>, SignatureError> {
        Signature::list_from_value(self.member("errbacks"))
    }

    /// Reads the rest of the chain in its stored, reversed order: the last one is the next step.
    ///
    /// # Errors
    ///
    /// When they are no signatures.
    pub fn chain(&self) -> Result<Vec<Signature>, SignatureError> {
        Signature::list_from_value(self.member("chain"))
    }

    /// Reads the body of the chord that this task belongs to.
    ///
    /// # Errors
    ///
    /// When it is no signature.
    pub fn chord(&self) -> Result<Option<Signature>, SignatureError> {
        match self.member("chord") {
            Value::Null => Ok(None),
            other => Signature::from_value(other.clone()).map(Some),
        }
    }

    /// Sets the tasks to send after success.
    #[must_use]
    pub fn with_callbacks(self, callbacks: &[Signature]) -> Self {
        self.with("callbacks", signatures(callbacks))
    }

    /// Sets the tasks to send after failure.
    #[must_use]
    pub fn with_errbacks(self, errbacks: &[Signature]) -> Self {
        self.with("errbacks", signatures(errbacks))
    }

    /// Sets the rest of the chain, reversed: the last one is the next step.
    #[must_use]
    pub fn with_chain(self, chain: &[Signature]) -> Self {
        // Celery writes an empty list, not null, once there was a chain.
        self.with(
            "chain",
            Value::List(chain.iter().map(Signature::to_value).collect()),
        )
    }

    /// Sets the body of the chord that this task belongs to.
    #[must_use]
    pub fn with_chord(self, chord: Option<&Signature>) -> Self {
        self.with("chord", chord.map_or(Value::Null, Signature::to_value))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.raw.insert(name.to_owned(), value);
        self
    }

    /// Gives the object: the four members of Celery first, null where there is nothing, then the rest.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = Map::with_capacity(MEMBERS.len());
        for name in MEMBERS {
            map.insert(name.to_owned(), self.member(name).clone());
        }
        for (name, value) in &self.raw {
            map.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Value::Map(map)
    }

    fn write_json(&self, out: &mut String) {
        if self.raw.is_empty() {
            out.push_str(
                "{\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}",
            );
        } else {
            self.to_value().write_json(out);
        }
    }
}

fn signatures(list: &[Signature]) -> Value {
    if list.is_empty() {
        Value::Null
    } else {
        Value::List(list.iter().map(Signature::to_value).collect())
    }
}
