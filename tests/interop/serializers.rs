//! msgpack, YAML and pickle between Lovage and real Celery, both ways; options of tasks by annotation.

use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, Python, PythonWorker, RedisServer, Stage, client_at, dead_letters, eventually,
};
use lovage_protocol::{Map, Value as Plain};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(15);
const ALL: &str = "json,msgpack,application/x-yaml,pickle";

#[test]
fn what_python_sends_in_any_accepted_serializer_arrives_as_it_was() {
    let mut stage = Stage::with(|worker| worker.variable("CELERY_ACCEPT_CONTENT", ALL));
    let same = stage.python.run(
        r#"
        import collections, datetime as dt, decimal, uuid
        plain = [1, -5, 2**63, 1.5, "ü", None, True, [1, [2]], {"k": {"d": []}}]
        moment = dt.datetime(2024, 2, 29, 12, 30, 15, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
        sent = {
            "json": plain + [10**40, b"\xff\x00", moment, dt.time(1, 2), decimal.Decimal("1.50"), uuid.UUID(int=5)],
            "msgpack": plain + [b"\xff\x00"],
            "yaml": plain + [10**40, b"\xff\x00", moment, dt.date(2024, 2, 29), float("inf"), "yes", "1:30", "a\nb"],
            "pickle": plain + [10**40, b"\xff\x00", moment, dt.time(1, 2), decimal.Decimal("1.50"), uuid.UUID(int=5)],
        }
        def echo(serializer):
            args, kwargs = app.send_task("demo.echo", sent[serializer], {"k": "v"}, serializer=serializer).get(timeout=10)
            return args == sent[serializer] and kwargs == {"k": "v"}
        answer({serializer: echo(serializer) for serializer in sent})
        "#,
    );
    assert_eq!(
        same,
        json!({"json": true, "msgpack": true, "yaml": true, "pickle": true})
    );
}

/// Python itself cannot write a signature in YAML.
#[test]
fn workflows_that_python_sends_in_msgpack_or_pickle_run_on() {
    let mut stage = Stage::with(|worker| worker.variable("CELERY_ACCEPT_CONTENT", ALL));
    let results = stage.python.run(
        r#"
        from celery import chain, chord, group
        def add(*args): return app.signature("demo.add", args=args)
        def workflow(serializer):
            steps = chain(add(1, 2), add(10), add(100)).apply_async(serializer=serializer).get(timeout=10)
            parts = [add(1, 2).set(serializer=serializer), add(3, 4).set(serializer=serializer)]
            body = app.signature("demo.echo").set(serializer=serializer)
            return [steps, chord(parts)(body).get(timeout=10)[0]]
        answer([workflow(serializer) for serializer in ["msgpack", "pickle"]])
        "#,
    );
    assert_eq!(results, json!([[113, [[3, 7]]], [113, [[3, 7]]]]));
}

#[test]
fn a_retry_keeps_the_serializer_that_its_message_came_in() {
    let mut stage = Stage::with(|worker| worker.variable("CELERY_ACCEPT_CONTENT", ALL));
    let results = stage.python.run(
        r#"
        def retried(serializer):
            return app.send_task("demo.retry_then_succeed", (1, 0.0), serializer=serializer).get(timeout=10)
        answer([retried(serializer) for serializer in ["json", "msgpack", "yaml", "pickle"]])
        "#,
    );
    let results = results.as_array().expect("a list");
    assert!(results.iter().all(|one| *one == results[0]), "{results:?}");
}

/// One test for both: the store guard, Python's reading, chords whose members are counted in the serializer of results.
#[test]
fn results_in_msgpack_and_yaml_are_read_by_python_and_a_success_stays() {
    for serializer in ["msgpack", "yaml"] {
        let redis = RedisServer::start();
        let mut worker = LovageWorker::builder(&redis)
            .variable("CELERY_RESULT_SERIALIZER", serializer)
            .launch();
        let settings = json!({
            "result_serializer": serializer,
            "accept_content": ["json", "msgpack", "yaml"],
        });
        let mut python = Python::with_settings(&redis, &settings);
        worker.wait_for("ready");
        let seen = python.run(
            r#"
            from celery import chord
            sum = app.send_task("demo.add", (2, 3), task_id="twice").get(timeout=10)
            try:
                app.send_task("demo.fail", ("boom é",)).get(timeout=10)
            except Exception as error:
                failed = str(error)
            parts = [app.signature("demo.add", args=(n, n)) for n in range(3)]
            joined = chord(parts)(app.signature("demo.echo")).get(timeout=10)
            steps = app.send_task("demo.progress", (2, 0.0)).get(timeout=10)
            # A second run under the same id fails; the success stays.
            app.send_task("demo.fail", task_id="twice")
            app.send_task("demo.noop").get(timeout=10)
            answer([sum, failed, joined[0], app.AsyncResult("twice").get(timeout=10), app.AsyncResult("twice").state])
            "#,
        );
        assert_eq!(
            seen,
            json!([5, "boom é", [[0, 2, 4]], 5, "SUCCESS"]),
            "{serializer}"
        );
        let unwritable = python.run(
            r#"
            import datetime as dt
            try:
                app.send_task("demo.echo", (dt.time(1, 2),)).get(timeout=10)
            except Exception as error:
                answer([type(error).__name__, str(error)])
            "#,
        );
        let told = format!("{serializer} cannot hold a time");
        assert_eq!(unwritable, json!(["EncodeError", told]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_worker_reads_what_lovage_sends_in_msgpack_and_yaml() {
    let redis = RedisServer::start();
    let settings = json!({
        "accept_content": ["json", "msgpack", "yaml"],
        "result_serializer": "msgpack",
    });
    let _worker = PythonWorker::start(&redis, &["-P", "solo"], &settings);
    let client = client_at(&redis.url(), &redis.url())
        .await
        .expect("Redis can be reached");
    let mut map = Map::new();
    map.insert("yes".to_owned(), Plain::Bytes(vec![0xff, 0]));
    map.insert("k".repeat(200), Plain::Str("a\nb: 'ü' 😀".to_owned()));
    let values = Plain::List(vec![
        Plain::Int(i64::MIN),
        Plain::Float(1e100),
        Plain::Float(f64::INFINITY),
        Plain::Null,
        Plain::Str("1:30".to_owned()),
        Plain::Map(map),
        Plain::List(vec![]),
    ]);
    for serializer in ["msgpack", "yaml"] {
        let handle = client
            .send_task("py.echo")
            .arg(&values)
            .kwarg("k", &values)
            .serializer(serializer)
            .await
            .expect("it is sent");
        let echoed = handle.get(PATIENCE).await.expect("it succeeds");
        let args = echoed.get("args").and_then(Plain::as_list);
        assert_eq!(args, Some([values.clone()].as_slice()), "{serializer}");
        let kwargs = echoed.get("kwargs").and_then(|kwargs| kwargs.get("k"));
        assert_eq!(kwargs, Some(&values), "{serializer}");
    }
    let refused = client
        .send_task("py.echo")
        .arg(Plain::Time("01:02:03".to_owned()))
        .serializer("msgpack")
        .await;
    let refused = refused.expect_err("msgpack has no times").to_string();
    assert!(refused.contains("msgpack cannot hold a time"), "{refused}");
}

#[test]
fn a_pickle_that_would_run_code_is_a_dead_letter_and_runs_nothing() {
    let mut stage = Stage::with(|worker| worker.variable("CELERY_ACCEPT_CONTENT", ALL));
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("mark");
    stage.python.run(&format!(
        r#"
        import os
        class Evil:
            def __init__(self, call, *args): self.reduced = (call, args)
            def __reduce__(self): return self.reduced
        path = {:?}
        for evil in [Evil(os.system, "touch " + path), Evil(eval, "open(%r, 'w')" % path), Evil(open, path, "w")]:
            app.send_task("demo.echo", (evil,), serializer="pickle")
        answer(app.send_task("demo.add", (2, 3), serializer="pickle").get(timeout=10))
        "#,
        mark.to_str().expect("text")
    ));
    eventually("three dead letters", || {
        dead_letters(&stage.redis).len() == 3
    });
    let letters = dead_letters(&stage.redis);
    for letter in &letters {
        assert_eq!(letter.code, "undecodable");
        assert_eq!(letter.task.as_deref(), Some("demo.echo"));
    }
    for name in ["system", "eval", "open"] {
        let named = letters.iter().any(|letter| letter.detail.contains(name));
        assert!(named, "{name}: {letters:?}");
    }
    assert!(!mark.exists(), "nothing of it was run");
}

#[test]
fn what_is_not_accepted_is_a_dead_letter() {
    let mut stage = Stage::new();
    stage.python.run(
        r#"
        for serializer in ["msgpack", "yaml", "pickle"]:
            app.send_task("demo.add", (2, 3), serializer=serializer)
        answer(None)
        "#,
    );
    eventually("three dead letters", || {
        dead_letters(&stage.redis).len() == 3
    });
    assert!(
        dead_letters(&stage.redis)
            .iter()
            .all(|letter| letter.code == "content-type")
    );
}

#[test]
fn annotations_change_a_tasks_options_in_celerys_order() {
    let annotations = json!({
        "demo.sleep": {"time_limit": 0.2},
        "demo.add": {"ignore_result": true},
        "demo.retry_then_succeed": {"max_retries": 1000, "track_started": true},
        "*": {"max_retries": 1},
    });
    let mut stage =
        Stage::with(|worker| worker.variable("CELERY_TASK_ANNOTATIONS", &annotations.to_string()));
    let seen: Value = stage.python.run(
        r#"
        def outcome(name, *args):
            try:
                return app.send_task(name, args).get(timeout=10)
            except Exception as error:
                return type(error).__name__
        app.send_task("demo.add", (2, 3), task_id="ignored")
        late = outcome("demo.sleep", 30)
        retried = outcome("demo.retry_then_succeed", 2, 0.0)
        answer([late, retried, app.AsyncResult("ignored").state])
        "#,
    );
    let late = seen[0].as_str().expect("text");
    assert_eq!(late, "TimeLimitExceeded");
    assert!(
        seen[1].is_string(),
        "one retry is all that * allows: {seen}"
    );
    assert_eq!(seen[2], "PENDING");
}
