//! Messages meant to exhaust a worker.

use std::io::Write;

use lovage_integration_tests::{LovageWorker, RedisServer, TaskMessage, dead_letters, eventually};
use serde_json::json;

use crate::{add, assert_works};

/// Resident memory of a process in MiB.
fn memory_of(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("its peak is known");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse::<u64>().ok())
        .expect("a number of KiB")
        / 1024
}

fn clean(redis: &RedisServer) {
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
}

#[test]
fn a_message_cut_off_anywhere_is_kept() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    let whole = add().to_json();
    let cuts: Vec<&[u8]> = (0..whole.len())
        .map(|length| &whole.as_bytes()[..length])
        .collect();
    let mut pipeline = redis::pipe();
    for cut in &cuts {
        pipeline.lpush("celery", *cut).ignore();
    }
    pipeline.exec(&mut redis.connection()).expect("LPUSH works");
    assert_works(&redis);
    clean(&redis);
    assert!(worker.is_running());
    let mut kept: Vec<Vec<u8>> = dead_letters(&redis)
        .into_iter()
        .map(|letter| letter.raw)
        .collect();
    kept.sort();
    assert_eq!(kept.len(), cuts.len());
    assert!(
        kept.iter().zip(&cuts).all(|(kept, cut)| kept == cut),
        "each as it was sent"
    );
}

#[test]
fn a_message_of_ten_mebibytes_is_run() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let text = "ä".repeat(5 * 1024 * 1024);
    let message = TaskMessage::new("demo.echo", &json!([text]), &json!({}));
    redis.publish("celery", &message);
    let record = redis.wait_for_state(&message.id, "SUCCESS");
    assert!(record["result"][0][0] == text);
    assert_works(&redis);
}

#[test]
fn a_message_above_the_limit_is_kept() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable("LOVAGE_MAX_MESSAGE_BYTES", "1MiB")
        .start();
    let message = TaskMessage::new(
        "demo.echo",
        &json!(["x".repeat(3 * 1024 * 1024)]),
        &json!({}),
    );
    redis.publish("celery", &message);
    assert_works(&redis);
    clean(&redis);
    let letters = dead_letters(&redis);
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].raw == message.to_json().as_bytes(),
        "it is kept as it was sent"
    );
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    let deep = |depth: usize, open: &str, close: &str| {
        format!("{}{}", open.repeat(depth), close.repeat(depth))
    };
    for depth in [600, 10_000, 1_000_000] {
        let body = format!("[[{}], {{}}, {{}}]", deep(depth, "[", "]"));
        redis.publish(
            "celery",
            &TaskMessage::with_body("demo.echo", body.as_bytes()),
        );
        let objects = format!(
            "[[{}1{}], {{}}, {{}}]",
            r#"{"a":"#.repeat(depth),
            "}".repeat(depth)
        );
        redis.publish(
            "celery",
            &TaskMessage::with_body("demo.echo", objects.as_bytes()),
        );
        redis.publish_raw("celery", deep(depth, "[", "]").as_bytes());
        redis.publish_raw(
            "celery",
            format!(r#"{{"headers": {{"x": {}}}}}"#, deep(depth, "[", "]")).as_bytes(),
        );
        redis.publish_raw("celery", "[".repeat(depth).as_bytes());
        assert_works(&redis);
        assert!(worker.is_running(), "depth {depth}");
    }
    clean(&redis);
    assert_eq!(dead_letters(&redis).len(), 15);
}

#[test]
fn compression_bombs_do_not_fill_the_memory() {
    let redis = RedisServer::start();
    let mut worker = LovageWorker::on(&redis);
    // 1 GiB of spaces before a valid body: about 1 MiB on the wire.
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![b' '; 1024 * 1024];
    for _ in 0..1024 {
        zlib.write_all(&block).expect("a vector can be written to");
    }
    zlib.write_all(b"[[2, 3], {}, {}]")
        .expect("a vector can be written to");
    let bomb = zlib.finish().expect("a vector can be written to");
    let message = add()
        .body(&bomb)
        .set("headers.compression", json!("application/x-gzip"));
    for _ in 0..3 {
        redis.publish("celery", &message);
    }
    assert_works(&redis);
    clean(&redis);
    assert!(worker.is_running());
    let letters = dead_letters(&redis);
    assert_eq!(letters.len(), 3);
    assert!(
        letters
            .iter()
            .all(|letter| letter.raw == message.to_json().as_bytes())
    );
    let peak = memory_of(worker.pid());
    assert!(peak < 600, "the worker's peak was {peak} MiB");
}

#[test]
fn a_flood_of_bad_messages_does_not_stop_good_ones() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let mut pipeline = redis::pipe();
    for i in 0..3000 {
        pipeline.lpush("celery", format!("garbage {i}")).ignore();
    }
    pipeline.exec(&mut redis.connection()).expect("LPUSH works");
    assert_works(&redis);
    clean(&redis);
}
