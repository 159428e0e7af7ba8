//! What a worker's settings say of messages whose workers died.

use lovage_broker::Reaping;
use lovage_protocol::NodeName;
use lovage_settings::Settings;

use crate::{chronicle, intake};

/// How somebody who runs no tasks gives back what dead workers held: as a worker with these settings does, but for what that would
/// give up.
pub fn reaping(node: NodeName, settings: &Settings) -> Reaping {
    let mut reaping = Reaping::new(node);
    reaping.lease = settings.worker.lease;
    reaping.max_deaths = max_deaths(settings);
    reaping.recorder = Some(chronicle::recorder(intake::decode_options(settings)));
    reaping
}

/// How many deaths a message may cost.
pub(crate) fn max_deaths(settings: &Settings) -> u32 {
    // Without requeue on loss, as Celery's default has it, the first death of a started task is its failure.
    match settings.tasks.reject_on_worker_lost {
        true => settings.worker.max_deaths,
        false => 0,
    }
}
