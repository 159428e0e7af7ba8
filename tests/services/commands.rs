//! The command line as a producer and a reader of results.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use lovage_integration_tests::lovage_worker::{lovage_json, lovage_with};
use lovage_integration_tests::{LovageWorker, RedisServer, lovage};

use crate::add;

#[test]
fn a_call_puts_a_message_into_its_queue() {
    let redis = RedisServer::start();
    let output = lovage(&redis, &["call", "demo.add", "2", "3"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let id = String::from_utf8(output.stdout).expect("an id is text");
    let waiting = redis.waiting_json("celery");
    assert_eq!(waiting.len(), 1);
    assert_eq!(waiting[0]["headers"]["task"], "demo.add");
    assert_eq!(waiting[0]["headers"]["id"], id.trim());
    assert_eq!(waiting[0]["headers"]["argsrepr"], "(2, 3)");
}

#[test]
fn a_result_can_be_read_by_its_id() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::on(&redis);
    let message = add();
    redis.publish("celery", &message);
    redis.wait_for_state(&message.id, "SUCCESS");
    let output = lovage(&redis, &["result", &message.id]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "5");
    let told = lovage_json(&redis, &["result", &message.id, "--json"]);
    assert_eq!(
        (&told["result"], &told["status"]),
        (&5.into(), &"SUCCESS".into()),
        "{told}"
    );
}

#[test]
fn an_unreachable_broker_ends_a_command_in_good_time() {
    let mut redis = RedisServer::start();
    redis.stop();
    let started = std::time::Instant::now();
    let output = lovage(&redis, &["call", "demo.add", "2", "3"]);
    assert!(!output.status.success());
    assert!(
        started.elapsed() < std::time::Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("redis.sock"),
        "the broker is named"
    );
}

/// What people log in with is in it.
#[test]
fn a_new_database_file_is_for_its_owner_alone() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let file = folder.path().join("new.db");
    let url = format!("sqlite://{}", file.display());
    let migrated = lovage_with(&[("DATABASE_URL", &url)], &["migrate", "up"]);
    assert!(migrated.status.success(), "{migrated:?}");
    let rights = fs::metadata(&file).expect("it is there").permissions();
    assert_eq!(rights.mode() & 0o777, 0o600);
}
