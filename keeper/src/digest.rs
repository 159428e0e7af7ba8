//! Tells operators by mail of tasks that failed for good: now and then of all of them, not of each.

use std::time::Duration;

use chrono::Utc;
use lovage_database::{
    Database,
    store::{chore::DIGEST, lease::Lease},
};
use lovage_mail::tell_of_failures;
use lovage_settings::MailSettings;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{Error, chore::Times, duty::Work};

/// How often is looked without a beat whether something is to be told. Mails themselves are as far apart as the settings say.
const LOOK: Duration = Duration::from_secs(60);

/// What the duty works with.
#[derive(Debug, Clone)]
pub(crate) struct Digest {
    pub(crate) database: Database,
    pub(crate) mail: MailSettings,
}

impl Work for Digest {
    type Error = Error;

    /// Looks again and again until told to stop. The mail and the task that sends it are one transaction, so it may be dropped
    /// anywhere.
    async fn run(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
        // Somebody who wants a mail every ten seconds gets one.
        let every = LOOK
            .min(self.mail.digest_every)
            .max(Duration::from_millis(100));
        let mut times = Times::new(&self.database, DIGEST, every, Duration::ZERO);
        while let Some(come) = stop.run_until_cancelled(times.come()).await {
            come?;
            let told = tell_of_failures(&self.database, &self.mail, lease, Utc::now());
            match stop.run_until_cancelled(told).await {
                Some(Ok(0)) => {}
                Some(Ok(tasks)) => info!(tasks, "operators are told of tasks that failed for good"),
                Some(Err(
                    error @ (lovage_mail::Error::Database(_) | lovage_mail::Error::Commit(_)),
                )) => {
                    return Err(error.into());
                }
                // An operator without an address that a mail can go to: trying at once would change nothing.
                Some(Err(error)) => warn!(
                    error = &error as &dyn std::error::Error,
                    "operators cannot be told of tasks that failed for good"
                ),
                None => break,
            }
        }
        Ok(())
    }
}
