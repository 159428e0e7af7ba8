//! What every request meets: headers, limits, errors, health, and the end of the process.

use std::thread;
use std::time::{Duration, Instant};

use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::{ApiServer, LovageWorker, RedisServer, wait};
use serde_json::json;

#[test]
fn every_answer_has_an_id_and_headers_that_keep_browsers_in_check() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let nobody = api.nobody();
    for path in ["/health/live", "/nowhere", "/docs", "/openapi.json"] {
        let answer = nobody.send("GET", path, &[("X-Request-Id", "mine-1")], "");
        assert_eq!(answer.header("x-request-id"), Some("mine-1"), "{path}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert!(answer.header("content-security-policy").is_some(), "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
    }
    let made_up = nobody.send("GET", "/health/live", &[("X-Request-Id", "a b\u{7f}")], "");
    assert_ne!(made_up.header("x-request-id"), Some("a b\u{7f}"));
    let missing = nobody.get("/nowhere");
    assert_eq!(
        (missing.status, &missing.value()["code"]),
        (404, &json!("not-found"))
    );
    let method = nobody.send("DELETE", "/api/v1/tasks", &[], "");
    assert_eq!(method.status, 405);
    assert_eq!(method.header("allow"), Some("GET, POST"));
    assert!(nobody.get("/docs").text.contains("demo.add"));
    assert!(nobody.get("/docs/redoc").text.contains("demo.add"));
    assert_eq!(nobody.get("/config").status, 404);
}

#[test]
fn health_is_told_whatever_is_asked_beside_it() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let status = |path: &str| api.nobody().get(path).status;
    assert_eq!(status("/health/ready?strict=w%00&%00=1"), 200);
    assert_eq!(status("/health/live?%00"), 200);
    assert_eq!(status("/metrics?a=%00"), 200);
    assert_eq!(api.admin().get("/api/v1/task-runs?name=%00").status, 422);
}

#[test]
fn a_page_of_an_origin_that_is_named_may_call() {
    let redis = RedisServer::start();
    let page = "https://ops.example.org";
    let api = ApiServer::with(&redis, &[("LOVAGE_API_CORS_ORIGINS", page)]);
    let ask = |origin: &str| {
        let answer = api
            .nobody()
            .send("GET", "/health/live", &[("Origin", origin)], "");
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    assert_eq!(ask(page).as_deref(), Some(page));
    assert_eq!(ask("https://evil.example.org"), None);
    let cross = |origin: &str, method: &str| {
        let asked = [
            ("Origin", origin),
            ("Access-Control-Request-Method", method),
        ];
        api.nobody().send("OPTIONS", "/api/v1/tasks", &asked, "")
    };
    let may = cross(page, "POST");
    assert_eq!(may.status, 200, "{}", may.text);
    assert!(may.header("x-request-id").is_some());
    let may_not = cross(page, "TRACE");
    assert_eq!(
        (may_not.status, &may_not.value()["code"]),
        (403, &json!("forbidden"))
    );
    assert!(may_not.header("x-request-id").is_some());
    assert_eq!(cross("https://evil.example.org", "POST").status, 405);
    // Browsers say where a page of the API's own comes from, too: /password posts.
    let own = [("Origin", "http://127.0.0.1")];
    let login = json!({"email": "nobody@example.org", "password": "wrong"});
    let body = login.to_string();
    let answer = api.nobody().send("POST", "/api/v1/auth/login", &own, &body);
    assert_eq!(answer.status, 401, "{}", answer.text);
    assert_eq!(answer.value()["code"], "bad-credentials");
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    let redis = RedisServer::start();
    let api = ApiServer::with(&redis, &[("LOVAGE_API_MAX_BODY", "1kB")]);
    let call = json!({"task": "t", "args": ["x".repeat(2000)]});
    let answer = api.admin().post("/api/v1/tasks", &call);
    assert_eq!(
        (answer.status, &answer.value()["code"]),
        (413, &json!("too-large"))
    );
}

#[test]
fn promise_10_and_17_readiness_names_what_is_wrong() {
    let mut redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let nobody = api.nobody();
    let lonely = nobody.get("/health/ready").json();
    assert_eq!(lonely["status"], "degraded");
    let part = |answer: &serde_json::Value, name: &str| {
        let parts = answer["parts"].as_array().unwrap().clone();
        parts.into_iter().find(|part| part["name"] == name).unwrap()
    };
    let queues = part(&lonely, "queues");
    assert!(
        queues["detail"].as_str().unwrap().contains("celery"),
        "{queues}"
    );
    assert_eq!(nobody.get("/health/ready?strict=true").status, 503);
    let worker = LovageWorker::on(&redis);
    wait::eventually("the queue to have a consumer", || {
        nobody.get("/health/ready?strict=true").status == 200
    });
    drop(worker);
    redis.stop();
    let broken = nobody.get("/health/ready");
    assert_eq!(broken.status, 503, "{}", broken.text);
    assert_eq!(part(&broken.value(), "broker")["status"], "failing");
    assert_eq!(part(&broken.value(), "database")["status"], "ok");
    // It lives all the same.
    assert_eq!(nobody.get("/health/live").status, 200);
    assert_eq!(nobody.get("/health").status, 200);
    assert!(
        nobody
            .get("/metrics")
            .text
            .contains("lovage_api_broker_up 0")
    );
    let away = api.admin().post("/api/v1/tasks", &json!({"task": "t"}));
    assert_eq!(
        (away.status, &away.value()["code"]),
        (503, &json!("broker-away"))
    );
    assert!(away.header("retry-after").is_some());
}

#[test]
fn promise_20_a_database_behind_is_not_ready_and_says_so() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let down = lovage_with(
        &api.variables(),
        &["migrate", "down", "--steps", "1", "--force"],
    );
    assert!(
        down.status.success(),
        "{}",
        String::from_utf8_lossy(&down.stderr)
    );
    let answer = api.nobody().get("/health/ready");
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert!(answer.text.contains("lovage migrate up"), "{}", answer.text);
    let up = lovage_with(&api.variables(), &["migrate", "up"]);
    assert!(up.status.success());
    wait::eventually("it to be ready", || {
        api.nobody().get("/health/ready").status == 200
    });
}

#[test]
fn metrics_tell_of_requests_and_queues() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let sent = caller.post(
        "/api/v1/tasks",
        &json!({"task": "demo.add", "args": [1, 2]}),
    );
    assert_eq!(sent.status, 202);
    let metrics = api.nobody().get("/metrics").text;
    for line in [
        "lovage_api_tasks_sent_total 1",
        r#"lovage_api_queue_messages{queue="celery"} 1"#,
        r#"lovage_api_requests_total{method="POST",route="/api/v1/tasks",status="202"} 1"#,
        "lovage_api_broker_up 1",
    ] {
        assert!(metrics.contains(line), "{line} is missing:\n{metrics}");
    }
}

#[test]
fn a_stop_answers_whoever_waits_and_ends_in_time() {
    let redis = RedisServer::start();
    let mut api = ApiServer::on(&redis);
    let caller = api.admin();
    let asked = caller.clone();
    // Nobody works, so the result never comes.
    let waiting = thread::spawn(move || {
        asked.post(
            "/api/v1/tasks?wait=60",
            &json!({"task": "demo.add", "args": [1, 2]}),
        )
    });
    wait::eventually("the task to be sent", || redis.depth("celery") == 1);
    let began = Instant::now();
    assert_eq!(api.stop().code(), Some(0));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let answer = waiting.join().unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text);
}

#[test]
fn promise_19_production_wants_a_key_that_nobody_can_guess() {
    let redis = RedisServer::start();
    let url = redis.url();
    let run = |key: &[(&str, &str)]| {
        let mut variables = vec![
            ("LOVAGE_ENV", "production"),
            ("CELERY_BROKER_URL", url.as_str()),
        ];
        variables.extend_from_slice(key);
        let output = lovage_with(&variables, &["api"]);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    for key in [&[][..], &[("SECRET_KEY", "changeme")]] {
        let (code, err) = run(key);
        assert_eq!(code, Some(78), "{err}");
        assert!(
            err.contains("SECRET_KEY") && !err.contains("changeme"),
            "{err}"
        );
    }
}
