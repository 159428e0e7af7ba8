//! Forgets what is old.

use std::time::Duration;

use chrono::Utc;
use lovage_database::{
    Database,
    store::{chore::PRUNE, lease::Lease, retention},
};
use lovage_settings::RetentionSettings;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::{Error, chore::Times, duty::Work};

/// How often without a beat; what is kept is counted in days.
const EVERY: Duration = Duration::from_secs(15 * 60);
/// Not at once when a keeper starts: what is read and written then is more urgent.
const FIRST: Duration = Duration::from_secs(60);

/// What the duty works with.
#[derive(Debug, Clone)]
pub(crate) struct Pruning {
    pub(crate) database: Database,
    pub(crate) retention: RetentionSettings,
}

impl Work for Pruning {
    type Error = Error;

    /// Prunes again and again until told to stop.
    async fn run(&self, _lease: &Lease, stop: &CancellationToken) -> Result<(), Error> {
        let mut times = Times::new(&self.database, PRUNE, EVERY, FIRST);
        while let Some(come) = stop.run_until_cancelled(times.come()).await {
            come?;
            let pruned = retention::prune(&self.database, &self.retention, Utc::now());
            let Some(pruned) = stop.run_until_cancelled(pruned).await else {
                return Ok(());
            };
            for (table, rows) in pruned? {
                if rows > 0 {
                    info!(table, rows, "pruned");
                } else {
                    debug!(table, "nothing to prune");
                }
            }
        }
        Ok(())
    }
}
