//! Why a keeper stops.

/// Why a duty of a keeper was left undone. A duty is begun again after all of them but [`Error::is_final`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker did not do what was asked.
    #[error("the broker did not do its part")]
    Broker(#[from] lovage_broker::Error),
    /// The database did not do what was asked.
    #[error("the database did not do its part")]
    Database(#[from] lovage_database::Error),
}

impl Error {
    /// Whether waiting cannot mend it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Broker(error) => !error.is_transient(),
            // A lease that was lost is taken again. A row that is refused is refused again, but the next one may not be.
            Self::Database(_) => false,
        }
    }
}
