//! What people do with schedules, and what they are refused.

use lovage_integration_tests::{
    LovageWorker, RedisServer, beat::LovageBeat, eventually, lovage, lovage_worker::lovage_json,
};
use serde_json::{Value, json};

/// Promise 11: an entry without its required argument failed on every tick, unseen.
#[test]
fn promise_11_a_schedule_is_held_to_its_task() {
    let redis = RedisServer::start();
    let refused = |words: &[&str], field: &str| {
        let output = lovage(&redis, words);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(field), "{text}");
    };
    refused(
        &["schedule", "add", "x", "demo.add", "--every", "5m"],
        "kwargs.x: add() missing",
    );
    refused(
        &[
            "schedule",
            "add",
            "x",
            "demo.add",
            "--every",
            "5m",
            "--args",
            "[\"a\", 1]",
        ],
        "args[0]",
    );
    refused(
        &[
            "schedule",
            "add",
            "x",
            "demo.add",
            "--every",
            "5m",
            "--args",
            "[1, 2]",
            "--kwargs",
            "{\"z\": 1}",
        ],
        "kwargs.z",
    );
    refused(
        &["schedule", "add", "x", "demo.ad", "--every", "5m"],
        "task: no task \"demo.ad\"",
    );
    // And at the start of beat, with the file's name for it.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schedule.toml");
    std::fs::write(
        &file,
        "[[schedule]]\nname = \"x\"\ntask = \"demo.add\"\nevery = \"5m\"\n",
    )
    .unwrap();
    let path = file.display().to_string();
    let output = lovage(&redis, &["beat", "--schedule-file", &path]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("schedule \"x\": kwargs.x"), "{text}");
}

/// Promise 13: 600 s became 0.6 s there; a bare number is refused here.
#[test]
fn promise_13_a_bare_number_is_no_interval() {
    let redis = RedisServer::start();
    let output = lovage(
        &redis,
        &[
            "schedule", "add", "x", "demo.add", "--every", "600", "--args", "[1, 2]",
        ],
    );
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("unit"));
}

/// Promise 7: both nights of the year, in UTC, with what the clocks do.
#[test]
fn promise_7_both_nights_are_previewed() {
    let redis = RedisServer::start();
    let preview = |crontab: &str, after: &str, count: &str| {
        let words = [
            "schedule",
            "preview",
            "--crontab",
            crontab,
            "--timezone",
            "Europe/Zurich",
            "--after",
            after,
            "--count",
            count,
            "--json",
        ];
        lovage_json(&redis, &words)
    };
    assert_eq!(
        preview("30 2 * * *", "2026-03-28T12:00:00Z", "3"),
        json!([
            "2026-03-29T01:30:00Z",
            "2026-03-30T00:30:00Z",
            "2026-03-31T00:30:00Z"
        ])
    );
    assert_eq!(
        preview("30 2 * * *", "2026-10-24T12:00:00Z", "2"),
        json!(["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"])
    );
    assert_eq!(
        preview("0 * * * *", "2026-10-24T23:30:00Z", "4"),
        json!([
            "2026-10-25T00:00:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T02:00:00Z",
            "2026-10-25T03:00:00Z"
        ])
    );
}

#[test]
fn a_schedule_can_be_added_changed_paused_run_and_removed() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let add = [
        "schedule",
        "add",
        "nightly",
        "demo.add",
        "--crontab",
        "30 2 * * *",
        "--timezone",
        "Europe/Zurich",
        "--args",
        "[2, 3]",
        "--json",
    ];
    let told = lovage_json(&redis, &add);
    assert_eq!(
        (&told["source"], &told["state"]),
        (&json!("database"), &json!("active"))
    );
    assert!(!lovage(&redis, &add).status.success(), "the name is taken");
    let edited = lovage_json(
        &redis,
        &[
            "schedule",
            "edit",
            "nightly",
            "--crontab",
            "0 3 * * *",
            "--json",
        ],
    );
    assert_eq!(
        (&edited["crontab"], &edited["args"]),
        (&json!("0 3 * * *"), &json!([2, 3]))
    );
    assert_eq!(edited["id"], told["id"]);
    let paused = lovage_json(&redis, &["schedule", "pause", "nightly", "--json"]);
    assert_eq!(
        (&paused["state"], &paused["next"]),
        (&json!("paused"), &Value::Null)
    );
    let resumed = lovage_json(&redis, &["schedule", "resume", "nightly", "--json"]);
    assert_eq!(resumed["state"], "active");
    let ran = lovage_json(&redis, &["schedule", "run", "nightly", "--json"]);
    let id = ran[0]["task_id"].as_str().unwrap();
    redis.wait_for_state(id, "SUCCESS");
    let range = [
        "--from",
        "2026-11-01T00:00:00Z",
        "--until",
        "2026-11-04T00:00:00Z",
        "--json",
    ];
    let filled = lovage_json(
        &redis,
        &[&["schedule", "run", "nightly"][..], &range].concat(),
    );
    let due: Vec<&str> = filled
        .as_array()
        .unwrap()
        .iter()
        .map(|run| run["due"].as_str().unwrap())
        .collect();
    assert_eq!(
        due,
        [
            "2026-11-01T02:00:00Z",
            "2026-11-02T02:00:00Z",
            "2026-11-03T02:00:00Z"
        ]
    );
    // Each was sent, and none is sent again.
    let again = lovage_json(
        &redis,
        &[&["schedule", "backfill", "nightly"][..], &range].concat(),
    );
    assert_eq!(again, json!([]));
    let history = lovage_json(&redis, &["schedule", "history", "nightly", "--json"]);
    let causes: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|tick| tick["cause"].as_str().unwrap())
        .collect();
    assert_eq!(causes, ["backfill", "backfill", "backfill", "now"]);
    // Page by page, each begins where the last one ended.
    let mut pages = Vec::new();
    let mut words = vec!["schedule", "history", "nightly", "--limit", "3", "--json"];
    for _ in 0..2 {
        let page = lovage_json(&redis, &words);
        pages.extend(page.as_array().unwrap().clone());
        let last = pages.last().unwrap()["task_id"]
            .as_str()
            .unwrap()
            .to_owned();
        words.extend(["--after", last.leak()]);
        words.drain(6..words.len() - 2);
    }
    assert_eq!(json!(pages), history);
    let exported = lovage(&redis, &["schedule", "export"]);
    assert!(String::from_utf8_lossy(&exported.stdout).contains("crontab = \"0 3 * * *\""));
    assert!(
        lovage(&redis, &["schedule", "remove", "nightly", "-f"])
            .status
            .success()
    );
    assert_eq!(
        lovage_json(&redis, &["schedule", "list", "--json"]),
        json!([])
    );
}

#[test]
fn declared_schedules_follow_their_file() {
    let redis = RedisServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("schedule.toml");
    let write = |every: &str| {
        let text = format!(
            "[[schedule]]\nname = \"x\"\ntask = \"demo.add\"\nevery = \"{every}\"\nargs = [1, 2]\nqueue = \"ticks\"\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("1s");
    let path = file.display().to_string();
    let mut beat = LovageBeat::with(&redis, &["--schedule-file", &path], &[]);
    eventually("it is sent", || redis.waiting("ticks").len() >= 2);
    let edit = lovage(&redis, &["schedule", "edit", "x", "--every", "2s"]);
    assert!(String::from_utf8_lossy(&edit.stderr).contains("schedule file"));
    assert!(beat.stop().success());
    write("1h");
    let mut beat = LovageBeat::with(&redis, &["--schedule-file", &path], &[]);
    beat.wait_until_it_leads();
    let told = lovage_json(&redis, &["schedule", "show", "x", "--json"]);
    assert_eq!(
        (&told["every"], &told["source"]),
        (&json!("1h"), &json!("file"))
    );
    std::fs::write(&file, "").unwrap();
    assert!(beat.stop().success());
    let _beat = LovageBeat::with(&redis, &["--schedule-file", &path], &[]);
    eventually("it is gone", || {
        let listed = lovage_json(&redis, &["schedule", "list", "--json"]);
        let listed = listed.as_array().unwrap();
        listed.iter().all(|one| one["source"] == "builtin")
    });
}
