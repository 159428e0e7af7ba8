//! `lovage doctor` on everything but chords.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::{LovageWorker, RedisServer};
use serde_json::{Value, json};

use crate::{add, eta};

/// What it finds, by check, and its exit code.
fn doctor(variables: &[(&str, &str)], words: &[&str]) -> (Vec<Value>, Option<i32>) {
    let all = [&["doctor", "--json"], words].concat();
    let told = lovage_with(variables, &all);
    let text = String::from_utf8_lossy(&told.stdout);
    let said: Value =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {told:?}"));
    let findings = said["findings"]
        .as_array()
        .unwrap_or_else(|| panic!("{said}"));
    (findings.clone(), told.status.code())
}

fn one<'a>(findings: &'a [Value], check: &str) -> &'a Value {
    let found = findings.iter().find(|finding| finding["check"] == check);
    let found = found.unwrap_or_else(|| panic!("no {check} in {findings:?}"));
    assert!(
        !found["remedy"].as_str().unwrap().is_empty(),
        "what to do is told"
    );
    found
}

#[test]
fn a_fleet_in_good_health_has_no_finding() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let url = redis.url();
    let (findings, code) = doctor(&[("CELERY_BROKER_URL", &url)], &[]);
    assert_eq!((findings, code), (Vec::new(), Some(0)));
}

#[test]
fn promise_10_a_queue_that_tasks_are_sent_to_and_nobody_consumes_is_named() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    redis.publish("mail", &add());
    let url = redis.url();
    let routed = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("CELERY_TASK_ROUTES", r#"{"mail.*": "mail"}"#),
    ];
    let (findings, code) = doctor(&routed, &["--only", "queues"]);
    let finding = one(&findings, "queue-without-consumer");
    assert_eq!((code, findings.len()), (Some(1), 1));
    assert_eq!(
        (&finding["subject"], &finding["facts"]["waiting"]),
        (&json!("mail"), &json!(1))
    );
    let _second = LovageWorker::builder(&redis)
        .hostname("mail@%h")
        .queues("mail")
        .start();
    assert_eq!(doctor(&routed, &["--only", "queues"]).1, Some(0));
}

#[test]
fn promise_15_a_broker_that_may_evict_is_a_finding_even_where_commands_refuse_it() {
    let redis =
        RedisServer::with_arguments(&["--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"]);
    let url = redis.url();
    let production = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("LOVAGE_ENV", "production"),
    ];
    let (findings, code) = doctor(&production, &["--only", "broker"]);
    assert_eq!(code, Some(1));
    assert_eq!(one(&findings, "eviction")["facts"]["policy"], "allkeys-lru");
}

#[test]
fn what_could_not_be_run_and_what_nobody_brings_back_is_named() {
    let redis = RedisServer::start();
    let url = redis.url();
    let variables = [("CELERY_BROKER_URL", url.as_str())];
    {
        let mut worker = LovageWorker::on(&redis);
        redis.publish_raw("celery", b"no message at all");
        let late = add().set("headers.eta", json!(eta(8)));
        redis.publish("celery", &late);
        lovage_integration_tests::eventually("a message that is delayed", || {
            redis.depth("celery") == 0
        });
        lovage_integration_tests::eventually("a dead letter", || {
            doctor(&variables, &["--only", "dead-letters"]).1 == Some(1)
        });
        // Killed, so that it cannot put back what it has delayed.
        worker.kill();
    }
    let (findings, _) = doctor(&variables, &["--only", "dead-letters"]);
    assert_eq!(one(&findings, "dead-letters")["facts"]["count"], 1);
    assert_eq!(
        doctor(&variables, &["--only", "overdue"]).1,
        Some(0),
        "not due yet"
    );
}

#[test]
fn a_database_behind_is_named_and_looking_makes_none() {
    let redis = RedisServer::start();
    let (url, folder) = (redis.url(), tempfile::tempdir().unwrap());
    let file = folder.path().join("d.db");
    let database = format!("sqlite://{}", file.display());
    let variables = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("DATABASE_URL", &database),
    ];
    let (findings, _) = doctor(&variables, &["--only", "database"]);
    assert_eq!(one(&findings, "database")["text"], "there is no such file");
    assert!(!file.exists());
    assert!(lovage_with(&variables, &["migrate", "up"]).status.success());
    assert_eq!(doctor(&variables, &["--only", "database"]).1, Some(0));
    assert!(
        lovage_with(&variables, &["migrate", "down", "--force"])
            .status
            .success()
    );
    let (findings, _) = doctor(&variables, &["--only", "database"]);
    assert!(
        one(&findings, "database")["text"]
            .as_str()
            .unwrap()
            .contains("migrate up")
    );
}

#[test]
fn two_workers_of_one_name_are_named() {
    let redis = RedisServer::start();
    let twin = || LovageWorker::builder(&redis).hostname("twin@here").start();
    let _twins = (twin(), twin());
    let url = redis.url();
    let (findings, _) = doctor(&[("CELERY_BROKER_URL", &url)], &["--only", "names"]);
    let finding = one(&findings, "duplicate-node-name");
    assert_eq!(
        (&finding["subject"], &finding["facts"]["workers"]),
        (&json!("twin@here"), &json!(2))
    );
}

#[test]
fn a_worker_whose_clock_is_wrong_is_named() {
    let redis = RedisServer::start();
    let url = redis.url();
    let listening = std::thread::spawn({
        let url = url.clone();
        move || doctor(&[("CELERY_BROKER_URL", &url)], &["--only", "clocks"])
    });
    let late = chrono::Utc::now().timestamp() - 3600;
    let event = json!({"type": "worker-heartbeat", "hostname": "late@there", "timestamp": late, "utcoffset": 0,
                       "pid": 1, "clock": 1, "freq": 2.0, "active": 0, "processed": 0, "loadavg": [0, 0, 0]});
    let body = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        event.to_string(),
    );
    let envelope = json!({"body": body, "content-encoding": "utf-8", "content-type": "application/json", "headers": {},
                          "properties": {"delivery_mode": 1, "delivery_tag": "t", "body_encoding": "base64", "priority": 0,
                                         "delivery_info": {"exchange": "celeryev", "routing_key": "worker.heartbeat"}}});
    let envelope = envelope.to_string();
    // Until it listens nobody hears it.
    while !listening.is_finished() {
        let _: i64 = redis.command(&["PUBLISH", "/0.celeryev/worker.heartbeat", &envelope]);
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (findings, _) = listening.join().unwrap();
    let finding = one(&findings, "clock-skew");
    assert_eq!(finding["subject"], "late@there");
    let ahead = finding["facts"]["ahead_seconds"].as_f64().unwrap();
    assert!((-3700.0..-3590.0).contains(&ahead), "{ahead}");
}
