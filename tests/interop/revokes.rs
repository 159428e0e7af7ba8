//! Revoking, as Python sees it.

use lovage_integration_tests::{PythonWorker, RedisServer, Stage, TaskMessage, lovage};
use serde_json::json;

fn revoke(redis: &RedisServer, words: &[&str]) {
    let all: Vec<&str> = std::iter::once("revoke")
        .chain(words.iter().copied())
        .collect();
    let output = lovage(redis, &all);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
}

#[test]
fn python_sees_a_revoked_task_as_celery_shows_it() {
    let mut stage = Stage::new();
    let id = stage.python.run(
        r#"
        result = app.send_task("demo.add", (2, 3), countdown=3600)
        answer(result.id)
        "#,
    );
    let id = id.as_str().expect("an id").to_owned();
    revoke(&stage.redis, &[&id]);
    let seen = stage.python.run(&format!(
        r#"
        from celery.exceptions import TaskRevokedError
        result = app.AsyncResult("{id}")
        try:
            result.get(timeout=15)
        except TaskRevokedError as error:
            answer([result.state, str(error)])
        "#
    ));
    assert_eq!(seen, json!(["REVOKED", "revoked"]));
}

#[test]
fn python_workers_hear_of_it_too() {
    let redis = RedisServer::start();
    let mut worker = PythonWorker::on(&redis);
    let doomed = TaskMessage::new("py.add", &json!([2, 3]), &json!({}));
    let stamped = TaskMessage::new("py.add", &json!([2, 3]), &json!({}))
        .set("headers.stamped_headers", json!(["customer"]))
        .set("headers.stamps", json!({"customer": "acme"}));
    let good = TaskMessage::new("py.add", &json!([2, 3]), &json!({}));
    revoke(&redis, &[&doomed.id, "--stamp", "customer=acme"]);
    worker
        .process()
        .wait_for("flagged as revoked", std::time::Duration::from_secs(15));
    // The stamps come right behind the ids, and requests are served in their order.
    let mut python = lovage_integration_tests::Python::on(&redis);
    python.run("answer(app.control.ping(timeout=3) and None)");
    for message in [&doomed, &stamped, &good] {
        redis.publish("celery", message);
    }
    redis.wait_for_state(&doomed.id, "REVOKED");
    redis.wait_for_state(&stamped.id, "REVOKED");
    redis.wait_for_state(&good.id, "SUCCESS");
}
