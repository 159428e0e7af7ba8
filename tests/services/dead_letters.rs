//! The dead letters by their commands.

use lovage_database::{Kind, testing::TestDatabase};
use lovage_integration_tests::lovage_worker::{lovage_json, lovage_with};
use lovage_integration_tests::{
    LovageWorker, RedisServer, TaskMessage, dead_letters, eventually, lovage,
};
use serde_json::json;

use crate::add;

#[test]
fn a_replayed_message_runs_where_its_task_is_known() {
    let redis = RedisServer::start();
    let message = add().set("properties.delivery_info.routing_key", json!("celery"));
    {
        // This worker has no demo tasks.
        let _worker = LovageWorker::builder(&redis)
            .program(env!("CARGO_BIN_EXE_test-tasks"))
            .without("LOVAGE_DEMO_TASKS")
            .start();
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "FAILURE");
    }
    assert_eq!(dead_letters(&redis).len(), 1);
    let told = lovage_json(&redis, &["dlq", "replay", "--all", "--json"]);
    assert_eq!(told["replayed"], 1);
    assert_eq!(
        redis.waiting("celery"),
        [message.to_json().into_bytes()],
        "byte for byte"
    );
    assert!(dead_letters(&redis).is_empty());
    let _worker = LovageWorker::on(&redis);
    assert_eq!(redis.wait_for_state(&message.id, "SUCCESS")["result"], 5);
}

#[test]
fn a_discarded_message_is_gone() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    redis.publish_raw("celery", b"garbage");
    // One after the other: two that come together end in any order.
    eventually("the first to be kept", || dead_letters(&redis).len() == 1);
    redis.publish_raw("celery", b"more garbage");
    eventually("both to be kept", || dead_letters(&redis).len() == 2);
    let list = lovage_json(&redis, &["dlq", "list", "--json"]);
    let id = list[0]["id"].as_str().expect("a letter has an id");
    assert!(
        lovage(&redis, &["dlq", "discard", "--force", id])
            .status
            .success()
    );
    let left = dead_letters(&redis);
    assert_eq!(
        (left.len(), left[0].raw.as_slice()),
        (1, b"garbage".as_slice()),
        "the newest came first"
    );
    assert!(
        !lovage(&redis, &["dlq", "discard", "--force", id])
            .status
            .success(),
        "it is gone"
    );
}

#[test]
fn a_task_whose_follow_up_is_refused_for_good_is_kept_with_the_reason() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    // Something else has the name of the queue that the callback is for.
    redis.command::<()>(&["SET", "taken", "a text"]);
    let next = json!({"task": "demo.noop", "args": [], "kwargs": {}, "options": {"queue": "taken"},
        "subtask_type": null, "immutable": true});
    let embed = json!({"callbacks": [next], "errbacks": null, "chain": null, "chord": null});
    let body = json!([[2, 3], {}, embed]).to_string();
    let message = TaskMessage::with_body("demo.add", body.as_bytes());
    redis.publish("celery", &message);
    let record = redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "OperationalError", "{record}");
    eventually("the message to be settled", || redis.unacked() == 0);
    let letters = dead_letters(&redis);
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].code, "refused-end");
    assert!(
        letters[0].detail.contains("WRONGTYPE"),
        "{}",
        letters[0].detail
    );
    crate::assert_works(&redis);
}

/// With a database a letter that was dealt with is still known, and so is what became of it.
#[tokio::test]
async fn a_second_replay_says_that_it_was_replayed_before() {
    let test = TestDatabase::new(Kind::Sqlite).await;
    let redis = RedisServer::start();
    let variables = [
        ("CELERY_BROKER_URL", redis.url()),
        ("CELERY_RESULT_BACKEND", redis.url()),
        ("DATABASE_URL", test.url()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let run = |arguments: &[&str]| lovage_with(&variables, arguments);
    let _worker = LovageWorker::on(&redis);
    redis.publish_raw("celery", b"garbage");
    eventually("the message to be settled", || {
        redis.waiting("celery").is_empty() && redis.unacked() == 0
    });
    let list = run(&["dlq", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("it prints JSON");
    let id = list[0]["id"].as_str().expect("a letter has an id");
    let first = run(&["dlq", "replay", id]);
    assert!(first.status.success(), "{first:?}");
    let second = run(&["dlq", "replay", id]);
    let told = String::from_utf8_lossy(&second.stderr);
    assert!(
        !second.status.success()
            && told.contains(&format!("dead letter {id} was replayed already")),
        "{second:?}"
    );
    let third = run(&["dlq", "discard", "--force", "--json", id, "no-such-letter"]);
    let told: serde_json::Value = serde_json::from_slice(&third.stdout).expect("it prints JSON");
    assert_eq!(
        told,
        json!({"discarded": 0, "missing": ["no-such-letter"], "already": {id: "replayed"}})
    );
    assert!(!third.status.success());
}

/// More than a page of them, and those of another kind stay.
#[tokio::test]
async fn all_that_match_are_dealt_with_page_by_page() {
    let test = TestDatabase::new(Kind::Sqlite).await;
    let redis = RedisServer::start();
    let variables = [
        ("CELERY_BROKER_URL", redis.url()),
        ("CELERY_RESULT_BACKEND", redis.url()),
        ("DATABASE_URL", test.url()),
    ];
    let variables = variables
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let run = |arguments: &[&str]| -> serde_json::Value {
        let output = lovage_with(&variables, arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    };
    let _worker = LovageWorker::on(&redis);
    for number in 0..205 {
        redis.publish_raw("celery", format!("garbage {number}").as_bytes());
    }
    redis.publish(
        "celery",
        &TaskMessage::new("nobody.knows", &json!([]), &json!({})),
    );
    eventually("all to be kept", || dead_letters(&redis).len() == 206);
    let all = ["dlq", "discard", "--all", "--force", "--json"];
    let told = run(&[&all[..], &["--code", "undecodable"]].concat());
    assert_eq!(told["discarded"], 205, "{told}");
    let left = run(&["dlq", "list", "--json"]);
    assert_eq!(left[0]["code"], "unknown-task", "{left}");
    assert_eq!(left.as_array().map(Vec::len), Some(1));
    assert_eq!(run(&all)["discarded"], 1);
    assert_eq!(run(&all)["discarded"], 0);
}
