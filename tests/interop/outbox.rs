//! Python programs that write tasks into the outbox with their own ORM, and a Python worker's view of what comes of it.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{process::Command, sync::Arc};

use lovage_broker::RedisBroker;
use lovage_client::{ClientOptions, Composer};
use lovage_database::testing::{TestDatabase, on_both};
use lovage_integration_tests::{RedisServer, place};
use lovage_keeper::outbox::{Parts, relay_now};
use lovage_settings::Settings;
use serde_json::{Value, json};

/// Runs one of the programs; gives the id of the task that it committed.
fn run(program: &str, url: &str) -> String {
    let output = Command::new(place::python())
        .arg(place::python_sources().join("outbox").join(program))
        .arg(url)
        .output()
        .expect("Python can be started");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {errors}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

async fn relay(test: &TestDatabase, redis: &RedisServer) -> Option<u64> {
    let pairs = [("CELERY_BROKER_URL", redis.url())];
    let pairs = pairs.map(|(name, value)| (name.to_owned(), value));
    let (settings, _) = Settings::from_lookup(pairs).unwrap();
    let broker = RedisBroker::connect(&settings.broker).await.unwrap();
    let composer = Composer::new(ClientOptions::from(&settings));
    let parts = Parts::new(
        test.database.clone(),
        Arc::new(broker),
        composer,
        "test".to_owned(),
    );
    relay_now(&parts).await.unwrap()
}

async fn what_is_committed_is_sent_as_celery_sends_it(program: &str, test: &TestDatabase) {
    let redis = RedisServer::start();
    let id = run(program, &test.url());
    assert_eq!(relay(test, &redis).await, Some(1));
    // Priority 3 has a list of its own.
    let sent = redis.waiting_json("celery\u{6}\u{16}3");
    assert_eq!(sent.len(), 1, "{sent:?}");
    let headers = &sent[0]["headers"];
    assert_eq!(headers["id"], json!(id));
    assert_eq!(headers["root_id"], json!(id));
    assert_eq!(headers["task"], json!("rides.confirm"));
    assert_eq!(headers["argsrepr"], json!("(42,)"));
    assert_eq!(headers["kwargsrepr"], json!("{'name': 'Zoë'}"));
    assert!(headers["expires"].is_string());
    assert_eq!(sent[0]["properties"]["priority"], json!(3));
    assert_eq!(redis.waiting_json("celery"), Vec::<Value>::new());
    assert_eq!(relay(test, &redis).await, Some(0));
}

on_both! {
    async fn django_commits_and_enqueues_in_one(test: TestDatabase) {
        what_is_committed_is_sent_as_celery_sends_it("django_app.py", test).await;
    }

    async fn sqlalchemy_commits_and_enqueues_in_one(test: TestDatabase) {
        what_is_committed_is_sent_as_celery_sends_it("sqlalchemy_app.py", test).await;
    }
}
