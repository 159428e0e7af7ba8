//! Sending tasks, alone, in batches and as workflows, and reading what came of them.

use lovage_integration_tests::{ApiServer, LovageWorker, RedisServer, wait};
use serde_json::json;

#[test]
fn a_task_is_sent_and_its_result_is_read() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let api = ApiServer::on(&redis);
    let caller = api.somebody("operator");
    let call = json!({"task": "demo.add", "args": [2], "kwargs": {"y": 3}});
    let sent = caller.post("/api/v1/tasks", &call);
    assert_eq!(sent.status, 202, "{}", sent.text);
    let id = sent.value()["task_id"].as_str().unwrap().to_owned();
    // The id is Celery's: the result stands under it where every Celery client looks.
    assert_eq!(redis.wait_for_state(&id, "SUCCESS")["result"], 5);
    let result = caller.get(&format!("/api/v1/task-runs/{id}/result")).json();
    assert_eq!(
        (&result["state"], &result["value"]),
        (&json!("SUCCESS"), &json!(5))
    );

    let waited = caller.post(
        "/api/v1/tasks/demo.add/send?wait=20",
        &json!({"x": 20, "y": 3}),
    );
    assert_eq!(waited.status, 200, "{}", waited.text);
    assert_eq!(waited.value()["result"]["value"], 23);
    let failed = caller.post(
        "/api/v1/tasks/demo.fail/send?wait=20",
        &json!({"message": "no"}),
    );
    let error = &failed.value()["result"]["error"];
    assert_eq!(
        (&error["type"], &error["message"]),
        (&json!("RuntimeError"), &json!("no"))
    );
}

#[test]
fn promise_5_the_id_of_a_202_is_the_task_s_and_survives_a_restart() {
    let redis = RedisServer::start();
    let mut first = ApiServer::on(&redis);
    let second = first.twin();
    let caller = first.somebody("operator");
    let sent = caller.post(
        "/api/v1/tasks",
        &json!({"task": "demo.add", "args": [2, 3]}),
    );
    let id = sent.value()["task_id"].as_str().unwrap().to_owned();
    assert_eq!(redis.waiting_json("celery")[0]["headers"]["id"], id);
    // The other process knows as much, and whoever logged in at one is known at both.
    let elsewhere = second.with_token(caller.token().unwrap());
    let path = format!("/api/v1/task-runs/{id}/result");
    assert_eq!(elsewhere.get(&path).json()["state"], "PENDING");
    assert_eq!(first.stop().code(), Some(0));
    let again = second.twin();
    let _worker = LovageWorker::on(&redis);
    let after = again.with_token(caller.token().unwrap());
    let result = after.get(&format!("{path}?wait=20")).json();
    assert_eq!(
        (&result["state"], &result["value"]),
        (&json!("SUCCESS"), &json!(5))
    );
}

#[test]
fn promise_8_unknown_and_wrong_parameters_are_refused_and_nothing_is_sent() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let check = |path: &str, body, status, code: &str, says: &str| {
        let answer = caller.post(path, &body);
        let problem = answer.value();
        assert_eq!(answer.status, status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{problem}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            answer.header("x-request-id"),
            problem["request_id"].as_str()
        );
    };
    let send = "/api/v1/tasks/demo.add/send";
    check(
        send,
        json!({"x": 1, "y": 2, "z": 3}),
        422,
        "wrong-arguments",
        "'z'",
    );
    check(send, json!({"x": 1}), 422, "wrong-arguments", "'y'");
    check(
        send,
        json!({"x": 1, "y": "two"}),
        422,
        "wrong-arguments",
        "y:",
    );
    check(
        "/api/v1/tasks/demo.none/send",
        json!({}),
        404,
        "unknown-task",
        "demo.none",
    );
    let tasks = "/api/v1/tasks";
    check(
        tasks,
        json!({"task": "demo.add", "qeue": "x"}),
        422,
        "invalid",
        "qeue",
    );
    check(
        tasks,
        json!({"task": "demo.add", "args": [1]}),
        422,
        "wrong-arguments",
        "'y'",
    );
    check(
        tasks,
        json!({"task": "t", "priority": 300}),
        422,
        "invalid",
        "priority",
    );
    check(
        tasks,
        json!({"task": "t", "queue": "a\u{6}b"}),
        422,
        "invalid",
        "queue",
    );
    let both = json!({"task": "t", "countdown": 1, "eta": "2030-01-01T00:00:00Z"});
    check(tasks, both, 422, "invalid", "countdown");
    let broken = caller.send("POST", tasks, &[], "{");
    assert_eq!(
        (broken.status, &broken.value()["code"]),
        (400, &json!("malformed"))
    );
    let text = caller.send("POST", tasks, &[("Content-Type", "text/plain")], "hello");
    assert_eq!(text.status, 415, "{}", text.text);
    assert_eq!(redis.depth("celery"), 0);
}

#[test]
fn a_task_of_others_is_sent_by_name_with_every_option() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let call = json!({
        "task": "python.task", "args": [1, [2.5, null]], "kwargs": {"a": {"b": true}},
        "task_id": "order-17", "queue": "hot", "priority": 3, "countdown": 30, "expires_after": 60,
        "time_limit": 20, "soft_time_limit": 10, "shadow": "Order 17", "headers": {"tenant": "acme"},
        "link": [{"task": "python.done"}], "link_error": [{"task": "python.failed"}],
    });
    let sent = api.admin().post("/api/v1/tasks", &call);
    assert_eq!(
        (sent.status, &sent.value()["task_id"]),
        (202, &json!("order-17"))
    );
    let message = &redis.waiting_json("hot\u{6}\u{16}3")[0];
    let headers = &message["headers"];
    assert_eq!(headers["id"], "order-17");
    assert_eq!(headers["shadow"], "Order 17");
    assert_eq!(headers["tenant"], "acme");
    assert_eq!(headers["timelimit"], json!([20, 10]));
    assert!(
        headers["eta"].is_string() && headers["expires"].is_string(),
        "{headers}"
    );
}

#[test]
fn a_key_makes_one_task_of_any_number_of_requests() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let twin = api.twin();
    let (one, other) = (api.admin(), twin.admin());
    let key = [("Idempotency-Key", "order-17")];
    let body = json!({"task": "demo.add", "args": [2, 3]}).to_string();
    let first = one.send("POST", "/api/v1/tasks", &key, &body);
    assert_eq!(first.status, 202, "{}", first.text);
    let again = other.send("POST", "/api/v1/tasks", &key, &body);
    assert_eq!((again.status, again.value()), (202, first.value()));
    assert_eq!(redis.depth("celery"), 1);
    let changed = json!({"task": "demo.add", "args": [2, 4]}).to_string();
    let refused = one.send("POST", "/api/v1/tasks", &key, &changed);
    assert_eq!(
        (refused.status, &refused.value()["code"]),
        (422, &json!("key-reused"))
    );
    // What was refused may be tried again with the same key.
    let key = [("Idempotency-Key", "order-18")];
    let wrong = json!({"task": "demo.add", "args": [2]}).to_string();
    assert_eq!(one.send("POST", "/api/v1/tasks", &key, &wrong).status, 422);
    assert_eq!(one.send("POST", "/api/v1/tasks", &key, &body).status, 202);
    // Keys of others are others.
    let key = [("Idempotency-Key", "order-17")];
    let stranger = api.somebody("operator");
    let theirs = stranger.send("POST", "/api/v1/tasks", &key, &body);
    assert_ne!(theirs.value()["task_id"], first.value()["task_id"]);
    assert_eq!(redis.depth("celery"), 3);
}

#[test]
fn a_batch_sends_what_is_right_and_tells_of_the_rest() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let lines = concat!(
        "{\"task\": \"demo.add\", \"args\": [1, 2]}\n",
        "\n",
        "{\"task\": \"demo.add\", \"args\": [1]}\n",
        "not json\n",
        "{\"task\": \"python.task\"}\n",
    );
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let answer = api
        .admin()
        .send("POST", "/api/v1/task-batches", &ndjson, lines);
    let report = answer.json();
    assert_eq!(
        (&report["sent"], &report["refused"]),
        (&json!(2), &json!(2))
    );
    let told: Vec<_> = report["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (
                item["line"].as_u64().unwrap(),
                item["problem"]["code"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (1, None),
            (3, Some("wrong-arguments")),
            (4, Some("malformed")),
            (5, None)
        ]
    );
    assert_eq!(redis.depth("celery"), 2);
}

#[test]
fn a_workflow_is_checked_as_a_whole_and_runs() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let add = |args| json!({"task": "demo.add", "args": args});
    let good = json!({"chain": [
        add(json!([1, 2])),
        {"chord": {"header": [add(json!([10])), add(json!([20]))], "body": {"task": "demo.echo"}}},
    ]});
    let sent = caller.post("/api/v1/workflows", &good);
    assert_eq!(sent.status, 202, "{}", sent.text);
    let id = sent.value()["task_id"].as_str().unwrap().to_owned();
    let result = caller
        .get(&format!("/api/v1/task-runs/{id}/result?wait=20"))
        .json();
    assert_eq!(result["state"], "SUCCESS", "{result}");
    let numbers = result["value"].to_string();
    assert!(numbers.contains("13") && numbers.contains("23"), "{result}");

    let depth = || redis.depth("celery") + redis.unacked();
    wait::eventually("the queue to be empty", || depth() == 0);
    let bad = json!({"chain": [add(json!([1, 2])), add(json!([1, 2, 3]))]});
    let refused = caller.post("/api/v1/workflows", &bad);
    assert_eq!(
        (refused.status, &refused.value()["code"]),
        (422, &json!("wrong-arguments"))
    );
    let none = caller.post("/api/v1/workflows", &json!({"chain": []}));
    assert_eq!(none.status, 422, "{}", none.text);
}

#[test]
fn tasks_are_listed_with_their_schemas_and_who_knows_them() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let api = ApiServer::on(&redis);
    let list = api.admin().get("/api/v1/tasks").json();
    let tasks = list["tasks"].as_array().unwrap();
    let add = tasks
        .iter()
        .find(|task| task["name"] == "demo.add")
        .unwrap();
    assert_eq!(add["registered"], true);
    assert_eq!(add["queue"], "celery");
    assert_eq!(add["parameters"]["required"], json!(["x", "y"]));
    assert!(
        add["workers"][0].as_str().unwrap().starts_with("lovage@"),
        "{add}"
    );
    let document = api.nobody().get("/openapi.json").json();
    let typed = &document["paths"]["/api/v1/tasks/demo.add/send"]["post"];
    let body = &typed["requestBody"]["content"]["application/json"]["schema"];
    assert_eq!(
        body, &add["parameters"],
        "what is documented is what is checked"
    );
}
