//! The list of workers and all that is known of one.

use lovage_integration_tests::shape::{Allowed, differences};
use lovage_integration_tests::{Fleet, eventually};
use serde_json::{Value, json};

use super::Watched;
use crate::control::send_sleeps;

in_each_fleet!(
    workers_are_listed_with_all_they_hold,
    a_row_counts_what_a_worker_does
);

/// What Flower asks one worker for.
const PARTS: [&str; 8] = [
    "stats",
    "active_queues",
    "registered",
    "conf",
    "active",
    "reserved",
    "scheduled",
    "revoked",
];

fn workers_are_listed_with_all_they_hold(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    for (node, queue) in watched.each() {
        let options = json!({"countdown": 3600, "kwargs": {"y": 3}});
        let late = watched.cast.send(&queue, "demo.add", &json!([2]), &options);
        watched
            .cast
            .ask_until(&node, "scheduled", |held| held != &json!([]));
        let running = send_sleeps(&mut watched.cast, &queue, 60.0, 3);
        watched.cast.wait_for_active(&node, 2);
        watched
            .cast
            .ask(&node, "revoke", &json!({"task_id": ["gone"]}));
        let worker = watched.worker(&node);
        for part in PARTS {
            assert!(
                !worker[part].is_null(),
                "{node} does not tell {part}: {worker}"
            );
        }
        let active = worker["active"].as_array().expect("a list");
        assert!(
            active
                .iter()
                .all(|task| running.iter().any(|id| task["id"] == id.as_str())),
            "{active:?}"
        );
        // Flower asks for the texts.
        assert_eq!(
            (&active[0]["args"], &active[0]["kwargs"]),
            (&json!("(60.0,)"), &json!("{}")),
            "{active:?}"
        );
        assert_eq!(
            worker["reserved"].as_array().map(Vec::len),
            Some(1),
            "{worker}"
        );
        assert_eq!(
            worker["scheduled"][0]["request"]["id"],
            late.as_str(),
            "{worker}"
        );
        assert_eq!(worker["revoked"], json!(["gone"]));
        assert_eq!(worker["active_queues"][0]["name"], queue.as_str());
        let registered = worker["registered"].as_array().expect("a list");
        assert!(registered.contains(&json!("demo.add")), "{registered:?}");
        let page = watched.flower.get(&format!("/worker/{node}"));
        assert_eq!(page.status, 200, "{}", page.text);
        for part in [
            &node,
            &queue,
            &running[0],
            &late,
            "gone",
            "demo.sleep",
            "broker_url",
            "uptime",
            "Max concurrency",
        ] {
            assert!(
                page.text.contains(part),
                "{part} is not on the page of {node}"
            );
        }
    }
    let all = watched.flower.get("/api/workers?refresh=1").json();
    let status = watched.flower.get("/api/workers?status=1").json();
    for node in watched.cast.nodes() {
        assert!(all[&node]["stats"].is_object(), "{all}");
        assert_eq!(status[&node], true);
    }
    assert_eq!(
        status.as_object().map(serde_json::Map::len),
        Some(watched.cast.peers.len())
    );
    assert_eq!(
        watched.flower.get("/api/workers?workername=nobody").status,
        404
    );
    assert_eq!(watched.flower.get("/worker/nobody").status, 404);
    // Nothing is left in its log that a person would have to look at.
    let log = watched.flower.process().log().text();
    assert!(
        !log.contains("Traceback") && !log.contains("Substantial drift"),
        "{log}"
    );
}

fn a_row_counts_what_a_worker_does(fleet: Fleet) {
    let mut watched = Watched::with(fleet, |peer| peer.events().flag("--heartbeat-interval=1"));
    for (node, queue) in watched.each() {
        for _ in 0..3 {
            watched
                .cast
                .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        }
        watched
            .cast
            .send(&queue, "demo.fail", &json!([]), &json!({}));
        let ids = send_sleeps(&mut watched.cast, &queue, 2.0, 2);
        let row = watched.wait_for_row(&node, |row| {
            row["active"] == 2 && row["task-succeeded"] == 3
        });
        assert_eq!(
            (&row["task-failed"], &row["task-received"]),
            (&json!(1), &json!(6)),
            "{row}"
        );
        assert_eq!(row["loadavg"].as_array().map(Vec::len), Some(3), "{row}");
        let peer = watched
            .cast
            .peers
            .iter_mut()
            .find(|peer| peer.node == node)
            .expect("it");
        assert_eq!(row["pid"], peer.pid());
        eventually("the end of the sleeps", || {
            ids.iter()
                .all(|id| watched.cast.redis.state(id) == "SUCCESS")
        });
        watched.wait_for_row(&node, |row| {
            row["active"] == 0 && row["task-succeeded"] == 5 && row["processed"] == 6
        });
    }
}

#[test]
fn rows_of_both_kinds_are_alike() {
    const ALLOWED: &[Allowed] = &[Allowed {
        path: "row.worker-online",
        reason: "only who was there before a worker has heard it come",
    }];
    let mut watched = Watched::of(Fleet::Both);
    for (node, queue) in watched.each() {
        let id = watched
            .cast
            .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        watched.cast.redis.wait_for_state(&id, "SUCCESS");
        watched.wait_for_row(&node, |row| {
            row["task-succeeded"] == 1 && row["loadavg"].is_array()
        });
    }
    let row = |node: &str| watched.wait_for_row(node, |row| row["processed"] == 1);
    let (ours, theirs): (Value, Value) = (row("lovage@peer"), row("python@peer"));
    assert_eq!(
        differences("row", &theirs, &ours, ALLOWED),
        Vec::<String>::new()
    );
}
