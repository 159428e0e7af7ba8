//! One pass of the reaper for somebody who takes nothing, and so has no lease and no thread that renews one.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Core,
    consumer::Shared,
    reaper::{self, LOOK_EVERY, Watch},
    reply,
};
use crate::{ConsumerOptions, Error, Reaped, Reaping};

/// So much longer than the leases that it observes a pass may take.
const SPARE: Duration = Duration::from_secs(20);

/// Looks until nobody is left of whom it is not known whether he lives.
pub(crate) async fn reap(core: &Arc<Core>, reaping: &Reaping) -> Result<Reaped, Error> {
    let most = reaping.lease * 3 + SPARE;
    match tokio::time::timeout(most + SPARE, pass(core, reaping, most)).await {
        Ok(reaped) => reaped,
        Err(elapsed) => Err(Error::Unreachable {
            address: core.servers.address(),
            source: elapsed.into(),
        }),
    }
}

async fn pass(core: &Arc<Core>, reaping: &Reaping, most: Duration) -> Result<Reaped, Error> {
    let began = Instant::now();
    let mut options = ConsumerOptions::new(reaping.node.clone(), Vec::new());
    options.lease = reaping.lease;
    options.max_deaths = reaping.max_deaths;
    options.recorder.clone_from(&reaping.recorder);
    let shared = Shared::of_a_bystander(core, options);
    let state = &core.keys.journal_state;
    let kept = core.ask(redis::cmd("EXISTS").arg(state)).await?;
    let kept = reply::integer(&kept) == Some(1);
    shared.journals.store(kept, Ordering::Relaxed);
    let mut watch = Watch::default();
    let pause = LOOK_EVERY.min(shared.holder.lease / 4);
    loop {
        let (workers, unsure) = reaper::look(&shared, &mut watch).await?;
        // What a renewal is to a consumer: the broker has answered.
        shared.pulse.record();
        // Whoever dies while we look is for the next pass.
        if unsure == 0 || began.elapsed() > most {
            let Watch { sweep, reaped, .. } = &mut watch;
            sweep.look(&shared, &workers, reaped).await?;
            return Ok(*reaped);
        }
        tokio::time::sleep(pause).await;
    }
}
