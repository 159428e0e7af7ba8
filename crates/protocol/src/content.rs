//! What a body is written in, and what is accepted.

use crate::error::DecodeReason;

/// A serializer this crate can read; all but pickle it can write too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Serializer {
    /// `application/json`, Celery's default.
    Json,
    /// `application/x-msgpack`.
    Msgpack,
    /// `application/x-yaml`, as PyYAML's `safe_dump` and `safe_load`.
    Yaml,
    /// `application/x-python-serialize`; read as plain data only, and never written.
    Pickle,
}

impl Serializer {
    /// Finds a serializer by its short name or content type.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" | "application/json" => Some(Self::Json),
            "msgpack" | "application/x-msgpack" => Some(Self::Msgpack),
            "yaml" | "application/x-yaml" => Some(Self::Yaml),
            "pickle" | "application/x-python-serialize" => Some(Self::Pickle),
            _ => None,
        }
    }

    /// Gives Celery's short name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Msgpack => "msgpack",
            Self::Yaml => "yaml",
            Self::Pickle => "pickle",
        }
    }

    /// Gives the `content-type` it writes.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Msgpack => "application/x-msgpack",
            Self::Yaml => "application/x-yaml",
            Self::Pickle => "application/x-python-serialize",
        }
    }

    /// Gives the `content-encoding` it writes.
    #[must_use]
    pub fn content_encoding(self) -> &'static str {
        match self {
            Self::Json | Self::Yaml => "utf-8",
            Self::Msgpack | Self::Pickle => "binary",
        }
    }

    /// Tells whether bytes of this serializer are text, whose encoding matters.
    pub(crate) fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Yaml)
    }
}

/// The short name of a content type of Celery's, including those this crate does not read.
fn celery_name(content_type: &str) -> Option<&'static str> {
    match content_type {
        "application/data" => Some("raw"),
        other => Serializer::from_name(other).map(Serializer::name),
    }
}

/// What bodies a reader takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// The accepted serializers; json alone by default.
    pub accept: Vec<Serializer>,
    /// The most bytes a compressed body may grow to, and what a body repeats (YAML's aliases, a pickle's memo) too; 64 MiB by
    /// default.
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
    /// Takes every serializer: for looking at a message, not for running it. Even a pickle is only ever read as data.
    #[must_use]
    pub fn any() -> Self {
        Self {
            accept: vec![
                Serializer::Json,
                Serializer::Msgpack,
                Serializer::Yaml,
                Serializer::Pickle,
            ],
            ..Self::default()
        }
    }

    /// Finds the serializer of a body, if it is accepted and its bytes are in an encoding that it can have.
    pub(crate) fn serializer(
        &self,
        content_type: &str,
        content_encoding: &str,
    ) -> Result<Serializer, DecodeReason> {
        match Serializer::from_name(content_type) {
            Some(serializer) if self.accept.contains(&serializer) => {
                if serializer.is_text() {
                    check_encoding(content_encoding)?;
                }
                Ok(serializer)
            }
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

/// Checks that a text body's bytes are in an encoding that UTF-8 contains; null and nothing count as UTF-8.
fn check_encoding(content_encoding: &str) -> Result<(), DecodeReason> {
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
