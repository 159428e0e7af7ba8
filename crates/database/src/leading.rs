//! Doing what only one may do, for as long as nobody else does it.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout_at};

use crate::{Database, Error, store::lease::Lease};

/// Waits until `holder` is the one that has the lease `name`, then runs `work` and renews the lease meanwhile. Gives what `work`
/// gave, and the lease up; `None` when the lease was lost first, and then `work` was dropped where it stood. `holder` must be this
/// process's alone.
///
/// `work` is dropped before the lease can be anybody else's, as long as this process runs at all. One that was stopped and
/// resumes does one more thing before it knows: see [`Lease`].
///
/// # Errors
/// [`Error::Query`], when the database did not answer before `work` began. While it runs, renewing is tried until the lease is over.
///
/// # Cancel safety
/// Safe: `work` is dropped, and the lease runs out.
pub async fn lead<T, W: Future<Output = T>>(
    database: &Database,
    name: &str,
    holder: &str,
    length: Duration,
    work: impl FnOnce(Lease) -> W,
) -> Result<Option<T>, Error> {
    let pause = length / 3;
    let lease = loop {
        if let Some(lease) = Lease::take(database, name, holder, length).await? {
            break lease;
        }
        sleep(pause).await;
    };
    let held = lease.clone();
    tokio::select! {
        // A lease that is over is not worked under, not even to the next pause of `work`.
        biased;
        () = until_lost(database, &held, length) => Ok(None),
        done = work(lease) => {
            // It runs out by itself when this does not work.
            let _ = held.release(database).await;
            Ok(Some(done))
        }
    }
}

/// Renews the lease until it is lost.
async fn until_lost(database: &Database, lease: &Lease, length: Duration) {
    let pause = length / 3;
    let mut ends = Instant::now() + length;
    let mut ticks = interval_at(Instant::now() + pause, pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if timeout_at(ends, ticks.tick()).await.is_err() {
            break;
        }
        // It is renewed from when it is asked, so that we never believe longer than the database.
        let asked = Instant::now();
        match timeout_at(ends, lease.renew(database, length)).await {
            Ok(Ok(true)) => ends = asked + length,
            Ok(Ok(false)) | Err(_) => break,
            Ok(Err(error)) => {
                tracing::warn!(
                    lease = lease.name,
                    error = &error as &dyn std::error::Error,
                    "the lease cannot be renewed, trying on while it runs"
                );
            }
        }
    }
    tracing::warn!(
        lease = lease.name,
        holder = lease.holder,
        "the lease was lost"
    );
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::Notify;

    use super::lead;
    use crate::{store::lease::Lease, testing::on_both};

    const SHORT: Duration = Duration::from_millis(600);

    on_both! {
        async fn the_second_begins_when_the_first_has_ended(database: Database) {
            let (began, end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
            let first = {
                let (database, began, end) = (database.clone(), Arc::clone(&began), Arc::clone(&end));
                tokio::spawn(async move {
                    lead(&database, "x", "a", SHORT, async |lease: Lease| {
                        began.notify_one();
                        end.notified().await;
                        lease.fence
                    })
                    .await
                })
            };
            began.notified().await;
            // Longer than the lease: it is renewed.
            let early = lead(&database, "x", "b", SHORT, async |_| ());
            assert!(tokio::time::timeout(SHORT * 3, early).await.is_err());
            end.notify_one();
            assert_eq!(first.await.unwrap().unwrap(), Some(1));
            let second = lead(&database, "x", "b", SHORT, async |lease: Lease| lease.fence).await.unwrap();
            assert_eq!(second, Some(2));
        }

        async fn work_ends_where_it_stands_when_the_lease_is_lost(database: Database) {
            let done = lead(&database, "x", "a", SHORT, async |lease: Lease| {
                lease.release(&database).await.unwrap();
                assert!(Lease::take(&database, "x", "b", SHORT).await.unwrap().is_some());
                std::future::pending::<()>().await;
            })
            .await;
            assert_eq!(done.unwrap(), None);
        }
    }
}
