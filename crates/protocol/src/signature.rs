//! Signatures: tasks to be sent later, as they travel inside other tasks.

use crate::ids::TaskName;
use crate::value::{Map, Value};

/// Says what is wrong with a signature.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Something stands where a signature should be.
    #[error("expected a signature, an object with at least a task name, got {found}")]
    NotASignature {
        /// The kind of value found.
        found: &'static str,
    },
    /// A field of the signature has the wrong kind.
    #[error("signature field {field} is {found}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// The kind of value found.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// Something stands where a list of signatures should be.
    #[error("expected a list of signatures or null, got {found}")]
    NotAList {
        /// The kind of value found.
        found: &'static str,
    },
}

/// A task to be sent later: a callback, a step of a chain, a member of a group.
#[derive(Debug, Clone, PartialEq)]
pub struct Signature {
    /// The task to send, or `celery.chain`, `celery.group`, `celery.chord` and the like.
    pub task: TaskName,
    /// Positional arguments; those given when it is sent come before these.
    pub args: Vec<Value>,
    /// Keyword arguments; those given when it is sent override these.
    pub kwargs: Map,
    /// Options of `apply_async`: `task_id`, `queue`, `countdown` and so on; null means not given.
    pub options: Map,
    /// `chain`, `group` or `chord`; nothing for a plain task.
    pub subtask_type: Option<String>,
    /// Whether arguments given when it is sent are ignored.
    pub immutable: bool,
    /// Fields that this crate does not know.
    pub extra: Map,
}

impl Signature {
    /// Makes a plain signature of one task.
    #[must_use]
    pub fn new(task: impl Into<TaskName>, args: Vec<Value>, kwargs: Map) -> Self {
        Self {
            task: task.into(),
            args,
            kwargs,
            options: Map::new(),
            subtask_type: None,
            immutable: false,
            extra: Map::new(),
        }
    }

    /// Reads a signature; fields other than `task` may be missing or null.
    ///
    /// # Errors
    ///
    /// When the value is no object, names no task, or a field has the wrong kind.
    pub fn from_value(value: Value) -> Result<Self, SignatureError> {
        let mut map = match value {
            Value::Map(map) => map,
            other => {
                return Err(SignatureError::NotASignature {
                    found: other.kind(),
                });
            }
        };
        let mut take = |key: &str| map.shift_remove(key).unwrap_or(Value::Null);
        let task = match take("task") {
            Value::Str(task) => TaskName::from(task),
            other => return Err(wrong("task", &other, "a task name")),
        };
        let args = match take("args") {
            Value::List(args) => args,
            Value::Null => Vec::new(),
            other => return Err(wrong("args", &other, "a list")),
        };
        let mut object = |field| match take(field) {
            Value::Map(map) => Ok(map),
            Value::Null => Ok(Map::new()),
            other => Err(wrong(field, &other, "an object")),
        };
        let kwargs = object("kwargs")?;
        let options = object("options")?;
        let subtask_type = match take("subtask_type") {
            Value::Str(kind) => Some(kind),
            Value::Null => None,
            other => return Err(wrong("subtask_type", &other, "a string or null")),
        };
        let immutable = match take("immutable") {
            Value::Bool(immutable) => immutable,
            Value::Null => false,
            other => return Err(wrong("immutable", &other, "true or false")),
        };
        Ok(Self {
            task,
            args,
            kwargs,
            options,
            subtask_type,
            immutable,
            extra: map,
        })
    }

    /// Gives the object that [`Signature::from_value`] reads, in Celery's order of keys.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = Map::with_capacity(6 + self.extra.len());
        map.insert("task".to_owned(), self.task.as_str().into());
        map.insert("args".to_owned(), Value::List(self.args.clone()));
        map.insert("kwargs".to_owned(), Value::Map(self.kwargs.clone()));
        map.insert("options".to_owned(), Value::Map(self.options.clone()));
        map.insert("subtask_type".to_owned(), self.subtask_type.clone().into());
        map.insert("immutable".to_owned(), self.immutable.into());
        for (key, value) in &self.extra {
            map.entry(key.clone()).or_insert_with(|| value.clone());
        }
        Value::Map(map)
    }

    /// Reads a list of signatures; null is an empty list.
    ///
    /// # Errors
    ///
    /// When the value is no list or one of its elements is no signature.
    pub fn list_from_value(value: &Value) -> Result<Vec<Self>, SignatureError> {
        match value {
            Value::Null => Ok(Vec::new()),
            Value::List(items) => items.iter().cloned().map(Self::from_value).collect(),
            other => Err(SignatureError::NotAList {
                found: other.kind(),
            }),
        }
    }
}

fn wrong(field: &'static str, found: &Value, expected: &'static str) -> SignatureError {
    SignatureError::Field {
        field,
        found: found.kind(),
        expected,
    }
}
