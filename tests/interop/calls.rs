//! A Python producer calls Rust tasks and reads their results.

use lovage_integration_tests::Stage;
use serde_json::json;

#[test]
fn python_gets_the_result_of_a_rust_task() {
    let mut stage = Stage::new();
    assert_eq!(
        stage.eval(r#"app.send_task("demo.add", (2, 3)).get(timeout=10)"#),
        5
    );
}

#[test]
fn arguments_may_be_positional_named_or_mixed() {
    let mut stage = Stage::new();
    let results = stage.python.run(
        r#"
        positional = app.send_task("demo.echo", (1, "two", None, [3.5, {"a": True}]))
        named = app.send_task("demo.echo", kwargs={"x": 1, "y": "zwei \u00e9 \U0001F33F"})
        mixed = app.send_task("demo.echo", (1,), {"y": [2]})
        answer([r.get(timeout=10) for r in (positional, named, mixed)])
        "#,
    );
    assert_eq!(
        results,
        json!([
            [[1, "two", null, [3.5, {"a": true}]], {}],
            [[], {"x": 1, "y": "zwei é 🌿"}],
            [[1], {"y": [2]}],
        ])
    );
}

#[test]
fn named_arguments_reach_a_typed_task_in_any_order() {
    let mut stage = Stage::new();
    let results = stage.python.run(
        r#"
        calls = [((7,), {"y": 6}), ((), {"y": 6, "x": 7}), ((7, 6), {})]
        answer([app.send_task("demo.mul", a, k).get(timeout=10) for a, k in calls])
        "#,
    );
    assert_eq!(results, json!([42, 42, 42]));
}

#[test]
fn wrong_arguments_are_a_type_error_in_python() {
    let mut stage = Stage::new();
    let outcomes = stage.python.run(
        r#"
        def outcome(args, kwargs=None):
            try:
                return app.send_task("demo.add", args, kwargs).get(timeout=10)
            except TypeError as error:
                return ["TypeError", bool(str(error))]
        answer([
            outcome((2,)),                    # one too few
            outcome((2, 3, 4)),               # one too many
            outcome((2, 3), {"z": 1}),        # unknown name
            outcome((2, 3), {"x": 1}),        # given twice
            outcome(("a", 3)),                # of another type
            outcome((None, 3)),               # missing by value
            outcome((2, 3)),                  # and the worker goes on
        ])
        "#,
    );
    let refused = json!(["TypeError", true]);
    assert_eq!(
        outcomes,
        json!([refused, refused, refused, refused, refused, refused, 5])
    );
}

#[test]
fn a_group_of_a_hundred_comes_back_in_order() {
    let mut stage = Stage::new();
    let sums = stage.python.run(
        r#"
        from celery import group
        sums = group(app.signature("demo.add", (i, i)) for i in range(100)).apply_async().get(timeout=20)
        answer(sums == [2 * i for i in range(100)])
        "#,
    );
    assert_eq!(sums, true);
}

#[test]
fn ignored_results_are_not_stored_and_the_task_runs() {
    let mut stage = Stage::new();
    let id = stage.eval(r#"app.send_task("demo.add", (2, 3), ignore_result=True).id"#);
    let id = id.as_str().expect("an id is text").to_owned();
    // One after it on the same queue: once that has ended, the first has ended too.
    stage
        .python
        .run(r#"app.send_task("demo.add", (2, 3)).get(timeout=10)"#);
    lovage_integration_tests::eventually("the queue to be done with", || {
        stage.redis.unacked() == 0
    });
    assert_eq!(stage.redis.state(&id), "PENDING");
}

#[test]
fn a_forgotten_result_is_gone() {
    let mut stage = Stage::new();
    let state = stage.python.run(
        r#"
        result = app.send_task("demo.add", (2, 3))
        result.get(timeout=10)
        result.forget()
        answer(app.AsyncResult(result.id).state)
        "#,
    );
    assert_eq!(state, "PENDING");
}

#[test]
fn both_pools_answer() {
    for pool in ["async", "threads"] {
        let mut stage = Stage::with(|worker| worker.pool(pool).concurrency(2));
        let sums =
            stage.eval(r#"[app.send_task("demo.add", (i, 1)).get(timeout=10) for i in range(5)]"#);
        assert_eq!(sums, json!([1, 2, 3, 4, 5]), "pool {pool}");
    }
}

#[test]
fn rust_and_python_workers_serve_their_own_queues_of_one_broker() {
    let mut stage = Stage::with(|worker| worker.queues("rust"));
    let _python_worker = lovage_integration_tests::PythonWorker::on(&stage.redis);
    let results = stage.python.run(
        r#"
        pairs = [(app.send_task("demo.add", (i, 1), queue="rust"), app.send_task("py.add", (i, 2))) for i in range(10)]
        answer([[a.get(timeout=10), b.get(timeout=10)] for a, b in pairs])
        "#,
    );
    assert_eq!(
        results,
        json!((0..10).map(|i| [i + 1, i + 2]).collect::<Vec<_>>())
    );
}
