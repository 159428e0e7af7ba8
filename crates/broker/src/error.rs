//! What can go wrong between us and a broker.

use crate::ResultPlace;

/// Why a broker did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker's address could not be reached within the time allowed for connecting.
    #[error("the broker at {address} cannot be reached")]
    Unreachable {
        /// Where it was looked for, without any password.
        address: String,
        /// What the last attempt met.
        #[source]
        source: Cause,
    },
    /// The connection broke, or no answer came in time; what was asked may have been done or not.
    #[error("the connection to the broker at {address} was lost")]
    Interrupted {
        /// Where the broker is, without any password.
        address: String,
        /// What was met.
        #[source]
        source: Cause,
    },
    /// The broker answered that it cannot serve at the moment: loading, out of memory, a replica.
    #[error("the broker at {address} cannot serve now")]
    Unready {
        /// Where the broker is, without any password.
        address: String,
        /// Its answer.
        #[source]
        source: Cause,
    },
    /// The broker refused, and would refuse again: a key of the wrong type, no permission, a wrong password.
    #[error("the broker refused the command")]
    Refused {
        /// Its answer.
        #[source]
        source: Cause,
    },
    /// A batch of publishes ended early.
    #[error("{accepted} of {total} messages are known to be accepted")]
    Incomplete {
        /// So many from the first on are accepted for certain; later ones may be.
        accepted: usize,
        /// The size of the batch.
        total: usize,
        /// Why it ended.
        #[source]
        source: Box<Error>,
    },
    /// A result was to be written in one step with a delivery, but lives on another server.
    #[error("results at {place:?} cannot be written in one step with this broker's deliveries")]
    ForeignPlace {
        /// Where the result lives.
        place: ResultPlace,
    },
    /// The broker's answer was not of the expected shape: a proxy, or a server that is none of the supported ones.
    #[error("the broker's answer to {what} was not understood")]
    Misunderstood {
        /// What was asked.
        what: &'static str,
    },
    /// The settings name no broker, or one of a kind that this build does not have.
    #[error("no usable broker is configured: {why}")]
    NotConfigured {
        /// What is missing.
        why: &'static str,
    },
    /// The thread that renews a lease could not be started.
    #[error("no thread could be started to renew the lease")]
    NoThread {
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The consumer was closed before.
    #[error("the consumer is closed")]
    Closed,
}

/// The cause of an error, of whatever library it came from.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Whether trying again later may succeed without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Interrupted { .. } | Self::Unready { .. } => true,
            Self::Incomplete { source, .. } => source.is_transient(),
            Self::Refused { .. }
            | Self::ForeignPlace { .. }
            | Self::Misunderstood { .. }
            | Self::NotConfigured { .. }
            | Self::NoThread { .. }
            | Self::Closed => false,
        }
    }
}
