//! Exceptions as results hold them.

use crate::repr::python_repr;
use crate::value::{Map, Value};

/// Says that a stored value describes no exception.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected an exception, an object with exc_type, got {found}")]
pub struct ExceptionInfoError {
    found: &'static str,
}

/// An exception: its class, where that lives, and what it was made with.
#[derive(Debug, Clone, PartialEq)]
pub struct ExceptionInfo {
    /// The class, such as `ValueError`.
    pub exc_type: String,
    /// The arguments of its constructor.
    pub exc_message: Vec<Value>,
    /// The module of the class; without one Python makes a class up.
    pub exc_module: Option<String>,
}

impl ExceptionInfo {
    /// Describes an exception of a module, such as `builtins`.
    #[must_use]
    pub fn new(module: &str, exc_type: &str, args: Vec<Value>) -> Self {
        Self {
            exc_type: exc_type.to_owned(),
            exc_message: args,
            exc_module: Some(module.to_owned()),
        }
    }

    /// Gives the object that is stored as result.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Map(Map::from_iter([
            ("exc_type".to_owned(), self.exc_type.as_str().into()),
            (
                "exc_message".to_owned(),
                Value::List(self.exc_message.clone()),
            ),
            ("exc_module".to_owned(), self.exc_module.clone().into()),
        ]))
    }

    /// Reads the object; the message may also be a single value or missing.
    ///
    /// # Errors
    ///
    /// When the value is no object with an `exc_type`.
    pub fn from_value(value: &Value) -> Result<Self, ExceptionInfoError> {
        let refuse = || ExceptionInfoError {
            found: value.kind(),
        };
        let exc_type = value
            .get("exc_type")
            .and_then(Value::as_str)
            .ok_or_else(refuse)?
            .to_owned();
        let exc_message = match value.get("exc_message") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::List(args)) => args.clone(),
            Some(other) => vec![other.clone()],
        };
        let exc_module = value
            .get("exc_module")
            .and_then(Value::as_str)
            .map(str::to_owned);
        Ok(Self {
            exc_type,
            exc_message,
            exc_module,
        })
    }

    /// Prints the exception as Python's `repr`, such as `ValueError('boom')`.
    #[must_use]
    pub fn repr(&self) -> String {
        let args: Vec<_> = self.exc_message.iter().map(python_repr).collect();
        // The class may be qualified by the one it is nested in; repr prints its own name.
        let name = self.exc_type.rsplit('.').next().unwrap_or(&self.exc_type);
        format!("{name}({})", args.join(", "))
    }
}
