//! The demo tasks, sent by a client and run by a worker; only the broker stays in memory.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap in a test is the failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use lovage_broker::MemoryBroker;
use lovage_client::{Client, ClientOptions, Error};
use lovage_protocol::{NodeName, QueueName, State, Value};
use lovage_results::MemoryStore;
use lovage_settings::{Pool, Settings};
use lovage_worker::{Presence, Shutdown, Worker, WorkerParts};

const LONG: Duration = Duration::from_secs(30);

/// A worker with the demo tasks, and a client that reaches it.
struct Site {
    client: Client,
    shutdown: Shutdown,
    worker: tokio::task::JoinHandle<()>,
}

impl Site {
    async fn open() -> Self {
        let settings = Arc::new(Settings::default());
        let broker = MemoryBroker::new();
        let results = Arc::new(MemoryStore::new(&settings.results, &broker).unwrap());
        let client = Client::new(
            Arc::new(broker.clone()),
            results.clone(),
            ClientOptions::from(settings.as_ref()),
        );
        let parts = WorkerParts {
            broker: Arc::new(broker),
            results,
            client: client.clone(),
            modules: vec![lovage_tasks::demo()],
            settings,
            node: NodeName::parse("demo@test").unwrap(),
            queues: vec![QueueName::parse("celery").unwrap()],
            concurrency: 4,
            pool: Pool::Async,
            child: None,
            autoscale: None,
            presence: Presence::silent(),
        };
        let (worker, shutdown) = (Worker::start(parts).await.unwrap(), Shutdown::new());
        let asked = shutdown.clone();
        let worker = tokio::spawn(async move {
            worker.run(asked, || ()).await.unwrap();
        });
        Self {
            client,
            shutdown,
            worker,
        }
    }

    async fn call(&self, task: &str, args: &str, kwargs: &str) -> Result<Value, Error> {
        let read = |json: &str| Value::from_json(json.as_bytes()).unwrap();
        let call = self
            .client
            .send_task(task)
            .args(read(args))
            .kwargs(read(kwargs));
        call.await?.get(LONG).await
    }

    async fn close(self) {
        self.shutdown.warm();
        self.worker.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_demo_task_does_what_it_says() {
    let site = Site::open().await;
    for (task, args, kwargs, expected) in [
        ("demo.noop", "[]", "{}", "null"),
        ("demo.add", "[2, 3]", "{}", "5"),
        ("demo.add", "[1.5]", r#"{"y": 2}"#, "3.5"),
        (
            "demo.mul",
            "[9223372036854775807, 4]",
            "{}",
            "36893488147419103228",
        ),
        ("demo.sleep", "[0.01]", "{}", "0.01"),
        ("demo.retry_then_succeed", "[5]", "{}", "5"),
        (
            "demo.echo",
            r#"[1, "two", null]"#,
            r#"{"three": [3.0]}"#,
            r#"[[1, "two", null], {"three": [3.0]}]"#,
        ),
    ] {
        let result = site.call(task, args, kwargs).await.unwrap();
        assert_eq!(result.to_json(), expected, "{task}");
    }
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_carry_python_s_classes_and_words() {
    let site = Site::open().await;
    for (task, args, class, text) in [
        ("demo.fail", r#"["boom"]"#, "RuntimeError", "boom"),
        (
            "demo.fail",
            "[]",
            "RuntimeError",
            "demo.fail does what it says",
        ),
        (
            "demo.sleep",
            "[-1]",
            "ValueError",
            "sleep length must be non-negative",
        ),
        (
            "demo.add",
            "[1]",
            "TypeError",
            "add() missing 1 required positional argument: 'y'",
        ),
        (
            "demo.noop",
            "[1]",
            "TypeError",
            "noop() takes 0 positional arguments but 1 was given",
        ),
    ] {
        let error = site.call(task, args, "{}").await.unwrap_err();
        let Error::Failed {
            exc_type, message, ..
        } = &error
        else {
            panic!("{task}: {error:?}")
        };
        assert_eq!(
            (exc_type.as_str(), message.as_str()),
            (class, text),
            "{task}"
        );
    }
    let error = site
        .call("demo.add", r#"["a", 1]"#, "{}")
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Failed { exc_type, .. } if exc_type == "TypeError"),
        "{error}"
    );
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_seen_while_it_runs() {
    let site = Site::open().await;
    let id = lovage_protocol::TaskId::new();
    let mut watch = site.client.results().watch(&id).await.unwrap();
    let call = site
        .client
        .send_task("demo.progress")
        .args((3, 0.01))
        .task_id(id);
    let handle = call.await.unwrap();
    let mut seen = Vec::new();
    loop {
        let meta = tokio::time::timeout(LONG, watch.next())
            .await
            .unwrap()
            .unwrap();
        if meta.status == State::Success {
            break;
        }
        if meta.status == State::Custom("PROGRESS".to_owned()) {
            seen.push(meta.result.to_json());
        }
    }
    // A watcher may join late and a state may be overwritten at once; what it sees is in order.
    let all: Vec<String> = (0..3)
        .map(|step| format!(r#"{{"current": {step}, "total": 3}}"#))
        .collect();
    assert!(
        !seen.is_empty() && seen.iter().all(|state| all.contains(state)),
        "{seen:?}"
    );
    assert!(seen.is_sorted(), "{seen:?}");
    assert_eq!(handle.get(LONG).await.unwrap(), Value::from(3));
    site.close().await;
}
