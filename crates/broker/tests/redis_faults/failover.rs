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
