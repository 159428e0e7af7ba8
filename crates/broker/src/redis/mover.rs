//! Brings delayed messages back when they are due. Every consumer does; the script makes each message move once.

use std::{sync::Arc, time::Duration};

use super::{
    Core,
    batch::MOST_BYTES,
    consumer::Shared,
    lease,
    link::{Patience, Request},
    reply,
    scripts::{self, DUE},
};
use crate::Error;

/// So many move in one script.
const MOST: usize = 500;
/// Others may delay a message for less than what we sleep.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// Bounds how often an impatient clock makes us ask.
const SHORTEST_SLEEP: Duration = Duration::from_millis(5);

/// Runs until it is aborted.
pub(crate) async fn run(shared: Arc<Shared>) {
    let keys = &shared.core.keys;
    let mut cmd = scripts::call(
        &DUE,
        &[&keys.delayed, &keys.delayed_messages, &keys.delayed_twins],
    );
    cmd.arg(MOST).arg(MOST_BYTES).arg("");
    loop {
        let sleep = match shared
            .upkeep
            .send(Request::Script(&DUE, &cmd), Patience::Endless)
            .await
        {
            Ok(answer) => {
                let answer = reply::list(answer);
                let next = answer
                    .get(1)
                    .and_then(reply::float)
                    .map_or(LONGEST_SLEEP, seconds);
                next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "delayed messages cannot be looked at"
                );
                LONGEST_SLEEP
            }
        };
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = shared.delayed.notified() => {}
        }
    }
}

/// Gives every delayed message back to its queue when no worker of ours is left: Python workers do not look where we
/// keep them, and hold a message for its eta themselves.
pub(crate) async fn hand_back_if_last(core: &Core) -> Result<(), Error> {
    if !lease::peers(core).await?.is_empty() {
        return Ok(());
    }
    let total = hand_back(core).await?;
    if total > 0 {
        tracing::info!(
            total,
            "the last worker gives delayed messages back to their queues"
        );
    }
    Ok(())
}

/// Gives every message that is delayed now back to its queue, and tells how many they were. A worker that runs meanwhile delays
/// them again: those are not waited for.
pub(crate) async fn hand_back(core: &Core) -> Result<u64, Error> {
    let keys = &core.keys;
    let mut cmd = scripts::call(
        &DUE,
        &[&keys.delayed, &keys.delayed_messages, &keys.delayed_twins],
    );
    cmd.arg(MOST).arg(MOST_BYTES).arg("all");
    let count = redis::cmd("ZCARD").arg(&keys.delayed).to_owned();
    let count = core.link.send(Request::One(&count), Patience::Bounded);
    let most = reply::integer(&count.await?).unwrap_or(0);
    let mut total = 0;
    while total < most {
        let request = Request::Script(&DUE, &cmd);
        let answer = reply::list(core.link.send(request, Patience::Bounded).await?);
        match answer.first().and_then(reply::integer) {
            Some(moved) if moved > 0 => total += moved,
            _ => break,
        }
    }
    Ok(total)
}

/// What is overdue is due now; what is never due is waited for as long as can be.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_due_is_not_asked_for_all_the_time() {
        assert_eq!(seconds(0.25), Duration::from_millis(250));
        assert_eq!(seconds(-7.0), Duration::ZERO);
        assert_eq!(seconds(f64::INFINITY), Duration::MAX);
    }
}
