//! Recording starts.

use super::{
    Stage,
    stage::{end, fetch, fetch_all, finds_nothing, ids, message, queue},
};
use crate::{Delivery, Finished, Publish, Settle, Start};

/// A start is recorded with its result; an early ack settles.
pub async fn start_keeps_and_early_ack_settles(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 3, 0).await;
    let start = |at: usize, ack: bool| Start {
        tag: taken[at].tag,
        ack,
        result: Some(stage.write(&format!("r{at}"), "STARTED")),
        record: None,
    };
    let ours = consumer
        .start(vec![start(0, false), start(1, true)])
        .await
        .expect("the broker answers");
    assert_eq!(ours, [true, true]);
    assert!(
        stage
            .result("r0")
            .await
            .expect("it was stored")
            .starts_with(b"{\"status\": \"STARTED\"")
    );
    assert!(stage.result("r1").await.is_some());
    assert!(stage.result("r2").await.is_none());
    // What was acked at its start can neither be settled again nor come back.
    let finished = consumer
        .finish(vec![end(&taken[1], Settle::Ack)])
        .await
        .expect("the broker answers");
    assert_eq!(finished, [Finished::Lost]);
    consumer.close().await.expect("the broker answers");
    let other = stage.consumer("other", &["q"]).await;
    assert_eq!(ids(&fetch(&*other, 10, 0).await), ["1", "3"]);
}

/// What is no longer ours does not start, and leaves no result.
pub async fn start_of_what_was_lost_is_refused(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 0).await;
    assert_eq!(
        consumer
            .release_unstarted()
            .await
            .expect("the broker answers"),
        2
    );
    let starts = |result| {
        vec![
            Start {
                tag: taken[0].tag,
                ack: false,
                result,
                record: None,
            },
            Start {
                tag: taken[1].tag,
                ack: true,
                result: None,
                record: None,
            },
        ]
    };
    let ours = consumer
        .start(starts(Some(stage.write("r", "STARTED"))))
        .await
        .expect("the broker answers");
    assert_eq!(ours, [false, false]);
    assert!(stage.result("r").await.is_none());
    assert_eq!(ids(&fetch(&*consumer, 5, 0).await), ["1", "2"]);
    assert!(finds_nothing(&*consumer).await);
    assert!(
        consumer
            .start(vec![])
            .await
            .expect("the broker answers")
            .is_empty()
    );
}

/// A message that begins to run is not put back at the same moment.
pub async fn start_or_release_wins_but_not_both(stage: impl Stage) {
    const COUNT: usize = 600;
    let consumer = stage.consumer("w", &["q"]).await;
    for round in 0..5 {
        let batch: Vec<Publish> = (0..COUNT)
            .map(|number| message("q", &format!("{round}-{number}"), 0))
            .collect();
        stage
            .broker()
            .publish(&batch)
            .await
            .expect("the broker answers");
        let taken = fetch_all(&*consumer, COUNT, 0).await;
        let start = |delivery: &Delivery| Start {
            tag: delivery.tag,
            ack: false,
            result: None,
            record: None,
        };
        let starts = async {
            let mut ours = 0;
            for chunk in taken.chunks(40) {
                let answers = consumer.start(chunk.iter().map(start).collect()).await;
                let answers = answers.expect("the broker answers");
                ours += answers.into_iter().filter(|ours| *ours).count();
            }
            ours
        };
        let (started, released) = tokio::join!(starts, consumer.release_unstarted());
        let released = released.expect("the broker answers");
        let both = started + usize::try_from(released).expect("a small number");
        assert_eq!(both, COUNT, "in round {round}");
        let depth = stage
            .broker()
            .depth(&[queue("q")])
            .await
            .expect("the broker answers");
        assert_eq!(depth, [released]);
        let ends = taken
            .iter()
            .map(|delivery| end(delivery, Settle::Ack))
            .collect();
        consumer.finish(ends).await.expect("the broker answers");
        stage
            .broker()
            .purge(&queue("q"))
            .await
            .expect("the broker answers");
    }
}

/// What waits in a worker again counts as waiting, and goes back with the rest of what has not begun.
pub async fn a_start_can_be_taken_back(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    consumer
        .unstart(vec![taken[0].tag])
        .await
        .expect("the broker answers");
    let released = consumer.release_unstarted().await;
    assert_eq!(released.expect("the broker answers"), 1);
    assert_eq!(ids(&fetch(&*consumer, 2, 0).await), ["1"]);
}
