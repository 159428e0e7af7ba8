//! Revoking and terminating by command.

use std::time::Duration;

use lovage_integration_tests::{Cast, Fleet, LovageWorker, PythonWorker};
use serde_json::{Value, json};

use super::{LOVAGE, PYTHON, assert_ok, assert_works, each, end_of, send_sleeps};

in_each_fleet!(
    what_is_revoked_does_not_run,
    what_is_terminated_ends,
    stamped_tasks_are_revoked_together
);

fn revoked(cast: &mut Cast, node: &str) -> Vec<String> {
    let ids = cast.ask(node, "revoked", &json!({}));
    ids.as_array()
        .expect("a list")
        .iter()
        .map(|id| id.as_str().expect("text").to_owned())
        .collect()
}

fn what_is_revoked_does_not_run(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        let later = json!({"countdown": 3600});
        let late = cast.send(&queue, "demo.add", &json!([2, 3]), &later);
        cast.ask_until(&node, "scheduled", |held| {
            held.as_array().is_some_and(|held| held.len() == 1)
        });
        send_sleeps(&mut cast, &queue, 1.5, 2);
        cast.wait_for_active(&node, 2);
        let doomed: Vec<String> = (0..3)
            .map(|_| cast.send(&queue, "demo.add", &json!([2, 3]), &json!({})))
            .collect();
        let answer = cast.ask(&node, "revoke", &json!({"task_id": doomed[0]}));
        assert_ok(
            &answer,
            &format!("tasks {{'{}'}} flagged as revoked", doomed[0]),
        );
        let answer = cast.ask(
            &node,
            "revoke",
            &json!({"task_id": [doomed[1], doomed[2], late]}),
        );
        let text = answer["ok"].as_str().expect("text");
        assert!(
            text.starts_with("tasks {'") && text.ends_with("'} flagged as revoked"),
            "{text}"
        );
        assert!(
            [&doomed[1], &doomed[2], &late]
                .iter()
                .all(|id| text.contains(&format!("'{id}'"))),
            "{text}"
        );
        // Their state is told at once, while the worker is still busy.
        for id in doomed.iter().chain([&late]) {
            assert_eq!(
                cast.redis.wait_for_state(id, "REVOKED")["result"]["exc_type"],
                "TaskRevokedError"
            );
            assert_eq!(
                end_of(&mut cast.python, id),
                json!(["REVOKED", "TaskRevokedError", "revoked"])
            );
        }
        let mut known = revoked(&mut cast, &node);
        let mut wanted = [doomed.clone(), vec![late]].concat();
        known.sort();
        wanted.sort();
        assert_eq!(known, wanted, "{node}");
        // One that ended keeps its result.
        let done = cast.send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        cast.redis.wait_for_state(&done, "SUCCESS");
        cast.ask(&node, "revoke", &json!({"task_id": done}));
        assert_works(&mut cast, &queue);
        assert_eq!(cast.redis.state(&done), "SUCCESS");
        // One that was never seen is revoked before it is sent.
        cast.ask(&node, "revoke", &json!({"task_id": "not-sent-yet"}));
        let id = cast.send(
            &queue,
            "demo.add",
            &json!([2, 3]),
            &json!({"task_id": "not-sent-yet"}),
        );
        assert_works(&mut cast, &queue);
        assert_eq!(cast.redis.state(&id), "REVOKED");
        cast.redis
            .command::<i64>(&["DEL", "celery-task-meta-not-sent-yet"]);
    }
}

fn what_is_terminated_ends(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        for (method, mut arguments) in [
            ("revoke", json!({"terminate": true})),
            ("terminate", json!({"signal": "SIGKILL"})),
        ] {
            let id = send_sleeps(&mut cast, &queue, 60.0, 1).remove(0);
            cast.wait_for_active(&node, 1);
            arguments["task_id"] = json!([id]);
            let answer = cast.ask(&node, method, &arguments);
            assert_ok(&answer, &format!("terminate: {id}"));
            assert_eq!(
                end_of(&mut cast.python, &id),
                json!(["REVOKED", "TaskRevokedError", "terminated"])
            );
            cast.wait_for_active(&node, 0);
        }
        // Beside others that go on.
        let ids = send_sleeps(&mut cast, &queue, 1.5, 2);
        cast.wait_for_active(&node, 2);
        cast.ask(
            &node,
            "terminate",
            &json!({"task_id": [ids[0]], "signal": "TERM"}),
        );
        cast.redis.wait_for_state(&ids[0], "REVOKED");
        cast.redis.wait_for_state(&ids[1], "SUCCESS");
        assert_works(&mut cast, &queue);
        let unknown = json!({"task_id": "no-such-task", "terminate": true, "signal": "USR1"});
        let answer = cast.ask(&node, "revoke", &unknown);
        assert_ok(&answer, "terminate: tasks unknown");
    }
}

fn stamped_tasks_are_revoked_together(fleet: Fleet) {
    let mut cast = Cast::of(fleet);
    for (node, queue) in each(&cast) {
        let customer = |name: &str| json!({"headers": {"stamped_headers": ["customer"], "customer": name, "stamps": {"customer": name}}});
        let send = |cast: &mut Cast, name: &str, seconds: f64| {
            cast.send(&queue, "demo.sleep", &json!([seconds]), &customer(name))
        };
        let ends_so = |cast: &mut Cast, node: &str, arguments: Value| {
            cast.ask(node, "revoke_by_stamped_headers", &arguments)
        };
        let answer = ends_so(&mut cast, &node, json!({"headers": {"customer": "gone"}}));
        assert_ok(
            &answer,
            "headers {'customer': 'gone'} flagged as revoked, but not terminated",
        );
        let doomed = send(&mut cast, "gone", 0.0);
        let good = send(&mut cast, "here", 0.0);
        cast.redis.wait_for_state(&good, "SUCCESS");
        cast.redis.wait_for_state(&doomed, "REVOKED");

        let (running, other) = (send(&mut cast, "acme", 60.0), send(&mut cast, "other", 2.0));
        cast.wait_for_active(&node, 2);
        let answer = ends_so(
            &mut cast,
            &node,
            json!({"headers": ["customer=acme"], "terminate": true}),
        );
        assert_ok(
            &answer,
            "headers defaultdict(<class 'set'>, {'customer': {'acme'}}) revoked",
        );
        assert_eq!(
            end_of(&mut cast.python, &running),
            json!(["REVOKED", "TaskRevokedError", "terminated"])
        );
        cast.redis.wait_for_state(&other, "SUCCESS");
    }
}

#[test]
fn a_lovage_worker_that_starts_later_hears_what_was_revoked() {
    let mut cast = Cast::of(Fleet::Python);
    cast.ask(PYTHON, "revoke", &json!({"task_id": ["told-before"]}));
    let url = cast.redis.port_url();
    // It asks around at its start.
    let mut late = LovageWorker::at(&url, &url)
        .hostname(LOVAGE)
        .queues("lovage")
        .concurrency(2)
        .start();
    cast.ask_until(LOVAGE, "revoked", |ids| *ids == json!(["told-before"]));
    cast.peers[0]
        .process()
        .wait_for(&format!("sync with {LOVAGE}"), Duration::from_secs(5));
    late.stop();
}

#[test]
fn a_celery_worker_that_starts_later_hears_what_was_revoked() {
    let mut cast = Cast::of(Fleet::Lovage);
    cast.ask(LOVAGE, "revoke", &json!({"task_id": ["told-before"]}));
    let url = cast.redis.port_url();
    let flags = ["-Q", "python", "-P", "solo"];
    let mut late = PythonWorker::launch("peers", &url, PYTHON, &flags, &json!({}));
    late.wait_until_ready();
    assert_eq!(
        cast.ask(PYTHON, "revoked", &json!({})),
        json!(["told-before"])
    );
    let log = late.process().log().text();
    assert!(log.contains("mingle: sync with 1 nodes"), "{log}");
}
