//! Lovage's client by itself: what it leaves in Redis, and what it says when there is none.

use std::time::{Duration, Instant};

use lovage_client::Error;
use lovage_integration_tests::{Python, RedisServer, client_at, redis_server};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn a_message_has_every_field_that_python_writes() {
    let redis = RedisServer::start();
    let mut python = Python::on(&redis);
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    client
        .send_task("py.add")
        .args((2, 3))
        .queue("rust")
        .await
        .expect("it is sent");
    python.run(r#"app.send_task("py.add", (2, 3), queue="python")"#);
    let (ours, theirs) = (
        redis.waiting_json("rust")[0].clone(),
        redis.waiting_json("python")[0].clone(),
    );
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value
            .as_object()
            .expect("an object")
            .keys()
            .cloned()
            .collect()
    };
    assert_eq!(keys(&ours), keys(&theirs));
    for part in ["headers", "properties"] {
        assert_eq!(keys(&ours[part]), keys(&theirs[part]), "{part}");
        for (name, value) in theirs[part].as_object().expect("an object") {
            let kind = |value: &serde_json::Value| std::mem::discriminant(value);
            let same = kind(&ours[part][name]) == kind(value);
            assert!(
                same || name == "ignore_result",
                "{part}.{name}: {} is not like {value}",
                ours[part][name]
            );
        }
    }
    assert_eq!(ours["body"], theirs["body"]);
    assert_eq!(ours["headers"]["argsrepr"], theirs["headers"]["argsrepr"]);
    assert_eq!(
        ours["properties"]["delivery_info"],
        json!({"exchange": "", "routing_key": "rust"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_choose_the_list_that_python_chooses() {
    let redis = RedisServer::start();
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    let lists = [
        (0, ""),
        (2, ""),
        (3, "\u{6}\u{16}3"),
        (8, "\u{6}\u{16}6"),
        (9, "\u{6}\u{16}9"),
        (11, "\u{6}\u{16}9"),
        (-1, ""),
    ];
    for (priority, suffix) in lists {
        client
            .send_task("py.add")
            .args((2, 3))
            .priority(priority)
            .await
            .expect("it is sent");
        let message: String = redis.command(&["RPOP", &format!("celery{suffix}")]);
        let message: serde_json::Value = serde_json::from_str(&message).expect("a message is JSON");
        assert_eq!(
            message["properties"]["priority"], priority,
            "it is sent on unclamped"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_absent_broker_is_a_typed_error_in_bounded_time() {
    let url = format!(
        "redis://:topsecret@127.0.0.1:{}/0",
        redis_server::free_port()
    );
    let started = Instant::now();
    let error = client_at(&url, &url)
        .await
        .expect_err("nobody listens there")
        .to_string();
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    assert!(!error.contains("topsecret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_went_away_is_a_typed_error_in_bounded_time() {
    let mut redis = RedisServer::start();
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    client
        .send_task("py.add")
        .args((2, 3))
        .await
        .expect("it is sent");
    redis.stop();
    let started = Instant::now();
    let error = client
        .send_task("py.add")
        .args((2, 3))
        .await
        .expect_err("the broker is away");
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert!(
        matches!(error, Error::Broker(_) | Error::Unanswered { .. }),
        "{error:?}"
    );
    assert!(error.is_transient());
    redis.restart();
    client
        .send_task("py.add")
        .args((2, 3))
        .await
        .expect("the client finds it again");
    assert_eq!(redis.depth("celery"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_get_survives_a_restart_of_the_result_store() {
    let mut redis = RedisServer::durable();
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    let handle = client
        .send_task("py.add")
        .args((2, 3))
        .await
        .expect("it is sent")
        .returning::<i64>();
    let id = handle.id().as_str().to_owned();
    let waiting = tokio::spawn(async move { handle.get(Duration::from_secs(25)).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    redis.stop();
    redis.restart();
    // Stored while nobody may be listening: only the look after the reconnect finds it.
    let record = json!({"status": "SUCCESS", "result": 5, "traceback": null, "children": [], "date_done": null, "task_id": id});
    let _: String = redis.command(&[
        "SET",
        &format!("celery-task-meta-{id}"),
        &record.to_string(),
    ]);
    assert_eq!(
        waiting
            .await
            .expect("it does not panic")
            .expect("it succeeds"),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_harm_a_python_worker_is_refused() {
    let redis = RedisServer::start();
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    let reserved = client
        .send_task("py.add")
        .args((2, 3))
        .header("id", 12345)
        .await;
    assert!(
        matches!(reserved, Err(Error::Invalid { .. })),
        "{reserved:?}"
    );
    let queue = client
        .send_task("py.add")
        .args((2, 3))
        .queue("a\u{6}\u{16}3")
        .await;
    assert!(matches!(queue, Err(Error::Invalid { .. })), "{queue:?}");
    let limits = client
        .send_task("py.add")
        .args((2, 3))
        .time_limit(Duration::from_secs(1))
        .soft_time_limit(Duration::from_secs(5))
        .await;
    assert!(matches!(limits, Err(Error::Invalid { .. })), "{limits:?}");
    let keys: Vec<String> = redis.command(&["KEYS", "celery*"]);
    assert!(keys.is_empty(), "nothing was sent: {keys:?}");
}
