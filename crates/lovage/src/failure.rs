//! How a command ends that does not end well: one line for people, one exit code for scripts.

use std::{error::Error, io};

use lovage_settings::Faults;
use lovage_worker::BuildError;

use crate::output;

/// The task failed, the broker is away, or the like.
const FAILED: u8 = 1;
/// The command was called wrongly.
const USAGE: u8 = 2;
/// Nobody is there (`EX_UNAVAILABLE`): Celery's code when no node replies.
const UNAVAILABLE: u8 = 69;
/// A file could not be made (`EX_CANTCREAT`): Celery's code for a pid file that is held.
const CANNOT_CREATE: u8 = 73;
/// The settings are wrong (`EX_CONFIG`): starting again will not help.
const SETTINGS: u8 = 78;

/// Why a command ended, and with which exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    code: u8,
    message: Option<String>,
}

impl Failure {
    /// It was tried and did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            message: Some(message.into()),
        }
    }

    /// What it says; nothing when it was said already.
    pub(crate) fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// The same code, and nothing more to say: it was said in another form.
    pub(crate) fn told(self) -> Self {
        Self {
            message: None,
            ..self
        }
    }

    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: Some(message.into()),
        }
    }

    /// The settings must be changed first.
    pub(crate) fn settings(message: impl Into<String>) -> Self {
        Self {
            code: SETTINGS,
            message: Some(message.into()),
        }
    }

    /// Somebody else holds what this process needs alone.
    pub(crate) fn held(message: impl Into<String>) -> Self {
        Self {
            code: CANNOT_CREATE,
            message: Some(message.into()),
        }
    }

    /// Says the line as a warning behind what follows from it: the command goes on.
    pub(crate) fn warn(self, what: &str) {
        let why = self.message.unwrap_or_default();
        output::warning(format_args!("{what}: {why}"));
    }

    /// No node replied; in Celery's words.
    pub(crate) fn nobody() -> Self {
        Self {
            code: UNAVAILABLE,
            message: Some("No nodes replied within time constraint".to_owned()),
        }
    }

    /// Nobody is there.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self {
            code: UNAVAILABLE,
            message: Some(message.into()),
        }
    }

    /// Says the line and gives the code.
    pub(crate) fn tell(self) -> u8 {
        match &self.message {
            // Scripts that were written for Celery look for its line.
            Some(message) if self.code == UNAVAILABLE => output::note(format_args!(
                "{style}Error:{style:#} {message}",
                style = output::BAD
            )),
            Some(message) => output::error(message),
            None => {}
        }
        self.code
    }

    /// The same to a program: `{"error": …}`.
    pub(crate) fn tell_program(self) -> u8 {
        if let Some(message) = &self.message {
            output::json_error(message);
        }
        self.code
    }
}

/// An error with its causes in one line. Many libraries repeat the cause in their own text; it is then said once.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        next = cause.source();
    }
    text.replace('\n', " ")
}

impl From<io::Error> for Failure {
    /// For what is printed: whoever reads may stop reading (`| head`), which is no failure.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self {
                code: 0,
                message: None,
            };
        }
        Self::failed(format!("cannot write to standard output: {error}"))
    }
}

impl From<Faults> for Failure {
    fn from(faults: Faults) -> Self {
        Self::settings(faults.to_string())
    }
}

impl From<lovage_telemetry::StartError> for Failure {
    fn from(error: lovage_telemetry::StartError) -> Self {
        Self::settings(chain(&error))
    }
}

impl From<lovage_broker::Error> for Failure {
    fn from(error: lovage_broker::Error) -> Self {
        match error {
            lovage_broker::Error::NotConfigured { .. } => Self::settings(chain(&error)),
            _ => Self::failed(chain(&error)),
        }
    }
}

impl From<lovage_keeper::Error> for Failure {
    fn from(error: lovage_keeper::Error) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<lovage_results::Error> for Failure {
    fn from(error: lovage_results::Error) -> Self {
        match error {
            lovage_results::Error::Settings(_) => Self::settings(chain(&error)),
            _ => Self::failed(chain(&error)),
        }
    }
}

impl From<lovage_database::Error> for Failure {
    fn from(error: lovage_database::Error) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<lovage_migrations::Error> for Failure {
    fn from(error: lovage_migrations::Error) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<lovage_keeper::outbox::Error> for Failure {
    fn from(error: lovage_keeper::outbox::Error) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<lovage_keeper::dead_letters::Error> for Failure {
    fn from(error: lovage_keeper::dead_letters::Error) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<lovage_client::Error> for Failure {
    fn from(error: lovage_client::Error) -> Self {
        match error {
            lovage_client::Error::Invalid { .. } | lovage_client::Error::Encode { .. } => {
                Self::usage(chain(&error))
            }
            _ => Self::failed(chain(&error)),
        }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            // Each missing state has a line of its own.
            BuildError::MissingState(_) => Self::settings(error.to_string()),
            // A database that is away comes back; the same start may work then.
            BuildError::State { .. } | BuildError::Runtime(_) => Self::failed(chain(&error)),
            _ => Self::settings(chain(&error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Failure, chain};

    #[test]
    fn a_cause_is_said_once() {
        let inner = io::Error::other("connection refused");
        let wrapped = lovage_broker::Error::Unreachable {
            address: "localhost:1".to_owned(),
            source: Box::new(inner),
        };
        assert_eq!(
            chain(&wrapped),
            "the broker at localhost:1 cannot be reached: connection refused"
        );
        let repeated = io::Error::other(io::Error::other("the same"));
        assert_eq!(chain(&repeated), "the same");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let closed = Failure::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(closed.tell(), 0);
        let full = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
        assert_ne!(
            full,
            Failure {
                code: 0,
                message: None
            }
        );
    }
}
