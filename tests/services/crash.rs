//! kill -9: nothing is lost, and what was held is back within seconds.

use std::time::{Duration, Instant};

use lovage_integration_tests::{
    LovageWorker, RedisServer, TaskMessage, dead_letters, eventually, wait,
};
use serde_json::json;

use crate::{eta, sleep};

/// The time in which the work of a dead worker must be taken up again.
const BACK: Duration = Duration::from_secs(10);

fn publish_numbers(redis: &RedisServer, count: usize) -> Vec<String> {
    let mut pipeline = redis::pipe();
    let ids: Vec<String> = (0..count)
        .map(|i| {
            let message = TaskMessage::new("demo.mul", &json!([i, 1]), &json!({}));
            pipeline.lpush("celery", message.to_json()).ignore();
            message.id
        })
        .collect();
    pipeline.exec(&mut redis.connection()).expect("LPUSH works");
    ids
}

fn finished(redis: &RedisServer, ids: &[String]) -> usize {
    let keys: Vec<String> = ids
        .iter()
        .map(|id| format!("celery-task-meta-{id}"))
        .collect();
    let values: Vec<Option<String>> =
        redis::Commands::mget(&mut redis.connection(), &keys).expect("MGET works");
    values
        .iter()
        .flatten()
        .filter(|value| value.starts_with(r#"{"status": "SUCCESS""#))
        .count()
}

#[test]
fn a_task_of_a_killed_worker_is_run_by_another_within_seconds() {
    for pool in ["async", "threads", "prefork"] {
        let redis = RedisServer::start();
        let worker = |name: &str| {
            LovageWorker::builder(&redis)
                .pool(pool)
                .concurrency(4)
                .hostname(name)
                .variable("CELERY_TASK_TRACK_STARTED", "1")
                .start()
        };
        let mut doomed = worker("doomed@%h");
        let message = sleep(1.0);
        redis.publish("celery", &message);
        redis.wait_for_state(&message.id, "STARTED");
        doomed.kill();
        let killed = Instant::now();
        let _heir = worker("heir@%h");
        wait::within(BACK + Duration::from_secs(2), "the result", || {
            (redis.state(&message.id) == "SUCCESS").then_some(())
        });
        assert!(
            killed.elapsed() < BACK + Duration::from_secs(2),
            "{:?}",
            killed.elapsed()
        );
        assert_eq!(redis.unacked(), 0);
    }
}

#[test]
fn every_task_is_accounted_for_when_workers_are_killed_under_load() {
    let redis = RedisServer::start();
    let worker = |i: usize| {
        LovageWorker::builder(&redis)
            .hostname(&format!("worker-{i}@%h"))
            .concurrency(20)
            .start()
    };
    let mut victim = worker(0);
    let ids = publish_numbers(&redis, 5000);
    for i in 1..=4 {
        // Killed somewhere in the middle of the load, each time at another point.
        let so_far = finished(&redis, &ids);
        let goal = (so_far + 300).min(4500);
        wait::within(wait::PATIENCE, "some progress", || {
            (finished(&redis, &ids) >= goal).then_some(())
        });
        victim.kill();
        drop(victim);
        victim = worker(i);
    }
    wait::within(Duration::from_secs(60), "all tasks to end", || {
        (finished(&redis, &ids) == ids.len()).then_some(())
    });
    for (i, id) in ids.iter().enumerate() {
        assert_eq!(redis.result(id).expect("it is stored")["result"], i, "{id}");
    }
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
    let letters = dead_letters(&redis);
    assert!(
        letters.is_empty(),
        "four deaths poison nothing that was merely held: {} letters",
        letters.len()
    );
}

#[test]
fn a_living_peer_takes_over_without_a_restart() {
    let redis = RedisServer::start();
    let mut doomed = LovageWorker::builder(&redis)
        .hostname("doomed@%h")
        .concurrency(1)
        .start();
    let messages: Vec<TaskMessage> = (0..4).map(|_| sleep(0.8)).collect();
    for message in &messages {
        redis.publish("celery", message);
    }
    eventually("the first worker to hold all", || redis.unacked() == 4);
    let _peer = LovageWorker::builder(&redis)
        .hostname("peer@%h")
        .concurrency(4)
        .start();
    doomed.kill();
    let killed = Instant::now();
    wait::within(BACK + Duration::from_secs(3), "all results", || {
        messages
            .iter()
            .all(|message| redis.state(&message.id) == "SUCCESS")
            .then_some(())
    });
    assert!(killed.elapsed() < BACK + Duration::from_secs(3));
}

#[test]
fn an_eta_task_survives_the_death_of_its_worker() {
    let redis = RedisServer::start();
    let mut doomed = LovageWorker::builder(&redis).hostname("doomed@%h").start();
    let due = eta(12);
    let message = crate::add().set("headers.eta", json!(due));
    redis.publish("celery", &message);
    eventually("the message to be taken", || redis.depth("celery") == 0);
    doomed.kill();
    let _heir = LovageWorker::builder(&redis).hostname("heir@%h").start();
    wait::within(Duration::from_secs(30), "the result", || {
        (redis.state(&message.id) == "SUCCESS").then_some(())
    });
    assert!(
        redis.result(&message.id).expect("it is stored")["date_done"].as_str()
            >= Some(due.as_str()),
        "not before its time"
    );
}

#[test]
fn a_message_that_kills_its_workers_ends_among_the_dead_letters() {
    let redis = RedisServer::start();
    let message = sleep(30.0);
    redis.publish("celery", &message);
    let mut deaths = 0;
    loop {
        let name = format!("victim-{deaths}@");
        let mut worker = LovageWorker::builder(&redis)
            .hostname(&format!("{name}%h"))
            .variable("LOVAGE_MAX_DEATHS", "2")
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start();
        let runs_here = || {
            let record = redis.result(&message.id).unwrap_or_default();
            record["result"]["hostname"]
                .as_str()
                .is_some_and(|hostname| hostname.starts_with(&name))
        };
        let state = wait::within(wait::PATIENCE, "the message to be run or given up", || {
            if redis.state(&message.id) == "FAILURE" {
                Some("given up")
            } else {
                runs_here().then_some("running")
            }
        });
        if state == "given up" {
            worker.wait_for("a message is given up");
            // What follows in the log is written after that of the message.
            assert!(worker.stop().success());
            let log = worker.log().text();
            assert!(!log.contains("are back in their queues"), "{log}");
            break;
        }
        worker.kill();
        deaths += 1;
        assert!(deaths <= 4, "the message goes on killing");
    }
    // Two it may cost; the third was the one too many.
    assert_eq!(deaths, 3);
    let letters = dead_letters(&redis);
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!(letters[0].code, "died");
    // Its first death marked it as redelivered; what it says is unchanged.
    let kept: serde_json::Value = serde_json::from_slice(&letters[0].raw).expect("it is JSON");
    assert_eq!(kept["headers"]["id"], message.id.as_str());
    assert_eq!(kept["headers"]["redelivered"], true);
    assert_eq!(kept["body"], message.envelope["body"]);
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
}

#[test]
fn a_chord_outlives_the_worker_that_runs_its_header() {
    let redis = RedisServer::start();
    let worker = |name: &str| {
        LovageWorker::builder(&redis)
            .hostname(name)
            .variable("CELERY_TASK_TRACK_STARTED", "1")
            .start()
    };
    let mut doomed = worker("doomed@%h");
    let body = json!({"task": "demo.echo", "options": {"task_id": "the-body"}});
    let embed = json!({"callbacks": null, "errbacks": null, "chain": null, "chord": body});
    redis.command::<String>(&["SET", "celery-taskset-meta-the-group.s", "2"]);
    let header: Vec<TaskMessage> = [0.0, 1.0]
        .into_iter()
        .enumerate()
        .map(|(index, seconds)| {
            let body = json!([[seconds], {}, embed]).to_string();
            TaskMessage::with_body("demo.sleep", body.as_bytes())
                .set("headers.group", json!("the-group"))
                .set("headers.group_index", json!(index))
        })
        .collect();
    for message in &header {
        redis.publish("celery", message);
    }
    redis.wait_for_state(&header[0].id, "SUCCESS");
    redis.wait_for_state(&header[1].id, "STARTED");
    doomed.kill();
    let _heir = worker("heir@%h");
    let record = redis.wait_for_state("the-body", "SUCCESS");
    assert_eq!(record["result"], json!([[[0.0, 1.0]], {}]));
    eventually("everything to be settled", || redis.unacked() == 0);
}

#[test]
fn a_killer_does_not_take_the_innocent_beside_it_along() {
    let redis = RedisServer::start();
    let killer = TaskMessage::new("demo.crash", &json!([]), &json!({}));
    let innocent: Vec<TaskMessage> = (0..30).map(|_| sleep(0.2)).collect();
    for message in &innocent[..15] {
        redis.publish("celery", message);
    }
    redis.publish("celery", &killer);
    for message in &innocent[15..] {
        redis.publish("celery", message);
    }
    let ids: Vec<String> = innocent.iter().map(|message| message.id.clone()).collect();
    // As a supervisor would: whenever the worker dies, there is a new one.
    let mut deaths = 0;
    let mut worker = None;
    while finished(&redis, &ids) < ids.len() || redis.state(&killer.id) != "FAILURE" {
        let alive = worker.as_mut().is_some_and(LovageWorker::is_running);
        if !alive {
            deaths += usize::from(worker.is_some());
            assert!(deaths <= 4, "the killer goes on killing");
            let next = LovageWorker::builder(&redis)
                .variable("LOVAGE_LEASE", "1s")
                .hostname(&format!("w{deaths}@%h"));
            worker = Some(next.launch());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(deaths, 4, "three it may cost, the fourth is one too many");
    let letters = dead_letters(&redis);
    let codes: Vec<&str> = letters.iter().map(|letter| letter.code.as_str()).collect();
    assert_eq!(codes, ["died"], "{letters:?}");
}
