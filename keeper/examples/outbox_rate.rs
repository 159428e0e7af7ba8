//! Measures how many messages a second the relay sends from each database to a Redis of its own: rows that are made already, and rows that
//! are calls. Run it in release.

use std::{sync::Arc, time::Instant};

use lovage_broker::{RedisBroker, redis_server::RedisServer};
use lovage_client::{ClientOptions, Composer};
use lovage_database::{
    Kind,
    store::outbox::{Outgoing, enqueue_many},
    testing::TestDatabase,
};
use lovage_keeper::outbox::{Parts, relay_now};
use lovage_protocol::{TaskId, TaskName};

/// What a message of a no-op task weighs.
const BYTES: usize = 918;

fn message(is_ready: bool) -> Outgoing {
    let (id, task) = (TaskId::new(), TaskName::from("app.tasks.add"));
    if is_ready {
        return Outgoing::ready(id, task, "celery".to_owned(), 0, vec![b'x'; BYTES]);
    }
    let mut call = Outgoing::call(id, task);
    call.args = "[2, 3]".to_owned();
    call
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "a program that measures says what it measured"
)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let messages: usize = std::env::args()
        .nth(1)
        .map_or(Ok(50_000), |text| text.parse())?;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        for is_ready in [true, false] {
            let test = TestDatabase::new(kind).await;
            let redis = RedisServer::start()?;
            let broker = Arc::new(RedisBroker::connect(&redis.settings()).await?);
            let rows = (0..messages).map(|_| message(is_ready));
            enqueue_many(test.database.writer(), rows).await?;
            let composer = Composer::new(ClientOptions::default());
            let parts = Parts::new(test.database.clone(), broker, composer, "rate".to_owned());
            let since = Instant::now();
            let sent = relay_now(&parts).await?.unwrap_or(0);
            let milliseconds = u64::try_from(since.elapsed().as_millis())?.max(1);
            println!(
                "{kind:?}, made already {is_ready}: {} messages/s",
                sent * 1000 / milliseconds
            );
            test.end().await;
        }
    }
    Ok(())
}
