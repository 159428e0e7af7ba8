//! What the beat that leads does itself, at the ticks of its own schedules: it gives back what dead workers held, and sends what waits
//! in the outbox and nobody relays.

use std::{future::pending, sync::Arc, time::Duration};

use lovage_beat::{Status, Ticks, store::Store};
use lovage_broker::{Broker, Reaped, Reaping};
use lovage_database::store::chore::{OUTBOX, REAP};
use lovage_keeper::outbox::{self, Swept};
use serde_json::json;
use tokio::sync::watch;
use tracing::{debug, info, warn};

/// A message of the outbox that has waited for so long although somebody relays is worth a word.
const PATIENCE: Duration = Duration::from_secs(10);

/// What it is done with.
pub(super) struct OwnChores {
    /// Where dead workers have left something.
    pub(super) broker: Arc<dyn Broker>,
    /// How that is given back.
    pub(super) reaping: Reaping,
    /// Where schedules are in a database: its outbox, for a holder of the sweep's own.
    pub(super) outbox: Option<outbox::Parts>,
}

impl OwnChores {
    /// Does each at the ticks of its schedule, while the beat with this status leads. Never ends; may be dropped anywhere.
    pub(super) async fn run(self, store: &Arc<dyn Store>, status: watch::Receiver<Status>) {
        let ticks = |name| Ticks::new(Arc::clone(store), name, status.clone());
        let reaping = reap(ticks(REAP), self.broker, self.reaping);
        let sweeping = async {
            match self.outbox {
                Some(parts) => sweep(ticks(OUTBOX), parts).await,
                None => pending().await,
            }
        };
        tokio::join!(reaping, sweeping);
    }
}

async fn reap(mut ticks: Ticks, broker: Arc<dyn Broker>, reaping: Reaping) {
    loop {
        ticks.next().await;
        match broker.reap(&reaping).await {
            Ok(reaped) => tell_reaped(reaped),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "what dead workers held could not be looked for; the next tick does it"
            ),
        }
    }
}

fn tell_reaped(reaped: Reaped) {
    let Reaped {
        workers,
        messages,
        abandoned,
        left,
    } = reaped;
    let counts =
        json!({"workers": workers, "messages": messages, "abandoned": abandoned, "left": left});
    if left > 0 {
        warn!(
            %counts,
            "reaped; some messages stay recorded as held, until a worker of Lovage comes that can give them up"
        );
    } else if reaped == Reaped::default() {
        debug!(%counts, "nothing to reap");
    } else {
        info!(%counts, "reaped");
    }
}

async fn sweep(mut ticks: Ticks, parts: outbox::Parts) {
    loop {
        ticks.next().await;
        match outbox::sweep(&parts, PATIENCE).await {
            Ok(swept) => tell_swept(swept),
            Err(error) => warn!(
                error = &error as &dyn std::error::Error,
                "the outbox could not be swept; the next tick does it"
            ),
        }
    }
}

fn tell_swept(swept: Swept) {
    let Swept {
        sent,
        waiting,
        refused,
    } = swept;
    let counts = json!({"sent": sent, "waiting": waiting, "refused": refused});
    if waiting > 0 {
        warn!(
            %counts,
            "messages wait in the outbox although a process relays it: is the broker away, or the keeper stuck?"
        );
    } else if swept == Swept::default() {
        debug!(%counts, "nothing to sweep in the outbox");
    } else {
        info!(%counts, "the outbox was swept");
    }
}
