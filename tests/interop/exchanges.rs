//! Named exchanges and broadcasts between Python and Rust.

use std::process::Output;

use lovage_integration_tests::{
    LovageWorker, Python, PythonWorker, RedisServer, eventually, lovage_worker::lovage_with,
    never_within,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The same queues as Lovage and as Celery write them.
const QUEUES: &str = r#"{"films": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.*.film.#"},
    "short": {"exchange": "media", "exchange_type": "topic", "routing_key": "media.#", "queue_arguments": {"x-expires": 60000}}}"#;
const BROADCAST: &str = r#"[{"name": "bcast", "broadcast": true}]"#;

fn python_queues() -> Value {
    let queues: Value = serde_json::from_str(QUEUES).expect("it is JSON");
    json!({ "task_queues": queues })
}

fn members(redis: &RedisServer, table: &str) -> Vec<String> {
    let mut members: Vec<String> = redis.command(&["SMEMBERS", table]);
    members.sort();
    members
}

fn worker(redis: &RedisServer, name: &str, queues: &str, selected: &str) -> LovageWorker {
    LovageWorker::builder(redis)
        .hostname(name)
        .queues(selected)
        .log_level("debug")
        .variable("CELERY_TASK_QUEUES", queues)
        .start()
}

fn call(redis: &RedisServer, variables: &[(&str, &str)], words: &[&str]) -> String {
    let url = redis.url();
    let mut all = vec![("CELERY_BROKER_URL", url.as_str())];
    all.extend_from_slice(variables);
    let Output {
        status,
        stdout,
        stderr,
    } = lovage_with(&all, words);
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{said}");
    String::from_utf8_lossy(&stdout).trim().to_owned()
}

/// How often a worker has run a task to its end.
fn runs(worker: &LovageWorker, id: &str) -> usize {
    let text = worker.log().text();
    text.lines()
        .filter(|line| line.contains(id) && line.contains("task succeeded"))
        .count()
}

#[test]
fn a_topic_queue_is_bound_as_celery_binds_it_and_python_reaches_it_through_its_exchange() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w@%h", QUEUES, "films,short");
    let (table, lasting) = ("_kombu.binding.media", "_kombu.binding_permanent.media");
    let ours = (members(&redis, table), members(&redis, lasting));
    assert_eq!((ours.0.len(), ours.1.len()), (2, 1), "{ours:?}");
    let deadlines: Vec<String> = redis.command(&["ZRANGE", "_kombu.binding_deadlines", "0", "-1"]);
    assert!(deadlines.contains(&"media".to_owned()), "{deadlines:?}");

    let mut python = Python::with_settings(&redis, &python_queues());
    let sum = python.run(
        r#"
        with app.connection() as connection:
            for queue in app.amqp.queues.values():
                queue(connection.default_channel).declare()
            # Another connection would take the exchange for a direct one, and drop the message.
            direct = app.send_task("demo.add", [2, 3], exchange="media", routing_key="media.old.film.x",
                                   producer=app.amqp.Producer(connection.default_channel))
        by_queue = app.send_task("demo.add", [3, 4], queue="films", routing_key="media.new.film.y")
        answer([direct.get(timeout=15), by_queue.get(timeout=15)])
        "#,
    );
    assert_eq!(sum, json!([5, 7]));
    let theirs = (members(&redis, table), members(&redis, lasting));
    assert_eq!(ours, theirs, "Python writes the very same members");
}

#[test]
fn a_route_with_an_exchange_leads_from_rust_to_a_python_worker() {
    let redis = RedisServer::start();
    let _python = PythonWorker::start(&redis, &["-P", "solo", "-Q", "films"], &python_queues());
    let routes = r#"{"py.add": {"queue": "films", "routing_key": "media.new.film.cut"}}"#;
    let sum = call(
        &redis,
        &[
            ("CELERY_TASK_QUEUES", QUEUES),
            ("CELERY_TASK_ROUTES", routes),
        ],
        &["call", "py.add", "2", "3", "--wait", "--timeout", "15"],
    );
    assert_eq!(sum, "5");
    // The other queue of the exchange had it too, and will be forgotten.
    let life: i64 = redis.command(&["PTTL", "short"]);
    assert!((1..=60_000).contains(&life), "{life}");
}

#[test]
fn a_queue_that_may_not_be_made_is_refused() {
    let redis = RedisServer::start();
    let url = redis.url();
    let output = lovage_with(
        &[
            ("CELERY_BROKER_URL", url.as_str()),
            ("CELERY_TASK_QUEUES", "a"),
            ("CELERY_TASK_CREATE_MISSING_QUEUES", "false"),
        ],
        &["call", "demo.add", "2", "3", "--queue", "b"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("CELERY_TASK_QUEUES"),
        "{said}"
    );
    assert_eq!(redis.depth("b"), 0);
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_QUEUES", "a")
        .variable("CELERY_TASK_CREATE_MISSING_QUEUES", "false")
        .start();
    let sum = call(
        &redis,
        &[
            ("CELERY_TASK_QUEUES", "a"),
            ("CELERY_TASK_CREATE_MISSING_QUEUES", "false"),
        ],
        &["call", "demo.add", "2", "3", "--queue", "a", "--wait"],
    );
    assert_eq!(sum, "5", "one that is named may be used");
}

#[test]
fn every_rust_worker_runs_a_broadcast_once_however_it_was_sent() {
    let redis = RedisServer::start();
    let mut workers = [
        worker(&redis, "one@%h", BROADCAST, "bcast"),
        worker(&redis, "two@%h", BROADCAST, "bcast"),
    ];
    let mut python = Python::with_settings(&redis, &json!({"test_broadcasts": ["bcast"]}));
    let ids = python.run(
        r#"
        from kombu import Producer
        # A producer that did not declare the exchange pushes into the lists of the table.
        unaware = app.send_task("demo.add", [2, 3], queue="bcast").id
        # One that did publishes on the channel.
        with app.connection() as connection:
            channel = connection.default_channel
            app.amqp.queues["bcast"].exchange(channel).declare()
            aware = app.send_task("demo.add", [2, 3], queue="bcast", producer=Producer(channel)).id
        answer([unaware, aware])
        "#,
    );
    let ours = call(
        &redis,
        &[("CELERY_TASK_QUEUES", BROADCAST)],
        &["call", "demo.add", "2", "3", "--queue", "bcast"],
    );
    let ids: Vec<&str> = ids
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .chain([ours.as_str()])
        .collect();
    for worker in &workers {
        for id in &ids {
            eventually(id, || runs(worker, id) == 1);
        }
    }
    never_within(Duration::from_millis(300), "a second run", || {
        workers
            .iter()
            .any(|worker| ids.iter().any(|id| runs(worker, id) > 1))
    });
    eventually("nothing held", || redis.unacked() == 0);

    let table = "_kombu.binding.bcast";
    assert_eq!(members(&redis, table).len(), 2);
    let third = worker(&redis, "three@%h", BROADCAST, "bcast");
    workers[0].stop();
    assert_eq!(members(&redis, table).len(), 2, "one went, one came");
    workers[1].kill();
    eventually("the table without the dead", || {
        members(&redis, table).len() == 1
            && members(&redis, "_kombu.binding_permanent.bcast").len() == 1
    });
    let lists: Vec<String> = redis.command(&["KEYS", "bcast.*"]);
    assert!(lists.is_empty(), "{lists:?}");
    drop(third);
}

#[test]
fn python_workers_hear_what_rust_broadcasts() {
    let redis = RedisServer::start();
    let settings = json!({"test_broadcasts": ["bcast"]});
    let flags = |name: &'static str| ["-P", "solo", "-n", name];
    let mut workers =
        ["one@%h", "two@%h"].map(|name| PythonWorker::start(&redis, &flags(name), &settings));
    let id = call(
        &redis,
        &[("CELERY_TASK_QUEUES", BROADCAST)],
        &["call", "py.add", "2", "3", "--queue", "bcast"],
    );
    for worker in &mut workers {
        let line = format!("Task py.add[{id}] succeeded");
        worker.process().wait_for(&line, Duration::from_secs(15));
        assert_eq!(worker.process().log().count(&line), 1);
    }
    let lists: Vec<String> = redis.command(&["KEYS", "bcast.*"]);
    assert!(
        lists.is_empty(),
        "nothing in lists that Python never reads: {lists:?}"
    );
}

#[test]
fn the_default_exchange_and_key_are_the_same_on_both_sides() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("CELERY_TASK_QUEUES", "work")
        .variable("CELERY_TASK_DEFAULT_QUEUE", "work")
        .variable("CELERY_TASK_DEFAULT_EXCHANGE", "office")
        .variable("CELERY_TASK_DEFAULT_ROUTING_KEY", "desk")
        .start();
    let settings = json!({
        "task_default_queue": "work",
        "task_default_exchange": "office",
        "task_default_routing_key": "desk",
    });
    let mut python = Python::with_settings(&redis, &settings);
    let sum = python.run(r#"answer(app.send_task("demo.add", [2, 3]).get(timeout=15))"#);
    assert_eq!(sum, json!(5));
}
