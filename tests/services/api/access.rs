//! Who may do what: every operation of the document, for every role and every scope, from one table.

use std::collections::{BTreeMap, BTreeSet};

use lovage_integration_tests::api_server::Caller;
use lovage_integration_tests::{ApiServer, RedisServer};
use serde_json::{Value, json};

/// Every guarded operation, and the scope that it takes.
const TABLE: &[(&str, &str, &str)] = &[
    ("get", "/api/v1/api-keys", "account"),
    ("post", "/api/v1/api-keys", "account"),
    ("delete", "/api/v1/api-keys/{id}", "account"),
    ("get", "/api/v1/audit", "audit:read"),
    ("post", "/api/v1/auth/change", "account"),
    ("post", "/api/v1/auth/logout", "account"),
    ("get", "/api/v1/auth/me", "nothing"),
    ("get", "/api/v1/dead-letter-operations", "dead-letters:read"),
    (
        "post",
        "/api/v1/dead-letter-operations",
        "dead-letters:control",
    ),
    (
        "get",
        "/api/v1/dead-letter-operations/{id}",
        "dead-letters:read",
    ),
    (
        "post",
        "/api/v1/dead-letter-operations/{id}/cancel",
        "dead-letters:control",
    ),
    ("get", "/api/v1/dead-letters", "dead-letters:read"),
    ("get", "/api/v1/dead-letters/{id}", "dead-letters:read"),
    (
        "put",
        "/api/v1/dead-letters/{id}/message",
        "dead-letters:control",
    ),
    (
        "delete",
        "/api/v1/dead-letters/{id}",
        "dead-letters:control",
    ),
    (
        "post",
        "/api/v1/dead-letters/{id}/replay",
        "dead-letters:control",
    ),
    ("get", "/api/v1/mail", "mail:read"),
    ("get", "/api/v1/mail/{id}", "mail:read"),
    ("post", "/api/v1/mail/{id}/send-again", "mail:control"),
    ("get", "/api/v1/operations", "runs:read"),
    ("post", "/api/v1/operations", "runs:control"),
    ("get", "/api/v1/operations/{id}", "runs:read"),
    ("post", "/api/v1/operations/{id}/cancel", "runs:control"),
    ("get", "/api/v1/queues", "queues:read"),
    ("get", "/api/v1/queues/{name}", "queues:read"),
    ("get", "/api/v1/queues/{name}/messages", "queues:read"),
    ("post", "/api/v1/queues/{name}/pause", "queues:control"),
    ("post", "/api/v1/queues/{name}/purge", "queues:control"),
    ("post", "/api/v1/queues/{name}/resume", "queues:control"),
    ("post", "/api/v1/schedule-previews", "schedules:read"),
    ("get", "/api/v1/schedules", "schedules:read"),
    ("post", "/api/v1/schedules", "schedules:control"),
    ("get", "/api/v1/schedules/{name}", "schedules:read"),
    ("put", "/api/v1/schedules/{name}", "schedules:control"),
    ("patch", "/api/v1/schedules/{name}", "schedules:control"),
    ("delete", "/api/v1/schedules/{name}", "schedules:control"),
    (
        "post",
        "/api/v1/schedules/{name}/backfill",
        "schedules:control",
    ),
    (
        "post",
        "/api/v1/schedules/{name}/pause",
        "schedules:control",
    ),
    ("get", "/api/v1/schedules/{name}/preview", "schedules:read"),
    (
        "post",
        "/api/v1/schedules/{name}/resume",
        "schedules:control",
    ),
    ("post", "/api/v1/schedules/{name}/run", "schedules:control"),
    ("get", "/api/v1/schedules/{name}/ticks", "schedules:read"),
    ("post", "/api/v1/task-batches", "tasks:send"),
    ("get", "/api/v1/task-runs", "runs:read"),
    ("post", "/api/v1/task-runs/revoke", "runs:control"),
    ("get", "/api/v1/task-runs/stream", "runs:read"),
    ("post", "/api/v1/task-runs/stream-tickets", "runs:read"),
    ("get", "/api/v1/task-runs/{task_id}", "runs:read"),
    ("get", "/api/v1/task-runs/{task_id}/result", "runs:read"),
    ("post", "/api/v1/task-runs/{task_id}/retry", "runs:control"),
    ("post", "/api/v1/task-runs/{task_id}/revoke", "runs:control"),
    ("get", "/api/v1/tasks", "tasks:read"),
    ("post", "/api/v1/tasks", "tasks:send"),
    ("get", "/api/v1/tasks/{name}", "tasks:read"),
    ("post", "/api/v1/tasks/{name}/send", "tasks:send"),
    ("get", "/api/v1/users", "users:manage"),
    ("post", "/api/v1/users", "users:manage"),
    ("get", "/api/v1/users/{id}", "users:manage"),
    ("patch", "/api/v1/users/{id}", "users:manage"),
    ("delete", "/api/v1/users/{id}", "users:manage"),
    ("get", "/api/v1/workers", "workers:read"),
    ("post", "/api/v1/workers/control", "workers:control"),
    ("get", "/api/v1/workers/inspect/{command}", "workers:read"),
    ("post", "/api/v1/workers/{name}/drain", "workers:control"),
    ("post", "/api/v1/workflows", "tasks:send"),
];

/// Operations for which nobody needs to be known.
const OPEN: &[&str] = &[
    "/api/v1/auth/forgot",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/reset",
    "/health",
    "/health/live",
    "/health/ready",
    "/metrics",
];

/// The least role for each scope, and whether a key can have it.
const SCOPES: &[(&str, &str, bool)] = &[
    ("account", "viewer", false),
    ("audit:read", "admin", true),
    ("dead-letters:control", "operator", true),
    ("dead-letters:read", "viewer", true),
    ("mail:control", "operator", true),
    ("mail:read", "operator", true),
    ("nothing", "viewer", true),
    ("queues:control", "operator", true),
    ("queues:read", "viewer", true),
    ("runs:control", "operator", true),
    ("runs:read", "viewer", true),
    ("schedules:control", "operator", true),
    ("schedules:read", "viewer", true),
    ("tasks:read", "viewer", true),
    ("tasks:send", "operator", true),
    ("users:manage", "admin", false),
    ("workers:control", "operator", true),
    ("workers:read", "viewer", true),
];

const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// Asks so that whoever is let in does no harm: what has a body gets one that is refused.
fn ask(caller: &Caller, method: &str, path: &str, has_body: bool) -> u16 {
    let path = path
        .replace("{id}", "00000000-0000-0000-0000-000000000000")
        .replace("{task_id}", "none")
        .replace("{command}", "ping?timeout=0")
        .replace("{name}", "none")
        .replace("/stream", "/stream?seconds=0")
        .replace("/stream?seconds=0-tickets", "/stream-tickets");
    let body = if has_body { "[]" } else { "" };
    let ndjson = [("Content-Type", "application/x-ndjson")];
    let headers: &[(&str, &str)] = if path.ends_with("task-batches") {
        &ndjson
    } else {
        &[]
    };
    caller
        .send(&method.to_uppercase(), &path, headers, body)
        .status
}

#[test]
fn every_operation_is_guarded_as_the_table_says() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let document = api.nobody().get("/openapi.json").json();
    let mut bodies = BTreeMap::new();
    let mut found = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        // Those of single tasks are the one with the name filled in.
        if path.starts_with("/api/v1/tasks/demo.") {
            continue;
        }
        for (method, operation) in item.as_object().unwrap() {
            let scope = operation["security"][0]["bearer"][0].as_str();
            if scope.is_none() {
                assert!(
                    OPEN.contains(&path.as_str()),
                    "{method} {path} is open to all"
                );
                continue;
            }
            bodies.insert(
                (method.clone(), path.clone()),
                operation.get("requestBody").is_some(),
            );
            found.insert((method.as_str(), path.as_str(), scope.unwrap_or_default()));
        }
    }
    let table: BTreeSet<_> = TABLE.iter().copied().collect();
    assert_eq!(found, table, "the document and the table");
    let has_body = |method: &str, path: &str| bodies[&(method.to_owned(), path.to_owned())];

    for (method, path, _) in TABLE {
        let body = has_body(method, path);
        assert_eq!(
            ask(&api.nobody(), method, path, body),
            401,
            "{method} {path}"
        );
        assert_eq!(
            ask(&api.with_token("lvg_x_y"), method, path, body),
            401,
            "{method} {path}"
        );
    }
    let scope_of = |scope: &str| *SCOPES.iter().find(|(name, _, _)| *name == scope).unwrap();
    let rank = |role: &str| ROLES.iter().position(|known| *known == role).unwrap();
    for role in ROLES {
        let person = api.somebody(role);
        for (method, path, scope) in TABLE {
            let allowed = rank(role) >= rank(scope_of(scope).1);
            check(&person, method, path, has_body(method, path), allowed, role);
        }
        // A key of this role's for each scope that it can have.
        for (scope, least, for_keys) in SCOPES {
            if !for_keys || *scope == "nothing" || rank(role) < rank(least) {
                continue;
            }
            let key = person.key(&json!({"name": scope, "scopes": [scope]}));
            for (method, path, needed) in TABLE {
                let allowed = needed == scope || *needed == "nothing";
                let who = format!("a key of a {role} with {scope}");
                check(&key, method, path, has_body(method, path), allowed, &who);
            }
        }
    }
}

#[track_caller]
fn check(caller: &Caller, method: &str, path: &str, body: bool, allowed: bool, who: &str) {
    let status = ask(caller, method, path, body);
    let let_in = status != 401 && status != 403;
    assert_eq!(
        let_in, allowed,
        "{method} {path} as {who} answered {status}"
    );
    assert!(status < 500, "{method} {path} as {who} answered {status}");
}

#[test]
fn a_key_can_do_no_more_than_its_owner_who_lost_a_role() {
    let redis = RedisServer::start();
    let api = ApiServer::on(&redis);
    let admin = api.admin();
    let operator = api.somebody("operator");
    let key = operator.key(&json!({"name": "k", "scopes": ["tasks:send"]}));
    let call = json!({"task": "demo.add", "args": [1, 2]});
    assert_eq!(key.post("/api/v1/tasks", &call).status, 202);
    let me = operator.get("/api/v1/auth/me").json();
    let path = format!("/api/v1/users/{}", me["id"].as_str().unwrap());
    let demoted: Value = admin
        .change("PATCH", &path, &json!({"role": "viewer"}))
        .json();
    assert_eq!(demoted["role"], "viewer");
    assert_eq!(key.post("/api/v1/tasks", &call).status, 403);
}
