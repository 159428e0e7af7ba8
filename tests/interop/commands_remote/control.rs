//! `lovage control`.

use std::time::Duration;

use lovage_integration_tests::{RedisServer, TaskMessage, Terminal, eventually, lovage_command};
use serde_json::{Value, json};

use super::{Whose, json_of, tell, well, worker};

/// A command that the node carries out, with what it says.
fn ok(redis: &RedisServer, words: &str, said: &str) {
    let told = well(redis, &format!("control {words}"));
    assert_eq!(told, format!("->  w1@box: OK\n    {said}\n"), "{words}");
}

/// A command that the node refuses, with its reason.
fn refused(redis: &RedisServer, words: &str, said: &str) {
    let told = tell(redis, &format!("control {words}"));
    assert_eq!(told.code, Some(1), "{words}: {told:?}");
    assert_eq!(
        told.out,
        format!("->  w1@box: ERROR\n    {said}\n"),
        "{words}"
    );
}

fn inspect(redis: &RedisServer, command: &str) -> Value {
    json_of(redis, &format!("inspect -j {command}"))["w1@box"].take()
}

#[test]
fn a_python_worker_is_changed_while_it_runs() {
    is_changed_while_it_runs(Whose::Celery);
}

#[test]
fn our_worker_is_changed_while_it_runs() {
    is_changed_while_it_runs(Whose::Ours);
}

fn is_changed_while_it_runs(whose: Whose) {
    let redis = RedisServer::start();
    let cast = whose.start(&redis, &[("-c", "1")], false);
    let add = cast.add;

    ok(
        &redis,
        &format!("rate_limit {add} 7/m"),
        "new rate limit set successfully",
    );
    let registered = inspect(&redis, "registered");
    let limited = json!(format!("{add} [rate_limit=7/m]"));
    assert!(
        registered
            .as_array()
            .is_some_and(|names| names.contains(&limited)),
        "{registered}"
    );
    refused(&redis, "rate-limit no.such 7/m", "unknown task");

    ok(
        &redis,
        &format!("time_limit {add} 10 20"),
        "time limits set successfully",
    );
    let limits = inspect(&redis, "registered soft_time_limit time_limit");
    let limited = json!(format!("{add} [soft_time_limit=10.0 time_limit=20.0]"));
    assert!(
        limits
            .as_array()
            .is_some_and(|names| names.contains(&limited)),
        "{limits}"
    );
    refused(&redis, "time_limit no.such 1", "unknown task");

    let size = || {
        let stats = inspect(&redis, "stats");
        stats["pool"]["processes"].as_array().map(Vec::len)
    };
    ok(&redis, "pool_grow 2", "pool will grow");
    eventually("the pool grows", || size() == Some(3));
    ok(&redis, "pool-shrink", "pool will shrink");
    eventually("the pool shrinks", || size() == Some(2));
    refused(
        &redis,
        "autoscale 5 1",
        "ValueError('Autoscale not enabled')",
    );
    refused(
        &redis,
        "pool_restart",
        "ValueError('Pool restarts not enabled')",
    );

    let queues = || -> Vec<Value> {
        let queues = inspect(&redis, "active_queues");
        let queue = |queue: &Value| {
            json!([
                queue["name"],
                queue["exchange"]["type"],
                queue["routing_key"]
            ])
        };
        queues
            .as_array()
            .map_or_else(Vec::new, |queues| queues.iter().map(queue).collect())
    };
    ok(&redis, "add_consumer hot", "add consumer hot");
    ok(
        &redis,
        "add_consumer warm ex topic a.#",
        "add consumer warm",
    );
    eventually("the queues are consumed from", || {
        queues().contains(&json!(["hot", "direct", "hot"]))
            && queues().contains(&json!(["warm", "topic", "a.#"]))
    });
    ok(
        &redis,
        "cancel-consumer hot",
        "no longer consuming from hot",
    );
    eventually("the queue is not consumed from", || queues().len() == 2);

    ok(&redis, "enable_events", "task events enabled");
    ok(&redis, "enable-events", "task events already enabled");
    ok(&redis, "disable_events", "task events disabled");
    assert_eq!(well(&redis, "control heartbeat"), "->  w1@box: OK\n");

    let told = json_of(&redis, "control --json disable_events");
    assert_eq!(
        told,
        json!([{"w1@box": {"ok": "task events already disabled"}}])
    );
}

#[test]
fn tasks_of_a_python_worker_are_revoked_and_ended() {
    are_revoked_and_ended(Whose::Celery);
}

#[test]
fn tasks_of_our_worker_are_revoked_and_ended() {
    are_revoked_and_ended(Whose::Ours);
}

fn are_revoked_and_ended(whose: Whose) {
    let redis = RedisServer::start();
    let mut cast = whose.start(&redis, &[("-c", "2")], false);
    let (add, sleep) = (cast.add, cast.sleep);
    let add = || TaskMessage::new(add, &json!([2, 3]), &json!({}));
    let doomed = [add(), add()];
    let [one, two] = [&doomed[0].id, &doomed[1].id];
    let told = well(&redis, &format!("control revoke {one} {two}"));
    assert!(
        told.starts_with("->  w1@box: OK\n    tasks {") && told.contains("flagged as revoked"),
        "{told}"
    );
    assert_eq!(inspect(&redis, "revoked").as_array().map(Vec::len), Some(2));
    ok(
        &redis,
        "revoke_by_stamped_headers customer=acme customer=initech",
        "headers {'customer': ['acme', 'initech']} flagged as revoked, but not terminated",
    );
    // Ours replies when it is recorded, and holds to it a moment later.
    if whose == Whose::Ours {
        cast.process().wait_for("stamps=1", Duration::from_secs(20));
    }
    let stamped = add()
        .set("headers.stamped_headers", json!(["customer"]))
        .set("headers.stamps", json!({"customer": "initech"}));
    for message in doomed.iter().chain([&stamped]) {
        redis.publish("celery", message);
        redis.wait_for_state(&message.id, "REVOKED");
    }

    let sleeps = [0, 1].map(|_| TaskMessage::new(sleep, &json!([600]), &json!({})));
    for message in &sleeps {
        redis.publish("celery", message);
    }
    eventually("both run", || {
        inspect(&redis, "active").as_array().map(Vec::len) == Some(2)
    });
    let [one, two] = [&sleeps[0].id, &sleeps[1].id];
    ok(
        &redis,
        &format!("revoke {one} --terminate -s kill"),
        &format!("terminate: {one}"),
    );
    redis.wait_for_state(one, "REVOKED");
    ok(
        &redis,
        &format!("terminate TERM {two}"),
        &format!("terminate: {two}"),
    );
    redis.wait_for_state(two, "REVOKED");
    ok(&redis, "terminate TERM nobody", "terminate: tasks unknown");
}

#[test]
fn the_bounds_of_a_pool_are_changed() {
    for whose in [Whose::Celery, Whose::Ours] {
        let redis = RedisServer::start();
        let _cast = whose.start(&redis, &[("--autoscale", "2,1")], false);
        ok(&redis, "autoscale 5 2", "autoscale now max=5 min=2");
        ok(&redis, "autoscale 6", "autoscale now max=6 min=2");
    }
}

#[test]
fn workers_end_when_they_are_told_to() {
    let redis = RedisServer::start();
    let mut other = worker(&redis, "w2@box", &["-P", "solo"]);
    // One of either kind, one after the other: only it is meant.
    for whose in [Whose::Celery, Whose::Ours] {
        let mut cast = whose.start(&redis, &[("-c", "1")], false);
        assert_eq!(
            well(&redis, "control -d w1@box shutdown"),
            "->  w1@box: OK\n"
        );
        let end = cast.process().wait(Duration::from_secs(20));
        assert!(end.success(), "{whose:?}: {end}");
    }
    assert!(other.process().is_running());
    // All are meant, and there is no terminal to ask at.
    let told = json_of(&redis, "control shutdown --json");
    assert_eq!(told, json!([{"w2@box": null}]));
    let end = other.process().wait(Duration::from_secs(20));
    assert!(end.success(), "{end}");
}

#[test]
fn who_would_end_all_workers_at_a_terminal_is_asked() {
    let redis = RedisServer::start();
    let mut worker = worker(&redis, "w1@box", &["-P", "solo"]);
    let shutdown = |answer: &str| {
        let mut terminal = Terminal::start(lovage_command(&redis, &["control", "shutdown"]));
        terminal.wait_for(&["This ends all workers (1 worker online). Go on?"]);
        terminal.press(answer);
        (terminal.wait().code(), terminal.text())
    };
    let (code, shown) = shutdown("n\r");
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("nothing was sent"), "{shown}");
    assert!(json_of(&redis, "status -j").get("w1@box").is_some());
    let (code, shown) = shutdown("y\r");
    assert_eq!(code, Some(0), "{shown}");
    let end = worker.process().wait(Duration::from_secs(20));
    assert!(end.success(), "{end}");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let redis = RedisServer::start();
    let told = tell(&redis, "control election 1 task");
    assert_eq!(told.code, Some(2), "{told:?}");
    assert!(told.err.contains("among themselves"), "{told:?}");
    let listed = well(&redis, "control --list");
    assert!(
        listed.contains("add_consumer") && !listed.contains("election"),
        "{listed}"
    );
}
