//! eta and expires on the broker.

use std::time::Duration;

use lovage_integration_tests::{
    LovageWorker, RedisServer, TaskMessage, dead_letters, eventually, lovage,
    lovage_worker::lovage_json, wait,
};
use serde_json::json;

use crate::eta;

#[test]
fn a_far_eta_leaves_the_unacked_hash_and_comes_back_in_time() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let due = eta(8);
    let message = crate::add().set("headers.eta", json!(due));
    redis.publish("celery", &message);
    eventually("it to be put aside", || {
        redis.depth("celery") == 0 && redis.unacked() == 0
    });
    assert_eq!(redis.state(&message.id), "PENDING");
    wait::within(Duration::from_secs(15), "the result", || {
        (redis.state(&message.id) == "SUCCESS").then_some(())
    });
    assert!(
        redis.result(&message.id).expect("it is stored")["date_done"].as_str()
            >= Some(due.as_str())
    );
}

#[test]
fn thousands_of_waiting_tasks_do_not_count_as_prefetched() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .concurrency(1)
        .variable("CELERY_WORKER_PREFETCH_MULTIPLIER", "1")
        .start();
    let mut pipeline = redis::pipe();
    for _ in 0..2000 {
        pipeline
            .lpush(
                "celery",
                crate::add()
                    .set("headers.eta", json!("2099-01-01T00:00:00Z"))
                    .to_json(),
            )
            .ignore();
    }
    pipeline.exec(&mut redis.connection()).expect("LPUSH works");
    crate::assert_works(&redis);
}

#[test]
fn a_past_eta_runs_at_once_and_a_past_expiry_does_not_run() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let past = crate::add().set("headers.eta", json!(eta(-60)));
    let expired = crate::add().set("headers.expires", json!(eta(-60)));
    let both = crate::add()
        .set("headers.expires", json!(eta(-60)))
        .set("headers.eta", json!(eta(3600)));
    for message in [&past, &expired, &both] {
        redis.publish("celery", message);
    }
    redis.wait_for_state(&past.id, "SUCCESS");
    redis.wait_for_state(&expired.id, "REVOKED");
    redis.wait_for_state(&both.id, "REVOKED");
    eventually("all to be acked", || redis.unacked() == 0);
    assert!(
        dead_letters(&redis).is_empty(),
        "an expired message is no dead letter"
    );
}

#[test]
fn a_retry_is_delayed_by_its_countdown() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = TaskMessage::new("demo.retry_then_succeed", &json!([1, 2]), &json!({}));
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "RETRY");
    let retried = std::time::Instant::now();
    redis.wait_for_state(&message.id, "SUCCESS");
    let waited = retried.elapsed();
    assert!(
        waited > Duration::from_millis(1500) && waited < Duration::from_secs(6),
        "{waited:?}"
    );
}

#[test]
fn a_dead_last_workers_delayed_tasks_can_be_released_for_python_workers() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    let message = crate::add().set("headers.eta", json!("2099-01-01T00:00:00+00:00"));
    redis.publish("celery", &message);
    eventually("it to be put aside", || {
        redis.depth("celery") == 0 && redis.unacked() == 0
    });
    let refused = lovage(&redis, &["queue", "release-eta"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("lovage@"), "the worker is named: {told}");
    worker.kill();
    let answer = lovage_json(&redis, &["queue", "release-eta", "--force", "--json"]);
    assert_eq!(answer["released"], 1);
    assert_eq!(redis.waiting("celery"), [message.to_json().into_bytes()]);
}

#[test]
fn delayed_tasks_run_when_they_are_due_and_cost_their_worker_no_memory() {
    const TASKS: usize = 20_000;
    let redis = RedisServer::start();
    let worker = LovageWorker::on(&redis);
    crate::assert_works(&redis);
    let before = resident_kib(worker.pid());
    let far = crate::add().set("headers.eta", json!("2099-01-01T00:00:00Z"));
    for _ in 0..TASKS / 2_000 {
        let mut pipeline = redis::pipe();
        for _ in 0..2_000 {
            pipeline.lpush("celery", far.to_json()).ignore();
        }
        pipeline.exec(&mut redis.connection()).expect("LPUSH works");
    }
    wait::within(Duration::from_secs(30), "all to be put aside", || {
        let delayed: usize = redis.command(&["ZCARD", "lovage:delayed"]);
        (delayed == TASKS).then_some(())
    });
    let grown = resident_kib(worker.pid()).saturating_sub(before);
    assert!(grown < 20 << 10, "the worker grew by {grown} KiB");

    let due = chrono::Utc::now() + chrono::TimeDelta::milliseconds(1500);
    let text = due.to_rfc3339_opts(chrono::SecondsFormat::Micros, false);
    let message = crate::add().set("headers.eta", json!(text));
    redis.publish("celery", &message);
    let result = redis.wait_for_state(&message.id, "SUCCESS");
    let done = result["date_done"].as_str().expect("it has ended");
    let done = chrono::DateTime::parse_from_rfc3339(done).expect("it is a time");
    let late = done.with_timezone(&chrono::Utc) - due;
    assert!(
        late >= chrono::TimeDelta::zero() && late < chrono::TimeDelta::milliseconds(250),
        "{late}"
    );
}

/// What a process holds of the machine's memory.
fn resident_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.expect("the kernel tells").parse().expect("a number")
}
