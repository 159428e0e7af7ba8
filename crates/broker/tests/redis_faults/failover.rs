//! More than one server, and which of them is in use.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lovage_broker::{Broker, RedisBroker, Settle, redis_server::RedisServer};
use lovage_settings::{BrokerSettings, BrokerUrl};

use super::{DONE, LEASE, ask, consumer, end, fetch, ids, message};

fn listed(servers: [&RedisServer; 2]) -> BrokerSettings {
    let urls = servers.map(|server| match server.settings().url {
        Some(BrokerUrl::Redis(mut urls)) => urls.remove(0),
        other => panic!("{other:?}"),
    });
    BrokerSettings {
        url: Some(BrokerUrl::Redis(urls.into())),
        ..BrokerSettings::default()
    }
}

/// Of a master that is not there: it refuses to write, and all else it does.
fn demote(server: &RedisServer) {
    ask::<()>(server, &["REPLICAOF", "127.0.0.1", "1"]);
}

fn promote(server: &RedisServer) {
    ask::<()>(server, &["REPLICAOF", "NO", "ONE"]);
}

/// The lease, the fetches and the waits for messages all follow, also to a server that was left before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_follows_to_the_new_master() {
    let (one, other) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    demote(&one);
    let broker = RedisBroker::connect(&listed([&one, &other])).await.unwrap();
    let consumer = consumer(&broker, "w", &["q"], LEASE).await;
    for (round, (master, replica)) in [(&other, &one), (&one, &other), (&other, &one)]
        .into_iter()
        .enumerate()
    {
        let waiting = tokio::spawn({
            let consumer = Arc::clone(&consumer);
            async move { fetch(&*consumer, 1, 1).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        promote(master);
        demote(replica);
        let began = Instant::now();
        let id = round.to_string();
        broker.publish(&[message("q", &id)]).await.unwrap();
        let taken = waiting.await.unwrap();
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?} in round {round}",
            began.elapsed()
        );
        assert_eq!(ids(&taken), [id]);
        let ended = consumer.finish(vec![end(&taken[0], Settle::Ack)]).await;
        assert_eq!(ended.unwrap(), [DONE]);
        assert_eq!(ask::<usize>(master, &["ZCARD", "lovage:workers"]), 1);
        tokio::time::sleep(2 * LEASE).await;
        assert!(consumer.is_connected());
        assert_eq!(broker.peers().await.unwrap().len(), 1, "the lease is kept");
    }
}

/// A hundred callers wait for the same connection, not one after the other for a hundred.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_server_is_told_to_all_callers_in_time() {
    let server = RedisServer::start().unwrap();
    let mut settings = server.settings();
    settings.connect_timeout = Duration::from_millis(300);
    settings.options.socket_timeout = Some(Duration::from_millis(200));
    let broker = RedisBroker::connect(&settings).await.unwrap();
    server.pause().unwrap();
    let began = Instant::now();
    let calls = (0..100).map(|_| {
        let broker = broker.clone();
        async move { broker.publish(&[message("q", "1")]).await.unwrap_err() }
    });
    futures::future::join_all(calls).await;
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    server.resume().unwrap();
    broker.ping().await.unwrap();
}

/// What a replica that takes over, or a server that is restarted, has not heard of: the end of a delivery. Its entry is
/// still there under the name of a worker that lives and does not hold it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_server_forgot_to_be_ended_goes_back_to_its_queue() {
    let mut server = RedisServer::with_arguments(&["--save", "3600 1"]).unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let consumer = consumer(&broker, "w", &["q"], LEASE).await;
    broker
        .publish(&[message("q", "ended"), message("q", "held")])
        .await
        .unwrap();
    let taken = fetch(&*consumer, 2, 2).await;
    // Only a server that was seen before can be found exchanged.
    tokio::time::sleep(2 * LEASE).await;
    ask::<()>(&server, &["SAVE"]);
    let ended = consumer.finish(vec![end(&taken[0], Settle::Ack)]).await;
    assert_eq!(ended.unwrap(), [DONE]);
    server.restart().unwrap();
    assert_eq!(ask::<usize>(&server, &["HLEN", "unacked"]), 2);
    let again = fetch(&*consumer, 5, 5).await;
    assert_eq!(
        ids(&again),
        ["ended"],
        "what is still held stays where it is"
    );
    let ended = consumer
        .finish(vec![
            end(&again[0], Settle::Ack),
            end(&taken[1], Settle::Ack),
        ])
        .await;
    assert_eq!(ended.unwrap(), [DONE, DONE]);
    assert_eq!(ask::<usize>(&server, &["HLEN", "unacked"]), 0);
}
