//! How much a worker takes and runs at once.

use std::time::Duration;

use lovage_integration_tests::{LovageWorker, RedisServer, eventually, never_within};

use crate::sleep;

fn states(redis: &RedisServer, ids: &[String], state: &str) -> usize {
    ids.iter().filter(|id| redis.state(id) == state).count()
}

fn publish_sleeps(redis: &RedisServer, count: usize, seconds: f64) -> Vec<String> {
    (0..count)
        .map(|_| {
            let message = sleep(seconds);
            redis.publish("celery", &message);
            message.id
        })
        .collect()
}

#[test]
fn no_more_tasks_run_at_once_than_allowed() {
    for pool in ["async", "threads", "prefork"] {
        let redis = RedisServer::start();
        let _worker = LovageWorker::builder(&redis)
            .pool(pool)
            .concurrency(2)
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start();
        let ids = publish_sleeps(&redis, 6, 1.0);
        eventually("two tasks to run", || states(&redis, &ids, "STARTED") == 2);
        never_within(Duration::from_millis(700), "a third task runs", || {
            states(&redis, &ids, "STARTED") > 2
        });
        eventually("all tasks to end", || states(&redis, &ids, "SUCCESS") == 6);
    }
}

#[test]
fn tasks_run_side_by_side() {
    for pool in ["async", "threads"] {
        let redis = RedisServer::start();
        let _worker = LovageWorker::builder(&redis)
            .pool(pool)
            .concurrency(8)
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start();
        let ids = publish_sleeps(&redis, 8, 1.0);
        eventually("eight tasks to run together", || {
            states(&redis, &ids, "STARTED") == 8
        });
    }
}

#[test]
fn the_prefetch_bound_is_kept() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .concurrency(2)
        .variable("CELERY_WORKER_PREFETCH_MULTIPLIER", "2")
        .start();
    let ids = publish_sleeps(&redis, 20, 0.4);
    let mut most = 0;
    eventually("all tasks to end", || {
        most = most.max(redis.unacked());
        states(&redis, &ids, "SUCCESS") == 20
    });
    assert!(
        (3..=4).contains(&most),
        "2 × 2 messages may be held, {most} were"
    );
}

#[test]
fn two_workers_share_the_work() {
    let redis = RedisServer::start();
    let worker = |name: &str| {
        LovageWorker::builder(&redis)
            .hostname(name)
            .concurrency(1)
            .variable("CELERY_WORKER_PREFETCH_MULTIPLIER", "1")
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start()
    };
    let _one = worker("one@%h");
    let _two = worker("two@%h");
    let ids = publish_sleeps(&redis, 6, 0.5);
    let mut names = std::collections::BTreeSet::new();
    eventually("all tasks to end", || {
        for id in &ids {
            if let Some(record) = redis
                .result(id)
                .filter(|record| record["status"] == "STARTED")
            {
                names.insert(
                    record["result"]["hostname"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                );
            }
        }
        states(&redis, &ids, "SUCCESS") == 6
    });
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_slow_task_does_not_hold_the_results_of_quick_ones() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis).concurrency(4).start();
    let slow = publish_sleeps(&redis, 1, 3.0);
    let quick = publish_sleeps(&redis, 12, 0.01);
    eventually("the quick tasks to end", || {
        states(&redis, &quick, "SUCCESS") == 12
    });
    assert_eq!(redis.state(&slow[0]), "PENDING");
}
