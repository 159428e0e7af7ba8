//! Lovage's client sends to a real Python worker.

use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use lovage_client::{Client, Error};
use lovage_integration_tests::{PythonWorker, RedisServer, client_at};
use lovage_protocol::{State, Value};
use serde::Deserialize;
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(15);

async fn stage() -> (Client, PythonWorker, RedisServer) {
    let redis = RedisServer::start();
    let worker = PythonWorker::on(&redis);
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    (client, worker, redis)
}

/// What `py.request` returns: what the worker was told.
#[derive(Debug, Deserialize)]
struct Request {
    id: String,
    args: Vec<serde_json::Value>,
    root_id: String,
    parent_id: Option<String>,
    retries: i64,
    eta: Option<String>,
    expires: Option<String>,
    priority: i64,
    routing_key: String,
    ignore_result: Option<bool>,
    timelimit: (Option<f64>, Option<f64>),
    shadow: Option<String>,
    headers: Option<serde_json::Value>,
    correlation_id: String,
    now: f64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_task_is_called_and_its_value_is_typed() {
    let (client, _worker, _redis) = stage().await;
    let sum = client
        .send_task("py.add")
        .args((2, 3))
        .await
        .expect("it is sent");
    assert_eq!(
        sum.returning::<i64>()
            .get(PATIENCE)
            .await
            .expect("it succeeds"),
        5
    );
    let named = client
        .send_task("py.add")
        .kwarg("x", "a")
        .kwarg("y", "é")
        .await
        .expect("it is sent");
    assert_eq!(
        named
            .returning::<String>()
            .get(PATIENCE)
            .await
            .expect("it succeeds"),
        "aé"
    );
    let mixed = client
        .send_task("py.echo")
        .arg(1)
        .kwarg("k", [1, 2])
        .await
        .expect("it is sent");
    let value = mixed.get(PATIENCE).await.expect("it succeeds");
    assert_eq!(value.to_json(), r#"{"args": [1], "kwargs": {"k": [1, 2]}}"#);
    let wrong = client
        .send_task("py.add")
        .args((2, 3))
        .await
        .expect("it is sent")
        .returning::<String>();
    assert!(matches!(
        wrong.get(PATIENCE).await,
        Err(Error::Mismatch { .. })
    ));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_value_of_the_wire_comes_back() {
    let (client, _worker, _redis) = stage().await;
    let values = [
        Value::DateTime("2024-02-29T12:30:15.123456+05:30".into()),
        Value::Date("2024-02-29".into()),
        Value::Time("01:02:03.000004".into()),
        Value::Decimal("1.50".into()),
        Value::Bytes(vec![0xff, 0x00]),
        Value::Bytes(b"abc".to_vec()),
        Value::Big("123456789012345678901234567890".into()),
        Value::Float(f64::INFINITY),
        Value::Str("é 🌿 \u{0}".into()),
        Value::Int(i64::MIN),
    ];
    for value in values {
        let sent = client
            .send_task("py.echo")
            .arg(&value)
            .await
            .expect("it is sent");
        let got = sent.get(PATIENCE).await.expect("it succeeds");
        let got = got
            .get("args")
            .and_then(Value::as_list)
            .expect("a list of arguments")
            .to_vec();
        assert_eq!(got, [value]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_option_reaches_the_python_worker() {
    let (client, _worker, _redis) = stage().await;
    let sent = client
        .send_task("py.request")
        .task_id("the-id")
        .priority(4)
        .header("tenant", "t1")
        .expires(Duration::from_secs(600))
        .time_limit(Duration::from_secs(90))
        .soft_time_limit(Duration::from_secs(60))
        .shadow("shown")
        .ignore_result(false)
        .await
        .expect("it is sent")
        .returning::<Request>();
    assert_eq!(sent.id().as_str(), "the-id");
    let seen = sent.get(PATIENCE).await.expect("it succeeds");
    assert_eq!(
        (
            seen.id.as_str(),
            seen.root_id.as_str(),
            seen.correlation_id.as_str()
        ),
        ("the-id", "the-id", "the-id")
    );
    assert_eq!((seen.parent_id, seen.retries, seen.args), (None, 0, vec![]));
    assert_eq!((seen.priority, seen.routing_key.as_str()), (4, "celery"));
    assert_eq!(
        (seen.timelimit, seen.shadow.as_deref()),
        ((Some(90.0), Some(60.0)), Some("shown"))
    );
    assert_eq!((seen.ignore_result, seen.eta), (Some(false), None));
    assert!(seen.expires.is_some_and(|time| time.ends_with("+00:00")));
    assert_eq!(
        seen.headers.map(|headers| headers["tenant"].clone()),
        Some(json!("t1"))
    );
    assert!(seen.now > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn countdown_and_eta_are_waited_for() {
    let (client, _worker, _redis) = stage().await;
    let started = Instant::now();
    let countdown = client
        .send_task("py.add")
        .args((1, 1))
        .countdown(Duration::from_millis(1500));
    countdown
        .await
        .expect("it is sent")
        .get(PATIENCE)
        .await
        .expect("it succeeds");
    assert!(
        started.elapsed() >= Duration::from_millis(1400),
        "{:?}",
        started.elapsed()
    );
    let due = Utc::now() + TimeDelta::milliseconds(1500);
    let eta = client
        .send_task("py.add")
        .args((1, 1))
        .eta(due)
        .await
        .expect("it is sent");
    eta.get(PATIENCE).await.expect("it succeeds");
    assert!(Utc::now() >= due - TimeDelta::milliseconds(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_task_is_told_as_revoked() {
    let (client, _worker, _redis) = stage().await;
    let late = client
        .send_task("py.add")
        .args((1, 1))
        .expires(Utc::now() - TimeDelta::seconds(5));
    match late.await.expect("it is sent").get(PATIENCE).await {
        Err(Error::Revoked { reason, .. }) => assert_eq!(reason, "expired"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_exception_is_told_with_class_message_and_traceback() {
    let (client, _worker, _redis) = stage().await;
    let failed = client
        .send_task("py.fail")
        .args(["boom é"])
        .await
        .expect("it is sent");
    match failed.get(PATIENCE).await {
        Err(Error::Failed {
            exc_type,
            message,
            traceback,
            ..
        }) => {
            assert_eq!(
                (exc_type.as_str(), message.as_str()),
                ("ValueError", "boom é")
            );
            assert!(traceback.is_some_and(|text| text.contains("raise ValueError(message)")));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(failed.state().await.expect("Redis answers"), State::Failure);
    let refused = client
        .send_task("py.refuse")
        .args((42, "no"))
        .await
        .expect("it is sent");
    match refused.get(PATIENCE).await {
        Err(Error::Failed {
            exc_type, message, ..
        }) => assert_eq!(
            (exc_type.as_str(), message.as_str()),
            ("Refused", "(42, 'no')")
        ),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_may_be_late_and_may_be_forgotten() {
    let (client, _worker, redis) = stage().await;
    let slow = client
        .send_task("py.sleep")
        .args([1.5])
        .await
        .expect("it is sent")
        .returning::<f64>();
    assert_eq!(slow.state().await.expect("Redis answers"), State::Pending);
    let started = Instant::now();
    assert!(matches!(
        slow.get(Duration::from_millis(200)).await,
        Err(Error::TimedOut { .. })
    ));
    assert!(started.elapsed() < Duration::from_secs(1));
    assert!((slow.get(PATIENCE).await.expect("it succeeds") - 1.5).abs() < f64::EPSILON);
    assert_eq!(slow.state().await.expect("Redis answers"), State::Success);
    slow.forget().await.expect("Redis answers");
    assert_eq!(slow.state().await.expect("Redis answers"), State::Pending);
    assert_eq!(redis.state(slow.id().as_str()), "PENDING");
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_of_a_python_task_can_be_read() {
    let (client, _worker, _redis) = stage().await;
    let sent = client
        .send_task("py.progress")
        .args([10])
        .await
        .expect("it is sent");
    let mut seen = None;
    let deadline = Instant::now() + PATIENCE;
    while seen.is_none() && Instant::now() < deadline {
        seen = sent
            .meta()
            .await
            .expect("Redis answers")
            .filter(|meta| meta.status.as_str() == "PROGRESS");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let meta = seen.expect("the progress was seen");
    assert_eq!(meta.result.get("total").and_then(Value::as_i64), Some(10));
    assert_eq!(
        sent.returning::<i64>()
            .get(PATIENCE)
            .await
            .expect("it succeeds"),
        10
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_task_can_retry_a_message_of_ours() {
    let (client, _worker, _redis) = stage().await;
    let sent = client
        .send_task("py.retry_once")
        .args(["v"])
        .await
        .expect("it is sent");
    assert_eq!(
        sent.returning::<(String, i64)>()
            .get(PATIENCE)
            .await
            .expect("it succeeds"),
        ("v".to_owned(), 1)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_are_published_at_once() {
    let redis = RedisServer::start();
    let _worker = PythonWorker::start(
        &redis,
        &["-P", "threads", "-c", "4"],
        &json!({"worker_prefetch_multiplier": 50}),
    );
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    let calls = (0..1000).map(|i| client.send_task("py.add").args((i, 1)));
    let handles = client.send_many(calls).await.expect("they are sent");
    assert_eq!(handles.len(), 1000);
    for (i, handle) in (0..1000_i64).zip(handles) {
        let value = handle
            .returning::<i64>()
            .get(Duration::from_secs(30))
            .await
            .expect("it succeeds");
        assert_eq!(value, i + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_are_read_by_python() {
    let (client, _worker, _redis) = stage().await;
    let text = "lovage ".repeat(3000);
    // zstd and brotli need packages that a plain Celery does not have.
    for method in ["gzip", "bzip2", "lzma"] {
        let sent = client
            .send_task("py.echo")
            .arg(&text)
            .compression(method)
            .await
            .expect("it is sent");
        let value = sent.get(PATIENCE).await.expect("it succeeds");
        let back = value
            .get("args")
            .and_then(Value::as_list)
            .and_then(|args| args[0].as_str());
        assert_eq!(back, Some(text.as_str()), "{method}");
    }
}
