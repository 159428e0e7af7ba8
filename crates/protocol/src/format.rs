//! Values in each of the serializers: one place that reads and writes them all, and what may go wrong.

use crate::content::Serializer;
use crate::json::JsonError;
use crate::value::Value;
use crate::{msgpack, pickle, yaml};

/// Containers may be nested as deep as in JSON.
pub(crate) const DEEPEST: usize = crate::json::reader::DEEPEST;

/// Says why bytes are not a value in the serializer they are said to be in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The text is not the JSON that was expected.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// The bytes break the format's grammar, or end too early.
    #[error("{problem} at byte {at}")]
    Damaged {
        /// What is wrong.
        problem: String,
        /// Where reading stopped.
        at: usize,
    },
    /// The bytes ask for something that is not plain data: a class to be made, a function to be called, a foreign tag.
    #[error("{what} is not plain data and is refused")]
    Refused {
        /// What was asked for, such as `os.system`.
        what: String,
    },
    /// Plain data that this crate's values cannot hold.
    #[error("{what}")]
    Unfit {
        /// What it is.
        what: String,
    },
    /// Containers are nested deeper than 512 levels.
    #[error("nested deeper than {DEEPEST} levels")]
    TooDeep,
    /// It holds more values than fit into the memory that a body may take.
    #[error("it holds more than {most} values")]
    TooMany {
        /// How many are allowed.
        most: usize,
    },
    /// What is said once and meant many times (aliases, memoised objects) would become larger than allowed.
    #[error("what it repeats would take more than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl FormatError {
    pub(crate) fn damaged(problem: impl Into<String>, at: usize) -> Self {
        Self::Damaged {
            problem: problem.into(),
            at,
        }
    }

    pub(crate) fn refused(what: impl Into<String>) -> Self {
        let what: String = what.into();
        Self::Refused {
            what: what.chars().take(120).collect(),
        }
    }

    pub(crate) fn unfit(what: impl Into<String>) -> Self {
        Self::Unfit { what: what.into() }
    }
}

/// Says why a value cannot be written in a serializer: Python's own cannot either (kombu's `EncodeError`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{serializer} cannot hold {what}")]
pub struct WriteError {
    /// The serializer's short name.
    pub serializer: &'static str,
    /// What it cannot hold, as a kind of Python's: `a Decimal`, say.
    pub what: String,
}

impl Value {
    /// Reads a value in any serializer. `limit` is the most bytes that repetitions inside it may grow to; except in JSON it
    /// also bounds the number of values, to one for sixteen bytes.
    ///
    /// Pickles are read as data: nothing in them is ever called, and whatever is not plain data is refused by name.
    ///
    /// # Errors
    ///
    /// When the bytes are no single value of the format, or hold what a [`Value`] cannot.
    pub fn read_as(
        serializer: Serializer,
        bytes: &[u8],
        limit: usize,
    ) -> Result<Self, FormatError> {
        match serializer {
            Serializer::Json => Ok(Self::from_json(bytes)?),
            Serializer::Msgpack => msgpack::read(bytes, limit),
            Serializer::Yaml => yaml::read(bytes, limit),
            Serializer::Pickle => pickle::read(bytes, limit),
        }
    }

    /// Writes the value as kombu does in that serializer.
    ///
    /// # Errors
    ///
    /// For pickle, which is never written, and for what Python's serializer refuses too: times of day, decimals and UUIDs in
    /// YAML, these and every date or integer of more than 64 bits in msgpack.
    pub fn write_as(&self, serializer: Serializer) -> Result<Vec<u8>, WriteError> {
        match serializer {
            Serializer::Json => Ok(self.to_json().into_bytes()),
            Serializer::Msgpack => msgpack::write(self),
            Serializer::Yaml => yaml::write(self).map(String::into_bytes),
            Serializer::Pickle => Err(WriteError {
                serializer: "pickle",
                what: "anything here: it is only read".to_owned(),
            }),
        }
    }
}

impl Serializer {
    /// Tells by its first byte what a list or object was written in; results carry no content type of their own.
    ///
    /// JSON begins with a bracket or brace, msgpack's containers with a byte that no text begins with, and PyYAML's block
    /// style with a dash or a key.
    #[must_use]
    pub fn of_container(bytes: &[u8]) -> Self {
        match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(0x80..) => Self::Msgpack,
            Some(b'-' | b'a'..=b'z' | b'A'..=b'Z') => Self::Yaml,
            _ => Self::Json,
        }
    }
}
