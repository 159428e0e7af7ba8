//! Measures how many task runs and events a second each database takes: three changes and three events a task, as a worker tells
//! them, in batches of a thousand tasks. Run it in release: `cargo run --release -p lovage-database --features testing --example rates`.

use std::time::Instant;

use chrono::Utc;
use lovage_database::{
    Kind,
    store::{task_event, task_run},
    testing::TestDatabase,
};
use lovage_protocol::{State, TaskId};

const BATCH: usize = 1000;

fn changes(id: &TaskId) -> [task_run::Change; 3] {
    let now = Utc::now();
    let mut received = task_run::Change::new(id.clone(), State::Received, now);
    received.name = Some("app.tasks.add".to_owned());
    received.queue = Some("celery".to_owned());
    received.args = Some("(2, 3)".to_owned());
    received.kwargs = Some("{}".to_owned());
    received.retries = Some(0);
    received.worker = Some("w1@host".to_owned());
    received.root_id = Some(id.clone());
    received.received_at = Some(now);
    let mut started = task_run::Change::new(id.clone(), State::Started, now);
    started.worker = Some("w1@host".to_owned());
    started.started_at = Some(now);
    let mut ended = task_run::Change::new(id.clone(), State::Success, now);
    ended.result = Some("5".to_owned());
    ended.runtime = Some(0.001);
    ended.finished_at = Some(now);
    [received, started, ended]
}

fn events(id: &TaskId, number: usize) -> [task_event::Event; 3] {
    ["task-received", "task-started", "task-succeeded"].map(|kind| task_event::Event {
        at: Utc::now(),
        source: format!("w1@host:7:{number}:{kind}"),
        task_id: id.clone(),
        kind: kind.to_owned(),
        worker: Some("w1@host".to_owned()),
        body: format!(
            r#"{{"type": "{kind}", "uuid": "{id}", "hostname": "w1@host", "clock": {number}, "name": "app.tasks.add"}}"#
        ),
    })
}

#[tokio::main]
#[expect(
    clippy::print_stdout,
    reason = "a program that measures says what it measured"
)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let tasks: usize = std::env::args()
        .nth(1)
        .map_or(Ok(50_000), |text| text.parse())?;
    for kind in [Kind::Sqlite, Kind::Postgres] {
        for with_events in [false, true] {
            let test = TestDatabase::new(kind).await;
            let since = Instant::now();
            for batch in 0..tasks / BATCH {
                let ids: Vec<TaskId> = (0..BATCH).map(|_| TaskId::new()).collect();
                task_run::record(&test.database, ids.iter().flat_map(changes)).await?;
                if with_events {
                    let trail: Vec<task_event::Event> = ids
                        .iter()
                        .enumerate()
                        .flat_map(|(number, id)| events(id, batch * BATCH + number))
                        .collect();
                    task_event::record(&test.database, &trail, Utc::now()).await?;
                }
            }
            let milliseconds = since.elapsed().as_millis().max(1);
            let rate = u128::try_from(tasks)? * 1000 / milliseconds;
            println!("{kind:?}, events {with_events}: {rate} tasks/s");
            test.end().await;
        }
    }
    Ok(())
}
