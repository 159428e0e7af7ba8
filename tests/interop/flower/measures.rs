//! What Flower counts for Prometheus.

use lovage_integration_tests::{Fleet, eventually};
use serde_json::json;

use super::Watched;

in_each_fleet!(numbers_follow_the_events);

fn numbers_follow_the_events(fleet: Fleet) {
    let mut watched = Watched::with(fleet, |peer| peer.events().flag("--heartbeat-interval=1"));
    assert_eq!(watched.flower.get("/healthcheck").text, "OK");
    for (node, queue) in watched.each() {
        for _ in 0..3 {
            watched
                .cast
                .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        }
        watched
            .cast
            .send(&queue, "demo.fail", &json!([]), &json!({}));
        let running = crate::control::send_sleeps(&mut watched.cast, &queue, 60.0, 3);
        let metrics = |watched: &Watched| watched.flower.get("/metrics").text;
        let counted = |kind: &str, task: &str, number: u32| {
            format!(
                "flower_events_total{{task=\"{task}\",type=\"task-{kind}\",worker=\"{node}\"}} {number}.0"
            )
        };
        let lines = [
            counted("received", "demo.add", 3),
            counted("started", "demo.add", 3),
            counted("succeeded", "demo.add", 3),
            counted("failed", "demo.fail", 1),
            counted("received", "demo.sleep", 3),
            counted("started", "demo.sleep", 2),
            format!("flower_task_runtime_seconds_count{{task=\"demo.add\",worker=\"{node}\"}} 3.0"),
            format!("flower_worker_online{{worker=\"{node}\"}} 1.0"),
            format!("flower_worker_number_of_currently_executing_tasks{{worker=\"{node}\"}} 2.0"),
            // One is fetched and not started.
            format!("flower_worker_prefetched_tasks{{task=\"demo.sleep\",worker=\"{node}\"}} 1.0"),
            format!("flower_worker_prefetched_tasks{{task=\"demo.add\",worker=\"{node}\"}} 0.0"),
        ];
        for line in lines {
            let mut last = String::new();
            let mut has = || {
                last = metrics(&watched);
                last.contains(&line)
            };
            let started = std::time::Instant::now();
            while !has() {
                assert!(
                    started.elapsed() < std::time::Duration::from_secs(10),
                    "{line} is missing:\n{last}"
                );
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
        watched.cast.ask(
            &node,
            "terminate",
            &json!({"signal": "KILL", "task_id": running}),
        );
        eventually("all to be ended", || {
            running
                .iter()
                .all(|id| watched.cast.redis.state(id) == "REVOKED")
        });
    }
}
