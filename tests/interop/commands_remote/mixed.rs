//! Python's workers and ours on one broker, asked together.

use lovage_integration_tests::{
    LovageWorker, PythonWorker, RedisServer, TaskMessage, Terminal, eventually, lovage_command,
};
use serde_json::{Value, json};

use super::{json_of, tell, well, worker};

/// One of each, on queues of their own.
struct Both {
    _theirs: PythonWorker,
    ours: LovageWorker,
    redis: RedisServer,
}

impl Both {
    fn new() -> Self {
        let redis = RedisServer::start();
        let ours = LovageWorker::builder(&redis).hostname("ours@box");
        let both = Self {
            ours: ours.queues("hot").start(),
            _theirs: worker(&redis, "theirs@box", &["-P", "prefork", "-c", "1"]),
            redis,
        };
        eventually("both answer", || {
            well(&both.redis, "status").ends_with("\n2 nodes online.\n")
        });
        both
    }
}

#[test]
fn both_answer_and_each_for_itself() {
    let both = Both::new();
    assert_eq!(
        well(&both.redis, "status"),
        "->  ours@box: OK\n->  theirs@box: OK\n\n2 nodes online.\n"
    );
    let queues = json_of(&both.redis, "inspect -j active_queues");
    let names = |node: &str| queues[node][0]["name"].clone();
    assert_eq!(
        (names("ours@box"), names("theirs@box")),
        (json!("hot"), json!("celery"))
    );
    for command in [
        "ping",
        "clock",
        "stats",
        "active",
        "scheduled",
        "reserved",
        "revoked",
        "registered",
        "conf",
        "report",
        "query_task nobody",
        "memsample",
        "memdump",
        "active_queues",
    ] {
        let told = well(&both.redis, &format!("inspect {command}"));
        let heads = told.lines().filter(|line| line.starts_with("->"));
        let heads: Vec<&str> = heads.collect();
        assert_eq!(heads, ["->  ours@box: OK", "->  theirs@box: OK"], "{told}");
    }
    // What one of them refuses is an error at that one.
    let told = tell(&both.redis, "control rate_limit demo.add 5/m");
    assert_eq!(told.code, Some(1), "{told:?}");
    assert_eq!(
        told.out,
        "->  ours@box: OK\n    new rate limit set successfully\n->  theirs@box: ERROR\n    unknown task\n"
    );
}

#[test]
fn both_are_watched_at_once() {
    let both = Both::new();
    let redis = &both.redis;
    let mut view = Terminal::start(lovage_command(redis, &["events", "--enable"]));
    view.wait_for(&["ours@box", "online", "lovage "]);
    view.wait_for(&["theirs@box", "online", "py-celery"]);
    // Requests are served in their order: this one is answered after events were switched on.
    well(redis, "inspect ping");
    let ours = TaskMessage::new("demo.add", &json!([2, 3]), &json!({}));
    let theirs = TaskMessage::new("py.add", &json!([2, 3]), &json!({}));
    redis.publish("hot", &ours);
    redis.publish("celery", &theirs);
    view.wait_for(&[&ours.id, "demo.add", "ours@box", "SUCCESS"]);
    view.wait_for(&[&theirs.id, "py.add", "theirs@box", "SUCCESS"]);
    view.press("q");
    assert_eq!(view.wait().code(), Some(0));
}

#[test]
fn one_that_is_told_to_end_leaves_the_other() {
    let mut both = Both::new();
    assert_eq!(
        well(&both.redis, "control --pattern ours* shutdown"),
        "->  ours@box: OK\n"
    );
    assert!(both.ours.wait().success());
    let status: Value = json_of(&both.redis, "status -j");
    assert_eq!(status, json!({"theirs@box": {"ok": "pong"}}));
}
