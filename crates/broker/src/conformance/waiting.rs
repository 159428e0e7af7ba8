//! What happens while there is nothing.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    Stage,
    stage::{fetch, finds_nothing, id, message, queue},
};
use crate::{Error, Publish, Settle, Want};

/// A message that arrives is there at once.
pub async fn wakes_for_a_message(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q", "r"]).await;
    for round in 0..5 {
        let priority = [0, 3, 9, 6, 0][round];
        let (taken, published) = tokio::join!(
            async {
                let taken = fetch(&*consumer, 10, 0).await;
                (taken, Instant::now())
            },
            async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let batch = [message("r", &round.to_string(), priority)];
                let now = Instant::now();
                stage
                    .broker()
                    .publish(&batch)
                    .await
                    .expect("the broker answers");
                now
            }
        );
        assert_eq!(id(&taken.0[0]), round.to_string());
        let took = taken.1.duration_since(published);
        assert!(
            took < Duration::from_millis(250),
            "{took:?} in round {round}"
        );
    }
}

/// Cancelling a fetch at any moment loses no message.
pub async fn a_dropped_fetch_loses_nothing(stage: impl Stage) {
    const COUNT: usize = 400;
    let consumer = stage.consumer("w", &["q"]).await;
    let broker = stage.broker();
    let publisher = tokio::spawn(async move {
        for number in 0..COUNT {
            broker
                .publish(&[message("q", &number.to_string(), 0)])
                .await
                .expect("the broker answers");
            if number % 7 == 0 {
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
        }
    });
    let mut seen = HashSet::new();
    let mut micros = 1;
    let began = Instant::now();
    while seen.len() < COUNT {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{} of {COUNT} were seen",
            seen.len()
        );
        micros = (micros * 13 + 7) % 1500;
        let fetch = consumer.fetch(Want { max: 5, start: 2 });
        if let Ok(fetched) = tokio::time::timeout(Duration::from_micros(micros), fetch).await {
            for delivery in fetched.expect("the broker answers") {
                assert!(seen.insert(id(&delivery)), "{} came twice", id(&delivery));
            }
        }
    }
    publisher.await.expect("the publisher ends well");
    assert!(finds_nothing(&*consumer).await);
}

/// Many may fetch from one consumer, and many consumers from one queue.
pub async fn many_wait_and_each_message_is_taken_once(stage: impl Stage) {
    const COUNT: usize = 60;
    let consumers = join_all(["a", "b", "c"].map(|name| stage.consumer(name, &["q"]))).await;
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let mut tasks = tokio::task::JoinSet::new();
    for consumer in consumers.iter().chain(&consumers) {
        let (consumer, sender) = (consumer.clone(), sender.clone());
        tasks.spawn(async move {
            while let Ok(taken) = consumer.fetch(Want { max: 3, start: 3 }).await {
                let ends = taken
                    .iter()
                    .map(|delivery| super::stage::end(delivery, Settle::Ack))
                    .collect();
                consumer.finish(ends).await.expect("the broker answers");
                taken
                    .iter()
                    .for_each(|delivery| sender.send(id(delivery)).expect("somebody counts"));
            }
        });
    }
    for number in 0..COUNT {
        let batch: [Publish; 1] = [message("q", &number.to_string(), 0)];
        stage
            .broker()
            .publish(&batch)
            .await
            .expect("the broker answers");
        tokio::time::sleep(Duration::from_millis(u64::from(number % 5 == 0))).await;
    }
    let mut seen = HashSet::new();
    for _ in 0..COUNT {
        let next = tokio::time::timeout(Duration::from_secs(5), receiver.recv()).await;
        assert!(
            seen.insert(
                next.expect("every message is taken")
                    .expect("the channel is open")
            )
        );
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(receiver.try_recv().is_err(), "no message is taken twice");
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("q")])
            .await
            .expect("the broker answers"),
        [0]
    );
    for consumer in consumers {
        consumer.close().await.expect("the broker answers");
    }
    tasks.join_all().await;
}

/// A closed consumer says so, to those who wait too.
pub async fn close_ends_a_waiting_fetch(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let (fetched, closed) = tokio::join!(consumer.fetch(Want { max: 1, start: 0 }), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        consumer.close().await
    });
    assert!(matches!(fetched, Err(Error::Closed)), "{fetched:?}");
    closed.expect("the broker answers");
    assert!(matches!(
        consumer.finish(vec![]).await,
        Ok(_) | Err(Error::Closed)
    ));
    assert!(matches!(
        consumer.release_unstarted().await,
        Err(Error::Closed)
    ));
    consumer.close().await.expect("closing twice is harmless");
}

/// Whoever stops asks for its unstarted messages while a fetch still waits for more.
pub async fn a_waiting_fetch_holds_nobody_up(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    fetch(&*consumer, 1, 0).await;
    consumer.set_queues(vec![queue("nothing")]);
    let waiting = tokio::spawn({
        let consumer = Arc::clone(&consumer);
        async move { consumer.fetch(Want { max: 1, start: 1 }).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let released = tokio::time::timeout(Duration::from_secs(5), consumer.release_unstarted()).await;
    assert_eq!(
        released
            .expect("it does not wait for a message")
            .expect("the broker answers"),
        1
    );
    assert!(!waiting.is_finished());
    waiting.abort();
}
