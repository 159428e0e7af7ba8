//! Why a message cannot be run.

use crate::compression::CompressionError;
use crate::format::FormatError;
use crate::ids::{TaskId, TaskName};
use crate::json::JsonError;

/// Says why a message cannot be run, and whose it was when that could be read.
///
/// Such a message is dropped: no redelivery would make it better.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{reason}")]
pub struct DecodeError {
    reason: Box<DecodeReason>,
    task: Option<TaskName>,
    task_id: Option<TaskId>,
}

impl DecodeError {
    pub(crate) fn new(reason: impl Into<DecodeReason>) -> Self {
        Self {
            reason: Box::new(reason.into()),
            task: None,
            task_id: None,
        }
    }

    pub(crate) fn of(mut self, task: Option<TaskName>, task_id: Option<TaskId>) -> Self {
        self.task = task;
        self.task_id = task_id;
        self
    }

    /// Names the kind of fault: `undecodable`, `invalid`, `unknown-message` or `content-type`.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.reason.code()
    }

    /// Gives the fault itself.
    #[must_use]
    pub fn reason(&self) -> &DecodeReason {
        &self.reason
    }

    /// Gives the task's name, if it could be read.
    #[must_use]
    pub fn task(&self) -> Option<&TaskName> {
        self.task.as_ref()
    }

    /// Gives the task's id, if it could be read.
    #[must_use]
    pub fn task_id(&self) -> Option<&TaskId> {
        self.task_id.as_ref()
    }
}

/// What is wrong with a message.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeReason {
    /// The envelope or the body is not JSON.
    #[error("the {part} is not readable json: {problem}")]
    Json {
        /// `envelope` or `body`.
        part: &'static str,
        /// What is wrong and where.
        problem: JsonError,
    },
    /// The body is not what its content type says.
    #[error("the body is not readable {serializer}: {problem}")]
    Body {
        /// The serializer's short name.
        serializer: &'static str,
        /// What is wrong and where.
        problem: FormatError,
    },
    /// The body is not base64, though `properties.body_encoding` says so.
    #[error("the body is not valid base64: {problem}; properties.body_encoding says it is")]
    Base64 {
        /// What is wrong and where.
        problem: String,
    },
    /// The body cannot be decompressed.
    #[error("the body cannot be decompressed: {problem}")]
    Compression {
        /// What is wrong.
        problem: CompressionError,
    },
    /// The text encoding of the body is not known here.
    #[error("the body's content-encoding is {found:?}, expected utf-8")]
    Encoding {
        /// The encoding that the message names.
        found: String,
    },
    /// A field that no message may lack is missing.
    #[error("{field} is missing, expected {expected}")]
    Missing {
        /// Where it should be, such as `headers.id`.
        field: &'static str,
        /// What it should hold.
        expected: &'static str,
    },
    /// A field holds something else than it must.
    #[error("{field} is {found}, expected {expected}")]
    Field {
        /// Where it is, such as `headers.eta`.
        field: &'static str,
        /// What it holds, cut short.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// The message is no task at all: neither headers nor body name one.
    #[error(
        "this is not a task message: headers.task is missing and the body does not name a task either"
    )]
    UnknownMessage,
    /// The body's content type is not accepted here.
    #[error("content-type {found:?} is not accepted, expected {accepted}")]
    ContentType {
        /// The content type that the message names, with its serializer's name if known.
        found: String,
        /// The content types that are accepted.
        accepted: String,
    },
}

impl DecodeReason {
    /// Names the kind of fault.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Json { .. }
            | Self::Body { .. }
            | Self::Base64 { .. }
            | Self::Compression { .. }
            | Self::Encoding { .. } => "undecodable",
            Self::Missing { .. } | Self::Field { .. } => "invalid",
            Self::UnknownMessage => "unknown-message",
            Self::ContentType { .. } => "content-type",
        }
    }

    /// Describes a field by the text it has, which may be long.
    pub(crate) fn field(field: &'static str, found: &str, expected: &'static str) -> Self {
        let mut short: String = found.chars().take(60).collect();
        if short.len() < found.len() {
            short.push_str("...");
        }
        Self::Field {
            field,
            found: short,
            expected,
        }
    }
}

/// Faults of the grammar found while reading the envelope.
impl From<JsonError> for DecodeReason {
    fn from(problem: JsonError) -> Self {
        Self::Json {
            part: "envelope",
            problem,
        }
    }
}

impl From<CompressionError> for DecodeReason {
    fn from(problem: CompressionError) -> Self {
        Self::Compression { problem }
    }
}
