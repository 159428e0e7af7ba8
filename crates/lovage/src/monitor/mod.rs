//! What the roles of this binary tell of themselves at `LOVAGE_MONITOR_BIND`: the wiring of `lovage-monitor`.

mod beat;
mod keeper;
mod worker;

use std::{sync::Arc, time::Duration};

use lovage_broker::Broker;
use lovage_monitor::{Condition, Listening, Part, Probe, ProcessMetrics};
use lovage_settings::Settings;
use prometheus_client::{encoding::text::encode, registry::Registry};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

pub(crate) use self::{
    beat::BeatProbe,
    keeper::{KeeperProbe, routed},
    worker::WorkerProbe,
};
use crate::failure::Failure;

/// How long a part may take to answer; below what the server itself waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves a role's health and numbers until the guard is dropped; nothing when no address is set.
pub(crate) async fn serve(
    settings: &Settings,
    probe: impl Probe,
) -> Result<Option<DropGuard>, Failure> {
    let Some(address) = settings.telemetry.monitor_bind else {
        return Ok(None);
    };
    let listening = Listening::at(address).await.map_err(|error| {
        Failure::failed(format!(
            "cannot listen at {address} (LOVAGE_MONITOR_BIND): {error}"
        ))
    })?;
    info!("health and metrics are at http://{}", listening.address());
    let stop = CancellationToken::new();
    tokio::spawn(listening.serve(Arc::new(probe), stop.clone()));
    Ok(Some(stop.drop_guard()))
}

/// A registry with what every process tells.
fn registry() -> Registry {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(ProcessMetrics));
    registry
}

fn page(registry: &Registry) -> String {
    let mut page = String::new();
    if let Err(error) = encode(&mut page, registry) {
        warn!(
            error = &error as &dyn std::error::Error,
            "the numbers cannot be written"
        );
    }
    page
}

async fn broker(broker: &dyn Broker) -> Part {
    let wrong = match timeout(PATIENCE, broker.ping()).await {
        Ok(Ok(())) => return Part::good("broker"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
    };
    Part::bad("broker", Condition::Failing, wrong)
}
