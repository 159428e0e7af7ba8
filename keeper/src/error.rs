//! What interrupts a keeper.

/// Why a duty of a keeper was interrupted. Trying again is harmless, and is what a keeper does.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The broker did not do what was asked.
    #[error("the broker did not do its part")]
    Broker(#[from] lovage_broker::Error),
    /// The database did not do what was asked.
    #[error("the database did not do its part")]
    Database(#[from] lovage_database::Error),
    /// A mail could not be put into the post.
    #[error("a mail could not be posted")]
    Mail(#[from] lovage_mail::Error),
}
