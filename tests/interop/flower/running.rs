//! Tasks that are started, awaited, revoked and aborted from Flower.

use lovage_integration_tests::Fleet;
use serde_json::{Value, json};

use super::Watched;

in_each_fleet!(
    tasks_are_started_in_every_way,
    results_are_read,
    tasks_are_ended
);

fn id_of(answer: &Value) -> String {
    answer["task-id"].as_str().expect("an id").to_owned()
}

fn tasks_are_started_in_every_way(fleet: Fleet) {
    let watched = Watched::of(fleet);
    for (node, queue) in watched.each() {
        let body = json!({"args": [2], "kwargs": {"y": 3}, "queue": queue});
        let answer = watched
            .flower
            .post("/api/task/apply/demo.add", &body)
            .json();
        assert_eq!(
            (&answer["state"], &answer["result"]),
            (&json!("SUCCESS"), &json!(5)),
            "{answer}"
        );
        let task = watched.task(&id_of(&answer), "SUCCESS");
        assert_eq!(
            (&task["worker"], &task["result"], &task["name"]),
            (&json!(node), &json!("5"), &json!("demo.add"))
        );
        assert_eq!(
            (&task["args"], &task["kwargs"]),
            (&json!("[2]"), &json!("{'y': 3}")),
            "{task}"
        );

        let answer = watched
            .flower
            .post("/api/task/apply/demo.fail", &json!({"queue": queue}))
            .json();
        assert_eq!(answer["state"], "FAILURE", "{answer}");
        assert!(
            answer["result"]
                .to_string()
                .contains("demo.fail does what it says"),
            "{answer}"
        );

        let answer = watched
            .flower
            .post("/api/task/async-apply/demo.add", &body)
            .json();
        watched.task(&id_of(&answer), "SUCCESS");
        let mut late = body.clone();
        late["countdown"] = json!(0.3);
        late["shadow"] = json!("shown");
        late["expires"] = json!(60);
        late["time_limit"] = json!(10);
        let answer = watched
            .flower
            .post("/api/task/send-task/demo.add", &late)
            .json();
        let task = watched.task(&id_of(&answer), "SUCCESS");
        assert_eq!(task["name"], "shown", "{task}");
        assert!(
            task["eta"].is_string() && task["expires"].is_string(),
            "{task}"
        );
        // One that nobody has.
        let answer = watched
            .flower
            .post("/api/task/send-task/no.such", &json!({"queue": queue}))
            .json();
        let task = watched.task(&id_of(&answer), "FAILURE");
        assert_eq!(task["exception"], "NotRegistered('no.such')", "{task}");
        assert_eq!(
            watched.flower.post("/api/task/apply/no.such", &body).status,
            404
        );
    }
}

fn results_are_read(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    let read = |watched: &Watched, id: &str, query: &str| {
        watched
            .flower
            .get(&format!("/api/task/result/{id}{query}"))
            .json()
    };
    for (_, queue) in watched.each() {
        let id = watched
            .cast
            .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        let answer = read(&watched, &id, "?timeout=10");
        // The state beside it is from before it waited.
        assert_eq!(
            (&answer["result"], &answer["task-id"]),
            (&json!(5), &json!(id))
        );
        assert_eq!(read(&watched, &id, "")["state"], "SUCCESS");
        let id = watched
            .cast
            .send(&queue, "demo.fail", &json!(["boom"]), &json!({}));
        watched.cast.redis.wait_for_state(&id, "FAILURE");
        let answer = read(&watched, &id, "");
        assert_eq!(answer["state"], "FAILURE");
        assert!(
            answer["result"].to_string().contains("RuntimeError"),
            "{answer}"
        );
        assert!(
            answer["traceback"]
                .as_str()
                .is_some_and(|text| text.contains("RuntimeError: boom")),
            "{answer}"
        );
        let id = watched
            .cast
            .send(&queue, "demo.progress", &json!([200, 0.1]), &json!({}));
        watched.cast.redis.wait_for_state(&id, "PROGRESS");
        assert_eq!(read(&watched, &id, "")["state"], "PROGRESS");
    }
    assert_eq!(read(&watched, "unknown", "")["state"], "PENDING");
}

fn tasks_are_ended(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    let revoke = |watched: &Watched, id: &str, form: &str| {
        let answer = watched
            .flower
            .form(&format!("/api/task/revoke/{id}"), form)
            .json();
        assert_eq!(answer["message"], format!("Revoked '{id}'"));
    };
    for (node, queue) in watched.each() {
        let running = crate::control::send_sleeps(&mut watched.cast, &queue, 60.0, 2);
        watched.task(&running[0], "STARTED");
        watched.task(&running[1], "STARTED");
        let waiting = watched
            .cast
            .send(&queue, "demo.add", &json!([2, 3]), &json!({}));
        watched.task(&waiting, "RECEIVED");
        revoke(&watched, &waiting, "");
        watched.cast.redis.wait_for_state(&waiting, "REVOKED");
        revoke(&watched, &running[0], "terminate=true&signal=SIGKILL");
        watched.cast.redis.wait_for_state(&running[0], "REVOKED");
        watched.task(&running[0], "REVOKED");
        // The one that waited gets its turn now, and is told to be revoked.
        watched.task(&waiting, "REVOKED");
        revoke(&watched, &running[1], "terminate=true");
        watched.task(&running[1], "REVOKED");
        let revoked = watched.worker(&node)["revoked"].clone();
        for id in [&waiting, &running[0], &running[1]] {
            assert!(
                revoked
                    .as_array()
                    .is_some_and(|all| all.contains(&json!(id))),
                "{node}: {revoked}"
            );
        }
        // Aborting is a state that a task may look at.
        let answer = watched
            .flower
            .form("/api/task/abort/one-to-abort", "")
            .json();
        assert_eq!(answer["message"], "Aborted 'one-to-abort'");
        assert_eq!(watched.cast.redis.state("one-to-abort"), "ABORTED");
    }
}
