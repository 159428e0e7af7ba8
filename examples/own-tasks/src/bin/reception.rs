//! Sends tasks from a program of one's own and waits for their results:
//! `CELERY_BROKER_URL=redis://… cargo run -p own-tasks --bin reception -- Ada 3`
//!
//! With more stays it is a company's: `reception Analytical 3 2 2` bills them side by side and writes one invoice.

use std::time::Duration;

use anyhow::Context as _;
use lovage::settings::Settings;
use own_tasks::{bill, company_invoice, greet, hotel};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_else(|| "Ada".to_owned());
    let stays = arguments.map(|nights| nights.parse());
    let stays: Result<Vec<u32>, _> = stays.collect();
    let stays = stays.context("usage: reception [NAME [NIGHTS…]], NIGHTS whole numbers")?;

    let (settings, _) = Settings::from_env()?;
    let client = lovage::connect(&settings, &[hotel()]).await?;

    let patience = Duration::from_secs(10);
    if stays.len() > 1 {
        // A canvas: each step takes what the one before it gives, or this would not compile.
        let invoice = client.apply_async(company_invoice(&name, stays)).await?;
        return say(&format!("{}.", invoice.get(patience).await?));
    }
    let nights = stays.first().copied().unwrap_or(1);

    // Typed: the compiler checks the arguments and knows the result.
    let greeting = client.send(greet::new(name, "Welcome".to_owned())).await?;
    let bill = client
        .send(bill::new(nights, 90.0))
        .expires(Duration::from_secs(60))
        .await?;

    say(&format!(
        "{} That is {}.",
        greeting.get(patience).await?,
        bill.get(patience).await?
    ))
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    std::io::Write::write_all(&mut out, format!("{line}\n").as_bytes())?;
    Ok(())
}
