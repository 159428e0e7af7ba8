//! `lovage status`.

use std::process::Command;

use lovage_integration_tests::{RedisServer, place};
use serde_json::json;

use super::{json_of, tell, well, worker};

#[test]
fn nobody_there_is_told_with_the_exit_code_of_celery() {
    let redis = RedisServer::start();
    for words in [
        "status -t 0.2",
        "status -t 0.2 --json",
        "inspect -t 0.2 stats",
        "inspect -t 0.2 -d w1@box ping",
        "control -t 0.2 pool_grow",
        "control -t 0.2 shutdown",
    ] {
        let told = tell(&redis, words);
        assert_eq!(told.code, Some(69), "{words}: {told:?}");
        let expected = match words.contains("--json") {
            true => "{\"error\":\"No nodes replied within time constraint\"}\n",
            false => "Error: No nodes replied within time constraint\n",
        };
        assert_eq!(told.err, expected, "{words}");
        assert_eq!(told.out, "", "{words}");
    }
}

#[test]
fn who_is_online_is_told_as_celery_tells_it() {
    let redis = RedisServer::start();
    let _one = worker(&redis, "w1@box", &["-P", "solo"]);
    let theirs = Command::new(place::python())
        .args(["-m", "celery", "-A", "app", "--no-color", "status"])
        .current_dir(place::python_sources())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CELERY_BROKER_URL", redis.url())
        .env("CELERY_RESULT_BACKEND", redis.url())
        .output()
        .expect("celery can be started");
    let ours = well(&redis, "status");
    assert_eq!(ours, String::from_utf8_lossy(&theirs.stdout));

    let _other = worker(&redis, "w2@box", &["-P", "solo"]);
    assert_eq!(
        well(&redis, "status"),
        "->  w1@box: OK\n->  w2@box: OK\n\n2 nodes online.\n"
    );
    let pong = json!({"ok": "pong"});
    assert_eq!(
        json_of(&redis, "status --json"),
        json!({"w1@box": pong, "w2@box": pong})
    );
    for (whom, node) in [
        ("-d w2@box", "w2@box"),
        ("-d w2@box, -t 5", "w2@box"),
        ("--pattern *1@box", "w1@box"),
        ("--pattern w[2-9] --matcher pcre", "w2@box"),
    ] {
        let told = json_of(&redis, &format!("status -j {whom}"));
        assert_eq!(told, json!({ node: pong }), "{whom}");
    }
}

#[test]
fn named_nodes_that_are_silent_are_named() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w1@box", &["-P", "solo"]);
    let told = tell(&redis, "status -d w1@box,gone@box -t 0.5");
    assert_eq!(told.code, Some(0), "{told:?}");
    assert_eq!(told.err, "warning: no reply from gone@box\n");
    assert!(told.out.ends_with("\n1 node online.\n"), "{told:?}");
}
