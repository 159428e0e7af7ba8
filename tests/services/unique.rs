//! Tasks of which no two of a kind wait or run at once, whoever sent them and whatever happens to their workers.

use std::path::{Path, PathBuf};

use lovage_integration_tests::{
    LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage, eventually, never_within, wait,
};
use serde_json::{Value, json};

/// A lease short enough that tests of dead workers end soon.
const LEASE: &str = "2s";

/// A worker with the tasks of `gated_tasks`.
pub(crate) fn worker(redis: &RedisServer, name: &str) -> LovageWorkerBuilder {
    LovageWorker::builder(redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .hostname(&format!("{name}@%h"))
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .variable("LOVAGE_LEASE", LEASE)
}

/// A door in a folder of its own; tasks behind it end when it is opened.
pub(crate) struct Door {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Door {
    pub(crate) fn closed() -> Self {
        let folder = tempfile::tempdir().expect("the temporary folder is writable");
        let path = folder.path().join("door");
        Self {
            _folder: folder,
            path,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the tasks end, with this as their word.
    pub(crate) fn open(&self, word: &str) {
        // Whole at once: a task may look in between.
        let fresh = self.path.with_extension("new");
        std::fs::write(&fresh, word).expect("the folder is writable");
        std::fs::rename(fresh, &self.path).expect("the folder is writable");
    }
}

fn unique(account: i64, door: &Door, note: i64) -> TaskMessage {
    TaskMessage::new(
        "test.unique",
        &json!([account, door.path(), note]),
        &json!({}),
    )
}

fn joined(door: &Door) -> TaskMessage {
    TaskMessage::new("test.joined", &json!([door.path()]), &json!({}))
}

fn assert_duplicate(redis: &RedisServer, id: &str, of: &str) {
    let record = redis.wait_for_state(id, "REVOKED");
    let result = &record["result"];
    assert_eq!(result["exc_type"], "TaskRevokedError", "{record}");
    assert_eq!(result["exc_message"], json!([format!("duplicate of {of}")]));
}

fn locks(redis: &RedisServer) -> Vec<String> {
    redis.command(&["KEYS", "lovage:unique:*"])
}

#[test]
fn a_duplicate_is_revoked_however_its_arguments_are_spelt() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let door = Door::closed();
    let first = unique(1, &door, 5);
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "STARTED");
    let spelt = json!({"door": "elsewhere", "account": 1});
    let second = TaskMessage::new("test.unique", &json!([]), &spelt);
    redis.publish("celery", &second);
    assert_duplicate(&redis, &second.id, &first.id);
    let other = unique(2, &door, 0);
    redis.publish("celery", &other);
    redis.wait_for_state(&other.id, "STARTED");
    door.open("done");
    assert_eq!(redis.wait_for_state(&first.id, "SUCCESS")["result"], "done");
    let next = unique(1, &door, 0);
    redis.publish("celery", &next);
    redis.wait_for_state(&next.id, "SUCCESS");
    redis.wait_for_state(&other.id, "SUCCESS");
    assert_eq!(locks(&redis), Vec::<String>::new());
}

#[test]
fn of_many_duplicates_on_many_workers_one_runs() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let messages: Vec<TaskMessage> = (0..40).map(|note| unique(7, &door, note)).collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    let builders = ["a", "b", "c"].map(|name| worker(&redis, name));
    let _workers = builders.map(LovageWorkerBuilder::start);
    let states = || -> Vec<String> {
        let states = messages.iter().map(|message| redis.state(&message.id));
        states.collect()
    };
    let count = |state: &str| states().iter().filter(|one| *one == state).count();
    eventually("39 duplicates", || count("REVOKED") == 39);
    assert_eq!(count("STARTED"), 1);
    door.open("done");
    eventually("the one to end", || count("SUCCESS") == 1);
}

#[test]
fn a_failure_frees_the_lock() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let door = Door::closed();
    door.open("fail");
    for _ in 0..2 {
        let message = unique(1, &door, 0);
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "FAILURE");
    }
}

#[test]
fn promise_04_a_dead_workers_task_keeps_its_lock_until_it_has_run_elsewhere() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let mut doomed = worker(&redis, "doomed").start();
    let first = unique(1, &door, 0);
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "STARTED");
    let _heir = worker(&redis, "heir").start();
    doomed.kill();
    let second = unique(1, &door, 0);
    redis.publish("celery", &second);
    assert_duplicate(&redis, &second.id, &first.id);
    door.open("by the heir");
    let record = redis.wait_for_state(&first.id, "SUCCESS");
    assert_eq!(record["result"], "by the heir");
    let third = unique(1, &door, 0);
    redis.publish("celery", &third);
    redis.wait_for_state(&third.id, "SUCCESS");
}

#[test]
fn a_task_that_is_given_up_frees_its_lock() {
    let redis = RedisServer::start();
    let deadly =
        |name: &str| worker(&redis, name).variable("CELERY_TASK_REJECT_ON_WORKER_LOST", "0");
    let door = Door::closed();
    let mut doomed = deadly("doomed").start();
    let first = unique(1, &door, 0);
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "STARTED");
    let _heir = deadly("heir").start();
    doomed.kill();
    let record = redis.wait_for_state(&first.id, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "WorkerLostError");
    door.open("done");
    let second = unique(1, &door, 0);
    redis.publish("celery", &second);
    redis.wait_for_state(&second.id, "SUCCESS");
}

#[test]
fn who_joins_gets_the_result_also_when_the_first_ones_worker_dies() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let mut doomed = worker(&redis, "doomed").start();
    let first = joined(&door);
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "STARTED");
    let second = joined(&door);
    redis.publish("celery", &second);
    let waits = |count: i64| {
        let lines: Vec<String> = redis.command(&["KEYS", "lovage:line:unique:*"]);
        lines
            .iter()
            .map(|line| redis.command::<i64>(&["ZCARD", line]))
            .sum::<i64>()
            == count
    };
    eventually("the second to wait", || waits(1));
    doomed.kill();
    let _heir = worker(&redis, "heir").start();
    let third = joined(&door);
    redis.publish("celery", &third);
    eventually("the third to wait", || waits(2));
    redis.wait_for_state(&first.id, "STARTED");
    door.open("the same for all");
    for message in [&first, &second, &third] {
        let record = redis.wait_for_state(&message.id, "SUCCESS");
        assert_eq!(record["result"], "the same for all");
    }
    eventually("nothing to be left", || {
        redis.unacked() == 0 && locks(&redis).is_empty() && waits(0)
    });
}

/// Two calls of which the second joins the first, and both end as the door says: with a failure.
fn assert_fail_together(redis: &RedisServer, task: &str) {
    let door = Door::closed();
    let message = || TaskMessage::new(task, &json!([door.path()]), &json!({}));
    let messages = [message(), message()];
    redis.publish("celery", &messages[0]);
    redis.wait_for_state(&messages[0].id, "STARTED");
    redis.publish("celery", &messages[1]);
    eventually("the second to wait", || {
        !redis
            .command::<Vec<String>>(&["KEYS", "lovage:line:unique:*"])
            .is_empty()
    });
    door.open("fail");
    for message in &messages {
        let record = redis.wait_for_state(&message.id, "FAILURE");
        assert_eq!(record["result"]["exc_message"], json!(["as the door says"]));
    }
}

#[test]
fn who_joins_gets_the_failure_too() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    assert_fail_together(&redis, "test.joined");
}

#[test]
fn a_joined_failure_is_final_although_the_task_would_be_retried_for_it() {
    let redis = RedisServer::start();
    let worker = worker(&redis, "w").start();
    assert_fail_together(&redis, "test.joined_retried");
    assert_eq!(redis.depth("celery") + redis.unacked(), 0);
    assert!(!worker.log().text().contains("will be retried"));
}

#[test]
fn one_that_is_unique_until_its_start_may_wait_while_another_runs() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").concurrency(3).start();
    let door = Door::closed();
    let message = || TaskMessage::new("test.unique_waiting", &json!([door.path()]), &json!({}));
    let late = || message().set("headers.eta", crate::eta(2).into());
    let (first, second, third) = (message(), late(), late());
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "STARTED");
    redis.publish("celery", &second);
    eventually("the second to wait", || {
        redis.command::<usize>(&["ZCARD", "lovage:delayed"]) == 1
    });
    redis.publish("celery", &third);
    assert_duplicate(&redis, &third.id, &second.id);
    redis.wait_for_state(&second.id, "STARTED");
    assert_eq!(redis.state(&first.id), "STARTED", "both run");
    door.open("done");
    for message in [&first, &second] {
        assert_eq!(
            redis.wait_for_state(&message.id, "SUCCESS")["result"],
            "done"
        );
    }
}

#[test]
fn a_retry_is_not_its_own_duplicate_and_keeps_others_away() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let message = || TaskMessage::new("test.unique_retry", &json!([]), &json!({}));
    let (first, second) = (message(), message());
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "RETRY");
    redis.publish("celery", &second);
    assert_duplicate(&redis, &second.id, &first.id);
    assert_eq!(redis.wait_for_state(&first.id, "SUCCESS")["result"], 1);
}

#[test]
fn a_task_that_waits_for_its_eta_is_unique_already() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let door = Door::closed();
    door.open("done");
    let eta = |message: TaskMessage| message.set("headers.eta", crate::eta(2).into());
    let first = eta(unique(1, &door, 0));
    redis.publish("celery", &first);
    eventually("the first to wait", || {
        redis.command::<usize>(&["ZCARD", "lovage:delayed"]) == 1
    });
    let second = eta(unique(1, &door, 0));
    redis.publish("celery", &second);
    assert_duplicate(&redis, &second.id, &first.id);
    assert_eq!(redis.state(&first.id), "PENDING");
    redis.wait_for_state(&first.id, "SUCCESS");
}

#[test]
fn only_the_last_of_several_calls_runs() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let call = |account: i64, note: i64| {
        TaskMessage::new("test.debounced", &json!([account, note]), &json!({}))
    };
    let calls = [call(1, 0), call(1, 1), call(1, 2)];
    let other = call(2, 9);
    for message in calls.iter().chain([&other]) {
        redis.publish("celery", message);
    }
    let in_success = |calls: &[TaskMessage]| {
        let mut calls = calls.iter();
        calls.any(|call| redis.state(&call.id) == "SUCCESS")
    };
    never_within(
        std::time::Duration::from_millis(700),
        "a call runs early",
        || redis.state(&calls[2].id) != "PENDING" || in_success(&calls[..2]),
    );
    assert_eq!(redis.wait_for_state(&calls[2].id, "SUCCESS")["result"], 2);
    // Which of the later ones a call hears of depends on when its worker came to it.
    for call in &calls[..2] {
        let record = redis.wait_for_state(&call.id, "REVOKED");
        let why = record["result"]["exc_message"][0].as_str().expect("text");
        let later = |call: &TaskMessage| why == format!("duplicate of {}", call.id);
        assert!(calls[1..].iter().any(later), "{record}");
    }
    redis.wait_for_state(&other.id, "SUCCESS");
    let later = call(1, 3);
    redis.publish("celery", &later);
    let record: Value = redis.wait_for_state(&later.id, "SUCCESS");
    assert_eq!(record["result"], 3);
}

#[test]
fn the_command_line_tells_at_once_whose_duplicate_a_call_is() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let call = |account: &str| {
        let arguments = format!("[{account}, {:?}]", door.path());
        std::process::Command::new(env!("CARGO_BIN_EXE_test-tasks"))
            .args(["call", "test.unique", "--args", &arguments])
            .env("CELERY_BROKER_URL", redis.url())
            .env("CELERY_RESULT_BACKEND", redis.url())
            .current_dir(std::env::temp_dir())
            .output()
            .expect("the binary can be started")
    };
    assert!(call("1").status.success());
    let refused = call("1");
    assert!(!refused.status.success());
    let first = redis.waiting_json("celery")[0]["headers"]["id"].clone();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    let expected = format!("it is a duplicate of {}", first.as_str().expect("an id"));
    assert!(text.contains(&expected), "{text}");
    assert!(call("2").status.success());
    assert_eq!(redis.depth("celery"), 2);
    // The lock taken at the sending is that of the message which runs.
    let _worker = worker(&redis, "w").start();
    door.open("done");
    let id = first.as_str().expect("an id");
    wait::within(wait::PATIENCE, "the first to run", || {
        (redis.state(id) == "SUCCESS").then_some(())
    });
}
