//! Commands that send, read and delete messages.

use std::time::Duration;

use serde_json::json;

use crate::program::{Place, Running, run};

fn worker(place: &Place) -> Running {
    let mut worker = place.worker(&["-n", "w1@box"]);
    worker.wait_for("w1@box ready.");
    worker
}

#[test]
fn a_call_prints_an_id_or_waits_for_the_result() {
    let place = Place::new();
    let _worker = worker(&place);
    assert_eq!(
        place
            .run(&["call", "demo.add", "2", "3", "--wait"])
            .expect(0)
            .out,
        "5\n"
    );
    assert_eq!(
        place
            .run(&["call", "demo.add", "--args=[2, -3]", "--wait"])
            .expect(0)
            .out,
        "-1\n"
    );
    assert_eq!(
        place
            .run(&["call", "demo.add", "2", "-3.5", "--wait"])
            .expect(0)
            .out,
        "-1.5\n"
    );
    let echo = [
        "call",
        "demo.echo",
        "text",
        "[1]",
        "null",
        "-k",
        r#"{"z": "ü"}"#,
        "--wait",
    ];
    assert_eq!(
        place.run(&echo).expect(0).json(),
        json!([["text", [1], null], {"z": "ü"}])
    );

    let id = place.run(&["call", "demo.add", "1", "1"]).expect(0).out;
    assert_eq!(id.trim_end().len(), 36, "{id}");
    let wait = ["result", id.trim_end(), "--wait", "--timeout", "20"];
    assert_eq!(place.run(&wait).expect(0).out, "2\n");
    assert_eq!(
        place
            .run(&["result", id.trim_end(), "--json"])
            .expect(0)
            .json()["status"],
        "SUCCESS"
    );
    let sent = place
        .run(&["call", "demo.add", "1", "1", "--json"])
        .expect(0)
        .json();
    assert_eq!(sent["task_id"].as_str().unwrap().len(), 36);
}

#[test]
fn a_failure_is_told_with_exit_code_1() {
    let place = Place::new();
    let _worker = worker(&place);
    let failed = place
        .run(&["call", "demo.fail", "oh no", "--wait"])
        .expect(1);
    assert_eq!(failed.out, "");
    failed.one_line_with("failed: RuntimeError: oh no");
    let json = place
        .run(&["call", "demo.fail", "oh no", "--wait", "--json"])
        .expect(1)
        .json();
    assert_eq!(
        (&json["status"], &json["result"]["exc_type"]),
        (&json!("FAILURE"), &json!("RuntimeError"))
    );
    let id = json["task_id"].as_str().unwrap();
    let traceback = place.run(&["result", id, "--traceback"]).expect(0).out;
    assert!(traceback.ends_with("RuntimeError: oh no\n"), "{traceback}");
    place
        .run(&["result", id])
        .expect(1)
        .one_line_with("RuntimeError: oh no");
}

#[test]
fn what_has_not_ended_is_pending() {
    let place = Place::new();
    place
        .run(&["result", "nobody"])
        .expect(1)
        .one_line_with("PENDING");
    place
        .run(&["result", "nobody", "--wait", "--timeout", "0.2"])
        .expect(1)
        .one_line_with("0.2 s");
    place
        .run(&["call", "demo.add", "1", "1", "--wait", "--timeout", "0.2"])
        .expect(1)
        .one_line_with("0.2 s");
}

#[test]
fn wrong_words_are_refused_before_anything_is_sent() {
    let place = Place::new();
    place
        .run(&["call", "demo.add", "--eta", "soon"])
        .expect(2)
        .one_line_with("--eta");
    place
        .run(&["call", "demo.add", "--expires", "soon"])
        .expect(2)
        .one_line_with("--expires");
    place.run(&["call", "demo.add", "--kwargs", "{"]).expect(2);
    place.run(&["call", "demo.add", "-q", ""]).expect(2);
    assert_eq!(
        place.run(&["purge", "-f", "--json"]).expect(0).json()["purged"],
        0
    );
}

/// Starting again would not help: a supervisor need not try.
#[test]
fn a_broker_that_refuses_the_settings_is_told_as_such() {
    let place = Place::new();
    let url = |database: &str| {
        let socket = place.redis.socket();
        format!(
            "redis+socket://{}?virtual_host={database}",
            socket.display()
        )
    };
    for words in [
        &["purge", "-f"][..],
        &["call", "demo.add", "1", "1"],
        &["worker"],
    ] {
        let variables = [
            ("CELERY_BROKER_URL", &*url("99")),
            ("LOVAGE_DEMO_TASKS", "1"),
        ];
        let ended = run(words, &variables).expect(78);
        ended.one_line_with("DB index is out of range");
    }
}

#[test]
fn many_calls_go_out_and_are_counted() {
    let place = Place::new();
    let _worker = worker(&place);
    let many = [
        "call",
        "demo.add",
        "2",
        "3",
        "--count",
        "1201",
        "--wait",
        "--timeout",
        "60",
    ];
    let plain = place.run(&many).expect(0);
    assert!(plain.out.contains("sent 1,201 tasks in "), "{plain:?}");
    assert!(plain.out.contains("1,201 succeeded in "), "{plain:?}");
    assert_eq!(plain.err, "", "no bar where there is no terminal");
    let failing = ["call", "demo.fail", "--count", "3", "--wait", "--json"];
    let json = place.run(&failing).expect(1).json();
    assert_eq!(
        (&json["sent"], &json["failed"], &json["succeeded"]),
        (&json!(3), &json!(3), &json!(0))
    );
    assert_eq!(json["ids"].as_array().unwrap().len(), 3);
}

#[test]
fn purge_deletes_what_waits_and_nothing_unasked() {
    let place = Place::new();
    place
        .run(&["call", "x", "-q", "a", "--count", "3"])
        .expect(0);
    place
        .run(&["call", "x", "-q", "b", "--priority", "9"])
        .expect(0);
    place
        .run(&["purge", "-Q", "a"])
        .expect(2)
        .one_line_with("-f");
    let json = place
        .run(&["purge", "-Q", "a,b,c", "-X", "b", "-f", "--json"])
        .expect(0)
        .json();
    assert_eq!(json, json!({"purged": 3, "queues": {"a": 3, "c": 0}}));
    assert_eq!(
        place.run(&["purge", "-Q", "b", "-f"]).expect(0).out,
        "purged 1 message from 1 queue\n"
    );
    place.run(&["purge", "-X", "celery", "-f"]).expect(2);
}

#[test]
fn dead_letters_are_listed_shown_replayed_and_discarded() {
    let place = Place::new();
    let worker = worker(&place);
    assert_eq!(
        place.run(&["dlq", "list", "--json"]).expect(0).json(),
        json!([])
    );
    let unknown = place
        .run(&["call", "nobody.knows", "7", "--wait", "--timeout", "20"])
        .expect(1);
    unknown.one_line_with("NotRegistered");
    let list = place.run(&["dlq", "list", "--json"]).expect(0).json();
    let letter = &list[0];
    assert_eq!(
        (&letter["code"], &letter["task"]),
        (&json!("unknown-task"), &json!("nobody.knows"))
    );
    assert!(letter["raw"].as_str().unwrap().contains("nobody.knows"));
    let table = place.run(&["dlq", "list"]).expect(0).out;
    assert!(table.contains("unknown-task"), "{table}");

    let id = letter["id"].as_str().unwrap();
    let shown = place.run(&["dlq", "show", id]).expect(0).out;
    assert!(shown.contains("args     [7]"), "{shown}");
    place
        .run(&["dlq", "show", "nothing"])
        .expect(1)
        .one_line_with("nothing");

    drop(worker);
    place
        .run(&["dlq", "replay", id, "nothing"])
        .expect(1)
        .one_line_with("nothing");
    assert_eq!(
        place.run(&["dlq", "list", "--json"]).expect(0).json(),
        json!([])
    );
    assert_eq!(
        place.run(&["purge", "-f", "--json"]).expect(0).json()["purged"],
        1
    );
}

#[test]
fn all_dead_letters_at_once() {
    let place = Place::new();
    let mut worker = worker(&place);
    let json = place
        .run(&["call", "nobody.knows", "--count", "7", "--wait", "--json"])
        .expect(1)
        .json();
    assert_eq!(json["failed"], 7);
    worker.signal(rustix::process::Signal::TERM);
    worker.wait();
    assert_eq!(
        place
            .run(&["dlq", "list", "--limit", "5", "--json"])
            .expect(0)
            .json()
            .as_array()
            .unwrap()
            .len(),
        5
    );
    place
        .run(&["dlq", "discard", "--all"])
        .expect(2)
        .one_line_with("-f");
    assert_eq!(
        place
            .run(&["dlq", "replay", "--all", "--json"])
            .expect(0)
            .json()["replayed"],
        7
    );
    assert_eq!(
        place.run(&["purge", "-f", "--json"]).expect(0).json()["purged"],
        7
    );
    assert_eq!(
        place.run(&["dlq", "discard", "--all", "-f"]).expect(0).out,
        "discarded 0 dead letters\n"
    );
}

#[test]
fn a_countdown_is_kept() {
    let place = Place::new();
    let _worker = worker(&place);
    let begun = std::time::Instant::now();
    let sum = place
        .run(&["call", "demo.add", "1", "1", "--countdown", "1.2", "--wait"])
        .expect(0);
    assert_eq!(sum.out, "2\n");
    assert!(
        begun.elapsed() >= Duration::from_millis(1200),
        "{:?}",
        begun.elapsed()
    );
}

#[test]
fn many_calls_that_fail_say_why() {
    let place = Place::new();
    let _worker = worker(&place);
    let ended = place
        .run(&["call", "demo.fail", "boom", "--count", "3", "--wait"])
        .expect(1);
    assert!(ended.err.contains("3 × "), "{ended:?}");
    assert!(ended.err.contains("boom"), "{ended:?}");
    let words = [
        "call",
        "demo.fail",
        "boom",
        "--count",
        "3",
        "--wait",
        "--json",
    ];
    let told = place.run(&words).expect(1).json();
    let reasons = told["reasons"].as_object().unwrap();
    let (reason, count) = reasons.iter().next().unwrap();
    assert!(reason.contains("boom") && *count == 3, "{told}");
}

#[test]
fn a_dead_letter_is_found_by_how_its_id_begins() {
    let place = Place::new();
    let _worker = worker(&place);
    for _ in 0..2 {
        place.run(&["call", "nobody.knows", "1"]).expect(0);
    }
    let ids = || -> Vec<String> {
        let listed = place.run(&["dlq", "list", "--json"]).expect(0).json();
        let letters = listed.as_array().unwrap().iter();
        letters
            .map(|one| one["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while ids().len() < 2 {
        assert!(std::time::Instant::now() < until, "both are kept");
        std::thread::sleep(Duration::from_millis(20));
    }
    let ids = ids();
    let shared = ids[0]
        .bytes()
        .zip(ids[1].bytes())
        .take_while(|(one, other)| one == other)
        .count();
    let shown = place
        .run(&["dlq", "show", &ids[0][..=shared], "--json"])
        .expect(0)
        .json();
    assert_eq!(shown["id"], ids[0].as_str());
    let several = place.run(&["dlq", "show", &ids[0][..shared]]).expect(1);
    assert!(
        several.err.contains("2 dead letters begin with"),
        "{several:?}"
    );
    place
        .run(&["dlq", "show", "no-such-id"])
        .expect(1)
        .one_line_with("there is no dead letter no-such-id");
}

#[test]
fn a_worker_says_that_another_has_its_name() {
    let place = Place::new();
    let first = worker(&place);
    assert!(!first.err().contains("is called w1@box"), "{}", first.err());
    let second = worker(&place);
    assert!(
        second.err().contains("another worker is called w1@box"),
        "{}",
        second.err()
    );
    let mut other = place.worker(&["-n", "w2@box"]);
    other.wait_for("w2@box ready.");
    assert!(!other.err().contains("is called"), "{}", other.err());
}
