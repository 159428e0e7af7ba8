//! Failures of Rust tasks as Python meets them.

use lovage_integration_tests::{Stage, dead_letters};

#[test]
fn a_failing_task_raises_its_exception_in_python() {
    let mut stage = Stage::new();
    let seen = stage.python.run(
        r#"
        result = app.send_task("demo.fail", ("boom \u00e9",))
        error = result.get(timeout=10, propagate=False)
        try:
            result.get(timeout=10)
            raised = None
        except Exception as e:
            raised = e
        answer({"state": result.state, "text": str(error), "raised": type(raised) is type(error),
                "exception": isinstance(error, Exception), "traceback": isinstance(result.traceback, str)})
        "#,
    );
    assert_eq!(seen["state"], "FAILURE");
    assert!(
        seen["text"]
            .as_str()
            .is_some_and(|text| text.contains("boom é")),
        "{seen}"
    );
    assert_eq!(seen["raised"], true);
    assert_eq!(seen["exception"], true);
    assert_eq!(seen["traceback"], true);
}

#[test]
fn an_unknown_task_raises_not_registered_and_is_kept() {
    let mut stage = Stage::new();
    let raised = stage.python.run(
        r#"
        from celery.exceptions import NotRegistered
        result = app.send_task("no.such.task", (1,))
        try:
            result.get(timeout=10)
        except NotRegistered as error:
            answer([result.state, str(error), result.id])
        "#,
    );
    assert_eq!(raised[0], "FAILURE");
    assert!(
        raised[1]
            .as_str()
            .is_some_and(|text| text.contains("no.such.task")),
        "{raised}"
    );
    let letters = dead_letters(&stage.redis);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].task.as_deref(), Some("no.such.task"));
    let envelope: serde_json::Value =
        serde_json::from_slice(&letters[0].raw).expect("the letter is the message");
    assert_eq!(envelope["headers"]["id"], raised[2]);
}

#[test]
fn python_errbacks_of_a_rust_failure_are_called() {
    let mut stage = Stage::with(|worker| worker.queues("rust"));
    let _python_worker = lovage_integration_tests::PythonWorker::on(&stage.redis);
    let called = stage.python.run(
        r#"
        import time
        from celery import signature
        errback = signature("py.echo", queue="celery", app=app).set(task_id="the-errback")
        app.send_task("demo.fail", ("boom",), queue="rust", link_error=errback).get(timeout=10, propagate=False)
        answer(app.AsyncResult("the-errback").get(timeout=10)["args"])
        "#,
    );
    // One argument: the id of the failed task (an errback that is not registered by the worker gets the id alone).
    assert_eq!(called.as_array().map(Vec::len), Some(1), "{called}");
}

#[test]
fn rust_results_flow_through_chains_and_links_into_python() {
    let mut stage = Stage::with(|worker| worker.queues("rust"));
    let _python_worker = lovage_integration_tests::PythonWorker::on(&stage.redis);
    let value = stage.python.run(
        r#"
        from celery import chain, signature
        def step(name, *args, queue="celery"):
            return signature(name, args=args, queue=queue, app=app)
        workflow = chain(step("demo.add", 1, 2, queue="rust"), step("py.add", 10), step("demo.mul", 3, queue="rust"))
        answer(workflow.apply_async().get(timeout=15))
        "#,
    );
    assert_eq!(value, 39);
}
