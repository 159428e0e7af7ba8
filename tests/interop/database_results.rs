//! Results in a database that Celery and Lovage share: each reads what the other writes, and chords end there too.

use std::time::Duration;

use lovage_client::canvas;
use lovage_integration_tests::{
    LovageWorker, Python, PythonWorker, RedisServer, ResultDatabase, client_at,
};
use lovage_protocol::{Map, Signature, TaskId, Value as Wire};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

const SENDER: &str = r#"
from celery import chain, chord, group, signature
from celery.result import GroupResult

def add(*args, **options):
    return signature("demo.add", args=args, app=app, options=options)

echo = signature("demo.echo", app=app)

def outcome(result):
    try:
        return result.get(timeout=30, **({} if isinstance(result, GroupResult) else {"follow_parents": False}))
    except Exception as error:
        return [type(error).__name__, str(error)]
"#;

/// The parts end in the order of the fields.
struct Cast {
    python: Python,
    _worker: LovageWorker,
    redis: RedisServer,
    database: ResultDatabase,
}

impl Cast {
    /// A Lovage worker and a Python producer; both are set to the same.
    fn new(database: ResultDatabase, variables: &[(&str, &str)], settings: &Value) -> Self {
        let redis = RedisServer::start();
        let mut worker = LovageWorker::at(&redis.url(), database.url())
            .variable("CELERY_RESULT_CHORD_RETRY_INTERVAL", "0.2");
        for (name, value) in variables {
            worker = worker.variable(name, value);
        }
        let mut worker = worker.launch();
        let mut python = Python::start(&redis.url(), database.url(), settings);
        python.run(SENDER);
        worker.wait_for("ready");
        Self {
            python,
            _worker: worker,
            redis,
            database,
        }
    }

    fn plain(database: ResultDatabase) -> Self {
        Self::new(database, &[], &json!({}))
    }

    fn eval(&mut self, expression: &str) -> Value {
        self.python.eval(expression)
    }

    /// A Celery worker on the same database.
    fn celery(&self, flags: &[&str]) -> PythonWorker {
        let settings =
            json!({"result_backend": self.database.url(), "result_chord_retry_interval": 0.2});
        let flags = [&["-P", "solo"], flags].concat();
        PythonWorker::start(&self.redis, &flags, &settings)
    }
}

/// Runs each behaviour on both databases.
macro_rules! on_both {
    ($($behaviour:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $behaviour() {
                super::$behaviour(super::ResultDatabase::sqlite());
            })+
        }
        mod postgres {
            $(#[test]
            fn $behaviour() {
                super::$behaviour(super::ResultDatabase::postgres());
            })+
        }
    };
}

on_both!(
    python_reads_what_lovage_stores,
    an_extended_result_tells_how_it_came_about,
    lovage_reads_what_python_stores,
    tables_may_be_made_by_either,
    saved_groups_are_read_by_both,
    a_chord_of_python_ends_at_lovage,
    a_chord_of_lovage_ends_at_python,
    a_failed_header_fails_the_body,
    either_worker_may_wait_for_a_header_of_both,
    results_that_are_old_are_deleted_by_a_task,
);

fn python_reads_what_lovage_stores(database: ResultDatabase) {
    let mut cast = Cast::new(database, &[("CELERY_TASK_TRACK_STARTED", "1")], &json!({}));
    assert_eq!(cast.eval("outcome(add(2, 3).apply_async())"), 5);
    let failed = cast.eval(
        r#"(lambda result: [outcome(result), result.state, "RuntimeError" in result.traceback])(signature("demo.fail", args=("no é",), app=app).apply_async())"#,
    );
    assert_eq!(failed, json!([["RuntimeError", "no é"], "FAILURE", true]));
    let chained = cast.eval(
        "(lambda last: [outcome(last), [child.id for child in app.AsyncResult(last.parent.id).children] == [last.id]])(chain(add(1, 1), add(5)).apply_async())",
    );
    assert_eq!(chained, json!([7, true]));
    let started = cast.eval(
        r#"(lambda result: [state for state in iter(lambda: result.state, "SUCCESS")][-1])(signature("demo.sleep", args=(1,), app=app).apply_async())"#,
    );
    assert_eq!(started, "STARTED");
    let progress = cast.eval(
        r#"(lambda result: [outcome(result), result.date_done is not None])(signature("demo.progress", args=(2,), app=app).apply_async())"#,
    );
    assert_eq!(progress[1], true, "{progress}");
    let forgotten = cast.eval(
        "(lambda result: [outcome(result), result.forget(), result.state])(add(1, 1).apply_async())",
    );
    assert_eq!(forgotten, json!([2, null, "PENDING"]));
}

fn an_extended_result_tells_how_it_came_about(database: ResultDatabase) {
    let mut cast = Cast::new(
        database,
        &[("CELERY_RESULT_EXTENDED", "1")],
        &json!({"result_extended": true}),
    );
    let told = cast.eval(
        "(lambda r: [outcome(r), r.name, r.args, r.kwargs, r.worker.split('@')[0], r.retries, r.queue])(add(2, 3).apply_async())",
    );
    assert_eq!(
        told,
        json!([5, "demo.add", [2, 3], {}, "lovage", 0, "celery"])
    );
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "each behaviour has a database of its own"
)]
fn lovage_reads_what_python_stores(database: ResultDatabase) {
    let redis = RedisServer::start();
    let settings = json!({"result_backend": database.url(), "result_extended": true});
    let _worker = PythonWorker::start(&redis, &["-P", "solo"], &settings);
    let told = block_on(async {
        let client = client_at(&redis.url(), database.url())
            .await
            .expect("both can be reached");
        let sum = client.send_task("py.add").args((2, 3)).returning::<i64>();
        let sum = sum.await.expect("it is sent").get(PATIENCE).await;
        let failed = client.send_task("py.fail").args(("no",)).await;
        let failed = failed.expect("it is sent").wait(PATIENCE).await;
        (sum, failed)
    });
    assert_eq!(told.0.expect("it succeeds"), 5);
    let failed = told.1.expect("it ends");
    assert_eq!(failed.status.as_str(), "FAILURE");
    assert_eq!(failed.result.get("exc_type"), Some(&"ValueError".into()));
    assert!(
        failed.traceback.expect("it has one").contains("py.fail") || failed.date_done.is_some()
    );
    let extended = failed.extended.expect("its worker adds it");
    assert_eq!(extended.name.as_deref(), Some("py.fail"));
    assert_eq!(extended.args, Wire::List(vec!["no".into()]));
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "each behaviour has a database of its own"
)]
fn tables_may_be_made_by_either(database: ResultDatabase) {
    let redis = RedisServer::start();
    let mut python = Python::start(&redis.url(), database.url(), &json!({}));
    python.run(r#"app.backend.store_result("of-python", 1, "SUCCESS")"#);
    block_on(async {
        let client = client_at(&redis.url(), database.url())
            .await
            .expect("both can be reached");
        let handle = client.handle::<i64>(TaskId::from("of-python"));
        let meta = handle.meta().await.expect("it can be asked");
        let mut meta = meta.expect("Python has stored it");
        meta.task_id = TaskId::from("of-lovage");
        client.results().store(&meta).await.expect("it is stored");
        // What has succeeded stays.
        meta.task_id = TaskId::from("of-python");
        meta.result = 2.into();
        client
            .results()
            .store(&meta)
            .await
            .expect("it is refused silently");
    });
    let seen = python.eval(r#"[app.AsyncResult("of-lovage").get(timeout=5), app.AsyncResult("of-python").get(timeout=5)]"#);
    assert_eq!(seen, json!([1, 1]));
    python.run(r#"app.backend.store_result("of-lovage", "late", "FAILURE")"#);
    let seen = python.eval(r#"app.backend.get_task_meta("of-lovage", cache=False)["status"]"#);
    assert_eq!(seen, "SUCCESS");
}

fn saved_groups_are_read_by_both(database: ResultDatabase) {
    let mut cast = Cast::plain(database);
    let saved = cast.python.run(
        r#"
        sent = group(add(1, 1), add(2, 2)).apply_async()
        sent.get(timeout=30)
        sent.save()
        answer([sent.id, sent.as_tuple()])
        "#,
    );
    let id = saved[0].as_str().expect("a group has an id").to_owned();
    let of_python = block_on(async {
        let client = client_at(&cast.redis.url(), cast.database.url())
            .await
            .expect("both can be reached");
        let results = client.results();
        let found = results.load_group(&results.group_key(&id)).await;
        let found = found.expect("it can be asked").expect("it is saved");
        results
            .save_group("of-lovage", &found)
            .await
            .expect("it is saved");
        found
    });
    assert_eq!(
        of_python.to_json(),
        Wire::from_json(saved[1].to_string().as_bytes())
            .expect("JSON")
            .to_json()
    );
    assert_eq!(
        cast.eval(r#"GroupResult.restore("of-lovage", app=app).get(timeout=5)"#),
        json!([2, 4])
    );
}

fn a_chord_of_python_ends_at_lovage(database: ResultDatabase) {
    let mut cast = Cast::plain(database);
    for (sent, expected) in [
        (
            "chord([add(1, 1), add(2, 2), add(3, 3)])(echo)",
            json!([[[2, 4, 6]], {}]),
        ),
        (
            "(group(add(1, 1), add(2, 2)) | echo | echo).apply_async()",
            json!([[[[[2, 4]], {}]], {}]),
        ),
        (
            "chord([chain(add(1, 0), group(add(2), add(3))), add(3, 3)])(echo)",
            json!([[[[3, 4], 6]], {}]),
        ),
        (
            "chain(add(1, 1), group(add(1), chain(add(2), add(3))), echo).apply_async()",
            json!([[[3, 7]], {}]),
        ),
        (
            "chord([chord([add(1, 1), add(2, 2)], echo), add(3, 3)], echo)()",
            json!([[[[[[2, 4]], {}], 6]], {}]),
        ),
        (
            "chord([add(1, 1), add(2, 2)])(group(echo, echo))",
            json!([[[[2, 4]], {}], [[[2, 4]], {}]]),
        ),
    ] {
        assert_eq!(cast.eval(&format!("outcome({sent})")), expected, "{sent}");
    }
}

fn a_failed_header_fails_the_body(database: ResultDatabase) {
    let mut cast = Cast::plain(database);
    let failed = cast.eval(
        r#"outcome(chord([add(2, 2), signature("demo.fail", args=("no",), app=app, task_id="bad")])(echo))"#,
    );
    assert_eq!(
        failed,
        json!(["ChordError", "Dependency bad raised RuntimeError('no')"])
    );
    let deeper = cast.eval(
        r#"outcome((chord([chord([signature("demo.fail", args=("no",), app=app), add(1, 1)], echo), add(2, 2)], echo) | echo).apply_async())"#,
    );
    assert_eq!(deeper[0], "ChordError", "{deeper}");
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "each behaviour has a database of its own"
)]
fn a_chord_of_lovage_ends_at_python(database: ResultDatabase) {
    let redis = RedisServer::start();
    let settings = json!({"result_backend": database.url(), "result_chord_retry_interval": 0.2});
    let _worker = PythonWorker::start(&redis, &["-P", "solo"], &settings);
    let call = |name: &str, args: Vec<Wire>| Signature::new(name, args, Map::new());
    let add = |x: i64, y: i64| call("py.add", vec![x.into(), y.into()]);
    let pair = canvas::group([add(2, 2), add(3, 3)]);
    let chord = canvas::chord([add(1, 1), pair], &call("py.echo", Vec::new()));
    let meta = block_on(async {
        let client = client_at(&redis.url(), database.url())
            .await
            .expect("both can be reached");
        let plan = client.apply(&chord).await.expect("it is sent");
        let id = plan.id().expect("a chord has the id of its body");
        client.handle::<Wire>(id).wait(PATIENCE).await
    });
    let result = meta.expect("it ends").result.to_json();
    let result: Value = serde_json::from_str(&result).expect("JSON");
    assert_eq!(result["args"], json!([[2, 4, 6]]));
}

fn either_worker_may_wait_for_a_header_of_both(database: ResultDatabase) {
    let mut cast = Cast::new(database, &[], &json!({}));
    // Each consumes a queue of its own; the body's says who waits.
    let _celery = cast.celery(&["-Q", "python"]);
    let header =
        r#"[add(1, 1), signature("py.add", args=(2, 2), app=app, options={"queue": "python"})]"#;
    let at_lovage = cast.eval(&format!("outcome(chord({header})(echo))"));
    assert_eq!(at_lovage, json!([[[2, 4]], {}]));
    let at_python = cast.eval(&format!(
        r#"outcome(chord({header})(signature("py.echo", app=app, options={{"queue": "python"}})))"#
    ));
    assert_eq!(at_python, json!({"args": [[2, 4]], "kwargs": {}}));
}

fn results_that_are_old_are_deleted_by_a_task(database: ResultDatabase) {
    let mut cast = Cast::new(database, &[("CELERY_RESULT_EXPIRES", "3600")], &json!({}));
    let seen = cast.python.run(
        r#"
        from datetime import datetime
        app.backend.store_result("old", 1, "SUCCESS")
        app.backend.store_result("new", 1, "SUCCESS")
        session = app.backend.ResultSession()
        row = session.query(app.backend.task_cls).filter_by(task_id="old").one()
        row.date_done = datetime(2020, 1, 1)
        session.commit()
        session.close()
        app.send_task("celery.backend_cleanup").get(timeout=30)
        states = [app.backend.get_task_meta(id, cache=False)["status"] for id in ("old", "new")]
        answer(states)
        "#,
    );
    assert_eq!(seen, json!(["PENDING", "SUCCESS"]));
}

#[test]
fn a_task_that_is_added_to_a_chord_is_refused_as_celery_refuses_it() {
    let redis = RedisServer::start();
    let database = ResultDatabase::sqlite();
    let _worker = LovageWorker::at(&redis.url(), database.url())
        .program(env!("CARGO_BIN_EXE_conformance-worker"))
        .variable("CELERY_RESULT_CHORD_RETRY_INTERVAL", "0.2")
        .start();
    let mut python = Python::start(&redis.url(), database.url(), &json!({}));
    python.run(SENDER);
    let prefix = "t.integration.tasks";
    let failed = python.eval(&format!(
        r#"outcome(chord([signature("{prefix}.add_to_all_to_chord", args=([1, 2], 3), app=app)])(signature("{prefix}.tsum", app=app)))"#
    ));
    let text = failed.to_string();
    assert!(text.contains("results in a database"), "{text}");
}

#[test]
fn a_result_waits_for_a_database_that_does_not_take_it() {
    let redis = RedisServer::start();
    let database = ResultDatabase::sqlite();
    let mut worker = LovageWorker::at(&redis.url(), database.url()).start();
    let mut python = Python::start(&redis.url(), database.url(), &json!({}));
    python.run(SENDER);
    python.run(
        r#"
        import sqlite3
        app.backend.store_result("first", 1, "SUCCESS")
        lock = sqlite3.connect(app.backend.url.split("sqlite:///")[1], isolation_level=None)
        lock.execute("BEGIN EXCLUSIVE")
        sent = add(2, 3).apply_async()
        "#,
    );
    worker.wait_for("the result store is away");
    // Nothing is settled before its result is stored.
    assert_eq!(redis.command::<i64>(&["HLEN", "unacked"]), 1);
    assert_eq!(
        python.run("lock.execute('COMMIT'); answer(outcome(sent))"),
        5
    );
}

#[test]
fn a_task_of_a_killed_worker_ends_with_a_result() {
    let redis = RedisServer::start();
    let database = ResultDatabase::sqlite();
    let worker = || {
        LovageWorker::at(&redis.url(), database.url())
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .variable("LOVAGE_LEASE", "1s")
    };
    let mut first = worker().start();
    let mut python = Python::start(&redis.url(), database.url(), &json!({}));
    python.run(SENDER);
    python.run(
        r#"
        sent = chord([add(1, 1), signature("demo.sleep", args=(1.5,), app=app, task_id="long")])(echo)
        while app.AsyncResult("long").state != "STARTED":
            pass
        "#,
    );
    first.kill();
    let _second = worker().hostname("second@%h").start();
    assert_eq!(python.eval("outcome(sent)"), json!([[[2, 1.5]], {}]));
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime can be made")
        .block_on(what)
}
