//! `lovage status`, `inspect`, `control` and `events`, asking real Celery workers and ours.

mod control;
mod events;
mod inspect;
mod mixed;
mod status;
mod view;

use lovage_integration_tests::child::Child;
use lovage_integration_tests::{LovageWorker, PythonWorker, RedisServer, eventually, lovage};
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

/// Whose worker it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Celery,
    Ours,
}

/// The worker `w1@box`, with processes, and what its tasks are called.
#[derive(Debug)]
struct Cast {
    worker: Either,
    add: &'static str,
    sleep: &'static str,
    fail: &'static str,
}

#[derive(Debug)]
enum Either {
    Python(PythonWorker),
    Lovage(LovageWorker),
}

impl Whose {
    /// A worker with further flags; with `events` it tells of its tasks from the beginning.
    fn start(self, redis: &RedisServer, flags: &[(&str, &str)], events: bool) -> Cast {
        if self == Self::Celery {
            let mut words = vec!["-P", "prefork"];
            words.extend(flags.iter().flat_map(|(name, value)| [*name, *value]));
            words.extend(events.then_some("-E"));
            return Cast {
                worker: Either::Python(worker(redis, "w1@box", &words)),
                add: "py.add",
                sleep: "py.sleep",
                fail: "py.fail",
            };
        }
        let mut builder = LovageWorker::builder(redis).hostname("w1@box");
        builder = builder.pool("prefork");
        for (name, value) in flags {
            builder = builder.flag(name, value);
        }
        if events {
            builder = builder.variable("CELERY_WORKER_SEND_TASK_EVENTS", "1");
        }
        let worker = builder.start();
        eventually("the worker answers", || {
            tell(redis, "status").code == Some(0)
        });
        Cast {
            worker: Either::Lovage(worker),
            add: "demo.add",
            sleep: "demo.sleep",
            fail: "demo.fail",
        }
    }
}

impl Cast {
    fn process(&mut self) -> &mut Child {
        match &mut self.worker {
            Either::Python(worker) => worker.process(),
            Either::Lovage(worker) => worker.process(),
        }
    }
}
