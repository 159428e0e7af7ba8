//! Sends tasks from a program of one's own and waits for their results:
//! `CELERY_BROKER_URL=redis://… cargo run -p own-tasks --bin reception -- Ada 3`

use std::time::Duration;

use anyhow::Context as _;
use lovage::settings::Settings;
use own_tasks::{bill, greet, hotel};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "Ada".to_owned());
    let nights = arguments.next().map_or(Ok(1), |nights| nights.parse());
    let nights = nights.context("usage: reception [NAME [NIGHTS]], NIGHTS a whole number")?;

    let (settings, _) = Settings::from_env()?;
    let client = lovage::connect(&settings, &[hotel()]).await?;

    // Typed: the compiler checks the arguments and knows the result.
    let greeting = client.send(greet::new(name, "Welcome".to_owned())).await?;
    let bill = client
        .send(bill::new(nights, 90.0))
        .expires(Duration::from_secs(60))
        .await?;

    let patience = Duration::from_secs(10);
    let line = format!(
        "{} That is {}.\n",
        greeting.get(patience).await?,
        bill.get(patience).await?
    );
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes())?;
    Ok(())
}
