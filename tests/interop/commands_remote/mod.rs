//! `lovage status`, `inspect`, `control` and `events` beside real Celery workers.

mod control;
mod events;
mod inspect;
mod status;
mod view;

use lovage_integration_tests::{PythonWorker, RedisServer, lovage};
use serde_json::{Value, json};

/// What a command came to.
#[derive(Debug)]
struct Told {
    code: Option<i32>,
    out: String,
    err: String,
}

fn tell(redis: &RedisServer, words: &str) -> Told {
    let words: Vec<&str> = words.split(' ').collect();
    let output = lovage(redis, &words);
    Told {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("what is told is text"),
        err: String::from_utf8(output.stderr).expect("what is told is text"),
    }
}

/// Runs a command that ends well, and gives what it wrote.
fn well(redis: &RedisServer, words: &str) -> String {
    let told = tell(redis, words);
    assert_eq!(told.code, Some(0), "{words}: {told:?}");
    told.out
}

fn json_of(redis: &RedisServer, words: &str) -> Value {
    let out = well(redis, words);
    serde_json::from_str(&out)
        .unwrap_or_else(|error| panic!("{words} wrote no JSON ({error}): {out}"))
}

/// A Celery worker with a node name and flags of one's own.
fn worker(redis: &RedisServer, node: &str, flags: &[&str]) -> PythonWorker {
    let flags: Vec<&str> = ["-n", node].iter().chain(flags).copied().collect();
    PythonWorker::start(redis, &flags, &json!({}))
}
