//! The pool grows, shrinks, restarts and scales by command.

use std::fs;
use std::path::Path;

use lovage_integration_tests::{Cast, Fleet, eventually};
use serde_json::{Value, json};

use super::{assert_ok, assert_works, each, send_sleeps};

in_each_fleet!(
    a_pool_grows_and_shrinks,
    a_pool_restarts_when_that_is_enabled,
    an_autoscaled_pool_takes_new_bounds,
);

fn held(node: &str, cast: &mut Cast, reserved: usize) {
    cast.ask_until(node, "reserved", |held| {
        held.as_array().is_some_and(|held| held.len() == reserved)
    });
}

fn end_all(cast: &mut Cast, ids: &[String]) {
    eventually("the end of the tasks", || {
        ids.iter().all(|id| cast.redis.state(id) == "SUCCESS")
    });
}

/// Tasks that run until their file is there.
fn hold(cast: &mut Cast, queue: &str, file: &Path, tasks: usize) -> Vec<String> {
    let args = json!([file.to_string_lossy()]);
    (0..tasks)
        .map(|_| cast.send(queue, "test.until", &args, &json!({})))
        .collect()
}

fn a_pool_grows_and_shrinks(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    for (node, queue) in each(&cast) {
        // Celery's pool starts its new processes up to five seconds later.
        let steps: [(&str, Value, usize); 3] = [
            ("pool_grow", json!({"n": 2}), 4),
            ("pool_shrink", json!({"n": 3}), 1),
            // Without a number it is one.
            ("pool_grow", json!({}), 2),
        ];
        for (index, (method, arguments, size)) in steps.iter().enumerate() {
            let file = folder.path().join(format!("{queue}-{index}"));
            let answer = cast.ask(&node, method, arguments);
            let text = if *method == "pool_grow" {
                "pool will grow"
            } else {
                "pool will shrink"
            };
            assert_ok(&answer, text);
            let tasks = hold(&mut cast, &queue, &file, size + 2);
            cast.wait_for_active(&node, *size);
            held(&node, &mut cast, 2);
            fs::write(&file, "").expect("the folder is writable");
            end_all(&mut cast, &tasks);
        }
    }
}

fn a_pool_restarts_when_that_is_enabled(fleet: Fleet) {
    let mut cast = Cast::with(fleet, |peer| {
        peer.setting("worker_pool_restarts", json!(true))
    });
    for (node, queue) in each(&cast) {
        assert_works(&mut cast, &queue);
        let processes = |stats: &Value| stats["pool"]["processes"].clone();
        let before = processes(&cast.ask(&node, "stats", &json!({})));
        let answer = cast.ask(&node, "pool_restart", &json!({}));
        assert_ok(&answer, "reload started");
        let pid = cast.ask(&node, "stats", &json!({}))["pid"].clone();
        // A pool without processes of its own has nothing else to show.
        if before.is_array() && before != json!([pid]) {
            cast.ask_until(&node, "stats", |stats| {
                let now = processes(stats);
                let old = before.as_array().expect("a list");
                now.as_array()
                    .is_some_and(|now| now.iter().any(|pid| !old.contains(pid)))
            });
        }
        assert_works(&mut cast, &queue);
    }
}

fn an_autoscaled_pool_takes_new_bounds(fleet: Fleet) {
    let mut cast = Cast::with(fleet, |peer| peer.flag("--autoscale=3,1"));
    for (node, queue) in each(&cast) {
        let answer = cast.ask(&node, "autoscale", &json!({"max": 4, "min": 2}));
        assert_ok(&answer, "autoscale now max=4 min=2");
        let stats = cast.ask(&node, "stats", &json!({}));
        let scaler = &stats["autoscaler"];
        assert_eq!(
            (&scaler["max"], &scaler["min"]),
            (&json!(4), &json!(2)),
            "{stats}"
        );
        assert!(
            scaler["current"].is_u64() && scaler["qty"].is_u64(),
            "{stats}"
        );
        let tasks = send_sleeps(&mut cast, &queue, 2.0, 6);
        cast.wait_for_active(&node, 4);
        end_all(&mut cast, &tasks);
    }
}
