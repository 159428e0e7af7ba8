//! What a fetch takes.

use bytes::Bytes;

use super::{
    Stage,
    stage::{envelope, fetch, fetch_all, finds_nothing, id, ids, message, queue},
};
use crate::{Destination, Publish};

/// The lowest priority number first, then the oldest.
pub async fn takes_in_order_of_priority_then_of_arrival(stage: impl Stage) {
    let batch: Vec<Publish> = [("a", 9), ("b", 0), ("c", 4), ("d", 2), ("e", 99), ("f", -5)]
        .map(|(id, priority)| message("q", id, priority))
        .into();
    stage
        .broker()
        .publish(&batch)
        .await
        .expect("the broker answers");
    let consumer = stage.consumer("w", &["q"]).await;
    let all = fetch(&*consumer, 10, 0).await;
    assert_eq!(ids(&all), ["b", "d", "f", "c", "a", "e"]);
}

/// A long queue leaves room for the others.
pub async fn shares_between_queues(stage: impl Stage) {
    for name in ["long", "short"] {
        let batch: Vec<Publish> = (0..if name == "long" { 50 } else { 3 })
            .map(|number| message(name, &format!("{name}{number}"), 0))
            .collect();
        stage
            .broker()
            .publish(&batch)
            .await
            .expect("the broker answers");
    }
    let consumer = stage.consumer("w", &["long", "short", "empty"]).await;
    let taken = fetch(&*consumer, 10, 0).await;
    let of = |name: &str| {
        taken
            .iter()
            .filter(|delivery| delivery.queue == queue(name))
            .count()
    };
    assert_eq!((of("long"), of("short")), (7, 3));
    // With room for one, every queue has its turn.
    stage.publish("short", &["x"]).await;
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(fetch(&*consumer, 1, 0).await[0].queue.to_string());
    }
    assert!(seen.contains(&"short".to_owned()), "{seen:?}");
}

/// `max` and `start` are kept.
pub async fn takes_no_more_than_wanted(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3", "4", "5"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let first = fetch(&*consumer, 3, 2).await;
    assert_eq!(ids(&first), ["1", "2", "3"]);
    assert_eq!(
        first
            .iter()
            .map(|delivery| delivery.started)
            .collect::<Vec<_>>(),
        [true, true, false]
    );
    let rest = fetch(&*consumer, 10, 10).await;
    assert_eq!(ids(&rest), ["4", "5"]);
    let mut tags: Vec<_> = first
        .iter()
        .chain(&rest)
        .map(|delivery| delivery.tag)
        .collect();
    tags.dedup();
    assert_eq!(tags.len(), 5, "each has a tag of its own");
}

/// Nothing reads or changes the bytes on their way, and none of them harms others.
pub async fn hands_out_bytes_as_they_came(stage: impl Stage) {
    let odd: Vec<Bytes> = [
        &b""[..],
        b"\xff\x00 no json",
        b"], \"\", \"other\"]",
        b"{\"half\": ",
        b"1|2\r\n$3",
    ]
    .into_iter()
    .map(Bytes::from_static)
    .collect();
    let publish = |payload: &Bytes| Publish {
        destination: Destination::Queue(queue("größe \"q\"")),
        priority: 0,
        payload: payload.clone(),
    };
    let batch: Vec<Publish> = odd.iter().map(publish).collect();
    stage
        .broker()
        .publish(&batch)
        .await
        .expect("the broker answers");
    let consumer = stage.consumer("w", &["größe \"q\""]).await;
    let taken = fetch_all(&*consumer, odd.len(), 0).await;
    assert_eq!(
        taken
            .iter()
            .map(|delivery| delivery.raw.clone())
            .collect::<Vec<_>>(),
        odd
    );
    // And back again.
    assert_eq!(
        consumer
            .release_unstarted()
            .await
            .expect("the broker answers"),
        5
    );
    let again = fetch_all(&*consumer, odd.len(), 0).await;
    assert_eq!(
        again
            .iter()
            .map(|delivery| delivery.raw.clone())
            .collect::<Vec<_>>(),
        odd
    );
}

/// Looking takes nothing, and sees what a fetch would take first.
pub async fn what_waits_can_be_looked_at_and_stays(stage: impl Stage) {
    let batch = [
        message("q", "1", 9),
        message("q", "2", 0),
        message("q", "3", 0),
        message("r", "4", 0),
    ];
    let broker = stage.broker();
    broker.publish(&batch).await.expect("the broker answers");
    let peek = async |most| {
        let found = broker.peek(&queue("q"), most).await;
        found.expect("the broker answers")
    };
    let payload = |place: usize| batch[place].payload.clone();
    assert_eq!(peek(2).await, [payload(1), payload(2)]);
    assert_eq!(peek(9).await, [payload(1), payload(2), payload(0)]);
    assert!(peek(0).await.is_empty());
    let steps = broker.depth_by_priority(&queue("q")).await;
    let steps = steps.expect("the broker answers");
    assert_eq!(steps, [(0, 2), (3, 0), (6, 0), (9, 1)]);
}

/// All priorities count as one queue.
pub async fn depth_counts_all_priorities_and_purge_empties(stage: impl Stage) {
    let batch = [
        message("q", "1", 0),
        message("q", "2", 5),
        message("q", "3", 9),
        message("r", "4", 0),
    ];
    let broker = stage.broker();
    broker.publish(&batch).await.expect("the broker answers");
    let queues = [queue("r"), queue("nothing"), queue("q")];
    assert_eq!(
        broker.depth(&queues).await.expect("the broker answers"),
        [1, 0, 3]
    );
    assert_eq!(
        broker.purge(&queue("q")).await.expect("the broker answers"),
        3
    );
    assert_eq!(
        broker.purge(&queue("q")).await.expect("the broker answers"),
        0
    );
    assert_eq!(
        broker.depth(&queues).await.expect("the broker answers"),
        [1, 0, 0]
    );
    assert!(
        broker
            .depth(&[])
            .await
            .expect("the broker answers")
            .is_empty()
    );
}

/// An exchange is a detour to the queues that were declared.
pub async fn publishes_to_the_queues_bound(stage: impl Stage) {
    let broker = stage.broker();
    broker
        .declare(&[queue("bound")])
        .await
        .expect("the broker answers");
    broker
        .declare(&[queue("bound")])
        .await
        .expect("the broker answers");
    let to = |exchange: &str, routing_key: &str| Publish {
        destination: Destination::Exchange {
            exchange: exchange.into(),
            routing_key: routing_key.into(),
        },
        priority: 0,
        payload: envelope("1", 0),
    };
    let batch = [
        to("bound", "bound"),
        to("bound", "other"),
        to("unknown", "bound"),
    ];
    broker
        .publish(&batch)
        .await
        .expect("a message that nobody is bound to is no error");
    assert_eq!(
        broker
            .depth(&[queue("bound")])
            .await
            .expect("the broker answers"),
        [1]
    );
}

/// The queues can change while a fetch waits.
pub async fn a_queue_is_consumed_from_when_it_is_set(stage: impl Stage) {
    stage.publish("b", &["1"]).await;
    let consumer = stage.consumer("w", &["a"]).await;
    assert!(finds_nothing(&*consumer).await);
    let (taken, ()) = tokio::join!(fetch(&*consumer, 1, 0), async {
        tokio::task::yield_now().await;
        consumer.set_queues(vec![queue("b")]);
    });
    assert_eq!(id(&taken[0]), "1");
    consumer.set_queues(vec![]);
    stage.publish("b", &["2"]).await;
    assert!(finds_nothing(&*consumer).await);
}

/// Peers are those who hold a lease.
pub async fn peers_are_seen_while_they_live(stage: impl Stage) {
    let broker = stage.broker();
    assert!(broker.peers().await.expect("the broker answers").is_empty());
    let mut options = stage.options("w", &["a", "b"]);
    options.tasks = vec!["t.one".into(), "t.two".into()];
    let consumer = broker.consumer(options).await.expect("the broker answers");
    let peers = broker.peers().await.expect("the broker answers");
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (peers[0].node.as_str(), &peers[0].queues, &peers[0].tasks),
        (
            "w@test",
            &vec!["a".to_owned(), "b".to_owned()],
            &vec!["t.one".to_owned(), "t.two".to_owned()],
        )
    );
    assert!(consumer.is_connected());
    consumer.close().await.expect("the broker answers");
    assert!(broker.peers().await.expect("the broker answers").is_empty());
    broker.ping().await.expect("the broker answers");
}
