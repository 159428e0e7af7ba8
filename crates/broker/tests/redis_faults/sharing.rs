//! The database is shared with Python workers and with other applications.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use lovage_broker::{
    Broker, ChordClose, ChordPart, Destination, Finish, Finished, Reaped, Reaping, RedisBroker,
    Settle, Want, redis_server::RedisServer,
};
use lovage_protocol::NodeName;

use super::{LEASE, ask, consumer, end, envelope, fetch, id, ids, message, queue};

/// Another application may live in the same database.
#[tokio::test]
async fn every_key_has_the_prefix() {
    let server = RedisServer::start().unwrap();
    let mut settings = server.settings();
    settings.options.global_keyprefix = "pre.".into();
    let broker = RedisBroker::connect(&settings).await.unwrap();
    broker.declare(&[queue("q")]).await.unwrap();
    broker
        .publish(&[message("q", "1"), message("q", "2")])
        .await
        .unwrap();
    let consumer = consumer(&broker, "w", &["q"], LEASE).await;
    let taken = fetch(&*consumer, 1, 1).await;
    consumer
        .finish(vec![end(
            &taken[0],
            Settle::Delay {
                until: 4e9,
                payload: None,
            },
        )])
        .await
        .unwrap();
    fetch(&*consumer, 1, 1).await;
    let keys: Vec<String> = ask(&server, &["KEYS", "*"]);
    assert!(keys.iter().all(|key| key.starts_with("pre.")), "{keys:?}");
    let members: Vec<String> = ask(&server, &["SMEMBERS", "pre._kombu.binding.q"]);
    assert_eq!(members, ["q\u{6}\u{16}\u{6}\u{16}q"]);
    let permanent: Vec<String> = ask(&server, &["SMEMBERS", "pre._kombu.binding_permanent.q"]);
    assert_eq!(permanent, members);
}

/// To Python a held message is an ordinary entry, whose score says when it was taken and keeps saying "just now".
#[tokio::test]
async fn python_sees_ordinary_entries_and_nothing_is_left_behind() {
    let server = RedisServer::start().unwrap();
    let mut settings = server.settings();
    settings.options.visibility_timeout = Duration::from_millis(400);
    let broker = RedisBroker::connect(&settings).await.unwrap();
    broker
        .publish(&[message("q", "1"), message("q", "2")])
        .await
        .unwrap();
    let consumer = consumer(&broker, "w", &["q"], LEASE).await;
    fetch(&*consumer, 2, 1).await;
    let entries: Vec<(String, String)> = ask(&server, &["HGETALL", "unacked"]);
    for (tag, entry) in &entries {
        let number = tag.rsplit_once(':').unwrap().1;
        let raw = String::from_utf8(envelope(number).to_vec()).unwrap();
        assert_eq!(*entry, format!("[{raw}, \"\", \"q\"]"));
    }
    let scores = || -> Vec<f64> {
        let rows: Vec<(String, f64)> = ask(
            &server,
            &["ZRANGE", "unacked_index", "0", "-1", "WITHSCORES"],
        );
        let mut rows: Vec<(String, f64)> = rows
            .into_iter()
            .map(|(tag, score)| (tag[33..].to_owned(), score))
            .collect();
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        rows.into_iter().map(|(_, score)| score).collect()
    };
    let before = scores();
    assert_eq!((before[0].fract(), before[1].fract()), (0.5, 0.0));
    tokio::time::sleep(Duration::from_millis(2300)).await;
    let after = scores();
    assert!(
        after[0] >= before[0] + 1.0 && after[1] >= before[1] + 1.0,
        "{before:?} {after:?}"
    );
    assert_eq!((after[0].fract(), after[1].fract()), (0.5, 0.0));
    consumer.close().await.unwrap();
    let keys: Vec<String> = ask(&server, &["KEYS", "*"]);
    assert_eq!(keys, ["q"]);
}

/// Where Python workers are left alone, a bystander's pass gives them what dead workers of ours and of theirs held. What cost too
/// many deaths stays recorded until a worker of ours comes, who can store its results.
#[tokio::test]
async fn a_bystander_serves_python_workers_and_gives_nobody_up() {
    let server = RedisServer::start().unwrap();
    let mut settings = server.settings();
    settings.options.visibility_timeout = Duration::from_secs(60);
    let broker = RedisBroker::connect(&settings).await.unwrap();
    let messages = ["started", "waiting"].map(|id| message("q", id));
    broker.publish(&messages).await.unwrap();
    let dead = consumer(&broker, "dead", &["q"], LEASE).await;
    assert_eq!(ids(&fetch(&*dead, 2, 1).await), ["started", "waiting"]);
    drop(dead);
    let peers = broker.peers().await.unwrap();
    let _: i64 = ask(&server, &["DEL", &format!("lovage:lease:{}", peers[0].id)]);
    // And one that a Python worker took an hour ago.
    let raw = String::from_utf8(envelope("python").to_vec()).unwrap();
    let entry = format!("[{raw}, \"\", \"q\"]");
    let _: i64 = ask(&server, &["HSET", "unacked", "theirs", &entry]);
    let _: i64 = ask(&server, &["ZADD", "unacked_index", "1000", "theirs"]);

    let mut reaping = Reaping::new(NodeName::parse("beat@test").unwrap());
    (reaping.lease, reaping.max_deaths) = (LEASE, 0);
    let reaped = broker.reap(&reaping).await.unwrap();
    let expected = Reaped {
        workers: 0,
        messages: 1,
        abandoned: 1,
        left: 1,
    };
    assert_eq!(reaped, expected);
    assert_eq!(broker.depth(&[queue("q")]).await.unwrap(), [2]);
    assert_eq!(broker.dead_letters().count().await.unwrap(), 0);
    let _living = consumer(&broker, "living", &[], LEASE).await;
    let began = Instant::now();
    while broker.depth(&[queue("q")]).await.unwrap() != [3] {
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "a worker does it"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A `BRPOP` beside our waiters: each message goes to one of the two, promptly, and nothing spins.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_is_shared_with_a_python_worker() {
    const COUNT: usize = 100;
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let mut connection = server.connection(0).unwrap();
    let python = std::thread::spawn(move || {
        let mut taken = HashSet::new();
        let mut pop = redis::cmd("BRPOP");
        pop.arg("q").arg(1);
        while let Some((_, raw)) = pop
            .query::<Option<(String, Vec<u8>)>>(&mut connection)
            .unwrap()
        {
            taken.insert(id(&raw));
        }
        taken
    });
    let consumers = [
        consumer(&broker, "a", &["q"], LEASE).await,
        consumer(&broker, "b", &["q"], LEASE).await,
    ];
    let mut tasks = tokio::task::JoinSet::new();
    for consumer in &consumers {
        let consumer = Arc::clone(consumer);
        tasks.spawn(async move {
            let mut taken = HashSet::new();
            while let Ok(deliveries) = consumer.fetch(Want { max: 2, start: 2 }).await {
                taken.extend(ids(&deliveries));
                let ends = deliveries.iter().map(|delivery| end(delivery, Settle::Ack));
                consumer.finish(ends.collect()).await.unwrap();
            }
            taken
        });
    }
    for number in 0..COUNT {
        broker
            .publish(&[message("q", &number.to_string())])
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        broker.depth(&[queue("q")]).await.unwrap(),
        [0],
        "nothing waits"
    );
    let calls: String = ask(&server, &["INFO", "commandstats"]);
    let moves: usize = calls
        .lines()
        .find_map(|line| {
            line.strip_prefix("cmdstat_blmove:calls=")?
                .split(',')
                .next()?
                .parse()
                .ok()
        })
        .unwrap();
    assert!(
        moves <= 2 * (4 + 2 * COUNT),
        "{moves} moves for {COUNT} messages"
    );
    for consumer in &consumers {
        consumer.close().await.unwrap();
    }
    let mut all: Vec<HashSet<String>> = tasks.join_all().await;
    all.push(python.join().unwrap());
    assert_eq!(
        all.iter().map(HashSet::len).sum::<usize>(),
        COUNT,
        "none was taken twice"
    );
    assert_eq!(
        all.iter().flatten().collect::<HashSet<_>>().len(),
        COUNT,
        "none was lost"
    );
}

/// kombu's own sweep: what a Python worker left goes back to where its exchange leads, ours stays.
#[tokio::test]
async fn abandoned_messages_of_python_workers_go_back() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    broker.declare(&[queue("bound")]).await.unwrap();
    let hold = |tag: &str, id: &str, tail: &str, score: &str| {
        let raw = String::from_utf8(envelope(id).to_vec()).unwrap();
        ask::<()>(
            &server,
            &["HSET", "unacked", tag, &format!("[{raw}, {tail}]")],
        );
        ask::<()>(&server, &["ZADD", "unacked_index", score, tag]);
    };
    hold("11111111-1111", "old", "\"\", \"q\"", "1000.25");
    hold("22222222-2222", "older", "\"\", \"q\"", "900.5");
    hold("33333333-3333", "routed", "\"bound\", \"bound\"", "1000.5");
    hold("44444444-4444", "fresh", "\"\", \"q\"", "4000000000.5");
    let consumer = consumer(&broker, "w", &["nothing"], LEASE).await;
    let began = Instant::now();
    while broker.depth(&[queue("q"), queue("bound")]).await.unwrap() != [2, 1] {
        assert!(began.elapsed() < Duration::from_secs(10), "they go back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        ask::<Vec<String>>(&server, &["HKEYS", "unacked"]),
        ["44444444-4444"]
    );
    // Right after the last message is back.
    while ask::<usize>(&server, &["EXISTS", "unacked_mutex"]) > 0 {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "the lock is released"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    consumer.set_queues(vec![queue("q")]);
    let taken = fetch(&*consumer, 5, 0).await;
    assert_eq!(ids(&taken), ["older", "old"]);
    assert!(
        lovage_protocol::Message::parse(&taken[0].raw)
            .unwrap()
            .redelivered()
    );
}

/// Whoever asked by remote control may have died before the answers came.
#[tokio::test]
async fn answers_that_nobody_fetches_end_by_themselves() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let exchange = lovage_protocol::control::REPLY_EXCHANGE;
    let bound: u64 = ask(
        &server,
        &[
            "SADD",
            &format!("_kombu.binding.{exchange}"),
            "who-asked\u{6}\u{16}\u{6}\u{16}answers",
        ],
    );
    assert_eq!(bound, 1);
    let mut answer = message("q", "1");
    answer.destination = Destination::Exchange {
        exchange: exchange.to_owned(),
        routing_key: "who-asked".to_owned(),
    };
    broker.publish(&[answer, message("q", "2")]).await.unwrap();
    let life = |list: &str| -> i64 { ask(&server, &["TTL", list]) };
    assert!((1..=300).contains(&life("answers")));
    assert_eq!(life("q"), -1, "tasks do not end by themselves");
}

/// Celery's producer of a chord that is sent again forgets that it ended only as it sends the last task: what a quick worker has
/// done of it by then counts.
#[tokio::test]
async fn the_first_tasks_of_a_chord_that_is_sent_again_count() {
    let server = RedisServer::start().unwrap();
    let broker = RedisBroker::connect(&server.settings()).await.unwrap();
    let consumer = consumer(&broker, "w", &["q"], LEASE).await;
    let place = server.place(0);
    let group = "celery-taskset-meta-frozen";
    let part = |id: &str, index: f64| ChordPart {
        group_key: group.to_owned(),
        task_id: id.into(),
        member: format!("[1, \"{id}\", \"SUCCESS\", {index}]").into(),
        body: "{}".into(),
        index: Some(index),
        more: 0,
        expires: Some(Duration::from_secs(60)),
        claim: Duration::from_secs(6),
        place: place.clone(),
    };
    let run = async |id: &str, index: f64| {
        broker.publish(&[message("q", id)]).await.unwrap();
        let taken = fetch(&*consumer, 1, 1).await;
        let finish = Finish {
            chord: Some(part(id, index)),
            ..end(&taken[0], Settle::Ack)
        };
        match consumer.finish(vec![finish]).await.unwrap().as_slice() {
            [Finished::Done { chord }] => chord.clone(),
            other => panic!("{other:?}"),
        }
    };
    let size = |key: &str| ask::<String>(&server, &["SET", &format!("{group}{key}"), "2"]);
    size(".s");
    for again in [false, true] {
        let first = run("a", 0.0).await;
        assert_eq!(first, None);
        if again {
            let _: i64 = ask(&server, &["DEL", &format!("{group}.c")]);
            size(".s");
        }
        let token = run("b", 1.0).await.expect("the header is whole");
        let members = broker.chord_members(&place, group).await.unwrap();
        assert_eq!(members, [part("a", 0.0).member, part("b", 1.0).member]);
        let close = ChordClose {
            group_key: group.to_owned(),
            place: place.clone(),
            token,
            publishes: Vec::new(),
            results: Vec::new(),
            failed: false,
        };
        assert!(broker.chord_close(close).await.unwrap());
    }
    let left: Vec<String> = ask(&server, &["KEYS", &format!("{group}*")]);
    assert_eq!(left, [format!("{group}.c")]);
}
