//! What is done to all dead letters that match.

use std::time::Duration;

use lovage_integration_tests::api_server::Caller;
use lovage_integration_tests::{ApiServer, LovageWorker, RedisServer, wait};
use serde_json::{Value, json};

const OPERATIONS: &str = "/api/v1/dead-letter-operations";

/// The dead letters of a task in this state that are in the database.
fn letters(caller: &Caller, task: &str, state: &str) -> usize {
    let path = format!("/api/v1/dead-letters?task={task}&state={state}&limit=500");
    let page = caller.get(&path).json();
    let letters = page["letters"].as_array().expect("letters are a list");
    let in_database = |letter: &&Value| {
        let id = letter["id"].as_str().unwrap_or_default();
        id.parse::<i64>().is_ok()
    };
    letters.iter().filter(in_database).count()
}

/// Sends tasks that nobody knows, and waits until each is a dead letter in the database.
fn bury(caller: &Caller, task: &str, number: usize) {
    for _ in 0..number {
        let sent = caller.post("/api/v1/tasks", &json!({"task": task}));
        assert_eq!(sent.status, 202, "{}", sent.text);
    }
    wait::eventually("them to be dead letters", || {
        letters(caller, task, "waiting") == number
    });
}

fn begin(caller: &Caller, action: &str, filter: &Value) -> Value {
    let begun = caller.post(OPERATIONS, &json!({"action": action, "filter": filter}));
    assert_eq!(begun.status, 202, "{}", begun.text);
    begun.value()
}

fn path_of(operation: &Value) -> String {
    let id = operation["id"].as_str().expect("an operation has an id");
    format!("{OPERATIONS}/{id}")
}

fn ended(caller: &Caller, begun: &Value) -> Value {
    // A process that was killed keeps its lease for ten seconds.
    wait::within(Duration::from_secs(60), "the operation to end", || {
        let shown = caller.get(&path_of(begun)).json();
        (shown["state"] != "running").then_some(shown)
    })
}

#[test]
fn all_that_match_are_sent_again_each_once_whoever_dies() {
    let redis = RedisServer::start();
    let mut api = ApiServer::on(&redis);
    let twin = api.twin();
    let keeper = api.keeper();
    let _worker = LovageWorker::on(&redis);
    let caller = api.admin();
    // More than a page of them.
    bury(&caller, "nobody.knows", 130);
    bury(&caller, "nobody.else", 1);
    let begun = begin(&caller, "replay", &json!({"tasks": ["nobody.knows"]}));
    assert_eq!(
        (&begun["matched"], &begun["filter"]["tasks"]),
        (&json!(130), &json!(["nobody.knows"]))
    );
    // Whichever of the two processes does it.
    api.process().kill();
    let caller = twin.with_token(caller.token().expect("somebody is logged in"));
    let done = ended(&caller, &begun);
    assert_eq!(
        (&done["state"], &done["looked_at"], &done["acted"]),
        (&json!("done"), &json!(130), &json!(130)),
        "{done}"
    );
    assert_eq!(letters(&caller, "nobody.knows", "replayed"), 130);
    // Sent again, each is a dead letter again: nobody knows the task still.
    wait::eventually("them to have come back", || {
        letters(&caller, "nobody.knows", "waiting") == 130
    });
    assert_eq!(redis.depth("celery") + redis.unacked(), 0);
    assert_eq!(letters(&caller, "nobody.else", "waiting"), 1);
    assert_eq!(caller.get(OPERATIONS).json()["operations"], json!([done]));
    let over = caller.send("POST", &format!("{}/cancel", path_of(&done)), &[], "");
    assert_eq!(over.status, 409, "{}", over.text);
    // It is none of the operations on task runs.
    assert_eq!(
        caller.get("/api/v1/operations").json()["operations"],
        json!([])
    );
    let elsewhere = path_of(&done).replace("dead-letter-operations", "operations");
    assert_eq!(caller.get(&elsewhere).status, 404);
    drop(keeper);
}

#[test]
fn a_key_gives_up_what_it_is_for_and_leaves_the_rest() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let _keeper = api.keeper();
    let _worker = LovageWorker::on(&redis);
    let caller = api.admin();
    bury(&caller, "nobody.knows", 2);
    bury(&caller, "others.own", 1);
    let scopes = ["dead-letters:read", "dead-letters:control"];
    let key =
        |name: &str| caller.key(&json!({"name": name, "scopes": scopes, "tasks": ["nobody.*"]}));
    let (key, stranger) = (key("k"), key("s"));
    let begun = begin(&key, "discard", &json!({}));
    let done = ended(&key, &begun);
    assert_eq!(
        (&done["state"], &done["acted"]),
        (&json!("done"), &json!(2)),
        "{done}"
    );
    assert_eq!(letters(&caller, "nobody.knows", "discarded"), 2);
    assert_eq!(letters(&caller, "others.own", "waiting"), 1);
    // What a limited key began is its own.
    assert_eq!(stranger.get(OPERATIONS).json()["operations"], json!([]));
    assert_eq!(stranger.get(&path_of(&done)).status, 404);
    assert_eq!(key.get(OPERATIONS).json()["operations"], json!([done]));
    assert_eq!(caller.get(&path_of(&done)).json(), done);
    let audit = caller.get("/api/v1/audit?action=operation.begin").json();
    assert_eq!(
        audit["entries"][0]["detail"]["action"], "discard",
        "{audit}"
    );
}
