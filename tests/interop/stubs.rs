//! `lovage stubs python`, as a Python program meets it: imported, sent from, checked by mypy.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lovage_integration_tests::{
    LovageWorker, Python, RedisServer, Stage, lovage_worker::lovage_with, place,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The stubs of the demo tasks in a folder of their own, as settings have them.
fn stubs(variables: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let mut all = vec![("LOVAGE_DEMO_TASKS", "1")];
    all.extend(variables);
    let words = ["stubs", "python", "--json", "--out"];
    let output = lovage_with(&all, &[&words[..], &[text(folder.path())]].concat());
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{err}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("it answers in JSON");
    for file in said["files"].as_array().expect("a list") {
        assert!(
            Path::new(file.as_str().expect("a path")).is_file(),
            "{file}"
        );
    }
    folder
}

fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// Lets an interpreter import what is in the folder.
fn import(python: &mut Python, folder: &TempDir) {
    let folder = json!(text(folder.path()));
    python.run(&format!("import sys\nsys.path.insert(0, {folder})"));
}

/// Python in the folder with these words.
fn python_in(folder: &Path, redis: Option<&RedisServer>, words: &[&str]) -> Output {
    let mut command = Command::new(place::python());
    command.args(words).current_dir(folder);
    if let Some(redis) = redis {
        command.env("CELERY_BROKER_URL", redis.url());
    }
    command.output().expect("Python can be started")
}

/// What mypy says to a program beside the stubs.
fn mypy(folder: &Path, program: &str) -> (bool, String) {
    fs::write(folder.join("program.py"), program).expect("the folder can be written to");
    let output = python_in(folder, None, &["-m", "mypy", "--strict", "program.py"]);
    assert!(output.stderr.is_empty(), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said)
}

#[test]
fn a_producer_imports_tasks_and_sends_them() {
    let mut stage = Stage::new();
    let folder = stubs(&[(
        "CELERY_TASK_ROUTES",
        r#"{"demo.mul": {"queue": "hot", "priority": 3}}"#,
    )]);
    import(&mut stage.python, &folder);
    let seen = stage.python.run(
        r#"
        import celery, lovage_stubs
        from lovage_stubs import add, mul
        from lovage_stubs.demo import echo, retry_then_succeed
        # Tasks of this program's own application are shared with every other one, as Celery does by default.
        names = sorted(set(lovage_stubs.app.tasks) - set(app.tasks))
        chain = add.s(2, 2) | add.s(4)
        def refusal(call):
            try:
                call()
            except Exception as error:
                return [type(error).__name__, str(error)]
        answer({
            "names": names,
            "shortcut": lovage_stubs.demo.add is add,
            "sum": add.delay(2, 3).get(timeout=10),
            "by name": add.apply_async(kwargs={"x": 2, "y": 4}).get(timeout=10),
            "later": add.apply_async((2, 5), countdown=0.1).get(timeout=10),
            "chain": chain.apply_async().get(timeout=10),
            "untyped": echo.delay(1, a=2).get(timeout=10),
            "default": retry_then_succeed.delay(0).get(timeout=10),
            "called": refusal(lambda: add(2, 3)),
            "wrong": refusal(lambda: add.delay(2)),
            "doc": add.__doc__,
            "current": celery.current_app.main,
        })
        "#,
    );
    let demo = [
        "add",
        "crash",
        "echo",
        "fail",
        "mul",
        "noop",
        "progress",
        "retry_then_succeed",
        "sleep",
    ];
    let names: Vec<String> = demo.iter().map(|name| format!("demo.{name}")).collect();
    assert_eq!(seen["names"], json!(names));
    assert_eq!(seen["shortcut"], true);
    assert_eq!(seen["sum"], 5);
    assert_eq!(seen["by name"], 6);
    assert_eq!(seen["later"], 7);
    assert_eq!(seen["chain"], 8);
    assert_eq!(seen["untyped"], json!([[1], {"a": 2}]));
    assert_eq!(seen["default"], 0);
    assert_eq!(seen["called"][0], "RunsInRust");
    let why = seen["called"][1].as_str().expect("text");
    assert!(why.contains("demo.add runs in a Lovage worker"), "{why}");
    assert_eq!(seen["wrong"][0], "TypeError", "{seen}");
    assert_eq!(seen["doc"], "Adds two numbers.");
    // The program's own application stays the current one. It learned of none of the tasks: it could not run them.
    assert_eq!(seen["current"], "app");

    // A routed task goes where our own client sends it, for the producer knows no routes.
    stage.python.run("mul.delay(2, 3)");
    assert_eq!(stage.redis.depth("celery"), 0);
    let waiting =
        stage.eval(r#"[app.backend.client.llen("hot" + step) for step in ("", "\x06\x163")]"#);
    assert_eq!(waiting, json!([0, 1]));
}

#[test]
fn a_task_of_a_topic_exchange_reaches_its_queue() {
    let redis = RedisServer::start();
    let queues = (
        "CELERY_TASK_QUEUES",
        r#"[{"name": "films", "exchange": "media", "exchange_type": "topic", "routing_key": "media.#"}]"#,
    );
    let routes = (
        "CELERY_TASK_ROUTES",
        r#"{"demo.add": {"queue": "films", "routing_key": "media.still"}}"#,
    );
    let worker = LovageWorker::builder(&redis)
        .variable(queues.0, queues.1)
        .queues("films");
    let _worker = worker.start();
    let folder = stubs(&[queues, routes]);
    let mut python = Python::on(&redis);
    import(&mut python, &folder);
    let sum = python.run(
        "
        from lovage_stubs import add
        answer(add.delay(2, 3).get(timeout=10))
        ",
    );
    assert_eq!(sum, 5);
}

#[test]
fn a_python_worker_refuses_to_start_on_them() {
    let redis = RedisServer::start();
    let folder = stubs(&[]);
    let words = ["-m", "celery", "-A", "lovage_stubs", "worker"];
    let output = python_in(folder.path(), Some(&redis), &words);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{err}");
    assert!(err.contains("A Python worker cannot run them"), "{err}");
}

#[test]
fn mypy_knows_what_each_task_takes_and_gives() {
    let folder = stubs(&[]);
    let good = r#"
from datetime import datetime

from lovage_stubs import AsyncResult, add, app, demo
from lovage_stubs.demo import echo, progress

result: AsyncResult[float] = add.delay(2, 3)
total: float = result.get(timeout=10)
add.delay(x=2, y=3.5)
add.apply_async((2, 3), countdown=5)
add.apply_async((2, 3), {}, queue="other")
add.apply_async((2,), {"y": 3})
add.apply_async(kwargs={"x": 2, "y": 3}, eta=datetime.now())
add.apply_async(None, {"x": 2, "y": 3})
progress.delay(3)
progress.apply_async((3,))
progress.apply_async((3,), {"pause": 0.5})
demo.noop.apply_async()
echo.delay(1, "two", three=3)
(add.s(2, 2) | add.s(4)).delay()
names: list[str] = sorted(app.tasks)
"#;
    assert_eq!(
        mypy(folder.path(), good),
        (
            true,
            "Success: no issues found in 1 source file\n".to_owned()
        )
    );
    // Each of these lines is wrong in one way.
    let bad = [
        (r#"add.delay("2", 3)"#, "incompatible type"),
        ("add.delay(2)", "Missing positional argument"),
        ("add.delay(2, 3, 4)", "Too many arguments"),
        ("add.delay(2, z=3)", "Unexpected keyword argument"),
        (r#"add.apply_async((2, "3"))"#, "[arg-type]"),
        ("add.apply_async((2,))", "[arg-type]"),
        (r#"add.apply_async((2,), {"z": 3})"#, "No overload variant"),
        ("add.apply_async((2, 3), coutdown=5)", "coutdown"),
        ("add(2, 3)", "not callable"),
        ("number: int = add.delay(2, 3).get()", "Incompatible types"),
    ];
    let program: String = bad.iter().map(|(line, _)| format!("{line}\n")).collect();
    let (accepted, said) = mypy(
        folder.path(),
        &format!("from lovage_stubs import add\n{program}"),
    );
    assert!(!accepted, "{said}");
    for (index, (line, why)) in bad.iter().enumerate() {
        let start = format!("program.py:{}: error:", index + 2);
        let errors: Vec<&str> = said
            .lines()
            .filter(|said| said.starts_with(&start))
            .collect();
        assert!(
            errors.iter().any(|error| error.contains(why)),
            "{line}: {errors:?}\n{said}"
        );
    }
}

/// The files that the unit tests of the generator compare with hold every kind of task and type.
#[test]
fn the_packages_of_the_unit_tests_are_python() {
    let folder = stubs(&[]);
    let package = folder.path().join("lovage_stubs");
    let expected = place::repository().join("crates/lovage/src/stubs/expected");
    for (from, to) in [
        ("package.py", "__init__.py"),
        ("shop.py", "shop/__init__.py"),
        ("orders.py", "shop/orders.py"),
    ] {
        for ending in ["", "i"] {
            let to = package.join(format!("{to}{ending}"));
            fs::create_dir_all(to.parent().expect("it is in a folder")).expect("it can be made");
            fs::copy(expected.join(format!("{from}{ending}")), to).expect("it can be copied");
        }
    }
    fs::copy(expected.join("queues.py"), package.join("_queues.py")).expect("it can be copied");
    let program = r#"
from lovage_stubs import pay, ping, send_mail, shop
from lovage_stubs.shop import Order

order: Order = {"number": 1, "state": "paid"}
paid: Order = pay.delay(order, "me", note="thanks").get()
pay.apply_async((order, "me"), {"amount": 2})
numbers: list[int] = shop.orders.list_.delay().get()
text: str = ping.delay().get()
send_mail.delay(1, to="me")
"#;
    assert_eq!(
        mypy(folder.path(), program),
        (
            true,
            "Success: no issues found in 1 source file\n".to_owned()
        )
    );
    let (accepted, said) = mypy(
        folder.path(),
        "from lovage_stubs import pay\npay.delay({\"number\": 1, \"state\": \"old\"}, \"me\")\n",
    );
    assert!(!accepted && said.contains("\"state\""), "{said}");
    let words = ["-m", "mypy", "--strict", "lovage_stubs"];
    let output = python_in(folder.path(), None, &words);
    assert!(output.status.success(), "{output:?}");

    let redis = RedisServer::start();
    let program = "\
from lovage_stubs import app, list_, pay, ping
print(pay.name, pay.queue, pay.priority, ping.queue, list_.routing_key, app.amqp.queues['films'].exchange.type)
pay.delay({'number': 1}, 'me', note='x')
";
    let output = python_in(folder.path(), Some(&redis), &["-c", program]);
    let out = String::from_utf8_lossy(&output.stdout);
    assert_eq!(
        out, "shop.pay money 6 celery media.still topic\n",
        "{output:?}"
    );
}
