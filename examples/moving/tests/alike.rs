//! Before the move and after it, the shop's own Python code gets the same answers.

#![expect(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::process::{Command, Output};
use std::time::Duration;

use lovage_integration_tests::child::Child;
use lovage_integration_tests::{LovageWorker, RedisServer, place};

const MOVED: (&str, &str) = ("SHOP_MOVED", "shop.price");

/// Python with the shop on its path and this Redis as its broker.
fn python(redis: &RedisServer) -> Command {
    let mut command = Command::new(place::python());
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CELERY_BROKER_URL", redis.url())
        .env("CELERY_RESULT_BACKEND", redis.url())
        .env_remove(MOVED.0);
    command
}

fn python_worker(redis: &RedisServer) -> Child {
    let mut command = python(redis);
    command.args([
        "-m", "celery", "-A", "shop", "worker", "-P", "solo", "-l", "info",
    ]);
    command.args(["-n", "python@%h"]).env(MOVED.0, MOVED.1);
    let mut worker = Child::start("celery worker", &mut command, "run scripts/setup");
    worker.wait_for(" ready.", Duration::from_secs(30));
    worker
}

/// What the shop hears, line by line.
fn answers(asking: &mut Command) -> Vec<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = asking.arg("ask.py").output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let text = String::from_utf8(stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// How many tasks of this name the log of a worker tells of.
fn runs(worker: &Child) -> usize {
    worker.log().count("Task shop.price[")
}

#[test]
fn a_task_that_moves_to_rust_answers_alike_and_can_move_back() {
    let redis = RedisServer::start();
    let python_worker = python_worker(&redis);
    let before = answers(&mut python(&redis));
    assert_eq!(before.len(), 8, "{before:?}");
    assert_eq!(before[0], r#"["positional", "SUCCESS", 3195]"#);
    assert_eq!(
        before[4],
        r#"["unknown", "FAILURE", ["shop.errors", "UnknownArticle", ["spoon"]]]"#
    );
    let run_by_python = runs(&python_worker);
    assert!(run_by_python > 0, "{}", python_worker.log().text());

    let _rust = LovageWorker::builder(&redis)
        .program(env!("CARGO_BIN_EXE_moving"))
        .queues("rust")
        .start();
    let after = answers(python(&redis).env(MOVED.0, MOVED.1));
    assert_eq!(after, before);
    assert_eq!(
        runs(&python_worker),
        run_by_python,
        "Python ran none of them"
    );

    assert_eq!(answers(&mut python(&redis)), before);
    assert!(runs(&python_worker) > run_by_python);
}
