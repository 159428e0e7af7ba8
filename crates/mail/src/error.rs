//! What can go wrong before a mail server is asked.

use crate::Language;

/// A mail that cannot be made, or a mailer that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no mails in this language.
    #[error("there are no mails in {0:?}; there are in en and fr")]
    Language(String),
    /// A template could not be filled in.
    #[error("the mail {template} in {language} cannot be written")]
    Template {
        /// Its name.
        template: &'static str,
        /// Its language.
        language: Language,
        /// Why.
        #[source]
        source: minijinja::Error,
    },
    /// It is no mail address.
    #[error("{address:?} is not a mail address; expected name@host, or A Name <name@host>")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        #[source]
        source: lettre::address::AddressError,
    },
    /// Its parts do not make a mail.
    #[error("the mail cannot be put together")]
    Envelope(#[source] lettre::error::Error),
    /// The authorities to trust cannot be read.
    #[error("LOVAGE_MAIL_CA_FILE {path} cannot be read")]
    Authorities {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The database refuses.
    #[error(transparent)]
    Database(#[from] lovage_database::Error),
    /// The mails were written, and the transaction was not committed: there are none.
    #[error("mails could not be committed")]
    Commit(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Encryption cannot be set up for this server.
    #[error("encryption with the mail server {server} cannot be set up")]
    Encryption {
        /// The server.
        server: String,
        /// Why.
        #[source]
        source: lettre::transport::smtp::Error,
    },
}

impl Error {
    pub(crate) fn committing(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Commit(Box::new(source))
    }

    /// Whether the same call may well succeed a moment later.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Database(error) if error.is_transient())
    }
}
