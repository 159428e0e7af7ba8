//! The server says no.

use std::time::Duration;

use lovage_broker::{
    Broker, Error, Finish, RedisBroker, ResultWrite, Settle, Want, redis_server::RedisServer,
};
use lovage_settings::{BrokerUrl, Secret};

use super::{DONE, LEASE, ask, consumer, end, fetch, ids, message, queue};

#[tokio::test]
async fn a_wrong_password_is_refused_and_not_shown() {
    let server = RedisServer::start().unwrap();
    let with = |password: &str| {
        let mut settings = server.settings();
        if let Some(BrokerUrl::Redis(urls)) = &mut settings.url {
            urls[0].username = Some("me".into());
            urls[0].password = Some(Secret::new(password));
        }
        settings
    };
    ask::<()>(
        &server,
        &["ACL", "SETUSER", "me", "on", ">right", "~*", "&*", "+@all"],
    );
    RedisBroker::connect(&with("right"))
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    let error = RedisBroker::connect(&with("hunter2")).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { .. }) && !error.is_transient(),
        "{error:?}"
    );
    assert!(!format!("{error:?} {error}").contains("hunter2"));
}

/// A key that is not what it should be harms nobody else.
#[tokio::test]
async fn a_key_of_the_wrong_type_stops_only_what_needs_it() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    ask::<()>(&server, &["SET", "bad", "a string"]);
    let error = broker.publish(&[message("bad", "1")]).await.unwrap_err();
    assert!(
        matches!(error, Error::Refused { .. }) && !error.is_transient(),
        "{error:?}"
    );
    broker
        .publish(&[message("good", "1"), message("good", "2")])
        .await
        .unwrap();
    let consumer = consumer(&broker, "w", &["bad", "good"], LEASE).await;
    let taken = fetch(&*consumer, 5, 5).await;
    assert_eq!(ids(&taken), ["1", "2"]);
    assert!(matches!(
        consumer.fetch(Want { max: 1, start: 0 }).await,
        Err(Error::Refused { .. })
    ));
    let stuck = Finish {
        publishes: vec![message("bad", "x")],
        ..end(&taken[0], Settle::Ack)
    };
    let error = consumer
        .finish(vec![stuck, end(&taken[1], Settle::Ack)])
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert_eq!(
        ask::<usize>(&server, &["HLEN", "unacked"]),
        1,
        "the other one was ended"
    );
    // Nothing of a refused one was done.
    ask::<()>(&server, &["DEL", "bad"]);
    let stuck = Finish {
        publishes: vec![message("bad", "x")],
        ..end(&taken[0], Settle::Ack)
    };
    assert_eq!(consumer.finish(vec![stuck]).await.unwrap(), [DONE]);
    assert_eq!(ask::<usize>(&server, &["LLEN", "bad"]), 1);
    // A fetch that cannot record puts back what it popped.
    ask::<()>(&server, &["SET", "unacked", "a string"]);
    broker
        .publish(&[message("good", "3"), message("good", "4")])
        .await
        .unwrap();
    assert!(matches!(
        consumer.fetch(Want { max: 5, start: 0 }).await,
        Err(Error::Refused { .. })
    ));
    ask::<()>(&server, &["DEL", "unacked", "bad"]);
    assert_eq!(ids(&fetch(&*consumer, 5, 0).await), ["3", "4"]);
}

/// When the memory is full nobody can publish, but workers go on and make room.
#[tokio::test]
async fn a_full_server_still_lets_tasks_end() {
    let server = RedisServer::start().unwrap();
    let mut settings = server.settings();
    settings.connect_timeout = Duration::from_millis(200);
    let broker = RedisBroker::connect(&settings).await.unwrap();
    assert_eq!(
        broker.eviction_policy().await.unwrap().as_deref(),
        Some("noeviction")
    );
    broker
        .publish(&[message("q", "1"), message("q", "2")])
        .await
        .unwrap();
    let consumer = consumer(&broker, "w", &["q"], Duration::from_secs(60)).await;
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "1mb"]);
    let error = broker.publish(&[message("q", "3")]).await.unwrap_err();
    assert!(
        matches!(error, Error::Unready { .. }) && error.is_transient(),
        "{error:?}"
    );
    let taken = fetch(&*consumer, 1, 1).await;
    let result = ResultWrite {
        key: "r".into(),
        value: "{\"status\": \"SUCCESS\"}".into(),
        expires: None,
        place: server.place(0),
    };
    let finish = Finish {
        results: vec![result],
        ..end(&taken[0], Settle::Ack)
    };
    let finished =
        tokio::time::timeout(Duration::from_secs(5), consumer.finish(vec![finish])).await;
    assert_eq!(finished.unwrap().unwrap(), [DONE]);
    ask::<()>(
        &server,
        &["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"],
    );
    assert_eq!(
        broker.eviction_policy().await.unwrap().as_deref(),
        Some("allkeys-lru")
    );
}

/// Publishers fill the memory, and only workers can empty it: so these stay workers, and new ones may start.
#[tokio::test]
async fn a_full_server_has_workers_all_the_same() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    broker.publish(&[message("q", "1")]).await.unwrap();
    let one = consumer(&broker, "one", &["q"], LEASE).await;
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "1mb"]);
    tokio::time::sleep(3 * LEASE).await;
    assert!(one.is_connected());
    broker.declare(&[queue("q")]).await.unwrap();
    let late = consumer(&broker, "late", &["nothing"], LEASE).await;
    assert_eq!(broker.peers().await.unwrap().len(), 2);
    let taken = fetch(&*one, 1, 1).await;
    let ended = one.finish(vec![end(&taken[0], Settle::Ack)]).await;
    assert_eq!(ended.unwrap(), [DONE]);
    late.close().await.unwrap();
}

/// The last worker cannot give a delayed message back when its queue's name is taken; it goes all the same.
#[tokio::test]
async fn what_cannot_be_given_back_does_not_keep_the_last_worker() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    broker
        .publish(&[message("bad", "1"), message("good", "2")])
        .await
        .unwrap();
    let consumer = consumer(&broker, "w", &["bad", "good"], LEASE).await;
    let taken = fetch(&*consumer, 2, 2).await;
    let delays = taken.iter().map(|delivery| {
        let delay = Settle::Delay {
            until: f64::INFINITY,
            payload: None,
        };
        end(delivery, delay)
    });
    consumer.finish(delays.collect()).await.unwrap();
    ask::<()>(&server, &["SET", "bad", "a string"]);
    tokio::time::timeout(Duration::from_secs(5), consumer.close())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ask::<usize>(&server, &["LLEN", "good"]), 1);
    assert_eq!(
        ask::<usize>(&server, &["HLEN", "lovage:delayed:messages"]),
        1
    );
}
