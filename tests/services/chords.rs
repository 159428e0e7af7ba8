//! A member of a chord that does not succeed ends the chord, whatever became of it: nobody waits for ever.

use lovage_integration_tests::lovage_worker::lovage;
use lovage_integration_tests::{LovageWorker, LovageWorkerBuilder, RedisServer, TaskMessage};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::unique::Door;

/// A chord as a Python producer begins it, member by member.
pub(crate) struct Chord {
    pub(crate) group: String,
    pub(crate) body: String,
}

impl Chord {
    /// Writes the size.
    pub(crate) fn begin(redis: &RedisServer, size: usize) -> Self {
        let chord = Self {
            group: Uuid::new_v4().to_string(),
            body: Uuid::new_v4().to_string(),
        };
        let size = size.to_string();
        let _: () = redis.command(&["SET", &chord.key(".s"), &size, "EX", "86400"]);
        chord
    }

    /// One of the keys.
    pub(crate) fn key(&self, suffix: &str) -> String {
        format!("celery-taskset-meta-{}{suffix}", self.group)
    }

    /// The signature of the body, which gives back what it is given.
    pub(crate) fn signature(&self) -> Value {
        json!({"task": "demo.echo", "args": [], "kwargs": {}, "subtask_type": null, "immutable": false,
               "options": {"task_id": self.body, "reply_to": "nobody"}})
    }

    /// A member, not sent yet.
    pub(crate) fn member(&self, index: usize, task: &str, args: &Value) -> TaskMessage {
        self.with_kwargs(index, task, args, &json!({}))
    }

    fn with_kwargs(&self, index: usize, task: &str, args: &Value, kwargs: &Value) -> TaskMessage {
        let embed =
            json!({"callbacks": null, "errbacks": null, "chain": null, "chord": self.signature()});
        let body = json!([args, kwargs, embed]).to_string();
        TaskMessage::with_body(task, body.as_bytes())
            .set("headers.group", json!(self.group))
            .set("headers.group_index", json!(index))
    }

    /// A member that succeeds.
    pub(crate) fn good(&self, index: usize) -> TaskMessage {
        self.member(index, "demo.add", &json!([index, 10]))
    }

    /// Waits until the body has failed because of this member, and nothing of the chord waits any more.
    fn assert_failed_by(&self, redis: &RedisServer, member: &str, cause: &str) {
        let record = redis.wait_for_state(&self.body, "FAILURE");
        assert_eq!(record["result"]["exc_type"], "ChordError", "{record}");
        let text = record["result"]["exc_message"][0].as_str();
        let expected = format!("Dependency {member} raised {cause}");
        assert!(
            text.is_some_and(|text| text.starts_with(&expected)),
            "{expected}: {record}"
        );
        let size: Option<String> = redis.command(&["GET", &self.key(".s")]);
        assert_eq!(size, None, "it is ended");
        assert_eq!(redis.depth("celery"), 0, "the body is never sent");
    }
}

fn worker(redis: &RedisServer) -> LovageWorkerBuilder {
    LovageWorker::builder(redis)
        .program(env!("CARGO_BIN_EXE_test-tasks"))
        .variable("CELERY_TASK_TRACK_STARTED", "1")
        .variable("LOVAGE_LEASE", "2s")
}

/// A chord of a good member and of this one, whose end fails it with this cause.
fn check(task: &str, args: &Value, change: impl Fn(TaskMessage) -> TaskMessage, cause: &str) {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let chord = Chord::begin(&redis, 2);
    let bad = change(chord.member(0, task, args));
    redis.publish("celery", &bad);
    redis.publish("celery", &chord.good(1));
    chord.assert_failed_by(&redis, &bad.id, cause);
}

#[test]
fn a_member_that_fails_ends_the_chord() {
    let same = |message| message;
    check("demo.fail", &json!(["no"]), same, "RuntimeError('no')");
}

#[test]
fn a_member_that_expires_ends_the_chord() {
    let late = |message: TaskMessage| message.set("headers.expires", json!(crate::eta(-5)));
    check(
        "demo.add",
        &json!([1, 1]),
        late,
        "TaskRevokedError('expired')",
    );
}

#[test]
fn a_member_that_nobody_knows_ends_the_chord() {
    let same = |message| message;
    check(
        "nobody.knows",
        &json!([]),
        same,
        "NotRegistered('nobody.knows')",
    );
}

#[test]
fn a_member_that_is_rejected_for_good_ends_the_chord() {
    let same = |message| message;
    check("test.reject", &json!([]), same, "Reject(");
}

#[test]
fn a_member_whose_arguments_are_wrong_ends_the_chord() {
    let same = |message| message;
    check("demo.add", &json!([1, 2, 3, 4]), same, "TypeError(");
}

#[test]
fn a_member_that_is_past_its_time_limit_ends_the_chord() {
    let limited = |message: TaskMessage| message.set("headers.timelimit", json!([0.3, null]));
    check("demo.sleep", &json!([60]), limited, "TimeLimitExceeded(0.3");
}

#[test]
fn a_member_that_is_revoked_ends_the_chord() {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let chord = Chord::begin(&redis, 2);
    let revoked = chord.good(0);
    assert!(lovage(&redis, &["revoke", &revoked.id]).status.success());
    redis.publish("celery", &revoked);
    redis.publish("celery", &chord.good(1));
    chord.assert_failed_by(&redis, &revoked.id, "TaskRevokedError('revoked')");
}

#[test]
fn a_member_that_is_a_duplicate_ends_the_chord() {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let door = Door::closed();
    let first = TaskMessage::new("test.unique", &json!([1, door.path()]), &json!({}));
    redis.publish("celery", &first);
    redis.wait_for_state(&first.id, "STARTED");
    let chord = Chord::begin(&redis, 2);
    let second = chord.member(0, "test.unique", &json!([1, "elsewhere"]));
    redis.publish("celery", &second);
    redis.publish("celery", &chord.good(1));
    let cause = format!("TaskRevokedError('duplicate of {}')", first.id);
    chord.assert_failed_by(&redis, &second.id, &cause);
    door.open("done");
    redis.wait_for_state(&first.id, "SUCCESS");
}

#[test]
fn a_member_that_costs_too_many_workers_ends_the_chord() {
    let redis = RedisServer::start();
    let deadly = |node| {
        let worker = worker(&redis).variable("LOVAGE_MAX_DEATHS", "1");
        worker.hostname(node)
    };
    let mut victim = deadly("first@%h").start();
    let chord = Chord::begin(&redis, 2);
    let door = Door::closed();
    let member = chord.member(0, "test.unique", &json!([1, door.path()]));
    redis.publish("celery", &member);
    redis.wait_for_state(&member.id, "STARTED");
    victim.kill();
    let _: () = redis.command(&["DEL", &format!("celery-task-meta-{}", member.id)]);
    let mut victim = deadly("second@%h").start();
    redis.wait_for_state(&member.id, "STARTED");
    victim.kill();
    let _survivor = deadly("survivor@%h").start();
    let record = redis.wait_for_state(&chord.body, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "ChordError", "{record}");
    let text = record["result"]["exc_message"][0].as_str();
    let expected = format!("Dependency {} raised WorkerLostError(", member.id);
    assert!(
        text.is_some_and(|text| text.starts_with(&expected)),
        "{record}"
    );
}

#[test]
fn a_member_that_is_ignored_is_waited_for_as_celery_waits() {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let chord = Chord::begin(&redis, 2);
    redis.publish("celery", &chord.good(1));
    redis.publish("celery", &chord.member(0, "test.ignore", &json!([])));
    crate::assert_works(&redis);
    let parts: usize = redis.command(&["ZCARD", &chord.key(".j")]);
    assert_eq!((parts, redis.state(&chord.body).as_str()), (1, "PENDING"));
    // What nobody waits for any more the doctor finds and ends.
    let repair = ["doctor", "--only", "chords", "--quiet-for", "0", "--fix"];
    let found = lovage(&redis, &repair);
    assert!(found.status.success(), "{found:?}");
    let record = redis.wait_for_state(&chord.body, "FAILURE");
    assert_eq!(record["result"]["exc_type"], "ChordError", "{record}");
}

#[test]
fn a_chord_of_one_is_its_member_and_then_its_body() {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let chord = Chord::begin(&redis, 1);
    redis.publish("celery", &chord.good(0));
    let record = redis.wait_for_state(&chord.body, "SUCCESS");
    assert_eq!(record["result"], json!([[[10]], {}]));
}

#[test]
fn a_member_that_is_delivered_twice_counts_once() {
    let redis = RedisServer::start();
    let _worker = worker(&redis).start();
    let chord = Chord::begin(&redis, 2);
    let member = chord.good(0);
    redis.publish("celery", &member);
    redis.wait_for_state(&member.id, "SUCCESS");
    redis.publish("celery", &member);
    crate::assert_works(&redis);
    let parts: usize = redis.command(&["ZCARD", &chord.key(".j")]);
    assert_eq!((parts, redis.state(&chord.body).as_str()), (1, "PENDING"));
    redis.publish("celery", &chord.good(1));
    let record = redis.wait_for_state(&chord.body, "SUCCESS");
    assert_eq!(record["result"], json!([[[10, 11]], {}]));
}
