//! Named exchanges, and queues that are one consumer's alone.

use std::sync::Arc;

use lovage_settings::ExchangeType;

use super::{
    Stage,
    stage::{end, fetch, id, queue},
};
use crate::{Binding, Consumer, Destination, Exclusive, Publish, Settle};

fn to(destination: Destination, id: &str) -> Publish {
    let mut publish = super::stage::message("q", id, 0);
    publish.destination = destination;
    publish
}

fn topic(key: &str) -> Destination {
    Destination::Exchange {
        exchange: "media".to_owned(),
        routing_key: key.to_owned(),
    }
}

fn fanout(key: &str) -> Destination {
    Destination::Fanout {
        exchange: "bcast".to_owned(),
        routing_key: key.to_owned(),
    }
}

/// `*` is a word and `#` any text; a queue is reached once, whatever leads there.
pub async fn a_topic_exchange_matches_words(stage: impl Stage) {
    let broker = stage.broker();
    let bound = |name: &str, kind, key: &str| Binding {
        kind,
        exchange: "media".to_owned(),
        routing_key: key.to_owned(),
        ..Binding::plain(&queue(name))
    };
    let bindings = [
        bound("films", ExchangeType::Topic, "media.film.#"),
        bound("all", ExchangeType::Topic, "media.*.*"),
        bound("cuts", ExchangeType::Direct, "media.film.cut"),
    ];
    broker.bind(&bindings).await.expect("the broker answers");
    broker.bind(&bindings).await.expect("twice is no error");
    for (key, id) in [
        ("media.film.cut", "1"),
        ("media.still.scan", "2"),
        ("media.film.cut.again", "3"),
        ("music", "4"),
    ] {
        broker
            .publish(&[to(topic(key), id)])
            .await
            .expect("nobody bound is no error");
    }
    let queues = ["films", "all", "cuts"].map(queue);
    let depths = broker.depth(&queues).await.expect("the broker answers");
    assert_eq!(depths, [2, 2, 1]);
}

async fn listener(stage: &impl Stage, name: &str) -> (Arc<dyn Consumer>, Exclusive) {
    let own = Exclusive {
        queue: queue(&format!("bcast.{name}")),
        exchange: "bcast".to_owned(),
        routing_key: "celery".to_owned(),
    };
    let mut options = stage.options(name, &["q"]);
    options.exclusive = vec![own.clone()];
    let consumer = stage
        .broker()
        .consumer(options)
        .await
        .expect("the broker answers");
    (consumer, own)
}

/// However it is sent: by who knows the exchange, within a finish, or by who takes it for a direct one and asks who is
/// bound.
pub async fn every_consumer_gets_a_broadcast_once(stage: impl Stage) {
    let broker = stage.broker();
    let (one, _) = listener(&stage, "one").await;
    let (other, _) = listener(&stage, "other").await;
    broker
        .publish(&[
            to(fanout("celery"), "sent"),
            to(fanout("elsewhere"), "not ours"),
        ])
        .await
        .expect("the broker answers");
    let mut both = Vec::new();
    for consumer in [&one, &other] {
        let taken = fetch(&**consumer, 5, 5).await;
        assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), ["sent"]);
        both.push((consumer, taken));
    }
    for (consumer, taken) in both {
        let mut ended = end(&taken[0], Settle::Ack);
        if Arc::ptr_eq(consumer, &one) {
            ended.publishes = vec![to(fanout("celery"), "follow-up")];
        }
        consumer
            .finish(vec![ended])
            .await
            .expect("the broker answers");
    }
    for consumer in [&one, &other] {
        let taken = fetch(&**consumer, 5, 5).await;
        assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), ["follow-up"]);
        consumer
            .finish(vec![end(&taken[0], Settle::Ack)])
            .await
            .expect("the broker answers");
        // The queue that all share is still consumed.
        stage.publish("q", &["shared"]).await;
        let taken = fetch(&**consumer, 5, 5).await;
        assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), ["shared"]);
        consumer
            .finish(vec![end(&taken[0], Settle::Ack)])
            .await
            .expect("the broker answers");
        consumer.set_queues(Vec::new());
    }
    broker
        .publish(&[to(fanout("celery"), "still")])
        .await
        .expect("the broker answers");
    for consumer in [&one, &other] {
        let taken = fetch(&**consumer, 5, 5).await;
        assert_eq!(taken.iter().map(id).collect::<Vec<_>>(), ["still"]);
    }
}

/// At its end and at its death: what was meant for it is meant for nobody else, and nothing is left.
pub async fn a_queue_of_its_own_goes_with_its_consumer(stage: impl Stage) {
    let broker = stage.broker();
    let (closing, first) = listener(&stage, "closing").await;
    let (dying, second) = listener(&stage, "dying").await;
    let (living, third) = listener(&stage, "living").await;
    broker
        .publish(&[to(fanout("celery"), "1"), to(fanout("celery"), "2")])
        .await
        .expect("the broker answers");
    for consumer in [&closing, &dying, &living] {
        assert_eq!(
            fetch(&**consumer, 1, 1).await.len(),
            1,
            "one is held, one waits"
        );
    }
    closing.close().await.expect("the broker answers");
    stage.kill(dying, "dying").await;
    let queues = [first.queue, second.queue, third.queue];
    let gone = async {
        loop {
            let depths = broker.depth(&queues).await.expect("the broker answers");
            if depths == [0, 0, 1] {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(15), gone)
        .await
        .expect("the queues of those that are gone are gone");
    broker
        .publish(&[to(fanout("celery"), "3")])
        .await
        .expect("the broker answers");
    let last = fetch(&*living, 5, 5).await;
    assert!(!last.is_empty());
    let depths = broker
        .depth(&queues[..2])
        .await
        .expect("the broker answers");
    assert_eq!(depths, [0, 0]);
}
