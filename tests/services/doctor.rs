//! `lovage doctor` on chords that stand still.

use lovage_integration_tests::lovage_worker::lovage;
use lovage_integration_tests::{LovageWorker, RedisServer};
use serde_json::{Value, json};

use crate::chords::Chord;

/// What the doctor says, and its exit code.
fn doctor(redis: &RedisServer, words: &[&str]) -> (Value, Option<i32>) {
    let all = [&["doctor", "--json", "--only", "chords"], words].concat();
    let output = lovage(redis, &all);
    let text = String::from_utf8_lossy(&output.stdout);
    let said = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (said, output.status.code())
}

/// A chord of three, the last of which is lost; the others have returned.
fn with_one_lost(redis: &RedisServer) -> Chord {
    let chord = Chord::begin(redis, 3);
    for index in [0, 1] {
        let member = chord.good(index);
        redis.publish("celery", &member);
        redis.wait_for_state(&member.id, "SUCCESS");
    }
    chord
}

const AT_ONCE: [&str; 2] = ["--quiet-for", "0"];

#[test]
fn a_chord_that_waits_for_what_is_gone_is_told_and_on_request_failed() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let chord = with_one_lost(&redis);
    let (told, code) = doctor(&redis, &AT_ONCE);
    assert_eq!(code, Some(1), "{told}");
    let finding = &told["findings"][0];
    assert_eq!(finding["check"], "stuck-chord");
    assert_eq!(finding["subject"], json!(chord.group));
    assert_eq!(finding["fixable"], true);
    let facts = &finding["facts"];
    assert_eq!((&facts["size"], &facts["returned"]), (&json!(3), &json!(2)));
    assert_eq!(
        (&facts["body"], &facts["end"]),
        (&json!(chord.body), &json!("fails"))
    );
    assert_eq!(redis.state(&chord.body), "PENDING", "nothing was changed");
    let (told, code) = doctor(&redis, &["--quiet-for", "0", "--fix"]);
    assert_eq!((code, &told["remaining"]), (Some(0), &json!(0)), "{told}");
    let record = redis.wait_for_state(&chord.body, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "ChordError", "{record}");
    let (told, code) = doctor(&redis, &AT_ONCE);
    assert_eq!((code, &told["findings"]), (Some(0), &json!([])), "{told}");
}

#[test]
fn a_chord_whose_missing_result_is_stored_is_finished() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let chord = Chord::begin(&redis, 3);
    for index in [0, 2] {
        let member = chord.good(index);
        redis.publish("celery", &member);
        redis.wait_for_state(&member.id, "SUCCESS");
    }
    // A worker has stored it, and died before it was counted.
    let stored = json!({"status": "SUCCESS", "result": "from elsewhere", "traceback": null, "children": [],
                        "date_done": null, "group_id": chord.group, "task_id": "second"});
    let _: () = redis.command(&["SET", "celery-task-meta-second", &stored.to_string()]);
    let (told, code) = doctor(&redis, &AT_ONCE);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told["findings"][0]["facts"]["end"], "finishes");
    doctor(&redis, &["--quiet-for", "0", "--fix"]);
    let record = redis.wait_for_state(&chord.body, "SUCCESS");
    assert_eq!(record["result"], json!([[[10, "from elsewhere", 12]], {}]));
}

#[test]
fn a_complete_chord_that_nobody_has_ended_is_finished() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let chord = with_one_lost(&redis);
    // Its last part was counted, and who counted it has died with the claim.
    let last = json!([1, "third", "SUCCESS", "last"]).to_string();
    let _: () = redis.command(&["ZADD", &chord.key(".j"), "2", &last]);
    let _: () = redis.command(&["SADD", &chord.key(".d"), "third:2"]);
    let (told, _) = doctor(&redis, &["--quiet-for", "0", "--fix"]);
    assert_eq!(told["findings"][0]["facts"]["returned"], 3, "{told}");
    let record = redis.wait_for_state(&chord.body, "SUCCESS");
    assert_eq!(record["result"], json!([[[10, 11, "last"]], {}]));
}

#[test]
fn a_chord_whose_member_waits_somewhere_is_left_alone() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let chord = with_one_lost(&redis);
    redis.publish("a-queue-without-a-worker", &chord.good(2));
    let (told, code) = doctor(&redis, &["--quiet-for", "0", "--fix"]);
    assert_eq!((code, &told["findings"]), (Some(0), &json!([])), "{told}");
}

#[test]
fn a_chord_in_which_something_happened_lately_is_left_alone() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let chord = with_one_lost(&redis);
    let (told, code) = doctor(&redis, &["--fix"]);
    assert_eq!((code, &told["findings"]), (Some(0), &json!([])), "{told}");
    assert_eq!(redis.state(&chord.body), "PENDING");
}

#[test]
fn a_chord_of_which_nobody_knows_the_body_can_only_be_told_of() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let chord = Chord::begin(&redis, 2);
    let (told, code) = doctor(&redis, &["--quiet-for", "0", "--fix"]);
    assert_eq!(code, Some(1), "{told}");
    assert_eq!(told["findings"][0]["subject"], json!(chord.group));
    assert_eq!(told["findings"][0]["fixable"], false);
    let text = lovage(&redis, &["doctor", "--only", "chords", "--quiet-for", "0"]);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("waits for 2 of 2 parts"), "{text}");
    assert!(text.contains("its body is known to nobody"), "{text}");
}
