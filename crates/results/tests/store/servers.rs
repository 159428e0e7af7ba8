//! What only a server can show.

use std::time::Duration;

use lovage_broker::{MemoryBroker, ResultPlace, redis_server::RedisServer};
use lovage_protocol::{State, TaskId};
use lovage_results::{DisabledStore, Error, RedisStore, ResultStore, connect};
use lovage_settings::{BrokerUrl, ResultSettings, ResultUrl};

use crate::{SOON, failure, meta, redis_store, urls};

#[tokio::test]
async fn redis_keys_expire_and_are_announced_under_their_name() {
    let server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    store.store(&meta("a", State::Success, 1)).await.unwrap();
    let mut other = server.connection(1).unwrap();
    let life: i64 = redis::cmd("TTL")
        .arg("celery-task-meta-a")
        .query(&mut other)
        .unwrap();
    assert!((86_390..=86_400).contains(&life), "{life}");

    let forever = ResultSettings {
        expires: None,
        ..ResultSettings::default()
    };
    redis_store(&server, &forever)
        .await
        .store(&meta("b", State::Success, 1))
        .await
        .unwrap();
    let life: i64 = redis::cmd("TTL")
        .arg("celery-task-meta-b")
        .query(&mut other)
        .unwrap();
    assert_eq!(life, -1);
    assert_eq!(store.place(), Some(server.place(1)));
}

#[tokio::test]
async fn watches_share_one_connection_and_leave_no_subscription() {
    let server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    let ids: Vec<TaskId> = (0..20)
        .map(|number| TaskId::from(number.to_string()))
        .collect();
    let watches = futures::future::try_join_all(ids.iter().map(|id| store.watch(id)))
        .await
        .unwrap();
    let mut other = server.connection(1).unwrap();
    let mut listed = || -> String {
        let mut list = redis::cmd("CLIENT");
        list.arg("LIST").arg("TYPE").arg("pubsub");
        list.query(&mut other).unwrap()
    };
    let clients = listed();
    assert_eq!(clients.lines().count(), 1, "{clients}");
    assert!(clients.contains(" sub=20 "), "{clients}");
    drop(watches);
    // The next watch is handled after the removals, on the same connection.
    let _last = store.watch(&TaskId::from("last")).await.unwrap();
    let clients = listed();
    assert!(clients.contains(" sub=1 "), "{clients}");
}

#[tokio::test]
async fn a_watch_survives_a_restart_of_the_server() {
    let mut server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    let watch = store.watch(&TaskId::from("a")).await.unwrap();
    server.restart().unwrap();
    // Whether before or after the subscription stands again: it is announced, or read then.
    store.store(&meta("a", State::Success, 1)).await.unwrap();
    assert_eq!(watch.ready(SOON).await.unwrap().result, 1.into());
}

#[tokio::test]
async fn a_result_stored_while_the_watch_was_cut_off_is_found() {
    let server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    let watch = store.watch(&TaskId::from("a")).await.unwrap();
    let mut other = server.connection(1).unwrap();
    let record = store.encode(&meta("a", State::Success, 1)).unwrap().value;
    // In one step, so that the record cannot be heard: only read.
    redis::pipe()
        .atomic()
        .cmd("CLIENT")
        .arg("KILL")
        .arg("TYPE")
        .arg("pubsub")
        .cmd("SET")
        .arg("celery-task-meta-a")
        .arg(&record[..])
        .exec(&mut other)
        .unwrap();
    assert_eq!(watch.ready(SOON).await.unwrap().result, 1.into());
}

#[tokio::test]
async fn an_unreachable_server_is_an_error_within_seconds() {
    let mut server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    let watch = store.watch(&TaskId::from("a")).await.unwrap();
    server.kill().unwrap();
    let within = Duration::from_secs(15);
    let begun = tokio::time::Instant::now();
    let error = store.load(&TaskId::from("a")).await.unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { .. }) && error.is_transient(),
        "{error:?}"
    );
    let error = store.store(&failure("a")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = store.watch(&TaskId::from("b")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = watch
        .ready(Some(Duration::from_millis(10)))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(begun.elapsed() < within, "{:?}", begun.elapsed());
    let error = RedisStore::connect(&ResultSettings::default(), &urls(&server))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_server_that_stands_still_is_an_error_within_seconds() {
    let server = RedisServer::start().unwrap();
    let store = redis_store(&server, &ResultSettings::default()).await;
    server.pause().unwrap();
    let begun = tokio::time::Instant::now();
    let error = store.load(&TaskId::from("a")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    server.resume().unwrap();
    assert_eq!(store.load(&TaskId::from("a")).await.unwrap(), None);
}

#[tokio::test]
async fn the_first_server_that_answers_is_used() {
    let server = RedisServer::start().unwrap();
    let gone = urls(&RedisServer::start().unwrap());
    let list = [gone, urls(&server)].concat();
    let store = RedisStore::connect(&ResultSettings::default(), &list)
        .await
        .unwrap();
    store.store(&meta("a", State::Success, 1)).await.unwrap();
    let watch = store.watch(&TaskId::from("a")).await.unwrap();
    assert_eq!(watch.ready(SOON).await.unwrap().result, 1.into());
}

#[tokio::test]
async fn connect_follows_the_settings() {
    let broker = MemoryBroker::new();
    let settings = ResultSettings::default();
    let store = connect(&settings, &BrokerUrl::Memory, Some(&broker))
        .await
        .unwrap();
    assert_eq!(store.place(), Some(ResultPlace::Memory));
    let error = connect(&settings, &BrokerUrl::Memory, None)
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Settings(_)));
    let disabled = ResultSettings {
        url: Some(ResultUrl::Disabled),
        ..settings
    };
    let store = connect(&disabled, &BrokerUrl::Memory, None).await.unwrap();
    assert!(store.encode(&failure("a")).is_none());
    let compressed = ResultSettings {
        compression: Some("rot13".to_owned()),
        ..ResultSettings::default()
    };
    assert!(matches!(
        connect(&compressed, &BrokerUrl::Memory, Some(&broker)).await,
        Err(Error::Settings(_))
    ));
}

#[tokio::test]
async fn disabled_results_say_so_when_asked() {
    let store = DisabledStore;
    store.store(&failure("a")).await.unwrap();
    let id = TaskId::from("a");
    assert!(matches!(store.load(&id).await, Err(Error::Disabled)));
    assert!(matches!(store.watch(&id).await, Err(Error::Disabled)));
    assert_eq!(store.place(), None);
}
