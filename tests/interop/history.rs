//! The history of a mixed fleet: Lovage's workers by the journal, Celery's by their events; and a Flower that gets it back.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::time::{Duration, Instant};

use lovage_database::{
    Kind,
    store::{history_gap, task_event, task_run, worker},
    testing::{TestDatabase, number},
};
use lovage_integration_tests::{Cast, Fleet, Flower, KeeperProcess, lovage_worker::lovage_with};
use lovage_protocol::{State, TaskId};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(40);

/// A fleet of both kinds, and a keeper that listens to Celery's.
struct Kept {
    keeper: KeeperProcess,
    cast: Cast,
    test: TestDatabase,
}

impl Kept {
    async fn start(kind: Kind) -> Self {
        let test = TestDatabase::new(kind).await;
        let mut cast = Cast::of(Fleet::Both);
        let keeper = KeeperProcess::start(&cast.redis.port_url(), &test.url());
        for peer in cast.peers.iter_mut().filter(|peer| !peer.is_lovage()) {
            // The keeper has asked for them.
            peer.process().wait_for("enabled by remote", LIMIT);
        }
        Self { keeper, cast, test }
    }

    fn send_to_each(&mut self, task: &str, args: &Value) -> Vec<(String, String)> {
        let queues: Vec<(String, String)> = crate::control::each(&self.cast);
        let send = |(node, queue): (String, String)| {
            let id = self.cast.send(&queue, task, args, &json!({}));
            (node, id)
        };
        queues.into_iter().map(send).collect()
    }

    async fn run_in(&self, id: &str, state: State) -> task_run::TaskRun {
        let started = Instant::now();
        let id = TaskId::from(id);
        loop {
            let run = task_run::find(self.test.database.reader(), &id).await;
            match run.expect("the database answers") {
                Some(run) if run.state == state => return run,
                other => assert!(started.elapsed() < LIMIT, "{id} is {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn a_mixed_fleet_is_kept_and_nothing_twice(kind: Kind) {
    let mut kept = Kept::start(kind).await;
    // Events are on for both now; of Lovage's the journal alone is believed.
    kept.cast
        .python
        .run("app.control.enable_events(reply=True)");
    let good = kept.send_to_each("demo.add", &json!([2, 3]));
    let bad = kept.send_to_each("demo.fail", &json!(["no luck"]));
    for (node, id) in &good {
        let run = kept.run_in(id, State::Success).await;
        assert_eq!(run.name.as_deref(), Some("demo.add"), "{node}");
        assert_eq!(
            (run.worker.as_deref(), run.result.as_deref()),
            (Some(node.as_str()), Some("5"))
        );
        assert_eq!(
            (run.args.as_deref(), run.kwargs.as_deref()),
            (Some("(2, 3)"), Some("{}"))
        );
        assert!(
            run.received_at.is_some() && run.started_at.is_some(),
            "{run:?}"
        );
    }
    for (node, id) in &bad {
        let run = kept.run_in(id, State::Failure).await;
        let exception = run.exception.unwrap_or_default();
        assert!(exception.contains("no luck"), "{node}: {exception}");
        assert!(run.traceback.is_some(), "{node}");
    }
    let database = &kept.test.database;
    let ids: Vec<TaskId> = good
        .iter()
        .map(|(_, id)| TaskId::from(id.as_str()))
        .collect();
    for id in &ids {
        let trail = task_event::of_task(database.reader(), id, 99)
            .await
            .unwrap();
        let ends = trail
            .iter()
            .filter(|one| one.event.kind == "task-succeeded");
        assert_eq!(ends.count(), 1, "{trail:#?}");
    }
    let workers = worker::all(database.reader(), 99).await.unwrap();
    for node in kept.cast.nodes() {
        let worker = workers.iter().find(|worker| worker.heard.name == node);
        assert!(
            worker.is_some_and(|worker| worker.heard.online),
            "{node}: {workers:?}"
        );
    }
    assert_eq!(history_gap::newest(database.reader(), 9).await.unwrap(), []);
    kept.keeper.stop();
}

#[tokio::test]
async fn a_mixed_fleet_is_kept_and_nothing_twice_on_sqlite() {
    a_mixed_fleet_is_kept_and_nothing_twice(Kind::Sqlite).await;
}

#[tokio::test]
async fn a_mixed_fleet_is_kept_and_nothing_twice_on_postgresql() {
    a_mixed_fleet_is_kept_and_nothing_twice(Kind::Postgres).await;
}

/// What Flower shows of a task that does not depend on when Flower was started.
fn shown(task: &Value) -> Vec<Value> {
    let fields = [
        "uuid",
        "name",
        "state",
        "received",
        "started",
        "succeeded",
        "failed",
        "result",
        "exception",
        "runtime",
        "worker",
        "args",
        "kwargs",
        "root_id",
    ];
    fields.map(|field| task[field].clone()).into()
}

/// Times in events are floats that went through a database as texts, and back.
#[tokio::test]
async fn a_flower_that_is_started_anew_gets_its_history_back() {
    let mut kept = Kept::start(Kind::Sqlite).await;
    let url = kept.cast.redis.port_url();
    let flower = |url: &str| {
        let mut flower = Flower::launch(url);
        flower.wait_until_ready();
        flower
    };
    let first = flower(&url);
    // For Flower's sake; the keeper reads the journal of Lovage's.
    kept.cast
        .python
        .run("app.control.enable_events(reply=True)");
    let mut ids = Vec::new();
    for (task, args) in [
        ("demo.add", json!([2, 3])),
        ("demo.fail", json!(["no luck"])),
    ] {
        ids.extend(kept.send_to_each(task, &args).into_iter().map(|(_, id)| id));
    }
    let ended = |task: &Value| task["state"] == "SUCCESS" || task["state"] == "FAILURE";
    let path = |id: &str| format!("/api/task/info/{id}");
    let before: Vec<Vec<Value>> = ids
        .iter()
        .map(|id| shown(&first.get_until(&path(id), ended)))
        .collect();
    for id in &ids {
        let started = Instant::now();
        while !matches!(
            task_run::find(kept.test.database.reader(), &TaskId::from(id.as_str())).await,
            Ok(Some(run)) if run.state.is_ready()
        ) {
            assert!(started.elapsed() < LIMIT, "{id} is no row");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    drop(first);
    let second = flower(&url);
    // Who has heard of a worker listens.
    second.get_until("/workers?json=1", |workers| {
        workers["data"]
            .as_array()
            .is_some_and(|all| !all.is_empty())
    });
    assert_eq!(
        second.get(&path(&ids[0])).status,
        404,
        "it has forgotten all"
    );
    let rows = number(
        kept.test.database.reader(),
        "SELECT count(*) FROM task_event",
    )
    .await;
    let database = kept.test.url();
    let variables = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("DATABASE_URL", database.as_str()),
    ];
    let told = lovage_with(
        &variables,
        &["keeper", "replay", "--last", "10000", "--json"],
    );
    assert!(told.status.success(), "{told:?}");
    let told: Value = serde_json::from_slice(&told.stdout).expect("JSON");
    assert_eq!(told["events"], 3 * ids.len());
    for (id, before) in ids.iter().zip(before) {
        let task = second.get_until(&path(id), ended);
        let after = shown(&task);
        for (before, after) in before.iter().zip(&after) {
            match (before.as_f64(), after.as_f64()) {
                (Some(before), Some(after)) => assert!((before - after).abs() < 0.05, "{task}"),
                _ => assert_eq!(before, after, "{task}"),
            }
        }
    }
    // The keeper has heard it as well, and knows it already.
    kept.keeper.stop();
    let now = number(
        kept.test.database.reader(),
        "SELECT count(*) FROM task_event",
    )
    .await;
    assert_eq!(now, rows);
}
