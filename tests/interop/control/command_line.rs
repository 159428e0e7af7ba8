//! The `celery` command itself, as an operator types it.

use std::process::{Command, Output};

use lovage_integration_tests::{Cast, Fleet, place};
use serde_json::{Value, json};

use super::{each, send_sleeps};

in_each_fleet!(celerys_command_finds_the_workers);

/// Runs `celery` on a broker, from a folder without any application.
fn celery(url: &str, words: &[&str]) -> (Output, String) {
    let output = Command::new(place::python())
        .args(["-m", "celery", "-b", url])
        .args(words)
        .current_dir(std::env::temp_dir())
        .output()
        .expect("Python can be started");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, text)
}

fn ok(url: &str, words: &[&str]) -> String {
    let (output, text) = celery(url, words);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "celery {words:?}: {}\n{text}{error}",
        output.status
    );
    text
}

fn json_of(url: &str, words: &[&str]) -> Value {
    let text = ok(url, &[words, &["--json"]].concat());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("celery {words:?}: {error}: {text}"))
}

fn celerys_command_finds_the_workers(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    let url = cast.redis.port_url();
    let workers = each(&cast);
    let status = ok(&url, &["status"]);
    for (node, _) in &workers {
        let line = format!("->  {node}: OK");
        assert!(status.contains(&line), "{status}");
    }
    let online = match workers.len() {
        1 => "1 node online.",
        _ => "2 nodes online.",
    };
    assert!(status.contains(online), "{status}");
    // Nobody there is an error.
    let (output, _) = celery(&url, &["status", "-d", "nobody@nowhere", "-t", "0.3"]);
    assert!(!output.status.success());

    for (node, queue) in &workers {
        let running = send_sleeps(&mut cast, queue, 60.0, 1).remove(0);
        cast.wait_for_active(node, 1);
        let active = json_of(&url, &["inspect", "active", "-d", node]);
        assert_eq!(active[node][0]["id"], running.as_str(), "{active}");
        let text = ok(&url, &["inspect", "active", "-d", node]);
        assert!(
            text.contains(&running) && text.contains("1 node online."),
            "{text}"
        );
        let found = json_of(&url, &["inspect", "query_task", &running, "-d", node]);
        assert_eq!(found[node][&running][0], "active", "{found}");
        let answer = json_of(
            &url,
            &["control", "rate_limit", "demo.add", "9/m", "-d", node],
        );
        assert_eq!(
            answer,
            json!([{node: {"ok": "new rate limit set successfully"}}])
        );
        let registered = json_of(&url, &["inspect", "registered", "-d", node]);
        assert!(
            registered[node]
                .as_array()
                .expect("a list")
                .contains(&json!("demo.add [rate_limit=9/m]")),
            "{registered}"
        );
        let text = ok(
            &url,
            &["control", "terminate", "SIGKILL", &running, "-d", node],
        );
        assert!(
            text.contains("OK") && text.contains("terminate: "),
            "{text}"
        );
        cast.redis.wait_for_state(&running, "REVOKED");
    }
    let nodes = workers.len();
    for (command, part) in [
        ("ping", "pong"),
        ("report", "software -> "),
        ("stats", "\"max-concurrency\": 2"),
        ("conf", "broker_url"),
    ] {
        let text = ok(&url, &["inspect", command]);
        assert_eq!(text.matches(part).count(), nodes, "{command}: {text}");
    }
    let queues = json_of(&url, &["inspect", "active_queues"]);
    for (node, queue) in &workers {
        assert_eq!(queues[node][0]["name"], queue.as_str(), "{queues}");
    }
}
