//! The dashboards and rules that come with the platform, against a Prometheus that asks real roles.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::place::repository;
use lovage_integration_tests::{ApiServer, Prometheus, RedisServer, Role, TaskMessage};
use serde_json::{Value, json};

use crate::add;

/// Until every query has something to show: a rate wants two looks, an exporter's census some seconds.
const PATIENCE: Duration = Duration::from_secs(90);

/// Every query of every dashboard, with what it is shown under.
fn queries() -> Vec<(String, String)> {
    let folder = repository().join("compose/grafana/dashboards");
    let mut queries = Vec::new();
    for file in fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let dashboard: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        let file = path.file_stem().unwrap().to_string_lossy().into_owned();
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let query = target["expr"].as_str().unwrap();
                let query = query
                    .replace("$__rate_interval", "30s")
                    .replace("$queue", ".*")
                    .replace("$task", ".*");
                queries.push((format!("{file}: {}", panel["title"]), query));
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            let query = variable["query"]["query"].as_str().unwrap();
            let inside = query.strip_prefix("label_values(").unwrap();
            let (metric, label) = inside.trim_end_matches(')').split_once(", ").unwrap();
            let query = format!("count by ({label}) ({metric})");
            queries.push((format!("{file}: choice of {}", variable["name"]), query));
        }
    }
    assert!(queries.len() > 40, "{queries:?}");
    queries
}

#[test]
fn every_query_of_the_dashboards_returns_data_from_real_roles() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schedule.toml");
    let schedule = "[[schedule]]\nname = \"each\"\ntask = \"demo.noop\"\nevery = \"1s\"\n";
    fs::write(&file, schedule).unwrap();
    let file = file.display().to_string();
    let mut variables = api.variables();
    variables.extend([
        ("LOVAGE_SCHEDULE_FILE", file.as_str()),
        ("CELERY_TASK_SEND_SENT_EVENT", "1"),
        ("CELERY_WORKER_SEND_TASK_EVENTS", "1"),
    ]);
    let (_worker, worker) = Role::worker(&redis, &[("CELERY_WORKER_SEND_TASK_EVENTS", "1")]);
    let (_beat, beat) = Role::start("beat", &variables);
    let (_keeper, keeper) = Role::start("keeper", &variables);
    keeper.wait_for_line("lovage_keeper_tells_of_the_fleet 1");
    let prometheus = Prometheus::of(&[
        ("lovage-worker", worker.port),
        ("lovage-beat", beat.port),
        ("lovage-keeper", keeper.port),
        ("lovage-api", api.port()),
    ]);
    let admin = api.admin();
    let mut missing = queries();
    let started = Instant::now();
    while !missing.is_empty() && started.elapsed() < PATIENCE {
        // Something has to happen while it looks: a failure, a success, a request, a task with its event of being sent.
        let fails = TaskMessage::new("demo.fail", &json!(["on purpose"]), &json!({}));
        redis.publish("celery", &fails);
        redis.publish("celery", &add());
        let sent = admin.post("/api/v1/tasks/demo.add/send", &json!({"x": 1, "y": 2}));
        assert_eq!(sent.status, 202, "{}", sent.text);
        lovage_with(&variables, &["call", "demo.add", "2", "3"]);
        missing.retain(|(_, query)| {
            !prometheus
                .query(query)
                .iter()
                .any(|value| value.is_finite())
        });
    }
    assert!(missing.is_empty(), "nothing is shown by {missing:#?}");
}

#[test]
fn the_rules_fire_for_what_they_are_about_and_for_nothing_else() {
    let folder = repository().join("compose/prometheus");
    for words in [
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "rules/lovage.yml"],
        ["test", "rules", "tests/rules.yml"],
    ] {
        let told = Command::new("promtool")
            .args(words)
            .current_dir(&folder)
            .output()
            .expect("promtool is there (Debian, Ubuntu: apt-get install prometheus)");
        let (out, err) = (
            String::from_utf8_lossy(&told.stdout),
            String::from_utf8_lossy(&told.stderr),
        );
        assert!(told.status.success(), "promtool {words:?}:\n{out}{err}");
    }
}
