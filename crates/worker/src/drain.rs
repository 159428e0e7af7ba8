//! The end of a worker: what has not begun goes back, what runs may end, for as long as the shutdown allows.

use std::time::Duration;

use lovage_broker::{Consumer, Delivery, Finished, Settle};
use tokio::{sync::mpsc, task::JoinHandle};
use tracing::{debug, info, warn};

use crate::{
    attempt,
    engine::Event,
    error::Error,
    shutdown::{Patience, Shutdown},
};

/// How long a step of a cold shutdown may take.
const COLD_PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether the broker is still there.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Runs until everything that began has ended; gives the number of messages that went back unstarted. `events` ends when
/// the last of `running` has ended. `marked` never got a slot, though their fetch marked them as started.
pub(crate) async fn drain(
    consumer: &dyn Consumer,
    shutdown: &Shutdown,
    marked: Vec<Delivery>,
    mut running: usize,
    mut events: mpsc::UnboundedReceiver<Event>,
) -> Result<u64, Error> {
    let _timer = SoftTimer::spawn(shutdown.clone());
    let mut returned = put_back(consumer, shutdown, marked).await?;
    let released = unless_stuck(shutdown, give_back(consumer)).await;
    returned += released.transpose()?.unwrap_or(0);
    let mut told_cold = false;
    while let Some(event) = unless_stuck(shutdown, events.recv()).await.flatten() {
        match event {
            Event::SlotFree(_) => {
                if shutdown.is_cold() && !told_cold {
                    info!("Restoring {running} unacknowledged message(s)");
                    told_cold = true;
                }
                running = running.saturating_sub(1);
                debug!(running, "waiting for running tasks");
            }
            // A fetch crossed the shutdown: its messages go back as they came, also those marked to start at once.
            Event::Fetched(Ok(batch)) => {
                returned += put_back(consumer, shutdown, batch).await?;
            }
            Event::Fetched(Err(_))
            | Event::Settled
            | Event::Resized
            | Event::Turned(_)
            // Nothing waits here any more.
            | Event::Asked(_)
            | Event::Revoked => {}
        }
    }
    stay_when_idle(shutdown).await;
    let released = unless_stuck(shutdown, give_back(consumer)).await;
    returned += released.transpose()?.unwrap_or(0);
    if returned > 0 {
        info!("Restoring {returned} unacknowledged message(s)");
    }
    Ok(returned)
}

/// Gives back deliveries that never ran, whatever they are marked as, and tells how many.
async fn put_back(
    consumer: &dyn Consumer,
    shutdown: &Shutdown,
    batch: Vec<Delivery>,
) -> Result<u64, Error> {
    if batch.is_empty() {
        return Ok(0);
    }
    let given_back = batch
        .into_iter()
        .map(|delivery| attempt::settle(delivery, Settle::Restore));
    let given_back = while_connected(consumer, consumer.finish(given_back.collect()));
    let ended = unless_stuck(shutdown, given_back).await.flatten();
    let ended = ended.transpose()?.unwrap_or_default();
    // Those that were released already are lost to this one.
    let returned = ended
        .iter()
        .filter(|ended| matches!(ended, Finished::Done { .. }));
    Ok(u64::try_from(returned.count()).unwrap_or(0))
}

/// Gives back what has not begun, unless the broker is away for longer than a lease: then others give it back already.
async fn give_back(consumer: &dyn Consumer) -> Result<u64, lovage_broker::Error> {
    let released = while_connected(consumer, consumer.release_unstarted()).await;
    released.unwrap_or(Ok(0))
}

/// `None` once the broker is away for longer than a lease.
async fn while_connected<T>(consumer: &dyn Consumer, work: impl Future<Output = T>) -> Option<T> {
    let gone = async {
        while consumer.is_connected() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = gone => {
            warn!("the broker is away: what has not begun goes back when this worker's lease ends");
            None
        }
    }
}

/// Waits as long as it takes; after a cold shutdown was asked for only a moment, since a broker that is away would hold up
/// the end for ever. What is not given back then returns to its queue when this worker's lease ends.
async fn unless_stuck<T>(shutdown: &Shutdown, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = work => Some(done),
        () = async {
            shutdown.asked_cold().await;
            tokio::time::sleep(COLD_PATIENCE).await;
        } => {
            warn!("cold shutdown: the broker does not answer, nothing more is given back");
            None
        }
    }
}

/// A soft shutdown that was asked for with the wish to wait in any case lasts until its time is over.
async fn stay_when_idle(shutdown: &Shutdown) {
    let asked = tokio::select! {
        biased;
        patience = shutdown.asked_soft() => Some(patience),
        () = std::future::ready(()) => None,
    };
    if asked.is_some_and(|patience| patience.even_idle) {
        // The timer makes it cold.
        shutdown.asked_cold().await;
    }
}

/// Makes a soft shutdown cold when its time is over.
struct SoftTimer(JoinHandle<()>);

impl SoftTimer {
    fn spawn(shutdown: Shutdown) -> Self {
        Self(tokio::spawn(async move {
            let Patience { time, .. } = shutdown.asked_soft().await;
            warn!(
                "Initiating Soft Shutdown, terminating in {} seconds",
                time.as_secs_f64()
            );
            tokio::time::sleep(time).await;
            shutdown.cold();
        }))
    }
}

impl Drop for SoftTimer {
    fn drop(&mut self) {
        self.0.abort();
    }
}
