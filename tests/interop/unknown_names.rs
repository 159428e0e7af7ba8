//! Tasks that a Lovage worker does not know, beside Python workers that may.

use lovage_integration_tests::{
    LovageWorker, Python, PythonWorker, RedisServer, TaskMessage, dead_letters,
};
use serde_json::json;

#[test]
fn a_task_that_only_python_knows_is_forwarded_to_its_queue() {
    let redis = RedisServer::start();
    let _python = PythonWorker::start(&redis, &["-Q", "python"], &json!({}));
    let _worker = LovageWorker::builder(&redis)
        .variable("LOVAGE_FORWARD_UNKNOWN", "python")
        .start();
    let mut producer = Python::on(&redis);
    let sum = producer.eval(r#"app.send_task("py.add", (2, 3)).get(timeout=15)"#);
    assert_eq!(sum, 5);
    // A retry goes where its routing key says, so it stays with Python.
    let again = producer.eval(r#"app.send_task("py.retry_once", ("x",)).get(timeout=15)"#);
    assert_eq!(again, json!(["x", 1]));
    assert_eq!(dead_letters(&redis).len(), 0);
}

#[test]
fn a_task_that_nobody_knows_is_not_forwarded() {
    let redis = RedisServer::start();
    let _python = PythonWorker::start(&redis, &["-Q", "python"], &json!({}));
    let _worker = LovageWorker::builder(&redis)
        .variable("LOVAGE_FORWARD_UNKNOWN", "python")
        .start();
    let message = TaskMessage::new("nobody.knows", &json!([]), &json!({}));
    redis.publish("celery", &message);
    let record = redis.wait_for_state(&message.id, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "NotRegistered");
    assert_eq!(dead_letters(&redis)[0].code, "unknown-task");
    assert_eq!(redis.depth("python"), 0);
}

#[test]
fn an_unknown_task_waits_out_its_grace_for_a_worker_that_knows_it() {
    let redis = RedisServer::start();
    let grace = |worker: lovage_integration_tests::LovageWorkerBuilder| {
        worker.variable("LOVAGE_UNKNOWN_GRACE", "30s")
    };
    let mut ignorant = grace(LovageWorker::builder(&redis).hostname("ignorant@%h")).start();
    let message = TaskMessage::new("test.block", &json!([0.01]), &json!({}));
    redis.publish("celery", &message);
    ignorant.wait_for("waits for a worker that registers it");
    let _knowing = grace(
        LovageWorker::builder(&redis)
            .hostname("knowing@%h")
            .program(env!("CARGO_BIN_EXE_test-tasks")),
    )
    .start();
    let record = redis.wait_for_state(&message.id, "SUCCESS");
    assert_eq!(record["result"], 0.01);
    assert_eq!(dead_letters(&redis).len(), 0);
}
