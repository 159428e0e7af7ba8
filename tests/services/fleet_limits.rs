//! Limits that hold over all workers: who may not run yet waits outside, holds nobody up, and is called in time.

use std::time::{Duration, Instant};

use lovage_integration_tests::{RedisServer, ResultFeed, TaskMessage, eventually, wait};
use serde_json::json;

use crate::{
    assert_works,
    unique::{Door, worker},
};

fn narrow(door: &Door) -> TaskMessage {
    TaskMessage::new("test.narrow", &json!([door.path()]), &json!({}))
}

fn in_state(redis: &RedisServer, messages: &[TaskMessage], state: &str) -> usize {
    let states = messages.iter().map(|message| redis.state(&message.id));
    states.filter(|found| found == state).count()
}

#[test]
fn no_more_run_at_once_than_the_limit_says_and_others_are_not_held_up() {
    let redis = RedisServer::start();
    let door = Door::closed();
    // More than both workers prefetch.
    let messages: Vec<TaskMessage> = (0..40).map(|_| narrow(&door)).collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    let _workers = ["a", "b"].map(|name| worker(&redis, name).concurrency(3).start());
    eventually("two to start", || {
        in_state(&redis, &messages, "STARTED") == 2
    });
    assert_works(&redis);
    assert_eq!(in_state(&redis, &messages, "STARTED"), 2);
    eventually("all others to wait outside of the queue", || {
        redis.depth("celery") == 0 && redis.unacked() == 2
    });
    assert_eq!(
        redis.command::<usize>(&["ZCARD", "lovage:line:slots:test.narrow"]),
        38
    );
    let mut feed = ResultFeed::of(&redis);
    door.open("done");
    let (mut running, mut ended) = (2_i32, 0);
    while ended < messages.len() {
        match feed.next_record()["status"].as_str() {
            Some("STARTED") => running += 1,
            Some("SUCCESS") => (running, ended) = (running - 1, ended + 1),
            other => panic!("a task ended in {other:?}"),
        }
        assert!(running <= 2, "{running} at once");
    }
    eventually("nothing to be left", || {
        redis
            .command::<Vec<String>>(&["KEYS", "lovage:slots:*"])
            .is_empty()
            && redis
                .command::<Vec<String>>(&["KEYS", "lovage:line:*"])
                .is_empty()
            && redis
                .command::<Vec<String>>(&["KEYS", "lovage:gate:*"])
                .is_empty()
    });
}

#[test]
fn each_account_has_its_own_limit_and_who_waits_is_called_in_order_and_promptly() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let call = |account: i64, door: &Door| {
        let message = TaskMessage::new(
            "test.per_account",
            &json!([account, door.path()]),
            &json!({}),
        );
        redis.publish("celery", &message);
        message.id
    };
    let doors: Vec<Door> = (0..5).map(|_| Door::closed()).collect();
    let mut ids = Vec::new();
    for (at, door) in doors.iter().enumerate() {
        ids.push(call(1, door));
        eventually("it to wait in the line", || {
            redis
                .command::<Vec<String>>(&["KEYS", "lovage:gate:*"])
                .len()
                == at + 1
        });
    }
    redis.wait_for_state(&ids[0], "STARTED");
    let other = call(2, &doors[0]);
    redis.wait_for_state(&other, "STARTED");
    let mut quickest = Duration::MAX;
    for at in 0..4 {
        assert_eq!(redis.state(&ids[at + 1]), "PENDING");
        let opened = Instant::now();
        doors[at].open("done");
        redis.wait_for_state(&ids[at + 1], "STARTED");
        quickest = quickest.min(opened.elapsed());
    }
    doors[4].open("done");
    redis.wait_for_state(&ids[4], "SUCCESS");
    redis.wait_for_state(&other, "SUCCESS");
    assert!(quickest < Duration::from_millis(250), "{quickest:?}");
}

#[test]
fn a_dead_workers_slot_is_free_when_its_lease_has_ended_and_nothing_is_lost() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let mut doomed = worker(&redis, "doomed").start();
    let messages: Vec<TaskMessage> = (0..12).map(|_| narrow(&door)).collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    eventually("two to start", || {
        in_state(&redis, &messages, "STARTED") == 2
    });
    doomed.kill();
    let killed = Instant::now();
    let _heir = worker(&redis, "heir").start();
    door.open("done");
    wait::within(Duration::from_secs(10), "all to end", || {
        (in_state(&redis, &messages, "SUCCESS") == messages.len()).then_some(())
    });
    assert!(killed.elapsed() < Duration::from_secs(10));
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
}

#[test]
fn a_rate_holds_over_all_workers() {
    let redis = RedisServer::start();
    let _workers = ["a", "b"].map(|name| worker(&redis, name).start());
    let mut feed = ResultFeed::of(&redis);
    for _ in 0..12 {
        let message = TaskMessage::new("test.paced", &json!([]), &json!({}));
        redis.publish("celery", &message);
    }
    let mut starts = Vec::new();
    let mut ended = 0;
    while ended < 12 {
        match feed.next_record()["status"].as_str() {
            Some("STARTED") => starts.push(Instant::now()),
            Some("SUCCESS") => ended += 1,
            other => panic!("a task ended in {other:?}"),
        }
    }
    assert_eq!(starts.len(), 12);
    // What is seen here is a little later than it was, by more or by less.
    let sixth = starts[5] - starts[0];
    let last = starts[11] - starts[0];
    assert!(sixth > Duration::from_millis(850), "{sixth:?}");
    assert!(last > Duration::from_millis(1850), "{last:?}");
    assert!(last < Duration::from_millis(4000), "{last:?}");
}

#[test]
fn each_queue_and_each_value_has_a_limit_of_its_own() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let _worker = worker(&redis, "w")
        .queues("celery,other")
        .concurrency(20)
        .start();
    let narrow = || TaskMessage::new("test.per_queue", &json!([door.path()]), &json!({}));
    let (here, there): (Vec<_>, Vec<_>) = (0..4).map(|_| (narrow(), narrow())).unzip();
    for (one, other) in here.iter().zip(&there) {
        redis.publish("celery", one);
        redis.publish("other", other);
    }
    eventually("two of each queue to run", || {
        in_state(&redis, &here, "STARTED") == 2 && in_state(&redis, &there, "STARTED") == 2
    });
    door.open("done");
    eventually("all to end", || {
        in_state(&redis, &here, "SUCCESS") + in_state(&redis, &there, "SUCCESS") == 8
    });
    let begun = Instant::now();
    let account =
        |account: i64| TaskMessage::new("test.paced_account", &json!([account]), &json!({}));
    let paced: Vec<_> = (0..5).map(|_| account(1)).collect();
    let free = account(2);
    for message in paced.iter().chain([&free]) {
        redis.publish("celery", message);
    }
    redis.wait_for_state(&free.id, "SUCCESS");
    assert!(
        in_state(&redis, &paced, "SUCCESS") <= 3,
        "another account does not wait for them"
    );
    eventually("the account's own", || {
        in_state(&redis, &paced, "SUCCESS") == 5
    });
    assert!(begun.elapsed() >= Duration::from_secs(2), "two a second");
}

#[test]
fn who_waits_for_a_limit_can_be_revoked_at_once() {
    let redis = RedisServer::start();
    let door = Door::closed();
    let messages: Vec<TaskMessage> = (0..4).map(|_| narrow(&door)).collect();
    let _worker = worker(&redis, "w").start();
    for message in &messages {
        redis.publish("celery", message);
    }
    eventually("two to run and two to wait", || {
        in_state(&redis, &messages, "STARTED") == 2
            && redis.command::<usize>(&["ZCARD", "lovage:line:slots:test.narrow"]) == 2
    });
    let waiting: Vec<&TaskMessage> = messages
        .iter()
        .filter(|message| redis.state(&message.id) != "STARTED")
        .collect();
    crate::revokes::revoke(&redis, &[&waiting[0].id]);
    redis.wait_for_state(&waiting[0].id, "REVOKED");
    eventually("its place in the line to be free", || {
        redis.command::<usize>(&["ZCARD", "lovage:line:slots:test.narrow"]) == 1
    });
    door.open("done");
    redis.wait_for_state(&waiting[1].id, "SUCCESS");
    eventually("nothing to be left", || {
        redis.unacked() == 0 && redis.command::<usize>(&["EXISTS", "lovage:lines"]) == 0
    });
}

/// Sends a call of one of the gated tasks as a Lovage client does; gives its id.
fn call(redis: &RedisServer, task: &str, arguments: &serde_json::Value) -> String {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_test-tasks"))
        .args(["call", task, "--args", &arguments.to_string(), "--json"])
        .env("CELERY_BROKER_URL", redis.url())
        .env("CELERY_RESULT_BACKEND", redis.url())
        .current_dir(std::env::temp_dir())
        .output()
        .expect("the binary can be started");
    assert!(output.status.success(), "{output:?}");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    said["task_id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_call_without_room_waits_outside_of_the_queue_as_it_is_sent() {
    let redis = RedisServer::start();
    let door = Door::closed();
    // It lives and takes nothing of this queue: what happens there happens as the calls are sent.
    let _elsewhere = worker(&redis, "elsewhere").queues("elsewhere").start();
    let running = [narrow(&door), narrow(&door)];
    for message in &running {
        redis.publish("elsewhere", message);
    }
    eventually("two to run", || in_state(&redis, &running, "STARTED") == 2);
    let arguments = json!([door.path()]);
    let waiting = ["1", "2", "3"].map(|_| call(&redis, "test.narrow", &arguments));
    assert_eq!(redis.depth("celery"), 0, "they are not in the queue");
    let line: Vec<String> = redis.command(&["ZRANGE", "lovage:line:slots:test.narrow", "0", "-1"]);
    assert_eq!(line, waiting, "in the order in which they were sent");
    let mut feed = ResultFeed::of(&redis);
    let _worker = worker(&redis, "w").start();
    door.open("done");
    let mut starts = Vec::new();
    let mut ended = 0;
    let mut now = 2_i32;
    while ended < 5 {
        let record = feed.next_record();
        match record["status"].as_str() {
            Some("STARTED") => {
                now += 1;
                starts.push(record["task_id"].as_str().expect("an id").to_owned());
            }
            Some("SUCCESS") => (now, ended) = (now - 1, ended + 1),
            other => panic!("a task ended in {other:?}"),
        }
        assert!(now <= 2, "{now} at once");
    }
    assert_eq!(starts.len(), 3);
    eventually("nothing to be left", || {
        redis
            .command::<Vec<String>>(&["KEYS", "lovage:gate:*"])
            .is_empty()
            && redis
                .command::<Vec<String>>(&["KEYS", "lovage:line*"])
                .is_empty()
    });
}

#[test]
fn a_later_call_ends_the_earlier_one_at_once_as_it_is_sent() {
    let redis = RedisServer::start();
    let _worker = worker(&redis, "w").start();
    let first = call(&redis, "test.debounced_long", &json!([1, 10]));
    assert_eq!((redis.depth("celery"), redis.unacked()), (0, 0));
    let second = call(&redis, "test.debounced_long", &json!([1, 11]));
    let other = call(&redis, "test.debounced_long", &json!([2, 20]));
    let record = redis.wait_for_state(&first, "REVOKED");
    let why = format!("duplicate of {second}");
    assert_eq!(record["result"]["exc_message"], json!([why]), "{record}");
    let waiting: Vec<String> = redis.command(&["ZRANGE", "lovage:delayed", "0", "-1"]);
    assert_eq!(waiting, [second, other], "their windows are not over");
}

#[test]
fn calls_sent_while_no_worker_lives_are_in_the_queue() {
    let redis = RedisServer::start();
    let ids = [1, 2].map(|note| call(&redis, "test.debounced", &json!([1, note])));
    assert_eq!(redis.depth("celery"), 2);
    let _worker = worker(&redis, "w").start();
    redis.wait_for_state(&ids[0], "REVOKED");
    assert_eq!(redis.wait_for_state(&ids[1], "SUCCESS")["result"], 2);
}

#[test]
fn a_rate_limit_holds_in_each_worker_in_order_and_holds_nobody_up() {
    let redis = RedisServer::start();
    let messages: Vec<TaskMessage> = (0..20)
        .map(|_| TaskMessage::new("test.rated", &json!([]), &json!({})))
        .collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    let mut feed = ResultFeed::of(&redis);
    let _worker = worker(&redis, "w").concurrency(1).start();
    assert_works(&redis);
    assert!(in_state(&redis, &messages, "SUCCESS") < 15, "others go by");
    let mut ended = Vec::new();
    let mut starts = Vec::new();
    while ended.len() < messages.len() {
        let record = feed.next_record();
        let id = record["task_id"].as_str().expect("an id").to_owned();
        if !messages.iter().any(|message| message.id == id) {
            continue;
        }
        match record["status"].as_str() {
            Some("STARTED") => starts.push(Instant::now()),
            _ => ended.push(id),
        }
    }
    let order: Vec<&String> = messages.iter().map(|message| &message.id).collect();
    assert_eq!(ended.iter().collect::<Vec<_>>(), order);
    let time = starts[19] - starts[0];
    assert!(time > Duration::from_millis(1800), "{time:?}");
    assert!(time < Duration::from_millis(3000), "{time:?}");
    eventually("a clean broker", || redis.unacked() == 0);
}

#[test]
fn who_waits_for_a_rate_limit_goes_back_when_the_worker_stops() {
    let redis = RedisServer::start();
    let mut first = worker(&redis, "w")
        .variable("CELERY_TASK_DEFAULT_RATE_LIMIT", "1/h")
        .start();
    let messages: Vec<TaskMessage> = (0..3).map(|_| crate::add()).collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    eventually("one to run", || in_state(&redis, &messages, "SUCCESS") == 1);
    eventually("the others to wait", || redis.depth("celery") == 0);
    assert!(first.stop().success());
    assert_eq!((redis.depth("celery"), redis.unacked()), (2, 0));
    let _second = worker(&redis, "w")
        .variable("CELERY_TASK_DEFAULT_RATE_LIMIT", "1/h")
        .variable("CELERY_WORKER_DISABLE_RATE_LIMITS", "1")
        .start();
    eventually("all to run", || in_state(&redis, &messages, "SUCCESS") == 3);
}
