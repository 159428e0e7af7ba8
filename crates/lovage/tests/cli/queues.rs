//! `lovage queue`.

use serde_json::{Value, json};

use crate::program::Place;

fn call(place: &Place, words: &[&str]) -> String {
    let words = [&["call"][..], words].concat();
    place.run(&words).expect(0).out.trim_end().to_owned()
}

fn queues(place: &Place) -> Value {
    place.run(&["queue", "list", "--json"]).expect(0).json()
}

fn named(queues: &Value, name: &str) -> Value {
    let mut all = queues.as_array().unwrap().iter();
    let found = all.find(|queue| queue["name"] == name);
    found.unwrap_or_else(|| panic!("{queues}")).clone()
}

#[test]
fn queues_are_listed_with_what_waits_and_looked_into() {
    let place = Place::new();
    call(&place, &["demo.add", "1", "2", "-q", "a"]);
    call(&place, &["demo.add", "3", "4", "-q", "a"]);
    call(&place, &["urgent", "-q", "a", "--priority", "9"]);
    let list = ["queue", "list", "-Q", "a,none", "--json"];
    let listed = place.run(&list).expect(0).json();
    let a = named(&listed, "a");
    assert_eq!(
        (&a["messages"], &a["next_task"], &a["paused"]),
        (&json!(3), &json!("demo.add"), &json!(false))
    );
    assert_eq!(a["by_priority"][0], json!({"priority": 0, "messages": 2}));
    assert_eq!((&a["consumers"], &a["routed"]), (&json!([]), &json!(false)));
    assert_eq!(named(&listed, "none")["messages"], 0);
    // Those of the settings are there, whether anything waits in them or not.
    assert_eq!(named(&queues(&place), "celery")["routed"], true);
    let table = place.run(&["queue", "list", "-Q", "a"]).expect(0).out;
    assert!(table.contains("0:2 9:1"), "{table}");
    let watched = ["queue", "list", "-Q", "a,none", "--watch", "0.2", "--json"];
    let watched = place.run(&watched).expect(0).json();
    assert_eq!(named(&watched, "a")["head_waits_seconds"], 0.2);
    assert_eq!(named(&watched, "none")["head_waits_seconds"], json!(null));

    let peek = ["queue", "peek", "a", "-n", "2", "--json"];
    let peeked = place.run(&peek).expect(0).json();
    let args: Vec<&str> = peeked
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["args"].as_str().unwrap())
        .collect();
    assert_eq!(args, ["(1, 2)", "(3, 4)"]);
    assert!(peeked[0]["raw"].as_str().unwrap().contains("demo.add"));
    let table = place.run(&["queue", "peek", "a"]).expect(0).out;
    assert!(
        table.contains("(3, 4)") && table.contains("urgent"),
        "{table}"
    );
    place
        .run(&["queue", "peek", "none"])
        .expect(0)
        .one_line_with("nothing waits");

    place
        .run(&["queue", "purge", "a"])
        .expect(2)
        .one_line_with("-f");
    let purged = ["queue", "purge", "a,none", "-f", "--json"];
    assert_eq!(
        place.run(&purged).expect(0).json(),
        json!({"purged": 3, "queues": {"a": 3, "none": 0}})
    );
    place.run(&["queue", "purge", "-f"]).expect(2);
}

#[test]
fn a_paused_queue_is_taken_from_by_nobody_until_it_is_resumed() {
    let place = Place::new();
    let paused = ["queue", "pause", "celery", "--json"];
    assert_eq!(
        place.run(&paused).expect(0).json(),
        json!({"queue": "celery", "paused": true, "told": {}})
    );
    let mut worker = place.worker(&["-n", "w1@box", "-Q", "celery,other"]);
    worker.wait_for("w1@box ready.");
    let waits = call(&place, &["demo.add", "1", "2"]);
    // It takes from both queues at once, and has taken what comes after.
    let runs = call(&place, &["demo.add", "3", "4", "-q", "other", "--wait"]);
    assert_eq!(runs, "7");
    let now = queues(&place);
    let celery = named(&now, "celery");
    assert_eq!(
        (&celery["paused"], &celery["messages"], &celery["consumers"]),
        (&json!(true), &json!(1), &json!([]))
    );
    assert_eq!(named(&now, "other")["consumers"], json!(["w1@box"]));
    let table = place.run(&["queue", "list"]).expect(0).out;
    assert!(table.contains("paused"), "{table}");

    let resumed = place.run(&["queue", "resume", "celery"]).expect(0);
    assert_eq!(resumed.out, "resumed celery\n");
    let result = ["result", &waits, "--wait", "--timeout", "20"];
    assert_eq!(place.run(&result).expect(0).out, "3\n");
    place
        .run(&["queue", "resume", "celery"])
        .expect(1)
        .one_line_with("the queue celery is not paused");
    place.run(&["queue", "pause", "a\u{6}b"]).expect(2);
    place.run(&["queue", "pause"]).expect(2);
}
