//! Queues, workers, runs and dead letters.

use lovage_integration_tests::api_server::Caller;
use lovage_integration_tests::{
    ApiServer, LovageWorker, RedisServer, TaskMessage, dead_letters, wait,
};
use serde_json::{Value, json};

#[test]
fn a_queue_is_looked_into_and_emptied() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    for (number, priority) in [(1, 0), (2, 9), (3, 0)] {
        let call = json!({"task": "demo.add", "args": [number, 0], "priority": priority});
        assert_eq!(caller.post("/api/v1/tasks", &call).status, 202);
    }
    let queue = caller.get("/api/v1/queues/celery").json();
    assert_eq!(queue["messages"], 3);
    let steps: Vec<(u64, u64)> = queue["by_priority"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            (
                step["priority"].as_u64().unwrap(),
                step["messages"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(steps, [(0, 2), (3, 0), (6, 0), (9, 1)]);
    assert!(queue["head_waits_seconds"].is_number(), "{queue}");
    let peeked = caller.get("/api/v1/queues/celery/messages?limit=2").json();
    let args: Vec<&str> = peeked["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["args"].as_str().unwrap())
        .collect();
    assert_eq!(args, ["(1, 0)", "(3, 0)"]);
    // A key that is for other tasks sees none of them.
    let others = json!({"name": "k", "scopes": ["queues:read"], "tasks": ["mail.*"]});
    let hidden = caller
        .key(&others)
        .get("/api/v1/queues/celery/messages")
        .json();
    assert_eq!(hidden["messages"], json!([]));
    assert_eq!(redis.depth("celery"), 2, "they stay where they are");
    // Nor can one throw them away, or keep them waiting.
    let others = json!({"name": "k", "scopes": ["queues:control"], "tasks": ["mail.*"]});
    for verb in ["purge", "pause", "resume"] {
        let path = format!("/api/v1/queues/celery/{verb}");
        let answer = caller.key(&others).send("POST", &path, &[], "");
        assert_eq!(answer.status, 403, "{verb}: {}", answer.text);
    }
    let purged = caller
        .send("POST", "/api/v1/queues/celery/purge", &[], "")
        .json();
    assert_eq!(purged["purged"], 3);
    // Read back: nothing waits.
    assert_eq!(caller.get("/api/v1/queues/celery").json()["messages"], 0);
    let audit = caller.get("/api/v1/audit?action=queue.purge").json();
    assert_eq!(audit["entries"][0]["detail"]["purged"], 3, "{audit}");
}

#[test]
fn promise_9_a_pause_holds_over_every_restart_until_it_is_ended() {
    let redis = RedisServer::start();
    let worker = LovageWorker::builder(&redis).hostname("w1@box").start();
    let mut api = ApiServer::on(&redis);
    let caller = api.admin();
    let queue = |caller: &Caller| caller.get("/api/v1/queues/celery").json();
    assert_eq!(queue(&caller)["consumers"], json!(["w1@box"]));
    let switch = |caller: &Caller, verb: &str| {
        let path = format!("/api/v1/queues/celery/{verb}");
        caller.send("POST", &path, &[], "")
    };
    assert_eq!(switch(&caller, "resume").status, 409, "it is not paused");
    assert_eq!(switch(&caller, "pause").json()["paused"], true);
    // Read back, at the other process too.
    let twin = api.twin();
    assert_eq!(
        queue(&twin.with_token(caller.token().unwrap()))["paused"],
        true
    );
    wait::eventually("nobody to consume it", || {
        queue(&caller)["consumers"] == json!([])
    });
    drop(worker);
    assert_eq!(api.stop().code(), Some(0));
    let api = twin.twin();
    let caller = api.with_token(caller.token().unwrap());
    let _worker = LovageWorker::builder(&redis)
        .hostname("w2@box")
        .queues("celery,other")
        .start();
    let send = "/api/v1/tasks/demo.add/send";
    let waits = caller.post(send, &json!({"x": 1, "y": 2}));
    assert_eq!(waits.status, 202, "{}", waits.text);
    // It takes from both queues at once: once it has run what came later to the other, it has seen this one too.
    let runs = format!("{send}?queue=other&wait=20");
    let runs = caller.post(&runs, &json!({"x": 3, "y": 4})).json();
    assert_eq!(runs["result"]["value"], 7, "{runs}");
    let now = queue(&caller);
    assert_eq!(
        (&now["paused"], &now["messages"]),
        (&json!(true), &json!(1))
    );
    // The first worker was killed: until its lease is over it may pass for one that consumes what it did.
    wait::eventually("nobody to consume it", || {
        queue(&caller)["consumers"] == json!([])
    });
    assert_eq!(switch(&caller, "resume").json()["paused"], false);
    let id = waits.value()["task_id"].as_str().unwrap().to_owned();
    let result = caller
        .get(&format!("/api/v1/task-runs/{id}/result?wait=20"))
        .json();
    assert_eq!(result["value"], 3, "{result}");
    assert_eq!(queue(&caller)["paused"], false);
}

#[test]
fn workers_are_asked_told_and_drained() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::builder(&redis).hostname("w1@box").start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let listed = caller.get("/api/v1/workers").json();
    let first = &listed["workers"][0];
    assert_eq!(
        (&first["name"], &first["queues"]),
        (&json!("w1@box"), &json!(["celery"]))
    );
    let ping = caller
        .get("/api/v1/workers/inspect/ping?worker=w1@box")
        .json();
    assert_eq!(
        ping["replies"]["w1@box"],
        json!({"ok": true, "value": "pong"})
    );
    let tell = |command: &str, arguments: Value| {
        let order = json!({"command": command, "arguments": arguments});
        caller.post("/api/v1/workers/control", &order).json()
    };
    let limited = tell(
        "rate_limit",
        json!({"task_name": "demo.add", "rate_limit": "7/m"}),
    );
    assert_eq!(limited["replies"]["w1@box"]["ok"], true, "{limited}");
    // What was told is what is there.
    let registered = caller.get("/api/v1/workers/inspect/registered").json();
    assert!(
        registered.to_string().contains("demo.add [rate_limit=7/m]"),
        "{registered}"
    );
    let wrong = tell(
        "rate_limit",
        json!({"task_name": "demo.none", "rate_limit": "7/m"}),
    );
    assert_eq!(wrong["replies"]["w1@box"]["ok"], false, "{wrong}");
    assert_eq!(
        caller
            .post("/api/v1/workers/none@box/drain", &json!({}))
            .status,
        404
    );
    caller
        .post("/api/v1/workers/w1@box/drain", &json!({"shutdown": true}))
        .json();
    assert_eq!(worker.wait().code(), Some(0));
}

#[test]
fn a_task_is_revoked_before_it_begins_and_ended_while_it_runs() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let send = |task: &str, body: Value| {
        let sent = caller.post(&format!("/api/v1/tasks/{task}/send"), &body);
        sent.value()["task_id"].as_str().unwrap().to_owned()
    };
    let waiting = send("demo.add", json!({"x": 1, "y": 2}));
    let revoke = |id: &str, body: Value| {
        caller
            .post(&format!("/api/v1/task-runs/{id}/revoke"), &body)
            .status
    };
    assert_eq!(revoke(&waiting, json!({})), 204);
    let _worker = LovageWorker::on(&redis);
    redis.wait_for_state(&waiting, "REVOKED");
    let result = caller
        .get(&format!("/api/v1/task-runs/{waiting}/result"))
        .json();
    assert_eq!(
        (&result["state"], &result["ready"]),
        (&json!("REVOKED"), &json!(true))
    );

    let running = send("demo.sleep", json!({"seconds": 600}));
    wait::eventually("it to run", || {
        let active = caller.get("/api/v1/workers/inspect/active").json();
        active.to_string().contains(&running)
    });
    assert_eq!(revoke(&running, json!({"terminate": true})), 204);
    redis.wait_for_state(&running, "REVOKED");
    assert_eq!(
        revoke(&running, json!({"terminate": true, "signal": "BANG"})),
        422
    );
}

#[test]
fn tasks_are_revoked_by_their_stamp() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let stamped = |value: &str| {
        let message = TaskMessage::new("demo.noop", &json!([]), &json!({}))
            .set("headers.stamped_headers", json!(["customer"]))
            .set("headers.stamps.customer", json!(value));
        redis.publish("celery", &message);
        message.id
    };
    let (acme, other) = (stamped("acme"), stamped("other"));
    let revoke = |caller: &Caller, body: &Value| {
        let answer = caller.post("/api/v1/task-runs/revoke", body);
        assert!(answer.status < 500, "{}", answer.text);
        answer.status
    };
    let stamp = json!({"stamps": {"customer": ["acme"]}});
    let limited = json!({"name": "k", "scopes": ["runs:control"], "tasks": ["demo.*"]});
    assert_eq!(revoke(&caller.key(&limited), &stamp), 403);
    assert_eq!(revoke(&caller, &json!({})), 422);
    assert_eq!(revoke(&caller, &stamp), 204);
    let _worker = LovageWorker::on(&redis);
    redis.wait_for_state(&acme, "REVOKED");
    redis.wait_for_state(&other, "SUCCESS");
}

#[test]
fn a_dead_letter_is_shown_sent_again_and_dropped() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let call = |kwargs| json!({"task": "nobody.knows", "args": [1], "kwargs": kwargs});
    let sent = caller.post("/api/v1/tasks", &call(json!({"a": 2})));
    let id = sent.value()["task_id"].as_str().unwrap().to_owned();
    wait::eventually("it to be a dead letter", || dead_letters(&redis).len() == 1);
    let page = caller.get("/api/v1/dead-letters").json();
    let letter = &page["letters"][0];
    assert_eq!(page["letters"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&letter["task_id"], &letter["state"]),
        (&json!(id), &json!("waiting"))
    );
    assert_eq!(letter["reason"], "unknown-task");
    let path = format!("/api/v1/dead-letters/{}", letter["id"].as_str().unwrap());
    let whole = caller.get(&path).json();
    assert_eq!(
        (&whole["args"], &whole["kwargs"]),
        (&json!([1]), &json!({"a": 2}))
    );

    let limited = json!({"name": "k", "scopes": ["dead-letters:read", "dead-letters:control"], "tasks": ["demo.*"]});
    let key = caller.key(&limited);
    assert_eq!(key.get(&path).status, 403);
    assert_eq!(key.get("/api/v1/dead-letters").json()["letters"], json!([]));
    assert_eq!(
        key.send("POST", &format!("{path}/replay"), &[], "").status,
        403
    );

    assert_eq!(
        caller
            .send("POST", &format!("{path}/replay"), &[], "")
            .status,
        204
    );
    wait::eventually("it to come back with another id", || {
        let letters = dead_letters(&redis);
        letters.len() == 1 && !path.ends_with(&letters[0].id)
    });
    assert_eq!(
        caller.send("DELETE", &path, &[], "").status,
        404,
        "that one is gone"
    );
    let now = caller.get("/api/v1/dead-letters").json();
    let path = format!(
        "/api/v1/dead-letters/{}",
        now["letters"][0]["id"].as_str().unwrap()
    );
    assert_eq!(caller.send("DELETE", &path, &[], "").status, 204);
    assert_eq!(
        caller.get("/api/v1/dead-letters").json()["letters"],
        json!([])
    );
}
