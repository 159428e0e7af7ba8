//! The server stands still, dies, comes back, or is not there at all.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::StreamExt;
use lovage_broker::{
    Broker, ConsumerOptions, Error, Finish, Publish, RedisBroker, Settle, Start,
    redis_server::RedisServer,
};
use lovage_protocol::NodeName;
use lovage_settings::{BrokerSettings, BrokerUrl};

use super::{DONE, LEASE, ask, consumer, end, fetch, id, ids, message, queue};

/// Every message is ended exactly once although answers are lost again and again: the server stands still for longer
/// than an answer may take, and carries out afterwards what nobody waits for any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_answers_are() {
    const COUNT: usize = 3000;
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let batch: Vec<Publish> = (0..COUNT)
        .map(|number| message("q", &number.to_string()))
        .collect();
    broker.publish(&batch).await.unwrap();
    let mut settings = server.settings();
    settings.options.socket_timeout = Some(Duration::from_millis(60));
    let impatient = RedisBroker::connect(&settings).await.unwrap();
    let consumer = consumer(&impatient, "w", &["q"], Duration::from_secs(30)).await;
    let work = async {
        let mut done = 0;
        let mut running = tokio::task::JoinSet::new();
        while done < COUNT {
            let mut taken = fetch(&*consumer, 7, 4).await;
            done += taken.len();
            let consumer = Arc::clone(&consumer);
            running.spawn(async move {
                let waiting: Vec<Start> = taken
                    .iter()
                    .filter(|delivery| !delivery.started)
                    .map(|delivery| Start {
                        tag: delivery.tag,
                        ack: delivery.tag.0 % 2 == 0,
                        result: None,
                        record: None,
                    })
                    .collect();
                let early: HashSet<u64> = waiting
                    .iter()
                    .filter(|start| start.ack)
                    .map(|start| start.tag.0)
                    .collect();
                let count = waiting.len();
                assert_eq!(
                    consumer.start(waiting).await.unwrap(),
                    vec![true; count],
                    "all are still ours"
                );
                let ends = taken.drain(..).map(|delivery| Finish {
                    settle: (!early.contains(&delivery.tag.0)).then_some(Settle::Ack),
                    publishes: vec![message("next", &id(&delivery.raw))],
                    ..end(&delivery, Settle::Ack)
                });
                let finished = consumer.finish(ends.collect()).await.unwrap();
                assert!(
                    finished.iter().all(|finished| *finished == DONE),
                    "{finished:?}"
                );
            });
        }
        running.join_all().await;
    };
    let trouble = async {
        loop {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..40))).await;
            server.pause().unwrap();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(30..160))).await;
            server.resume().unwrap();
        }
    };
    tokio::select! {
        () = work => {}
        () = trouble => unreachable!("trouble never ends"),
        () = tokio::time::sleep(Duration::from_secs(60)) => panic!("the work comes to its end"),
    }
    server.resume().unwrap();
    let next: Vec<Vec<u8>> = ask(&server, &["LRANGE", "next", "0", "-1"]);
    let unique: HashSet<String> = next.iter().map(|raw| id(raw)).collect();
    assert_eq!((next.len(), unique.len()), (COUNT, COUNT));
    assert_eq!(ask::<usize>(&server, &["HLEN", "unacked"]), 0);
    assert_eq!(ask::<usize>(&server, &["ZCARD", "unacked_index"]), 0);
    assert_eq!(ask::<usize>(&server, &["LLEN", "q"]), 0);
}

/// The server dies and comes back, or stands still for longer than a lease: nobody takes that for the death of a worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_server_is_not_a_dead_worker() {
    let mut server = RedisServer::durable().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    broker
        .publish(&[message("q", "1"), message("q", "2"), message("q", "3")])
        .await
        .unwrap();
    let one = consumer(&broker, "one", &["q"], LEASE).await;
    let other = consumer(&broker, "other", &["nothing"], LEASE).await;
    let taken = fetch(&*one, 2, 2).await;
    tokio::time::sleep(2 * LEASE).await;
    assert!(one.is_connected());

    server.pause().unwrap();
    tokio::time::sleep(2 * LEASE).await;
    assert!(!one.is_connected() && !other.is_connected());
    server.resume().unwrap();
    tokio::time::sleep(3 * LEASE).await;
    assert!(one.is_connected());
    assert_eq!(
        one.finish(vec![end(&taken[0], Settle::Ack)]).await.unwrap(),
        [DONE]
    );

    server.kill().unwrap();
    let finishing = tokio::spawn({
        let (one, second) = (Arc::clone(&one), end(&taken[1], Settle::Ack));
        async move { one.finish(vec![second]).await }
    });
    tokio::time::sleep(2 * LEASE).await;
    assert!(!finishing.is_finished(), "it waits for the broker");
    server.restart().unwrap();
    assert_eq!(finishing.await.unwrap().unwrap(), [DONE]);
    assert_eq!(ids(&fetch(&*one, 5, 0).await), ["3"], "a fetch goes on too");
    tokio::time::sleep(3 * LEASE).await;
    assert!(one.is_connected() && other.is_connected());
    assert_eq!(
        broker.depth(&[queue("q")]).await.unwrap(),
        [0],
        "nothing was given back"
    );
}

/// Connections that are cut all the time keep nobody from working, nor from noticing a death.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_death_is_noticed_while_connections_are_cut() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    broker
        .publish(&[message("q", "1"), message("q", "2")])
        .await
        .unwrap();
    let lease = Duration::from_secs(2);
    let dying = consumer(&broker, "dying", &["q"], lease).await;
    let taken = fetch(&*dying, 1, 1).await;
    assert_eq!(ids(&taken), ["1"]);
    let other = consumer(&broker, "other", &["q"], lease).await;
    assert_eq!(ids(&fetch(&*other, 1, 1).await), ["2"]);
    drop(dying);
    let cutting = async {
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            ask::<usize>(&server, &["CLIENT", "KILL", "SKIPME", "yes"]);
        }
    };
    tokio::select! {
        again = fetch(&*other, 1, 1) => assert_eq!(ids(&again), ["1"]),
        () = cutting => unreachable!("it goes on for ever"),
    }
}

/// One renewal that comes late enough for the key to be gone, but not for two looks.
#[tokio::test]
async fn a_lease_lost_for_a_moment_is_taken_again() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let one = consumer(&broker, "one", &["q"], LEASE).await;
    let _other = consumer(&broker, "other", &["nothing"], LEASE).await;
    tokio::time::sleep(2 * LEASE).await;
    let peers = broker.peers().await.unwrap();
    let peer = peers.iter().find(|peer| peer.node == "one@test").unwrap();
    assert_eq!(
        ask::<usize>(&server, &["DEL", &format!("lovage:lease:{}", peer.id)]),
        1
    );
    // The fetch script refuses while there is no lease, and the thread is hurried.
    broker.publish(&[message("q", "1")]).await.unwrap();
    let taken = fetch(&*one, 1, 1).await;
    assert_eq!(broker.peers().await.unwrap().len(), 2);
    assert_eq!(
        one.finish(vec![end(&taken[0], Settle::Ack)]).await.unwrap(),
        [DONE]
    );
}

/// A worker that stops has dropped its fetch; what that took must not wait for the end of the last long task.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_whose_answer_nobody_read_is_given_back_at_once() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let batch = ["1", "2", "3"].map(|id| message("q", id));
    broker.publish(&batch).await.unwrap();
    let consumer = consumer(&broker, "w", &["q"], Duration::from_secs(30)).await;
    let running = fetch(&*consumer, 1, 1).await;
    server.pause().unwrap();
    let want = lovage_broker::Want { max: 2, start: 1 };
    tokio::time::timeout(Duration::from_millis(200), consumer.fetch(want))
        .await
        .unwrap_err();
    server.resume().unwrap();
    assert_eq!(consumer.release_unstarted().await.unwrap(), 2);
    assert_eq!(broker.depth(&[queue("q")]).await.unwrap(), [2]);
    assert_eq!(ask::<usize>(&server, &["HLEN", "unacked"]), 1);
    let other = super::consumer(&broker, "other", &["q"], LEASE).await;
    assert_eq!(ids(&fetch(&*other, 5, 0).await), ["2", "3"]);
    assert_eq!(
        consumer
            .finish(vec![end(&running[0], Settle::Ack)])
            .await
            .unwrap(),
        [DONE]
    );
    // Nobody buries a worker that lives; should everybody die, its record goes by itself.
    let records: Vec<String> = ask(&server, &["KEYS", "lovage:worker:*"]);
    assert_eq!(records.len(), 2);
    for record in records {
        assert!(ask::<i64>(&server, &["TTL", &record]) > 3600);
    }
}

/// Whoever stops a worker does not wait for a server that may never come back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_close_gives_up_on_a_server_that_is_long_gone() {
    let mut server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    broker.publish(&[message("q", "1")]).await.unwrap();
    let consumer = consumer(&broker, "w", &["q"], LEASE).await;
    fetch(&*consumer, 1, 1).await;
    server.kill().unwrap();
    tokio::time::sleep(2 * LEASE).await;
    let began = Instant::now();
    let error = consumer.close().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn an_unreachable_broker_is_told_in_time() {
    let mut server = RedisServer::start().unwrap();
    let mut settings = server.settings();
    settings.connect_timeout = Duration::from_millis(300);
    let broker = RedisBroker::connect(&settings).await.unwrap();
    server.kill().unwrap();
    let began = Instant::now();
    let error = RedisBroker::connect(&settings).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let error = broker.publish(&[message("q", "1")]).await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let error = broker
        .publish(&[message("q", "1"), message("q", "2")])
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Incomplete {
                accepted: 0,
                total: 2,
                ..
            }
        ) && error.is_transient(),
        "{error:?}"
    );
    assert!(broker.subscribe("x", "").await.is_err());
    let node = NodeName::parse("w@test").unwrap();
    assert!(
        broker
            .consumer(ConsumerOptions::new(node, vec![queue("q")]))
            .await
            .is_err()
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    assert!(error.to_string().contains("0 of 2"), "{error}");
}

#[tokio::test]
async fn the_list_of_servers_is_tried_in_order() {
    let (mut first, second) = (RedisServer::start().unwrap(), RedisServer::start().unwrap());
    let urls = [&first, &second].map(|server| match server.settings().url {
        Some(BrokerUrl::Redis(mut urls)) => urls.remove(0),
        other => panic!("{other:?}"),
    });
    let settings = BrokerSettings {
        url: Some(BrokerUrl::Redis(urls.into())),
        ..BrokerSettings::default()
    };
    let broker = RedisBroker::connect(&settings).await.unwrap();
    broker.publish(&[message("q", "1")]).await.unwrap();
    assert_eq!(ask::<usize>(&first, &["LLEN", "q"]), 1);
    first.kill().unwrap();
    broker.publish(&[message("q", "2")]).await.unwrap();
    assert_eq!(ask::<usize>(&second, &["LLEN", "q"]), 1);
    assert!(broker.shares_server_with(&second.place(3)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_survives_a_restart() {
    let mut server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let mut heard = broker.subscribe("celeryev", "#").await.unwrap();
    server.restart().unwrap();
    let listening = tokio::time::timeout(Duration::from_secs(10), heard.next());
    let sending = async {
        loop {
            // Lost until the subscription is back.
            let _ = broker
                .broadcast("celeryev", "worker.online", "x".into())
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::select! {
        next = listening => assert_eq!(next.unwrap().unwrap().routing_key, "worker.online"),
        () = sending => unreachable!("it goes on for ever"),
    }
}
