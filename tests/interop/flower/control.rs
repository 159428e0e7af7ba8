//! The buttons of a worker's page, by way of the API behind them.

use lovage_integration_tests::Fleet;
use lovage_integration_tests::http::Answer;
use serde_json::{Value, json};

use super::Watched;
use crate::control::send_sleeps;

in_each_fleet!(
    a_pool_is_changed_by_its_buttons,
    queues_are_added_and_cancelled,
    limits_are_set,
    what_is_enabled_works,
    a_worker_is_shut_down,
);

#[track_caller]
fn assert_said(answer: &Answer, text: &str) {
    assert_eq!(answer.json()["message"], text);
}

#[track_caller]
fn assert_refused(answer: &Answer, reason: &str) {
    assert_eq!(answer.status, 403, "{}", answer.text);
    assert!(answer.text.contains(reason), "{}", answer.text);
}

fn a_pool_is_changed_by_its_buttons(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    let press = |watched: &Watched, action: &str, node: &str, form: &str| {
        watched
            .flower
            .form(&format!("/api/worker/{action}/{node}"), form)
    };
    for (node, queue) in watched.each() {
        let answer = press(&watched, "pool/grow", &node, "n=2");
        assert_said(&answer, &format!("Growing '{node}' worker's pool by 2"));
        let running = send_sleeps(&mut watched.cast, &queue, 60.0, 5);
        watched.cast.wait_for_active(&node, 4);
        watched.cast.ask(
            &node,
            "terminate",
            &json!({"signal": "KILL", "task_id": running}),
        );
        watched.cast.wait_for_active(&node, 0);
        let answer = press(&watched, "pool/shrink", &node, "");
        assert_said(&answer, &format!("Shrinking '{node}' worker's pool by 1"));
        assert_refused(
            &press(&watched, "pool/restart", &node, ""),
            "ValueError('Pool restarts not enabled')",
        );
        assert_refused(
            &press(&watched, "pool/autoscale", &node, "min=1&max=3"),
            "ValueError('Autoscale not enabled')",
        );
    }
    for action in [
        "pool/grow",
        "pool/shrink",
        "pool/restart",
        "pool/autoscale",
        "shutdown",
        "queue/add-consumer",
    ] {
        assert_eq!(
            press(&watched, action, "nobody@peer", "n=1&min=1&max=2&queue=x").status,
            404
        );
    }
}

fn queues_are_added_and_cancelled(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    for (node, queue) in watched.each() {
        let extra = format!("extra-{queue}");
        let form = format!("queue={extra}");
        let answer = watched
            .flower
            .form(&format!("/api/worker/queue/add-consumer/{node}"), &form);
        assert_said(&answer, &format!("add consumer {extra}"));
        let id = watched
            .cast
            .send(&extra, "demo.add", &json!([2, 3]), &json!({}));
        watched.cast.redis.wait_for_state(&id, "SUCCESS");
        let names = |watched: &Watched| {
            let queues = watched.worker(&node)["active_queues"].clone();
            let name = |queue: &Value| queue["name"].as_str().unwrap_or_default().to_owned();
            let mut names: Vec<String> = queues
                .as_array()
                .expect("a list")
                .iter()
                .map(name)
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&watched), [extra.clone(), queue.clone()]);
        let answer = watched
            .flower
            .form(&format!("/api/worker/queue/cancel-consumer/{node}"), &form);
        assert_said(&answer, &format!("no longer consuming from {extra}"));
        assert_eq!(names(&watched), [queue.as_str()]);
        // Messages of a queue are counted as long as somebody consumes it.
        for _ in 0..3 {
            watched.cast.redis.publish_raw(&extra, b"{}");
        }
        let lengths = watched.flower.get("/api/queues/length").json();
        let lengths = lengths["active_queues"].as_array().expect("a list");
        assert!(
            lengths.contains(&json!({"name": queue, "messages": 0})),
            "{lengths:?}"
        );
        assert!(
            lengths.iter().all(|one| one["name"] != extra.as_str()),
            "{lengths:?}"
        );
    }
}

fn limits_are_set(fleet: Fleet) {
    let watched = Watched::of(fleet);
    for (node, _) in watched.each() {
        let rate = |rate: &str, task: &str| {
            watched.flower.form(
                &format!("/api/task/rate-limit/{task}"),
                &format!("workername={node}&ratelimit={rate}"),
            )
        };
        assert_said(
            &rate("10%2Fm", "demo.add"),
            "new rate limit set successfully",
        );
        // A page that is asked for while the answers come may still show those before.
        let path = format!("/api/workers?refresh=1&workername={node}");
        watched.flower.get_until(&path, |all| {
            all[node.as_str()]["registered"]
                .as_array()
                .is_some_and(|all| all.contains(&json!("demo.add [rate_limit=10/m]")))
        });
        assert_refused(
            &rate("fast", "demo.add"),
            "Invalid rate limit string: ValueError",
        );
        assert_refused(&rate("1%2Fx", "demo.add"), "KeyError('x')");
        assert_eq!(rate("1", "no.such").status, 404);
        let limit = |limits: &str, task: &str| {
            watched.flower.form(
                &format!("/api/task/timeout/{task}"),
                &format!("workername={node}&{limits}"),
            )
        };
        for limits in ["soft=10&hard=20", "soft=0.5", "hard=9", ""] {
            assert_said(&limit(limits, "demo.sleep"), "time limits set successfully");
        }
        assert_eq!(limit("soft=1", "no.such").status, 404);
        let nobody = "workername=nobody@peer&soft=1&ratelimit=1";
        assert_eq!(
            watched
                .flower
                .form("/api/task/timeout/demo.add", nobody)
                .status,
            404
        );
        assert_eq!(
            watched
                .flower
                .form("/api/task/rate-limit/demo.add", nobody)
                .status,
            404
        );
    }
}

fn what_is_enabled_works(fleet: Fleet) {
    let mut watched = Watched::with(fleet, |peer| {
        peer.events()
            .setting("worker_pool_restarts", json!(true))
            .flag("--autoscale=3,1")
    });
    for (node, queue) in watched.each() {
        let answer = watched
            .flower
            .form(&format!("/api/worker/pool/autoscale/{node}"), "min=2&max=4");
        let said = answer.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(said.contains("min=2") && said.contains("max=4"), "{said}");
        let scaler = watched.worker(&node)["stats"]["autoscaler"].clone();
        assert_eq!(
            (&scaler["max"], &scaler["min"]),
            (&json!(4), &json!(2)),
            "{scaler}"
        );
        assert!(
            watched
                .flower
                .get(&format!("/worker/{node}"))
                .text
                .contains("Autoscaler options")
        );
        let answer = watched
            .flower
            .form(&format!("/api/worker/pool/restart/{node}"), "");
        assert_said(&answer, &format!("Restarting '{node}' worker's pool"));
        let id = watched
            .cast
            .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        watched.cast.redis.wait_for_state(&id, "SUCCESS");
    }
}

fn a_worker_is_shut_down(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    for (index, (node, _)) in watched.each().iter().enumerate() {
        let answer = watched
            .flower
            .form(&format!("/api/worker/shutdown/{node}"), "");
        assert_said(&answer, "Shutting down!");
        // It says good-bye, so that its row turns at once.
        watched.wait_for_row(node, |row| {
            row["status"] == false && row["heartbeats"] == json!([])
        });
        let status = watched.cast.peers[index]
            .process()
            .wait(std::time::Duration::from_secs(20));
        assert_eq!(status.code(), Some(0), "{node}");
        assert_eq!(
            watched.flower.get("/api/workers?status=1").json()[node],
            false
        );
    }
}
