//! What tasks of a user's own may do, seen from Python; the tasks are those of `src/bin/test-tasks.rs`.

use lovage_integration_tests::{
    LovageWorkerBuilder, PythonWorker, Stage, dead_letters, never_within,
};
use serde_json::json;
use std::time::Duration;

fn own(worker: LovageWorkerBuilder) -> LovageWorkerBuilder {
    worker
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .queues("rust")
}

const CALL: &str = r#"
def call(name, *args):
    return app.send_task("test." + name, args, queue="rust")
def outcome(name, *args):
    result = call(name, *args)
    value = result.get(timeout=15, propagate=False)
    return [result.state, type(value).__name__, str(value)]
"#;

#[test]
fn a_panic_is_a_failure_and_the_worker_goes_on() {
    for pool in ["async", "threads", "prefork"] {
        let mut stage = Stage::with(|worker| own(worker).pool(pool).concurrency(2));
        stage.python.run(CALL);
        let seen = stage.python.run(
            r#"
            outcomes = [outcome(name, "oh no") for name in ("panic", "panic_blocking") for _ in range(3)]
            answer({"outcomes": outcomes, "after": call("block", 0.01).get(timeout=10)})
            "#,
        );
        for outcome in seen["outcomes"].as_array().expect("a list") {
            assert_eq!(outcome[0], "FAILURE", "pool {pool}: {seen}");
            assert!(
                outcome[2]
                    .as_str()
                    .is_some_and(|text| text.contains("oh no")),
                "pool {pool}: {seen}"
            );
        }
        assert_eq!(seen["after"], 0.01);
        assert!(stage.worker.is_running());
    }
}

#[test]
fn blocking_tasks_do_not_block_the_others() {
    let mut stage = Stage::with(|worker| own(worker).concurrency(8));
    stage.python.run(CALL);
    let seen = stage.python.run(
        r#"
        import time
        started = time.time()
        results = [call("block", 1.0) for _ in range(6)]
        quick = outcome("refuse", 1, "x")
        quick_after = time.time() - started
        values = [r.get(timeout=15) for r in results]
        answer([quick[0], quick_after < 0.9, values == [1.0] * 6, time.time() - started < 4])
        "#,
    );
    assert_eq!(seen, json!(["FAILURE", true, true, true]));
}

#[test]
fn exceptions_of_the_application_are_raised_as_their_class() {
    let mut stage = Stage::with(own);
    stage.python.run(CALL);
    let seen = stage.python.run(
        r#"
        import sys
        Refused = sys.modules["app"].Refused
        try:
            call("refuse", 42, "full").get(timeout=10)
        except Refused as error:
            answer(list(error.args))
        "#,
    );
    assert_eq!(seen, json!([42, "full"]));
}

#[test]
fn retries_that_run_out_raise_their_cause() {
    let mut stage = Stage::with(own);
    stage.python.run(CALL);
    let seen = stage.python.run(
        r#"
        states = []
        result = call("always_retries")
        try:
            result.get(timeout=20, on_message=lambda message: states.append(message["status"]))
        except KeyError as error:
            answer([result.state, list(error.args), states.count("RETRY")])
        "#,
    );
    assert_eq!(seen, json!(["FAILURE", ["lost"], 2]));
}

#[test]
fn an_ignored_task_leaves_nothing() {
    let mut stage = Stage::with(own);
    stage.python.run(CALL);
    let id = stage.eval(r#"call("ignore").id"#);
    stage.eval(r#"call("block", 0).get(timeout=10)"#);
    let id = id.as_str().expect("an id is text").to_owned();
    never_within(Duration::from_millis(300), "something is stored", || {
        stage.redis.state(&id) != "PENDING"
    });
    assert_eq!((stage.redis.unacked(), stage.redis.depth("rust")), (0, 0));
    assert!(dead_letters(&stage.redis).is_empty());
}

#[test]
fn a_rejected_task_is_answered_and_kept() {
    let mut stage = Stage::with(own);
    stage.python.run(CALL);
    let seen = stage.python.run(r#"answer(outcome("reject"))"#);
    assert_eq!(
        (&seen[0], &seen[1]),
        (&json!("FAILURE"), &json!("Reject")),
        "{seen}"
    );
    let letters = dead_letters(&stage.redis);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(
        (letters[0].code.as_str(), letters[0].task.as_deref()),
        ("rejected", Some("test.reject"))
    );
}

#[test]
fn a_task_sent_by_a_task_knows_its_parent_and_its_root() {
    let mut stage = Stage::with(own);
    let _python_worker = PythonWorker::on(&stage.redis);
    stage.python.run(CALL);
    let seen = stage.python.run(
        r#"
        parent = call("parent", "celery")
        child_id = parent.get(timeout=10)
        child = app.AsyncResult(child_id).get(timeout=10)
        answer([child["parent_id"] == parent.id, child["root_id"] == parent.id, [c.id for c in parent.children] == [child_id]])
        "#,
    );
    assert_eq!(seen, json!([true, true, true]));
}

#[test]
fn a_lost_child_process_is_pythons_worker_lost_error() {
    let mut stage = Stage::with(|worker| {
        own(worker)
            .pool("prefork")
            .concurrency(1)
            .variable("CELERY_TASK_REJECT_ON_WORKER_LOST", "0")
    });
    stage.python.run(CALL);
    let seen = stage.python.run(
        r#"
        from billiard.exceptions import TimeLimitExceeded, WorkerLostError
        seen = []
        try:
            call("exit", 3).get(timeout=15)
        except WorkerLostError as lost:
            seen.append(str(lost))
        try:
            app.send_task("test.block", (60,), queue="rust", time_limit=1).get(timeout=15)
        except TimeLimitExceeded as over:
            seen.append(list(over.args))
        seen.append(call("block", 0.01).get(timeout=15))
        answer(seen)
        "#,
    );
    assert_eq!(
        seen,
        json!(["Worker exited prematurely: exitcode 3 Job: 0.", [1], 0.01])
    );
}

#[test]
fn the_soft_and_hard_limit_of_a_message_end_its_task() {
    let mut stage = Stage::with(|worker| worker.queues("rust"));
    let seen = stage.python.run(
        r#"
        def outcome(**limits):
            result = app.send_task("demo.sleep", (20,), queue="rust", **limits)
            error = result.get(timeout=15, propagate=False)
            return [result.state, type(error).__name__]
        answer([outcome(time_limit=1), outcome(soft_time_limit=1, time_limit=5)])
        "#,
    );
    assert_eq!(
        seen,
        json!([
            ["FAILURE", "TimeLimitExceeded"],
            ["FAILURE", "SoftTimeLimitExceeded"]
        ])
    );
}
