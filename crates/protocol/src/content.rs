//! What a body is written in, and what is accepted.

use crate::error::DecodeReason;

/// A serializer this crate can read and write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Serializer {
    /// `application/json`, Celery's default.
    Json,
}

impl Serializer {
    /// Finds a serializer by its short name or content type.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" | "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Gives Celery's short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
        }
    }

    /// Gives the `content-type` it writes.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
        }
    }

    /// Gives the `content-encoding` it writes.
    #[must_use]
    pub fn content_encoding(self) -> &'static str {
        match self {
            Self::Json => "utf-8",
        }
    }
}

/// The short name of a content type of Celery's, including those this crate does not read.
fn celery_name(content_type: &str) -> Option<&'static str> {
    Some(match content_type {
        "application/json" => "json",
        "application/x-msgpack" => "msgpack",
        "application/x-yaml" => "yaml",
        "application/x-python-serialize" => "pickle",
        "application/data" => "raw",
        _ => return None,
    })
}

/// What bodies a reader takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The accepted serializers; json alone by default.
    pub accept: Vec<Serializer>,
    /// The most bytes a compressed body may grow to; 64 MiB by default.
    pub max_decompressed: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self {
            accept: vec![Serializer::Json],
            max_decompressed: 64 << 20,
        }
    }
}

impl DecodeOptions {
    /// Finds the serializer of a body, if it is accepted.
    pub(crate) fn serializer(&self, content_type: &str) -> Result<Serializer, DecodeReason> {
        match Serializer::from_name(content_type) {
            Some(serializer) if self.accept.contains(&serializer) => Ok(serializer),
            _ => {
                let short: String = content_type.chars().take(60).collect();
                let found = match celery_name(content_type) {
                    Some(name) => format!("{short} ({name})"),
                    None => short,
                };
                let accepted: Vec<_> = self.accept.iter().map(|one| one.content_type()).collect();
                Err(DecodeReason::ContentType {
                    found,
                    accepted: accepted.join(" or "),
                })
            }
        }
    }
}

/// Checks that a JSON body's bytes are in an encoding that UTF-8 contains; null and nothing count as UTF-8.
pub(crate) fn check_encoding(content_encoding: &str) -> Result<(), DecodeReason> {
    const UTF8: [&str; 6] = ["", "utf-8", "utf8", "us-ascii", "ascii", "binary"];
    if UTF8
        .iter()
        .any(|known| known.eq_ignore_ascii_case(content_encoding))
    {
        return Ok(());
    }
    Err(DecodeReason::Encoding {
        found: content_encoding.chars().take(60).collect(),
    })
}
