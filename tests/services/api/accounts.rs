//! Users, sessions and keys.

use lovage_integration_tests::api_server::{ADMIN, PASSWORD};
use lovage_integration_tests::lovage_worker::lovage_with;
use lovage_integration_tests::{ApiServer, RedisServer, wait};
use serde_json::{Value, json};

fn login(email: &str, password: &str) -> Value {
    json!({"email": email, "password": password})
}

#[test]
fn a_login_gives_tokens_that_are_refreshed_and_end() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let nobody = api.nobody();
    let tokens = nobody
        .post("/api/v1/auth/login", &login(ADMIN, PASSWORD))
        .json();
    assert!(tokens["expires_in"].as_u64().unwrap() > 0);
    let me = |token: &Value| {
        api.with_token(token.as_str().unwrap())
            .get("/api/v1/auth/me")
    };
    assert_eq!(me(&tokens["access_token"]).json()["role"], "admin");
    let refresh =
        |token: &Value| nobody.post("/api/v1/auth/refresh", &json!({"refresh_token": token}));
    let next = refresh(&tokens["refresh_token"]).json();
    assert_eq!(me(&next["access_token"]).status, 200);
    // A token that comes twice was stolen: the whole session ends.
    let stolen = refresh(&tokens["refresh_token"]);
    assert_eq!(
        (stolen.status, &stolen.value()["code"]),
        (401, &json!("bad-credentials"))
    );
    assert_eq!(refresh(&next["refresh_token"]).status, 401);
    assert_eq!(me(&next["access_token"]).status, 401);

    let other = nobody
        .post("/api/v1/auth/login", &login(ADMIN, PASSWORD))
        .json();
    let caller = api.with_token(other["access_token"].as_str().unwrap());
    assert_eq!(caller.post("/api/v1/auth/logout", &json!({})).status, 204);
    assert_eq!(caller.get("/api/v1/auth/me").status, 401);
    assert_eq!(refresh(&other["refresh_token"]).status, 401);
}

#[test]
fn a_password_is_changed_and_sessions_end_with_it() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let caller = api.admin();
    let change = |old: &str| json!({"old_password": old, "new_password": "another long one"});
    assert_eq!(
        caller.post("/api/v1/auth/change", &change("wrong")).status,
        403
    );
    assert_eq!(
        caller.post("/api/v1/auth/change", &change(PASSWORD)).status,
        204
    );
    assert_eq!(caller.get("/api/v1/auth/me").status, 401);
    let nobody = api.nobody();
    let old = nobody.post("/api/v1/auth/login", &login(ADMIN, PASSWORD));
    assert_eq!(old.status, 401);
    let new = nobody.post("/api/v1/auth/login", &login(ADMIN, "another long one"));
    assert_eq!(new.status, 200, "{}", new.text);
}

#[test]
fn guessing_is_slow_and_locks_the_account() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let attempt = |email: &str, password: &str| {
        api.nobody()
            .post("/api/v1/auth/login", &login(email, password))
    };
    let unknown = attempt("nobody@example.org", "whatever it is");
    let mut known = attempt(ADMIN, "whatever it is");
    // Nobody learns who exists.
    assert_eq!(unknown.value()["detail"], known.value()["detail"]);
    let mut tries = 1;
    while known.status == 401 && tries < 30 {
        known = attempt(ADMIN, "whatever it is");
        tries += 1;
    }
    assert_eq!(known.status, 429, "after {tries} tries: {}", known.text);
    assert!(known.header("retry-after").is_some());
    assert!(tries <= 15, "{tries}");
}

#[test]
fn users_are_made_changed_and_deleted_and_the_last_admin_stays() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let admin = api.admin();
    let ada = json!({"email": "Ada@Example.org", "password": PASSWORD, "role": "viewer"});
    let made = admin.post("/api/v1/users", &ada);
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.value()["email"], "ada@example.org");
    let twice = admin.post("/api/v1/users", &ada);
    assert_eq!(
        (twice.status, &twice.value()["code"]),
        (409, &json!("conflict"))
    );
    let path = format!("/api/v1/users/{}", made.value()["id"].as_str().unwrap());
    let tag = made.header("etag").unwrap().to_owned();
    let viewer = api.log_in("ada@example.org", PASSWORD);
    let patch = |tag: &str, body: Value| {
        admin.send("PATCH", &path, &[("If-Match", tag)], &body.to_string())
    };
    let changed = patch(&tag, json!({"role": "operator"}));
    assert_eq!(changed.status, 200, "{}", changed.text);
    // What was stored is read back, and whoever had the old role must log in again.
    assert_eq!(admin.get(&path).json()["role"], "operator");
    assert_eq!(viewer.get("/api/v1/auth/me").status, 401);
    assert_eq!(patch(&tag, json!({"enabled": false})).status, 412);
    let off = admin.change("PATCH", &path, &json!({"enabled": false}));
    assert_eq!(off.json()["enabled"], false);
    let login = api
        .nobody()
        .post("/api/v1/auth/login", &login("ada@example.org", PASSWORD));
    assert_eq!(login.status, 401);
    assert_eq!(admin.send("DELETE", &path, &[], "").status, 204);
    assert_eq!(admin.get(&path).status, 404);

    let me = admin.get("/api/v1/auth/me").json();
    let own = format!("/api/v1/users/{}", me["id"].as_str().unwrap());
    let demoted = admin.change("PATCH", &own, &json!({"role": "viewer"}));
    assert_eq!(
        (demoted.status, &demoted.value()["code"]),
        (409, &json!("conflict"))
    );
    assert_eq!(admin.send("DELETE", &own, &[], "").status, 409);
    let audit = admin.get("/api/v1/audit?limit=200").json();
    let actions: Vec<&str> = audit["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap())
        .collect();
    for action in ["user.create", "user.change", "user.delete", "auth.login"] {
        assert!(actions.contains(&action), "{actions:?}");
    }
    assert!(!audit.to_string().contains(PASSWORD));
}

#[test]
fn a_key_does_what_its_scopes_and_globs_say_until_it_is_withdrawn() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let admin = api.admin();
    let wish = json!({"name": "shop", "scopes": ["tasks:send"], "tasks": ["demo.*"], "queues": ["celery"]});
    let key = admin.key(&wish);
    let send = |call: Value| key.post("/api/v1/tasks", &call);
    let add = || json!({"task": "demo.add", "args": [1, 2]});
    assert_eq!(send(add()).status, 202);
    let check = |answer: lovage_integration_tests::http::Answer| {
        let problem = answer.value();
        assert_eq!(
            (answer.status, &problem["code"]),
            (403, &json!("out-of-reach")),
            "{problem}"
        );
    };
    check(send(json!({"task": "other.task"})));
    check(send(
        json!({"task": "demo.add", "args": [1, 2], "queue": "hot"}),
    ));
    check(send(
        json!({"task": "demo.add", "args": [1, 2], "link": [{"task": "other.task"}]}),
    ));
    check(send(
        json!({"task": "demo.add", "args": [1, 2], "link_error": [{"task": "other.task"}]}),
    ));
    let body = json!({"chord": {"header": [add()], "body": {"task": "other.task"}}});
    check(key.post("/api/v1/workflows", &body));
    let late =
        json!({"chain": [add(), {"group": [{"task": "demo.add", "args": [1], "queue": "hot"}]}]});
    check(key.post("/api/v1/workflows", &late));
    assert_eq!(redis.depth("celery"), 1, "nothing of it was sent");
    assert_eq!(key.get("/api/v1/tasks").status, 403, "it lacks the scope");

    let listed = admin.get("/api/v1/api-keys").json();
    let shown = &listed["keys"][0];
    let secret = key.token().unwrap();
    assert!(secret.starts_with(&format!("lvg_{}_", shown["prefix"].as_str().unwrap())));
    assert!(!listed.to_string().contains(secret));
    wait::eventually("the last use to be noted", || {
        !admin.get("/api/v1/api-keys").json()["keys"][0]["last_used_at"].is_null()
    });
    let newer = admin.key(&json!({"name": "newer", "scopes": ["tasks:send"]}));
    let page = |of: &str| admin.get(&format!("/api/v1/api-keys?limit=1{of}")).json();
    let first = page("");
    assert_eq!(
        (&first["keys"][0]["name"], &first["next"]),
        (&json!("newer"), &json!(1))
    );
    let second = page("&offset=1");
    assert_eq!(
        (&second["keys"][0]["id"], &second["next"]),
        (&shown["id"], &json!(null))
    );
    drop(newer);
    let path = format!("/api/v1/api-keys/{}", shown["id"].as_str().unwrap());
    assert_eq!(admin.send("DELETE", &path, &[], "").status, 204);
    assert_eq!(send(add()).status, 401);
    assert_eq!(admin.send("DELETE", &path, &[], "").status, 404);

    // Nobody gives a key more than they have.
    let viewer = api.somebody("viewer");
    let more = viewer.post("/api/v1/api-keys", &wish);
    assert_eq!(
        (more.status, &more.value()["code"]),
        (403, &json!("forbidden"))
    );
    let unknown = json!({"name": "x", "scopes": ["everything"]});
    assert_eq!(admin.post("/api/v1/api-keys", &unknown).status, 422);
}

#[test]
fn the_command_line_looks_after_users() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let variables = api.variables();
    let run = |words: &[&str]| {
        let output = lovage_with(&variables, words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let create = [
        "user",
        "create",
        "ada@example.org",
        "--role",
        "operator",
        "--json",
    ];
    let (code, out, err) = run(&create);
    assert_eq!(code, Some(0), "{err}");
    let made: Value = serde_json::from_str(&out).unwrap();
    let password = made["password"].as_str().unwrap();
    let caller = api.log_in("ada@example.org", password);
    assert_eq!(caller.get("/api/v1/auth/me").json()["role"], "operator");
    let (code, _, err) = run(&create);
    assert!(code == Some(1) && err.contains("already"), "{err}");
    let (_, list, _) = run(&["user", "list"]);
    assert!(
        list.contains("ada@example.org") && list.contains("operator"),
        "{list}"
    );
    assert_eq!(run(&["user", "disable", "ada@example.org"]).0, Some(0));
    wait::eventually("another process to know it", || {
        caller.get("/api/v1/auth/me").status == 401
    });
    let (code, _, err) = run(&["user", "role", ADMIN, "viewer"]);
    assert!(
        code == Some(1) && err.contains("last administrator"),
        "{err}"
    );
    assert_eq!(run(&["user", "delete", "ada@example.org", "-f"]).0, Some(0));
}
