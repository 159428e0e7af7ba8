//! A process that does nothing but relay the outbox of `DATABASE_URL` to `CELERY_BROKER_URL`, until it is killed. Its lease is
//! short, so that another takes over soon.

use std::time::Duration;

use anyhow::{Context, anyhow};
use lovage_client::{ClientOptions, Composer};
use lovage_database::Database;
use lovage_keeper::outbox::{Parts, run};
use lovage_settings::Settings;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let (settings, _) = Settings::from_env().map_err(|faults| anyhow!(faults.to_string()))?;
    let database = Database::connect(&settings.database, "relay").await?;
    let broker = lovage_broker::connect(&settings.broker)
        .await
        .context("the broker")?;
    let composer = Composer::new(ClientOptions::from(&settings));
    let holder = format!("relay {}", std::process::id());
    let mut parts = Parts::new(database, broker, composer, holder);
    parts.lease = Duration::from_millis(500);
    parts.batch = 20;
    run(parts, CancellationToken::new()).await;
    Ok(())
}
