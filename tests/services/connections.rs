//! Every way to name a Redis.

use lovage_integration_tests::{LovageWorker, RedisServer, eventually, redis_server};
use redis::Commands;

use crate::{add, assert_works};

/// A worker at this URL runs a task published to database 0.
fn reaches(redis: &RedisServer, url: &str) {
    let _worker = LovageWorker::at(url, url).start();
    assert_works(redis);
}

#[test]
fn tcp_and_both_forms_of_a_socket() {
    let redis = RedisServer::with_port();
    let (port, socket) = (redis.port(), redis.socket());
    let socket = socket.display();
    for url in [
        format!("redis://127.0.0.1:{port}"),
        format!("redis://127.0.0.1:{port}/0"),
        format!("redis://localhost:{port}/"),
        format!("redis+socket://{socket}"),
        format!("redis+socket://{socket}?virtual_host=0"),
        format!("unix://{socket}"),
        format!("unix://{socket}?db=0"),
    ] {
        reaches(&redis, &url);
    }
}

#[test]
fn a_logical_database() {
    let redis = RedisServer::with_port();
    let socket = redis.socket();
    for url in [
        format!("redis://127.0.0.1:{}/5", redis.port()),
        format!("redis+socket://{}?virtual_host=5", socket.display()),
    ] {
        let _worker = LovageWorker::at(&url, &url).start();
        let message = add();
        let mut connection = redis.connection_to(5);
        let _: i64 = connection
            .lpush("celery", message.to_json())
            .expect("LPUSH works");
        eventually("the result in database 5", || {
            connection
                .exists::<_, bool>(format!("celery-task-meta-{}", message.id))
                .expect("EXISTS works")
        });
    }
    let left: i64 = redis.command(&["DBSIZE"]);
    assert_eq!(left, 0, "nothing in database 0");
}

#[test]
fn a_password() {
    let redis = RedisServer::with_password("p@ss/w:rd%");
    let url = format!("redis://:p%40ss%2Fw%3Ard%25@127.0.0.1:{}/0", redis.port());
    let mut worker = LovageWorker::at(&url, &url).start();
    assert!(worker.is_running());
    let message = add();
    let client = redis::Client::open(url.as_str()).expect("the URL is valid");
    let mut connection = client.get_connection().expect("the password is right");
    let _: i64 = connection
        .lpush("celery", message.to_json())
        .expect("LPUSH works");
    let key = format!("celery-task-meta-{}", message.id);
    eventually("the result", || {
        connection.exists::<_, bool>(&key).expect("EXISTS works")
    });
    let log = worker.log().text();
    assert!(
        !log.contains("p@ss/w:rd%") && !log.contains("p%40ss"),
        "the password is in the log:\n{log}"
    );
}

#[test]
fn a_user_with_a_password() {
    let redis = RedisServer::with_port();
    let _: String = redis.command(&[
        "ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all",
    ]);
    let _: String = redis.command(&[
        "ACL",
        "SETUSER",
        "default",
        "resetkeys",
        "resetpass",
        ">other",
        "+@all",
        "allkeys",
    ]);
    let url = format!("redis://worker:secret@127.0.0.1:{}/0", redis.port());
    let _worker = LovageWorker::at(&url, &url).start();
    let client = redis::Client::open(url.as_str()).expect("the URL is valid");
    let mut connection = client.get_connection().expect("the password is right");
    let message = add();
    let _: i64 = connection
        .lpush("celery", message.to_json())
        .expect("LPUSH works");
    eventually("the result", || {
        connection
            .exists::<_, bool>(format!("celery-task-meta-{}", message.id))
            .expect("EXISTS works")
    });
}

#[test]
fn the_first_broker_of_a_list_that_answers_is_used() {
    let redis = RedisServer::with_port();
    let url = format!(
        "redis://127.0.0.1:{}/0;redis://127.0.0.1:{}/0",
        redis_server::free_port(),
        redis.port()
    );
    let results = format!("redis://127.0.0.1:{}/0", redis.port());
    let _worker = LovageWorker::at(&url, &results).start();
    assert_works(&redis);
}

#[test]
fn results_may_live_on_another_server() {
    let (redis, results) = (RedisServer::start(), RedisServer::start());
    let _worker = LovageWorker::at(&redis.url(), &results.url()).start();
    let message = add();
    redis.publish("celery", &message);
    assert_eq!(results.wait_for_state(&message.id, "SUCCESS")["result"], 5);
    eventually("a clean broker", || {
        redis.unacked() == 0 && redis.depth("celery") == 0
    });
    assert_eq!(
        redis.state(&message.id),
        "PENDING",
        "nothing beside the messages"
    );
}

#[test]
fn one_server_may_be_named_in_two_ways() {
    let redis = RedisServer::with_port();
    let broker = format!("redis://127.0.0.1:{}/0", redis.port());
    let _worker = LovageWorker::at(&broker, &redis.url()).start();
    assert_works(&redis);
}

#[test]
fn key_prefixes_of_broker_and_results() {
    let redis = RedisServer::start();
    let _worker = LovageWorker::builder(&redis)
        .variable(
            "CELERY_BROKER_TRANSPORT_OPTIONS",
            r#"{"global_keyprefix": "pre."}"#,
        )
        .variable(
            "CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS",
            r#"{"global_keyprefix": "rp"}"#,
        )
        .start();
    let message = add();
    redis.publish("pre.celery", &message);
    let key = format!("rp_celery-task-meta-{}", message.id);
    eventually("the result", || redis.command::<bool>(&["EXISTS", &key]));
    let unacked: i64 = redis.command(&["HLEN", "pre.unacked"]);
    assert_eq!(unacked, 0);
    let keys: Vec<String> = redis.command(&["KEYS", "*"]);
    let foreign: Vec<&String> = keys
        .iter()
        .filter(|key| !key.starts_with("pre.") && !key.starts_with("rp_"))
        .collect();
    assert!(foreign.is_empty(), "keys without a prefix: {foreign:?}");
}

#[test]
fn a_secret_url_may_come_from_a_file() {
    let redis = RedisServer::start();
    let file = redis.socket().with_file_name("broker-url");
    std::fs::write(&file, format!("{}\n", redis.url())).expect("the folder is writable");
    let _worker = LovageWorker::at("", &redis.url())
        .without("CELERY_BROKER_URL")
        .variable("CELERY_BROKER_URL_FILE", &file.display().to_string())
        .start();
    assert_works(&redis);
}

#[test]
fn an_unreachable_broker_is_named_without_its_password() {
    let port = redis_server::free_port();
    let url = format!("redis://:topsecret@127.0.0.1:{port}/0");
    let mut worker = LovageWorker::at(&url, &url).launch();
    worker.wait_for(&format!("127.0.0.1:{port}"));
    assert!(!worker.log().has("topsecret"));
}
