//! A duty: what one keeper of all does, the one that has its lease. The others wait for it.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lovage_database::{Database, lead, store::lease::Lease};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How long a keeper may be silent before another takes its duties over.
pub(crate) const LENGTH: Duration = Duration::from_secs(10);
/// The pause after an error.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be done.
pub(crate) trait Work: Send + Sync {
    /// Why it is interrupted. It is logged, and the work is begun again.
    type Error: std::error::Error + From<lovage_database::Error> + Send + 'static;

    /// Does it until told to stop, and then ends by itself. Dropped where it stands when the lease is lost.
    fn run(
        &self,
        lease: &Lease,
        stop: &CancellationToken,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

/// A duty of keepers.
#[derive(Debug, Clone)]
pub(crate) struct Duty {
    /// What the lease is called.
    pub(crate) name: &'static str,
    pub(crate) database: Database,
    /// This process, which no other is called.
    pub(crate) holder: String,
    /// For how long it may be silent before another takes over.
    pub(crate) length: Duration,
}

impl Duty {
    /// Does the work whenever the lease is ours, until told to stop.
    pub(crate) async fn hold<W: Work>(self, work: W, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let begun = AtomicBool::new(false);
            let leading = lead(
                &self.database,
                self.name,
                &self.holder,
                self.length,
                async |lease| {
                    begun.store(true, Ordering::Relaxed);
                    info!(
                        duty = self.name,
                        fence = lease.fence,
                        "this keeper takes over a duty"
                    );
                    work.run(&lease, &stop).await
                },
            );
            tokio::pin!(leading);
            let led = tokio::select! {
                led = &mut leading => led,
                () = stop.cancelled() => {
                    if !begun.load(Ordering::Relaxed) {
                        return;
                    }
                    leading.await
                }
            };
            let error: W::Error = match led {
                Ok(Some(Err(error))) => error,
                Err(error) => error.into(),
                // Done, or another keeper has it.
                Ok(Some(Ok(())) | None) => continue,
            };
            warn!(
                duty = self.name,
                error = &error as &dyn std::error::Error,
                "a duty was interrupted, it is taken up again"
            );
            // Cancelled: the loop ends.
            stop.run_until_cancelled(tokio::time::sleep(PAUSE)).await;
        }
    }
}
