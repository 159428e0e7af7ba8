//! Tasks that are run once more, and what is done to all that match.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::time::Duration;

use lovage_integration_tests::api_server::Caller;
use lovage_integration_tests::{ApiServer, KeeperProcess, LovageWorker, RedisServer, wait};
use serde_json::{Value, json};

fn send(caller: &Caller, task: &str, body: &Value) -> String {
    let sent = caller.post(&format!("/api/v1/tasks/{task}/send"), body);
    assert_eq!(sent.status, 202, "{}", sent.text);
    sent.value()["task_id"].as_str().unwrap().to_owned()
}

fn state(caller: &Caller, id: &str) -> Option<String> {
    let answer = caller.get(&format!("/api/v1/task-runs/{id}"));
    (answer.status == 200).then(|| answer.value()["run"]["state"].as_str().unwrap().to_owned())
}

fn recorded(caller: &Caller, id: &str, wanted: &str) {
    wait::eventually("its history", || {
        state(caller, id).as_deref() == Some(wanted)
    });
}

/// Waits for the end of an operation.
fn ended(caller: &Caller, begun: &Value) -> Value {
    let path = format!("/api/v1/operations/{}", begun["id"].as_str().unwrap());
    // A process that was killed keeps its lease for ten seconds.
    wait::within(Duration::from_secs(60), "the operation to end", || {
        let shown = caller.get(&path).json();
        (shown["state"] != "running").then_some(shown)
    })
}

fn begin(caller: &Caller, action: &str, filter: &Value) -> Value {
    let wish = json!({"action": action, "filter": filter});
    let begun = caller.post("/api/v1/operations", &wish);
    assert_eq!(begun.status, 202, "{}", begun.text);
    begun.value()
}

#[test]
fn a_task_is_run_once_more_with_what_it_got() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let keeper = api.keeper();
    let _worker = LovageWorker::on(&redis);
    let caller = api.admin();
    let call = json!({"task": "demo.add", "args": [2], "kwargs": {"y": 3}});
    let first = caller.post("/api/v1/tasks", &call).value();
    let first = first["task_id"].as_str().unwrap();
    recorded(&caller, first, "SUCCESS");
    let retry = |id: &str| caller.send("POST", &format!("/api/v1/task-runs/{id}/retry"), &[], "");
    let again = retry(first);
    assert_eq!(again.status, 202, "{}", again.text);
    let second = again.value()["task_id"].as_str().unwrap().to_owned();
    assert_ne!(second, first);
    let result = caller
        .get(&format!("/api/v1/task-runs/{second}/result?wait=20"))
        .json();
    assert_eq!(result["value"], 5, "{result}");

    let long = "x".repeat(5_000);
    let cut = send(&caller, "demo.echo", &json!({"value": long}));
    recorded(&caller, &cut, "SUCCESS");
    let refused = retry(&cut).value();
    assert_eq!(
        (&refused["status"], &refused["code"]),
        (&json!(409), &json!("incomplete")),
        "{refused}"
    );
    assert!(
        refused["detail"].as_str().unwrap().contains("in part"),
        "{refused}"
    );
    assert_eq!(retry("nobody-knows").status, 404);

    // A key that is not for the task cannot have it run again either.
    let wish = json!({"name": "k", "scopes": ["runs:control"], "tasks": ["mail.*"]});
    let key = caller.key(&wish);
    let path = format!("/api/v1/task-runs/{first}/retry");
    assert_eq!(key.send("POST", &path, &[], "").status, 404);
    drop(keeper);
}

#[test]
fn what_was_hidden_is_not_sent_again() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let redact = [("LOVAGE_HISTORY_REDACT", r#"{"demo.add": ["y"]}"#)];
    let _keeper = KeeperProcess::with(&redis.url(), api.database(), &redact);
    let _worker = LovageWorker::on(&redis);
    let caller = api.admin();
    let id = send(&caller, "demo.add", &json!({"x": 1, "y": 2}));
    recorded(&caller, &id, "SUCCESS");
    let refused = caller
        .send("POST", &format!("/api/v1/task-runs/{id}/retry"), &[], "")
        .value();
    assert_eq!(refused["code"], "incomplete", "{refused}");
    assert!(
        refused["detail"].as_str().unwrap().contains("hidden"),
        "{refused}"
    );
}

#[test]
fn all_that_match_are_revoked_and_the_progress_is_told() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let _keeper = api.keeper();
    let _worker = LovageWorker::on(&redis);
    let caller = api.admin();
    let far = "demo.noop/send?countdown=3600";
    let ids: Vec<String> = (0..5)
        .map(|_| {
            let sent = caller.post(&format!("/api/v1/tasks/{far}"), &json!({}));
            sent.value()["task_id"].as_str().unwrap().to_owned()
        })
        .collect();
    let other = send(&caller, "demo.add", &json!({"x": 1, "y": 2}));
    for id in &ids {
        recorded(&caller, id, "RECEIVED");
    }
    recorded(&caller, &other, "SUCCESS");
    let begun = begin(&caller, "revoke", &json!({"tasks": ["demo.noop"]}));
    assert_eq!(
        (&begun["matched"], &begun["state"]),
        (&json!(5), &json!("running"))
    );
    let done = ended(&caller, &begun);
    assert_eq!(
        (
            &done["state"],
            &done["looked_at"],
            &done["acted"],
            &done["refused"]
        ),
        (&json!("done"), &json!(5), &json!(5), &json!(0)),
        "{done}"
    );
    for id in &ids {
        recorded(&caller, id, "REVOKED");
    }
    assert_eq!(state(&caller, &other).as_deref(), Some("SUCCESS"));
    let listed = caller.get("/api/v1/operations").json();
    assert_eq!(listed["operations"][0], done);
    let over = caller.send(
        "POST",
        &format!("/api/v1/operations/{}/cancel", done["id"].as_str().unwrap()),
        &[],
        "",
    );
    assert_eq!(
        (over.status, &over.value()["code"]),
        (409, &json!("conflict"))
    );
}

#[test]
fn all_that_failed_are_sent_once_more_each_once_whoever_dies() {
    let redis = RedisServer::start();
    let mut api = ApiServer::on(&redis);
    let twin = api.twin();
    let _keeper = api.keeper();
    let _worker = LovageWorker::on(&redis);
    let caller = api.admin();
    let fail = |message: String| send(&caller, "demo.fail", &json!({"message": message}));
    let failed: Vec<String> = (0..3).map(|number| fail(format!("no {number}"))).collect();
    let cut = fail("x".repeat(5_000));
    for id in failed.iter().chain([&cut]) {
        recorded(&caller, id, "FAILURE");
    }
    let begun = begin(&caller, "retry", &json!({"tasks": ["demo.fail"]}));
    // Whichever of the two processes does it.
    api.process().kill();
    let caller = twin.with_token(caller.token().unwrap());
    let done = ended(&caller, &begun);
    assert_eq!(
        (&done["state"], &done["acted"], &done["refused"]),
        (&json!("done"), &json!(3), &json!(1)),
        "{done}"
    );
    assert_eq!(done["refusals"][0]["task_id"], cut);
    assert_eq!(done["refusals"][0]["code"], "incomplete");
    let failures = || {
        let page = caller
            .get("/api/v1/task-runs?task=demo.fail&state=FAILURE")
            .json();
        page["runs"].as_array().unwrap().len()
    };
    wait::eventually("them to have failed again", || failures() == 7);
    assert_eq!(redis.depth("celery") + redis.unacked(), 0);
    assert_eq!(failures(), 7, "each was sent once");
}
