//! Health and numbers of every role, as orchestrators and Prometheus ask for them.

use std::time::Duration;

use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::wait::within;
use lovage_integration_tests::{LovageWorker, RedisServer, Role, TaskMessage, http};
use rustix::process::Signal;
use serde_json::json;

use crate::add;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_worker_counts_its_tasks_under_the_exporters_names() {
    let redis = RedisServer::start();
    let (_worker, role) = Role::worker(&redis, &[]);
    for _ in 0..3 {
        let message = add();
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "SUCCESS");
    }
    let fails = TaskMessage::new("demo.fail", &json!(["x"]), &json!({}));
    redis.publish("celery", &fails);
    let failure = redis.wait_for_state(&fails.id, "FAILURE");
    let labels = r#"hostname="lovage@here",queue_name="celery""#;
    let exception = failure["result"]["exc_type"].as_str().unwrap();
    for line in [
        format!(r#"celery_task_received_total{{name="demo.add",{labels}}} 3"#),
        format!(r#"celery_task_started_total{{name="demo.add",{labels}}} 3"#),
        format!(r#"celery_task_succeeded_total{{name="demo.add",{labels}}} 3"#),
        format!(r#"celery_task_runtime_count{{name="demo.add",{labels}}} 3"#),
        format!(r#"celery_task_runtime_bucket{{le="+Inf",name="demo.add",{labels}}} 3"#),
        format!(
            r#"celery_task_failed_total{{name="demo.fail",{labels},exception="{exception}"}} 1"#
        ),
        r#"celery_worker_tasks_active{hostname="lovage@here"} 0"#.to_owned(),
        r#"lovage_lease_age_seconds{hostname="lovage@here"} "#.to_owned(),
        r#"lovage_pool_load{hostname="lovage@here"} 0"#.to_owned(),
        "lovage_events_lost_total 0".to_owned(),
        "process_resident_memory_bytes ".to_owned(),
    ] {
        role.wait_for_line(&line);
    }
}

#[test]
fn a_message_that_cannot_be_run_and_one_that_comes_again_are_counted() {
    let redis = RedisServer::start();
    let (_worker, role) = Role::worker(&redis, &[]);
    redis.publish_raw("celery", b"no message at all");
    role.wait_for_line(r#"lovage_messages_buried_total{hostname="lovage@here",reason="#);
    let again = add().set("headers.redelivered", json!(true));
    redis.publish("celery", &again);
    redis.wait_for_state(&again.id, "SUCCESS");
    role.wait_for_line(
        r#"lovage_task_redelivered_total{name="demo.add",hostname="lovage@here",queue_name="celery"} 1"#,
    );
}

#[test]
fn without_an_address_a_worker_serves_nothing() {
    let redis = RedisServer::start();
    let worker = LovageWorker::on(&redis);
    assert!(!worker.log().text().contains("health and metrics"));
    let told = lovage_with(
        &[("CELERY_BROKER_URL", &redis.url())],
        &["health", "worker"],
    );
    assert_eq!(told.status.code(), Some(78));
    let text = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(text.contains("LOVAGE_MONITOR_BIND"), "{text}");
}

#[test]
fn promise_17_health_tells_a_living_process_from_one_that_can_work() {
    let mut redis = RedisServer::with_port();
    let (mut worker, role) = Role::worker(&redis, &[("LOVAGE_LEASE", "1s")]);
    role.wait_until_ready();
    let at = format!("127.0.0.1:{}", role.port);
    let health = |more: &[&str]| {
        let mut words = vec!["health", "worker", "--at", &at];
        words.extend(more);
        let told = lovage_with(&[], &words);
        (
            told.status.code(),
            String::from_utf8_lossy(&told.stdout).into_owned(),
        )
    };
    assert_eq!(health(&[]).0, Some(0));
    redis.stop();
    within(PATIENCE, "a worker that is not ready", || {
        (role.ready().0 == 503).then_some(())
    });
    let (code, told) = health(&[]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("was not heard of"), "{told}");
    assert_eq!(health(&["--live"]).0, Some(0), "it lives all the same");
    redis.restart();
    role.wait_until_ready();
    worker.stop();
    assert_eq!(health(&[]).0, Some(69), "nobody is there");
}

#[test]
fn a_role_whose_broker_is_away_from_the_start_lives_and_is_not_ready() {
    let broker = [("CELERY_BROKER_URL", "redis://127.0.0.1:1/0")];
    let (_process, beat) = Role::start("beat", &broker);
    assert_eq!(http::get(beat.port, "/health/live").status, 200);
    let (status, told) = beat.ready();
    assert_eq!(status, 503);
    assert_eq!(told["parts"][0]["detail"], "it waits for the broker");
}

#[test]
fn beats_tell_who_leads_and_how_late_they_are() {
    let redis = RedisServer::start();
    let (url, folder) = (redis.url(), tempfile::tempdir().unwrap());
    let file = folder.path().join("schedule.toml");
    std::fs::write(
        &file,
        "[[schedule]]\nname = \"each\"\ntask = \"demo.noop\"\nevery = \"1s\"\n",
    )
    .unwrap();
    let file = file.display().to_string();
    let variables = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("LOVAGE_DEMO_TASKS", "1"),
        ("LOVAGE_SCHEDULE_FILE", &file),
    ];
    let (mut leader, first) = Role::start("beat", &variables);
    first.wait_until_ready();
    first.wait_for_line("lovage_beat_leads 1");
    // It, and the reaping of the dead.
    first.wait_for_line("lovage_beat_schedules 2");
    first.wait_for_line("lovage_beat_tick_lag_seconds_bucket{le=\"0.3\"} 1");
    let (_, told) = first.ready();
    let detail = told["parts"][1]["detail"].as_str().unwrap().to_owned();
    for words in ["leads 2 schedules", " s ago), next due: 2"] {
        assert!(detail.contains(words), "{words:?}: {detail}");
    }
    let (_standby, second) = Role::start("beat", &variables);
    second.wait_until_ready();
    let (_, told) = second.ready();
    let detail = told["parts"][1]["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("stands by for celerybeat@"), "{told}");
    leader.signal(Signal::TERM);
    second.wait_for_line("lovage_beat_leads 1");
}

#[test]
fn one_keeper_tells_of_the_fleet_and_another_takes_over() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/k.db", folder.path().display());
    let url = redis.url();
    let variables = [
        ("CELERY_BROKER_URL", url.as_str()),
        ("DATABASE_URL", database.as_str()),
        ("CELERY_TASK_ROUTES", r#"{"mail.*": "mail"}"#),
    ];
    let (mut leader, first) = Role::start("keeper", &variables);
    let (status, told) = first.ready();
    assert_eq!(
        (status, &told["parts"][1]["name"]),
        (503, &json!("database"))
    );
    assert!(lovage_with(&variables, &["migrate", "up"]).status.success());
    first.wait_until_ready();
    first.wait_for_line("lovage_keeper_tells_of_the_fleet 1");
    let (_worker, _) = Role::worker(&redis, &[]);
    redis.publish("mail", &add());
    for line in [
        r#"celery_queue_length{queue_name="mail"} 1"#,
        r#"celery_active_worker_count{queue_name="mail"} 0"#,
        r#"celery_active_worker_count{queue_name="celery"} 1"#,
        r#"celery_active_process_count{queue_name="celery"} 1"#,
        r#"celery_worker_up{hostname="lovage@here"} 1"#,
        r#"lovage_queue_head_age_seconds{queue_name="mail"} "#,
        r#"lovage_duty_held{duty="keeper:outbox"} 1"#,
        "lovage_outbox_lag_seconds 0",
        "lovage_dead_letters 0",
        "lovage_history_gaps 0",
        "lovage_broker_up 1",
    ] {
        first.wait_for_line(line);
    }
    let (_standby, second) = Role::start("keeper", &variables);
    second.wait_until_ready();
    assert!(!second.metrics().contains("celery_queue_length{"));
    leader.signal(Signal::TERM);
    second.wait_for_line(r#"celery_queue_length{queue_name="mail"} 1"#);
}
