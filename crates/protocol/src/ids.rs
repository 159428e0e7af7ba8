//! Names of things: tasks, task runs, queues and nodes.
//!
//! Each is its own type, so that a queue's name cannot be passed where a task's id is meant, and each is cheap to
//! clone, because one id is written to a message, a result, several events and a log span.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// The longest queue or node name in bytes: AMQP's limit, which also keeps Redis keys readable.
const LONGEST_NAME: usize = 255;

/// Says why a text cannot be a queue or node name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The name has no characters.
    #[error("{what} name is empty")]
    Empty {
        /// The kind of name, such as `queue`.
        what: &'static str,
    },
    /// The name is longer than 255 bytes.
    #[error("{what} name has {length} bytes, at most {LONGEST_NAME} are allowed")]
    TooLong {
        /// The kind of name, such as `queue`.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
    },
    /// The name holds a control character; `\x06\x16` for one separates priorities in Redis keys.
    #[error("{what} name {name:?} has a control character at byte {at}")]
    ControlCharacter {
        /// The kind of name, such as `queue`.
        what: &'static str,
        /// The refused name.
        name: String,
        /// Where the character stands.
        at: usize,
    },
    /// A node name is not of the form `name@host`.
    #[error("node name {name:?} must be of the form name@host, such as worker1@example")]
    NotANode {
        /// The refused name.
        name: String,
    },
}

fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { what });
    }
    if name.len() > LONGEST_NAME {
        return Err(NameError::TooLong {
            what,
            length: name.len(),
        });
    }
    if let Some(at) = name.find(char::is_control) {
        return Err(NameError::ControlCharacter {
            what,
            name: name.to_owned(),
            at,
        });
    }
    Ok(())
}

/// What every name shares: a look at the text, `Display`, and serde as a plain string.
macro_rules! shared_text {
    ($name:ident) => {
        impl $name {
            /// Gives the text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:?})"), &*self.0)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                (&*name.0).to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
    };
}

/// Names that may be any text.
macro_rules! free_text {
    ($name:ident) => {
        shared_text!($name);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl From<std::borrow::Cow<'_, str>> for $name {
            fn from(text: std::borrow::Cow<'_, str>) -> Self {
                Self(text.into())
            }
        }

        impl FromStr for $name {
            type Err = std::convert::Infallible;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Ok(Self::from(text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(Self::from)
            }
        }
    };
}

/// Names that are checked when they are made.
macro_rules! checked_text {
    ($name:ident) => {
        shared_text!($name);

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = NameError;

            fn try_from(text: &str) -> Result<Self, Self::Error> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

/// Identifies one task; a retry keeps it.
///
/// Celery writes UUIDs, but any text is an id.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Arc<str>);
free_text!(TaskId);

impl TaskId {
    /// Makes a new random id, a version 4 UUID.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a default that differs each time would surprise"
    )]
    pub fn new() -> Self {
        let mut buffer = Uuid::encode_buffer();
        let text: &str = Uuid::new_v4().hyphenated().encode_lower(&mut buffer);
        Self(text.into())
    }
}

/// Names the code to run, such as `app.tasks.add`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskName(Arc<str>);
free_text!(TaskName);

/// Names a queue: not empty, at most 255 bytes, no control characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueName(Arc<str>);
checked_text!(QueueName);

impl QueueName {
    /// Checks and takes a queue name.
    ///
    /// # Errors
    ///
    /// When the text is empty, too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_name("queue", text)?;
        Ok(Self(text.into()))
    }
}

/// Names a worker process, as `name@host`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName(Arc<str>);
checked_text!(NodeName);

impl NodeName {
    /// Checks and takes a node name.
    ///
    /// # Errors
    ///
    /// When the text is not `name@host`, is too long, or holds control characters.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        check_name("node", text)?;
        match text.split_once('@') {
            Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(Self(text.into())),
            _ => Err(NameError::NotANode {
                name: text.to_owned(),
            }),
        }
    }

    /// Gives the part before the `@`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.split_once('@').map_or(&*self.0, |(name, _)| name)
    }

    /// Gives the part after the `@`.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.split_once('@').map_or("", |(_, host)| host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ids_differ_and_look_like_celerys() {
        let (one, two) = (TaskId::new(), TaskId::new());
        assert_ne!(one, two);
        assert_eq!(one.as_str().len(), 36);
        assert_eq!(Uuid::parse_str(one.as_str()).unwrap().get_version_num(), 4);
    }

    #[test]
    fn a_queue_name_cannot_break_a_redis_key() {
        assert!(QueueName::parse("celery").is_ok());
        assert!(QueueName::parse("größe.x:1").is_ok());
        assert!(matches!(QueueName::parse(""), Err(NameError::Empty { .. })));
        let separator = QueueName::parse("a\u{6}\u{16}3");
        assert!(matches!(
            separator,
            Err(NameError::ControlCharacter { at: 1, .. })
        ));
        assert!(QueueName::parse(&"q".repeat(255)).is_ok());
        assert!(matches!(
            QueueName::parse(&"q".repeat(256)),
            Err(NameError::TooLong { .. })
        ));
    }

    #[test]
    fn a_node_name_has_both_halves() {
        let node = NodeName::parse("w1@host1").unwrap();
        assert_eq!((node.name(), node.host()), ("w1", "host1"));
        for bad in ["w1", "@host", "w1@", ""] {
            assert!(NodeName::parse(bad).is_err(), "{bad:?}");
        }
    }
}
