//! rusty-celery's own worker with one no-op task, for the benchmark. The only argument is the broker's URL.

use std::io::Write;

use celery::error::CeleryError;
use celery::task::TaskResult;

mod tasks {
    #![expect(
        non_local_definitions,
        reason = "the macro of rusty-celery expands to these"
    )]

    use super::TaskResult;

    #[celery::task(name = "demo.noop")]
    pub fn noop() -> TaskResult<()> {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), CeleryError> {
    let broker = std::env::args()
        .nth(1)
        .expect("the broker's URL is the first argument");
    let app = celery::CeleryBuilder::new("bench", &broker)
        .default_queue("celery")
        .prefetch_count(1000)
        .acks_late(true)
        .build()
        .await?;
    let app = std::sync::Arc::new(app);
    app.register_task::<tasks::noop>().await?;
    writeln!(std::io::stdout(), "ready").expect("standard output is open");
    app.consume_from(&["celery"]).await
}
