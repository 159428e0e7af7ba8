//! `sentinel://`: the master is asked for, and followed when it changes.

use std::thread;
use std::time::{Duration, Instant};

use lovage_integration_tests::{
    Authority, LovageWorker, TaskMessage, WatchedRedis, eventually, lovage_worker::lovage_with,
    wait,
};
use redis::Commands;
use serde_json::{Value, json};

/// The sentinels agree after 500 ms, elect, and promote; the worker's connections then find the new master. What is left
/// is for a loaded machine.
const STALL: Duration = Duration::from_secs(15);

fn worker(watched: &WatchedRedis) -> LovageWorker {
    LovageWorker::at(&watched.url(), &watched.url())
        .variable("CELERY_BROKER_TRANSPORT_OPTIONS", &WatchedRedis::options())
        .variable(
            "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
            &WatchedRedis::options(),
        )
        .concurrency(8)
        .start()
}

fn finished(connection: &mut redis::Connection, ids: &[String]) -> Vec<bool> {
    let keys: Vec<String> = ids
        .iter()
        .map(|id| format!("celery-task-meta-{id}"))
        .collect();
    let values: Vec<Option<String>> = connection.mget(&keys).expect("MGET works");
    values
        .iter()
        .map(|value| {
            value
                .as_deref()
                .is_some_and(|value| value.starts_with(r#"{"status": "SUCCESS""#))
        })
        .collect()
}

/// What was on the replica when the master died is demanded in full: every message published before (`WAIT` says that
/// the replica has them) ends with a stored result on the new master, nothing stays held. What replication may lose is
/// what the master answered in its last moment: a fetch (the message is still in its queue there, and runs again) or an
/// end (its message is still recorded as held there, and goes back). Both mean a second run, never a loss.
#[test]
fn a_worker_under_load_follows_the_new_master_and_nothing_published_is_lost() {
    let mut watched = WatchedRedis::start();
    // One sentinel that does not answer is passed over.
    watched.kill_sentinel(0);
    let mut worker = worker(&watched);
    let messages: Vec<TaskMessage> = (0..2000)
        .map(|number| {
            TaskMessage::new(
                "demo.sleep",
                &json!([0.002 + f64::from(number % 3) / 1000.0]),
                &json!({}),
            )
        })
        .collect();
    let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
    let mut master = watched.servers[0].connection();
    let mut pipeline = redis::pipe();
    for message in &messages {
        pipeline.lpush("celery", message.to_json()).ignore();
    }
    pipeline.exec(&mut master).expect("LPUSH works");
    let replicas: i64 = redis::cmd("WAIT")
        .arg(1)
        .arg(10_000)
        .query(&mut master)
        .expect("WAIT works");
    assert_eq!(replicas, 1, "the replica has every message");
    wait::within(wait::PATIENCE, "some progress", || {
        let done = finished(&mut master, &ids)
            .iter()
            .filter(|done| **done)
            .count();
        (done >= 200).then_some(())
    });

    watched.kill_master();
    let killed = Instant::now();
    watched.wait_for_master(1);
    let mut master = watched.servers[1].connection();
    let before = finished(&mut master, &ids)
        .iter()
        .filter(|done| **done)
        .count();
    assert!(before < ids.len(), "it died under load");
    wait::within(STALL, "progress on the new master", || {
        let done = finished(&mut master, &ids)
            .iter()
            .filter(|done| **done)
            .count();
        (done > before).then_some(())
    });
    assert!(killed.elapsed() < STALL, "{:?}", killed.elapsed());

    wait::within(
        Duration::from_secs(40),
        "every result on the new master",
        || {
            finished(&mut master, &ids)
                .iter()
                .all(|done| *done)
                .then_some(())
        },
    );
    eventually("nothing held, nothing waiting", || {
        watched.servers[1].unacked() == 0 && watched.servers[1].depth("celery") == 0
    });
    // The lease, which a thread of its own renews, has moved too.
    eventually("one lease on the new master", || {
        watched.servers[1]
            .command::<Vec<String>>(&["KEYS", "lovage:lease:*"])
            .len()
            == 1
    });
    assert!(worker.is_running());
}

/// A client waits for its result over the fail-over: its subscription moves with the other connections.
#[test]
fn an_old_master_that_is_demoted_is_left_and_a_result_is_heard_on_the_new_one() {
    let watched = WatchedRedis::start();
    a_master_that_no_sentinel_knows_is_said_in_one_line(&watched);
    let _worker = worker(&watched);
    let (url, options) = (watched.url(), WatchedRedis::options());
    let caller = thread::spawn(move || {
        lovage_with(
            &[
                ("CELERY_BROKER_URL", url.as_str()),
                ("CELERY_BROKER_TRANSPORT_OPTIONS", options.as_str()),
            ],
            &["call", "demo.sleep", "4", "--wait", "--timeout", "40"],
        )
    });
    eventually("the task runs", || watched.servers[0].unacked() == 1);
    let waited: i64 = watched.servers[0].command(&["WAIT", "1", "10000"]);
    assert_eq!(waited, 1);
    watched.fail_over();
    watched.wait_for_master(1);
    let output = caller.join().expect("the caller ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    eventually("nothing held", || watched.servers[1].unacked() == 0);
}

/// Here, because a watched Redis takes its time to start.
fn a_master_that_no_sentinel_knows_is_said_in_one_line(watched: &WatchedRedis) {
    let began = Instant::now();
    let output = lovage_with(
        &[
            ("CELERY_BROKER_URL", watched.url().as_str()),
            (
                "CELERY_BROKER_TRANSPORT_OPTIONS",
                r#"{"master_name": "nobody"}"#,
            ),
        ],
        &["call", "demo.add", "2", "3"],
    );
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    let line = said
        .lines()
        .find(|line| line.contains("no sentinel knows a usable master nobody"));
    assert!(line.is_some(), "{said}");
}

/// Encrypted connections everywhere, certificates from both sides, and a password of the sentinels' own.
#[test]
fn encrypted_sentinels_are_asked_and_the_new_master_is_followed() {
    let authority = Authority::new();
    let mut watched = WatchedRedis::encrypted(&authority);
    let (told, others) = watched.ports_of_others();
    assert_eq!(
        told, others,
        "they talk to each other at their encrypted ports"
    );
    let options = WatchedRedis::encrypted_options(&authority);
    let use_ssl = authority.client_options().to_string();
    let url = watched.url();
    let mut worker = LovageWorker::at(&url, &url)
        .variable("CELERY_BROKER_TRANSPORT_OPTIONS", &options)
        .variable("CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS", &options)
        .variable("CELERY_BROKER_USE_SSL", &use_ssl)
        .variable("CELERY_REDIS_BACKEND_USE_SSL", &use_ssl)
        .start();
    crate::assert_works(&watched.servers[0]);
    sentinels_that_do_not_let_in_are_named(&watched, &authority, &use_ssl);
    let waited: i64 = watched.servers[0].command(&["WAIT", "1", "10000"]);
    assert_eq!(waited, 1);
    watched.kill_master();
    watched.wait_for_master(1);
    wait::within(STALL, "a result on the new master", || {
        let message = crate::add();
        watched.servers[1].publish("celery", &message);
        let record = || (watched.servers[1].state(&message.id) == "SUCCESS").then_some(());
        let patience = Instant::now();
        while patience.elapsed() < Duration::from_secs(5) {
            if record().is_some() {
                return Some(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        None
    });
    assert!(worker.is_running());
}

/// Without encryption, with a stranger's trust, or without the password: each is told in one line.
fn sentinels_that_do_not_let_in_are_named(
    watched: &WatchedRedis,
    authority: &Authority,
    use_ssl: &str,
) {
    let good: Value =
        serde_json::from_str(&WatchedRedis::encrypted_options(authority)).expect("JSON");
    let stranger = Authority::new();
    let without = |name: &str| {
        let mut options = good.clone();
        let kwargs = options["sentinel_kwargs"].as_object_mut();
        kwargs.expect("an object").remove(name);
        options
    };
    let mut distrusts = good.clone();
    distrusts["sentinel_kwargs"]["ssl_ca_certs"] = json!(stranger.path("authority.pem"));
    let mut plain = good.clone();
    plain["sentinel_kwargs"] = json!({"password": good["sentinel_kwargs"]["password"]});
    for (options, word) in [
        (without("password"), "NOAUTH"),
        (distrusts, "certificate"),
        (plain, "no sentinel knows"),
    ] {
        let output = lovage_with(
            &[
                ("CELERY_BROKER_URL", watched.url().as_str()),
                ("CELERY_BROKER_TRANSPORT_OPTIONS", &options.to_string()),
                ("CELERY_BROKER_USE_SSL", use_ssl),
            ],
            &["call", "demo.add", "2", "3"],
        );
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{options}");
        let line = said.lines().find(|line| line.contains("no sentinel knows"));
        assert!(
            line.is_some_and(|line| line.contains(word)),
            "{options}: {said}"
        );
    }
}
