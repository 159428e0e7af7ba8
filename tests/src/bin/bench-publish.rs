//! Publishes no-op calls with Lovage's client, one by one and in bulk, for the benchmark. Arguments: the broker's URL and
//! the number of messages.

use std::io::Write;
use std::time::Instant;

use lovage_integration_tests::client_at;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments
        .next()
        .ok_or("the broker's URL is the first argument")?;
    let bulk: u32 = arguments
        .next()
        .ok_or("the number of messages is the second argument")?
        .parse()?;
    let single = bulk / 10;
    let client = client_at(&url, &url).await?;
    for _ in 0..100 {
        client.send_task("demo.noop").await?;
    }
    let started = Instant::now();
    for _ in 0..single {
        client.send_task("demo.noop").await?;
    }
    let one_by_one = f64::from(single) / started.elapsed().as_secs_f64();
    let started = Instant::now();
    let handles = client
        .send_many((0..bulk).map(|_| client.send_task("demo.noop")))
        .await?;
    let in_bulk = f64::from(bulk) / started.elapsed().as_secs_f64();
    assert_eq!(handles.len(), usize::try_from(bulk)?);
    writeln!(
        std::io::stdout(),
        r#"{{"messages": {}, "one_by_one": {one_by_one:.1}, "bulk": {in_bulk:.1}}}"#,
        100 + single + bulk
    )?;
    Ok(())
}
