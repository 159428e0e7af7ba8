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
    let redis = RedisServer::durable();
    let _worker = LovageWorker::builder(&redis).bare_flag("-E").start();
    let url = redis.url();
    let (findings, code) = doctor(&[("CELERY_BROKER_URL", &url)], &[]);
    assert_eq!((findings, code), (Vec::new(), Some(0)));
}

#[test]
fn a_try_out_that_keeps_nothing_and_tells_nothing_is_hinted_at_and_no_fault() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let url = redis.url();
    let (findings, code) = doctor(&[("CELERY_BROKER_URL", &url)], &[]);
    let told: Vec<_> = findings
        .iter()
        .map(|one| (one["check"].as_str().unwrap(), one["hint"] == true))
        .collect();
    assert_eq!(told, [("persistence", true), ("events-off", true)]);
    assert_eq!(code, Some(0));
    let subject = one(&findings, "events-off")["subject"].as_str().unwrap();
    assert!(subject.starts_with("lovage@"), "{findings:?}");
    let production = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("LOVAGE_ENV", "production"),
    ];
    let (findings, code) = doctor(&production, &["--only", "broker"]);
    assert_eq!(one(&findings, "persistence")["hint"], false);
    assert_eq!(code, Some(1));
}

#[test]
fn a_server_that_writes_to_disk_when_the_system_likes_is_named() {
    let redis = RedisServer::with_arguments(&["--appendonly", "yes", "--appendfsync", "no"]);
    let url = redis.url();
    let production = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("LOVAGE_ENV", "production"),
    ];
    let (findings, code) = doctor(&production, &["--only", "broker"]);
    let finding = one(&findings, "persistence");
    assert_eq!(
        (&finding["subject"], code),
        (&json!("appendfsync"), Some(1))
    );
    // What it tells to do, does it.
    let _: () = redis.command(&["CONFIG", "SET", "appendfsync", "everysec"]);
    assert_eq!(
        doctor(&production, &["--only", "broker"]),
        (Vec::new(), Some(0))
    );
}

#[test]
fn a_server_that_may_not_be_asked_is_said_to_be_unknown() {
    let redis = RedisServer::with_port();
    let _: () = redis.command(&[
        "ACL", "SETUSER", "shy", "on", ">sesame", "~*", "&*", "+@all", "-info", "-config",
    ]);
    let url = format!("redis://shy:sesame@127.0.0.1:{}/0", redis.port());
    let (findings, code) = doctor(&[("CELERY_BROKER_URL", &url)], &["--only", "broker,clocks"]);
    assert_eq!(one(&findings, "server-not-shown")["hint"], true);
    assert_eq!((findings.len(), code), (1, Some(0)));
}

#[test]
fn results_without_a_time_to_live_are_named_and_given_one() {
    let redis = RedisServer::start();
    let url = redis.url();
    let variables = [("CELERY_BROKER_URL", url.as_str())];
    let record = r#"{"status": "SUCCESS", "result": 1, "task_id": "old"}"#;
    for key in [
        "celery-task-meta-old",
        "celery-taskset-meta-old.s",
        "of-another",
    ] {
        let _: () = redis.command(&["SET", key, record]);
    }
    let _: () = redis.command(&["SET", "celery-task-meta-new", record, "EX", "50"]);
    let life = |key: &str| redis.command::<i64>(&["TTL", key]);
    let only = ["--only", "results"];
    let (findings, code) = doctor(&variables, &only);
    assert_eq!((findings.len(), code), (2, Some(1)), "{findings:?}");
    let examples = &findings[0]["facts"]["examples"];
    assert_eq!(examples, &json!(["celery-task-meta-old"]));
    let (findings, code) = doctor(&variables, &["--only", "results", "--fix", "--dry-run"]);
    assert_eq!((&findings[0]["done"], code), (&Value::Null, Some(1)));
    assert_eq!(findings[0]["would"], "have them end in 1 d 0 h");
    assert_eq!(
        life("celery-task-meta-old"),
        -1,
        "a dry run changes nothing"
    );
    let (findings, code) = doctor(&variables, &["--only", "results", "--fix"]);
    assert_eq!(findings[0]["done"], "1 key will end in 1 d 0 h");
    assert_eq!(code, Some(0));
    for (key, lives) in [
        ("celery-task-meta-old", 86_000..=86_400),
        ("celery-taskset-meta-old.s", 86_000..=86_400),
        ("celery-task-meta-new", 1..=50),
        ("of-another", -1..=-1),
    ] {
        assert!(lives.contains(&life(key)), "{key}: {}", life(key));
    }
    assert_eq!(doctor(&variables, &only), (Vec::new(), Some(0)));
    // Where results are kept for ever there is nothing to find.
    let _: () = redis.command(&["PERSIST", "celery-task-meta-old"]);
    let kept = [variables[0], ("CELERY_RESULT_EXPIRES", "0")];
    assert_eq!(doctor(&kept, &only), (Vec::new(), Some(0)));
}

#[test]
fn results_are_looked_for_where_they_are_under_their_own_prefix() {
    let (redis, results) = (RedisServer::start(), RedisServer::start());
    let (url, place) = (redis.url(), results.database_url(3));
    let variables = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("CELERY_RESULT_BACKEND", place.as_str()),
        (
            "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
            r#"{"global_keyprefix": "app."}"#,
        ),
    ];
    redis::cmd("MSET")
        .arg("app.celery-task-meta-a")
        .arg(1)
        .arg("celery-task-meta-b")
        .arg(1)
        .exec(&mut results.connection_to(3))
        .unwrap();
    let (findings, _) = doctor(&variables, &["--only", "results"]);
    let examples = &one(&findings, "results-without-end")["facts"]["examples"];
    assert_eq!(examples, &json!(["app.celery-task-meta-a"]));
}

#[test]
fn a_bound_that_was_reached_is_said() {
    let redis = RedisServer::start();
    let mut fill = redis::pipe();
    for number in 0..5000 {
        fill.cmd("SET")
            .arg(format!("other:{number}"))
            .arg(1)
            .ignore();
    }
    fill.exec(&mut redis.connection()).unwrap();
    let url = redis.url();
    let variables = [("CELERY_BROKER_URL", url.as_str())];
    let only = ["--only", "results,replies"];
    assert_eq!(doctor(&variables, &only), (Vec::new(), Some(0)));
    let (findings, code) = doctor(&variables, &[&only[..], &["--most-keys", "1500"]].concat());
    let bounds: Vec<_> = findings
        .iter()
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    assert_eq!((bounds, code), (vec!["not-all-seen"; 2], Some(0)));
    let seen = findings[0]["facts"]["seen"].as_u64().unwrap();
    assert!((1500..4000).contains(&seen), "{seen}");
    assert_eq!(findings[0]["facts"]["keys"], 5000);
}

#[test]
fn replies_that_nobody_waits_for_are_named_and_deleted() {
    let redis = RedisServer::start();
    let url = redis.url();
    let variables = [("CELERY_BROKER_URL", url.as_str())];
    let late = "0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11.reply.celery.pidbox";
    let rpc = "c0ffee00-7c1e-3c83-b5f1-6a2a1d1f0c11";
    redis.publish_raw(late, b"{}");
    redis.publish_raw(rpc, b"{}");
    redis.publish("celery", &add());
    let _: () = redis.command(&["SET", "unacked_mutex", "left"]);
    let (findings, code) = doctor(&variables, &["--only", "replies"]);
    let checks: Vec<_> = findings
        .iter()
        .map(|one| one["check"].as_str().unwrap())
        .collect();
    assert_eq!(
        checks,
        [
            "orphaned-replies",
            "uncollected-replies",
            "lock-without-end"
        ]
    );
    assert_eq!(
        (code, redis.depth(late)),
        (Some(1), 1),
        "looking changes nothing"
    );
    let (findings, code) = doctor(&variables, &["--only", "replies", "--fix"]);
    assert_eq!(one(&findings, "orphaned-replies")["done"], "deleted 1 list");
    assert_eq!(one(&findings, "lock-without-end")["done"], "deleted 1 lock");
    assert_eq!((redis.depth(late), code), (0, Some(0)));
    // Their client may live: only a person knows. What is told to do, does it.
    let remedy = one(&findings, "uncollected-replies")["remedy"]
        .as_str()
        .unwrap()
        .to_owned();
    let words: Vec<&str> = remedy.split("lovage ").nth(1).unwrap().split(' ').collect();
    assert!(lovage_with(&variables, &words).status.success(), "{remedy}");
    assert_eq!((redis.depth(rpc), redis.depth("celery")), (0, 1));
    assert_eq!(
        doctor(&variables, &["--only", "replies"]),
        (Vec::new(), Some(0))
    );
}

#[test]
fn messages_past_their_visibility_are_named_until_a_worker_puts_them_back() {
    let redis = RedisServer::start();
    let url = redis.url();
    let variables = [("CELERY_BROKER_URL", url.as_str())];
    let message = add();
    let entry = json!([
        serde_json::from_str::<Value>(&message.to_json()).unwrap(),
        "",
        "celery"
    ]);
    let long_ago = chrono::Utc::now().timestamp() - 4000;
    let _: () = redis.command(&["HSET", "unacked", "python-tag", &entry.to_string()]);
    let _: () = redis.command(&["ZADD", "unacked_index", &long_ago.to_string(), "python-tag"]);
    let only = ["--only", "held"];
    let (findings, code) = doctor(&variables, &only);
    let finding = one(&findings, "past-visibility");
    assert_eq!((&finding["facts"]["count"], code), (&json!(1), Some(1)));
    let oldest = finding["facts"]["oldest_seconds"].as_u64().unwrap();
    assert!((4000..4100).contains(&oldest), "{oldest}");
    let longer = [
        variables[0],
        (
            "CELERY_BROKER_TRANSPORT_OPTIONS",
            r#"{"visibility_timeout": 7200}"#,
        ),
    ];
    assert_eq!(doctor(&longer, &only), (Vec::new(), Some(0)));
    // What it tells to do, does it.
    let _worker = LovageWorker::on(&redis);
    redis.wait_for_state(&message.id, "SUCCESS");
    assert_eq!(doctor(&variables, &only), (Vec::new(), Some(0)));
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
fn promise_10_a_queue_that_nobody_knows_is_found_by_what_waits_in_it() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    redis.publish("mistyped", &add());
    let _: i64 = redis.command(&["RPUSH", "somebody's", "no message"]);
    let url = redis.url();
    let variables = [("CELERY_BROKER_URL", url.as_str())];
    let (findings, code) = doctor(&variables, &["--only", "queues"]);
    let finding = one(&findings, "queue-without-consumer");
    assert_eq!((code, findings.len()), (Some(1), 1));
    assert_eq!(
        (&finding["subject"], &finding["facts"]["waiting"]),
        (&json!("mistyped"), &json!(1))
    );
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
fn a_message_that_could_not_be_run_is_named_wherever_it_was_brought() {
    let redis = RedisServer::start();
    let (url, folder) = (redis.url(), tempfile::tempdir().unwrap());
    let database = format!("sqlite://{}", folder.path().join("d.db").display());
    let variables = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("DATABASE_URL", database.as_str()),
    ];
    assert!(lovage_with(&variables, &["migrate", "up"]).status.success());
    let _worker = LovageWorker::on(&redis);
    redis.publish_raw("celery", b"no message at all");
    let letters = || doctor(&variables, &["--only", "dead-letters"]);
    lovage_integration_tests::eventually("a dead letter", || letters().1 == Some(1));
    // As a keeper does it, which has taken it from the broker then.
    assert!(lovage_with(&variables, &["dlq", "list"]).status.success());
    let (findings, code) = letters();
    let facts = &one(&findings, "dead-letters")["facts"];
    assert_eq!(code, Some(1));
    assert_eq!(
        (&facts["count"], &facts["newest"]),
        (&json!(1), &json!("undecodable"))
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
    let (findings, _) = doctor(&variables, &[]);
    assert_eq!(
        one(&findings, "not-all-seen")["subject"],
        "dead-letters",
        "what could not be counted is told"
    );
    let listed = lovage_with(&variables, &["dlq", "list"]);
    let told = String::from_utf8_lossy(&listed.stderr);
    assert!(told.contains("there is no database at"), "{told}");
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
