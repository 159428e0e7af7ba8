//! Messages that are away for a while.

use std::time::{Duration, Instant};

use lovage_protocol::TaskId;

use super::{
    Stage,
    stage::{end, envelope, fetch, finds_nothing, id, ids, in_future, queue},
};
use crate::{Finished, Settle};

/// It comes back in time, and to the head of its queue, whoever is there then.
pub async fn a_delayed_message_is_away_until_it_is_due(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 0).await;
    let until = in_future(0.6);
    let delay = |at: usize, until: f64| {
        end(
            &taken[at],
            Settle::Delay {
                until,
                payload: None,
            },
        )
    };
    let began = Instant::now();
    let finished = consumer
        .finish(vec![delay(0, until), delay(1, until + 3600.0)])
        .await
        .expect("the broker answers");
    assert_eq!(finished, vec![Finished::Done { chord: None }; 2]);
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("q")])
            .await
            .expect("the broker answers"),
        [1]
    );
    let broker = stage.broker();
    let seen = async |most: usize| broker.delayed(most).await.expect("the broker answers");
    let all = seen(10).await;
    assert_eq!(all.len(), 2);
    assert_eq!(all[0].raw, taken[0].raw, "the first is due first");
    assert!((all[0].due - until).abs() < 0.001, "{all:?}");
    assert_eq!(seen(1).await, all[..1]);
    let second = [TaskId::from("2"), TaskId::from("elsewhere")];
    let of = stage.broker().delayed_of(&second).await;
    assert_eq!(of.expect("the broker answers"), all[1..]);
    let other = stage.consumer("other", &["q"]).await;
    consumer.close().await.expect("the broker answers");
    assert_eq!(ids(&fetch(&*other, 5, 0).await), ["3"]);
    let back = fetch(&*other, 5, 0).await;
    assert_eq!(id(&back[0]), "1");
    assert_eq!(
        back[0].raw, taken[0].raw,
        "it was not delivered in vain, so it carries no mark"
    );
    let away = began.elapsed();
    assert!(
        away > Duration::from_millis(500) && away < Duration::from_millis(900),
        "{away:?}"
    );
    assert!(finds_nothing(&*other).await);
}

/// What comes back can be another message.
pub async fn the_payload_can_be_replaced(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 0).await;
    let payload = Some(envelope("new", 0));
    let delay = end(
        &taken[0],
        Settle::Delay {
            until: in_future(0.05),
            payload,
        },
    );
    consumer
        .finish(vec![delay])
        .await
        .expect("the broker answers");
    assert_eq!(id(&fetch(&*consumer, 1, 0).await[0]), "new");
    assert!(finds_nothing(&*consumer).await);
}

/// The last one to close gives back what is not due yet, for workers that do not know our delays.
pub async fn the_last_to_close_gives_delayed_messages_back(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let first = stage.consumer("first", &["q"]).await;
    let last = stage.consumer("last", &["q"]).await;
    let taken = fetch(&*first, 2, 0).await;
    let delays = taken.iter().map(|delivery| {
        let until = in_future(3600.0);
        end(
            delivery,
            Settle::Delay {
                until,
                payload: None,
            },
        )
    });
    first
        .finish(delays.collect())
        .await
        .expect("the broker answers");
    first.close().await.expect("the broker answers");
    let depth = async || {
        let depth = stage.broker().depth(&[queue("q")]).await;
        depth.expect("the broker answers")
    };
    assert_eq!(depth().await, [0], "another worker looks after them");
    last.close().await.expect("the broker answers");
    assert_eq!(depth().await, [2]);
}
