//! `celery events --dump` reads what a worker tells.

use std::process::Command;
use std::time::Duration;

use lovage_integration_tests::child::Child;
use lovage_integration_tests::{Cast, Fleet, place};
use serde_json::json;

in_each_fleet!(celerys_dump_shows_every_event);

fn celerys_dump_shows_every_event(fleet: Fleet) {
    let mut cast = Cast::with(fleet, |peer| peer.events());
    let mut command = Command::new(place::python());
    command
        .args([
            "-u",
            "-m",
            "celery",
            "-b",
            &cast.redis.port_url(),
            "events",
            "--dump",
        ])
        .current_dir(std::env::temp_dir());
    let mut dump = Child::start("celery events", &mut command, "run scripts/setup");
    for (node, queue) in crate::control::each(&cast) {
        // Its receiver asks for a beat when it is there.
        dump.wait_for(&format!("{node} ["), Duration::from_secs(20));
        dump.wait_for("heartbeat", Duration::from_secs(20));
        let good = cast.send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        let bad = cast.send(&queue, "demo.fail", &json!([]), &json!({}));
        for line in [
            format!("task received: demo.add({good}) args=(2, 3) kwargs={{}}"),
            format!("task started: demo.add({good}) args=(2, 3) kwargs={{}}"),
            format!("task succeeded: demo.add({good}) args=(2, 3) kwargs={{}}"),
            format!("task failed: demo.fail({bad})"),
        ] {
            dump.wait_for(&line, Duration::from_secs(20));
        }
    }
    let text = dump.log().text();
    assert!(!text.contains("Substantial drift"), "{text}");
    assert!(dump.is_running());
}
