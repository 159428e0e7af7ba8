//! The list of tasks: filters, order, search; and all that is known of one.

use std::collections::BTreeMap;

use lovage_integration_tests::http::escaped;
use lovage_integration_tests::shape::{Allowed, differences};
use lovage_integration_tests::{Cast, Fleet};
use serde_json::{Value, json};

use super::Watched;

in_each_fleet!(tasks_are_listed_and_found);

/// Tasks with every kind of end, by a name, in the state they reach.
fn send_some(cast: &mut Cast, queue: &str) -> Vec<(&'static str, String, &'static str)> {
    let none = json!({});
    let plain = cast.send(queue, "demo.add", &json!([2, 3]), &none);
    let named = cast.send(
        queue,
        "demo.add",
        &json!([]),
        &json!({"kwargs": {"x": 20, "y": 2202}}),
    );
    let failed = cast.send(queue, "demo.fail", &json!(["needle in é"]), &none);
    let retried = cast.send(queue, "demo.retry_then_succeed", &json!([1, 0.0]), &none);
    let expired = cast.send(
        queue,
        "demo.add",
        &json!([2, 3]),
        &json!({"expires": "2020-01-01T00:00:00+00:00"}),
    );
    let echoed = cast.send(
        queue,
        "demo.sleep",
        &json!([0.0]),
        &json!({"countdown": 0.2}),
    );
    let slow = cast.send(
        queue,
        "demo.sleep",
        &json!([20]),
        &json!({"soft_time_limit": 0.3}),
    );
    vec![
        ("plain", plain, "SUCCESS"),
        ("with names", named, "SUCCESS"),
        ("failed", failed, "FAILURE"),
        ("retried", retried, "SUCCESS"),
        ("expired", expired, "REVOKED"),
        ("delayed", echoed, "SUCCESS"),
        ("too slow", slow, "FAILURE"),
    ]
}

fn tasks_are_listed_and_found(fleet: Fleet) {
    let mut watched = Watched::of(fleet);
    for (node, queue) in watched.each() {
        let tasks = send_some(&mut watched.cast, &queue);
        for (_, id, state) in &tasks {
            watched.task(id, state);
        }
        let of = |what: &str| {
            tasks
                .iter()
                .find(|task| task.0 == what)
                .expect("a task")
                .1
                .as_str()
        };
        let list = |query: &str| {
            let page = watched
                .flower
                .get(&format!("/api/tasks?workername={node}&{query}"))
                .json();
            page.as_object().expect("an object").clone()
        };
        let found = |query: &str| {
            let mut ids: Vec<String> = list(query).keys().cloned().collect();
            ids.sort();
            ids
        };
        let expect = |query: &str, wanted: &[&str]| {
            let mut wanted: Vec<&str> = wanted.iter().map(|what| of(what)).collect();
            wanted.sort_unstable();
            assert_eq!(found(query), wanted, "{query}");
        };
        assert_eq!(list("").len(), tasks.len());
        expect(
            "state=SUCCESS",
            &["plain", "with names", "retried", "delayed"],
        );
        expect("state=FAILURE", &["failed", "too slow"]);
        expect("state=REVOKED", &["expired"]);
        expect("taskname=demo.sleep", &["delayed", "too slow"]);
        expect("taskname=demo.fail&state=SUCCESS", &[]);
        assert_eq!(list("limit=2").len(), 2);
        assert_eq!(list("limit=100&offset=2").len(), tasks.len() - 2);
        let search =
            |query: &str, wanted: &[&str]| expect(&format!("search={}", escaped(query)), wanted);
        search("kwargs:x=20", &["with names"]);
        search("args:needle", &["failed"]);
        search("result:2222", &["with names"]);
        search("state:REVOKED", &["expired"]);
        assert!(
            found(&format!(
                "search={}",
                escaped(&format!("name:demo.fail worker:{node}"))
            ))
            .contains(&of("failed").to_owned())
        );
        let names: Vec<String> = list("sort_by=name&limit=100")
            .values()
            .map(|task| task["name"].to_string())
            .collect();
        assert!(names.iter().any(|name| name == "\"demo.add\""), "{names:?}");
        assert_eq!(
            list("received_start=2020-01-01%2000:00").len(),
            list("received_start=2020-01-01%2000:00&received_end=2099-01-01%2000:00").len()
        );
        // One that was never received has no time to be left out by.
        expect("received_start=2099-01-01%2000:00", &["expired"]);
        assert_eq!(
            watched.flower.get("/api/tasks?sort_by=nonsense").status,
            400
        );

        let task = watched.task(of("failed"), "FAILURE");
        assert_eq!(task["exception"], "RuntimeError('needle in é')", "{task}");
        assert!(
            task["traceback"]
                .as_str()
                .is_some_and(|text| text.contains("RuntimeError: needle in é")),
            "{task}"
        );
        assert!(
            task["failed"].is_f64() && task["started"].is_f64() && task["received"].is_f64(),
            "{task}"
        );
        let task = watched.task(of("retried"), "SUCCESS");
        assert_eq!(task["retries"], 1, "{task}");
        assert!(task["retried"].is_f64(), "{task}");
        let page = watched.flower.get(&format!("/task/{}", of("failed")));
        assert_eq!(page.status, 200);
        assert!(
            page.text.contains("needle in é"),
            "the page of a task shows its exception"
        );
    }
    let types = watched.flower.get("/api/task/types").json();
    let types = types["task-types"].as_array().expect("a list");
    for name in [
        "demo.add",
        "demo.fail",
        "demo.sleep",
        "demo.retry_then_succeed",
    ] {
        assert!(types.contains(&json!(name)), "{types:?}");
    }
    assert_eq!(watched.flower.get("/api/task/info/unknown").status, 404);
}

#[test]
fn tasks_of_both_kinds_have_the_same_fields() {
    const ALLOWED: &[Allowed] = &[
        Allowed {
            path: "expired.name",
            reason: "every event of ours names its task: Celery shows a task without a name",
        },
        Allowed {
            path: "expired.args",
            reason: "as the name",
        },
        Allowed {
            path: "expired.kwargs",
            reason: "as the name",
        },
    ];
    let mut watched = Watched::of(Fleet::Both);
    let mut seen: BTreeMap<String, BTreeMap<&str, Value>> = BTreeMap::new();
    for (node, queue) in watched.each() {
        for (what, id, state) in send_some(&mut watched.cast, &queue) {
            let task = watched.task(&id, state);
            seen.entry(node.clone()).or_default().insert(what, task);
        }
    }
    let found: Vec<String> = seen["python@peer"]
        .iter()
        .flat_map(|(what, theirs)| differences(what, theirs, &seen["lovage@peer"][what], ALLOWED))
        .collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn tasks_that_flower_was_too_late_for_have_names() {
    let mut cast = Cast::with(Fleet::Lovage, |peer| peer.events());
    let file = tempfile::NamedTempFile::new().expect("a file");
    let path = format!("{}.go", file.path().display());
    let id = cast.send("lovage", "test.until", &json!([path]), &json!({}));
    cast.wait_for_active("lovage@peer", 1);
    // It comes when the first two events are past.
    let mut flower = lovage_integration_tests::Flower::launch(&cast.redis.port_url());
    flower.wait_until_ready();
    // It listens when it has heard a beat.
    flower.get_until("/workers?json=1", |page| {
        page["data"].as_array().is_some_and(|rows| !rows.is_empty())
    });
    std::fs::write(&path, "").expect("the folder is writable");
    let task = flower.get_until(&format!("/api/task/info/{id}"), |task| {
        task["state"] == "SUCCESS"
    });
    let _ = std::fs::remove_file(&path);
    assert_eq!(
        (&task["name"], &task["kwargs"]),
        (&json!("test.until"), &json!("{}")),
        "{task}"
    );
    assert_eq!(task["args"], format!("('{path}',)"), "{task}");
}
