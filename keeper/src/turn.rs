//! Taking turns: what one keeper does at a time, again and again, until it is told to stop.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use lovage_database::{Database, lead, store::lease::Lease};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// After an error: long enough for a server to come back, short enough for nobody to notice.
const PAUSE: Duration = Duration::from_secs(1);

/// Which turns.
pub(crate) struct Turns<'t> {
    pub(crate) database: &'t Database,
    /// The name of the lease.
    pub(crate) name: &'t str,
    /// This process, as nobody else is called.
    pub(crate) holder: &'t str,
    pub(crate) length: Duration,
}

/// Does the work, which ends with an error alone, whenever the lease is ours. Errors are logged, and it is done again. When the
/// token is cancelled it is dropped where it stands, and the lease is given up, so that another has it at once.
pub(crate) async fn take<E, W: Future<Output = E>>(
    turns: Turns<'_>,
    token: CancellationToken,
    work: impl Fn(Lease) -> W,
) where
    E: Error + From<lovage_database::Error> + 'static,
{
    let Turns {
        database,
        name,
        holder,
        length,
    } = turns;
    while !token.is_cancelled() {
        let ours = AtomicBool::new(false);
        let turn = lead(database, name, holder, length, async |lease| {
            ours.store(true, Ordering::Relaxed);
            token.run_until_cancelled(work(lease)).await
        });
        tokio::pin!(turn);
        let ended = tokio::select! {
            ended = &mut turn => ended,
            () = token.cancelled() => {
                if !ours.load(Ordering::Relaxed) {
                    return;
                }
                // The work ends by the same token; what is left is to give the lease up.
                turn.await
            }
        };
        let error: E = match ended {
            Ok(Some(Some(error))) => error,
            Ok(Some(None) | None) => continue,
            Err(error) => error.into(),
        };
        tracing::warn!(
            duty = name,
            error = &error as &dyn Error,
            "a duty was interrupted and is taken up again"
        );
        token.run_until_cancelled(sleep(PAUSE)).await;
    }
}
