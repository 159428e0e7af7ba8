//! What is decided as a message is sent: the same as at its pick-up, and before anybody picked it up.

use std::time::{Duration, Instant};

use super::{
    Stage,
    asking::{admit, asks, claim, debounced, duplicate, finish, limited, locks, rationed, unique},
    stage::{fetch, finds_nothing, id, ids, in_future, message, queue},
};
use crate::{Admit, Admitted, Delivery, Demand, Entry, Hold};

/// Sends a call that asks; gives whose duplicate it is.
async fn enter(stage: &impl Stage, id: &str, demand: Demand) -> Option<String> {
    enter_to(stage, "q", id, demand).await
}

async fn enter_to(stage: &impl Stage, to: &str, id: &str, demand: Demand) -> Option<String> {
    let entry = Entry {
        owner: id.to_owned(),
        not_before: None,
        demand,
    };
    let (broker, message) = (stage.broker(), message(to, id, 0));
    let sent = broker.publish_gated(&message, &entry).await;
    sent.expect("it answers")
}

async fn depth(stage: &impl Stage) -> u64 {
    let depth = stage.broker().depth(&[queue("q")]).await;
    depth.expect("it answers")[0]
}

/// So many wait in the line of the one key.
async fn waiting(stage: &impl Stage) -> u64 {
    let lines = stage.broker().lines().await.expect("it answers");
    lines.first().map_or(0, |line| line.waiting)
}

/// Sent and locked in one step, or told at once whose duplicate it is.
pub async fn a_duplicate_is_refused_as_it_is_sent(stage: impl Stage) {
    let lock = || locks(claim("k", Hold::End, false));
    assert_eq!(enter(&stage, "1", lock()).await, None);
    assert_eq!(enter(&stage, "2", lock()).await.as_deref(), Some("1"));
    assert_eq!(depth(&stage).await, 1);
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    assert_eq!(
        admit(&*consumer, unique(&taken[0], Hold::End)).await,
        Admitted::Runs
    );
    assert_eq!(enter(&stage, "3", lock()).await.as_deref(), Some("1"));
    finish(&*consumer, &taken[0]).await;
    assert_eq!(enter(&stage, "4", lock()).await, None);
}

/// What has room goes to its queue; what has none goes straight into the line, in the order in which it was sent, and runs in
/// that order. It is counted only when it runs.
pub async fn who_has_no_room_waits_in_the_line_from_the_start(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    assert_eq!(enter(&stage, "1", rationed(1, None)).await, None);
    assert_eq!(depth(&stage).await, 1, "there is room");
    let first = fetch(&*consumer, 1, 1).await;
    let ask = |delivery: &Delivery| limited(delivery, 1, None);
    assert_eq!(admit(&*consumer, ask(&first[0])).await, Admitted::Runs);
    for id in ["2", "3", "4"] {
        assert_eq!(enter(&stage, id, rationed(1, None)).await, None);
    }
    assert_eq!((depth(&stage).await, waiting(&stage).await), (0, 3));
    let lines = stage.broker().lines().await.expect("it answers");
    assert_eq!(lines[0].holding, 1, "who waits takes no room");
    // One that only its worker judges stands behind them.
    stage.publish("q", &["5"]).await;
    let late = fetch(&*consumer, 1, 1).await;
    assert_eq!(admit(&*consumer, ask(&late[0])).await, Admitted::Waits);
    finish(&*consumer, &first[0]).await;
    for expected in ["2", "3", "4", "5"] {
        let next = fetch(&*consumer, 4, 4).await;
        assert_eq!(ids(&next), [expected]);
        assert_eq!(next[0].raw, message("q", expected, 0).payload);
        assert_eq!(admit(&*consumer, ask(&next[0])).await, Admitted::Runs);
        finish(&*consumer, &next[0]).await;
    }
    assert!(finds_nothing(&*consumer).await);
    assert_eq!(waiting(&stage).await, 0);
}

/// What was sent before and waits in the queue is not overtaken by what goes into the line.
pub async fn nobody_in_the_queue_is_overtaken_by_who_is_sent_later(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    stage.publish("q", &["1", "2"]).await;
    let first = fetch(&*consumer, 1, 1).await;
    let ask = |delivery: &Delivery| limited(delivery, 1, None);
    assert_eq!(admit(&*consumer, ask(&first[0])).await, Admitted::Runs);
    assert_eq!(enter(&stage, "3", rationed(1, None)).await, None);
    assert_eq!((depth(&stage).await, waiting(&stage).await), (2, 0));
    // In another queue nothing is in front of it.
    assert_eq!(
        enter_to(&stage, "other", "4", rationed(1, None)).await,
        None
    );
    assert_eq!(waiting(&stage).await, 1);
    for expected in ["2", "3"] {
        let next = fetch(&*consumer, 1, 1).await;
        assert_eq!(ids(&next), [expected]);
        assert_eq!(admit(&*consumer, ask(&next[0])).await, Admitted::Waits);
    }
}

/// A rate that is used up lets wait until it has room, without a way through the queue.
pub async fn a_used_up_rate_lets_wait_from_the_start(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let period = Duration::from_millis(1500);
    let began = Instant::now();
    let ask = |delivery: &Delivery| limited(delivery, 1, Some(period));
    assert_eq!(enter(&stage, "1", rationed(1, Some(period))).await, None);
    let first = fetch(&*consumer, 1, 1).await;
    assert_eq!(admit(&*consumer, ask(&first[0])).await, Admitted::Runs);
    finish(&*consumer, &first[0]).await;
    for id in ["2", "3"] {
        assert_eq!(enter(&stage, id, rationed(1, Some(period))).await, None);
    }
    assert_eq!((depth(&stage).await, waiting(&stage).await), (0, 2));
    for (rounds, expected) in [(1, "2"), (2, "3")] {
        let mut next = fetch(&*consumer, 1, 1).await;
        // The one before it began somewhat later than it could have.
        while admit(&*consumer, ask(&next[0])).await == Admitted::Waits {
            next = fetch(&*consumer, 1, 1).await;
        }
        assert_eq!(ids(&next), [expected]);
        assert!(began.elapsed() + Duration::from_millis(5) >= period * rounds);
        finish(&*consumer, &next[0]).await;
    }
}

/// A later call takes the place of the earlier one as it is sent: that one comes to its queue to end, the later one when its
/// window is over.
pub async fn a_later_call_takes_the_place_of_the_earlier_as_it_is_sent(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let window = Duration::from_millis(1500);
    let began = Instant::now();
    assert_eq!(enter(&stage, "1", debounced(window)).await, None);
    assert_eq!(depth(&stage).await, 0, "it waits for its window");
    let ask = |delivery: &Delivery| Admit {
        demand: debounced(window),
        ..asks(delivery)
    };
    assert_eq!(enter(&stage, "2", debounced(window)).await, None);
    let replaced = fetch(&*consumer, 2, 2).await;
    assert_eq!(ids(&replaced), ["1"]);
    assert_eq!(admit(&*consumer, ask(&replaced[0])).await, duplicate("2"));
    assert!(
        began.elapsed() < window,
        "it ends before its window is over"
    );
    finish(&*consumer, &replaced[0]).await;
    let last = fetch(&*consumer, 2, 2).await;
    assert_eq!(ids(&last), ["2"]);
    assert!(began.elapsed() + Duration::from_millis(20) >= window);
    assert_eq!(admit(&*consumer, ask(&last[0])).await, Admitted::Runs);
    finish(&*consumer, &last[0]).await;
    assert!(finds_nothing(&*consumer).await);
}

/// While no worker lives nobody would bring back what is set aside: all of it goes to the queue, and the last of several calls
/// is known as well.
pub async fn without_a_worker_everything_goes_to_the_queue(stage: impl Stage) {
    let window = Duration::from_millis(1200);
    let doomed = stage.consumer("doomed", &["other"]).await;
    stage.publish("other", &["0"]).await;
    let first = fetch(&*doomed, 1, 1).await;
    let ask = limited(&first[0], 1, None);
    assert_eq!(admit(&*doomed, ask).await, Admitted::Runs);
    doomed.close().await.expect("it answers");
    assert_eq!(enter(&stage, "1", debounced(window)).await, None);
    assert_eq!(enter(&stage, "2", debounced(window)).await, None);
    assert_eq!(enter(&stage, "3", rationed(1, None)).await, None);
    assert_eq!((depth(&stage).await, waiting(&stage).await), (3, 0));
    let heir = stage.consumer("heir", &["q"]).await;
    let taken = fetch(&*heir, 2, 2).await;
    let ask = |at: usize| Admit {
        demand: debounced(window),
        ..asks(&taken[at])
    };
    assert_eq!(id(&taken[0]), "1");
    assert_eq!(admit(&*heir, ask(0)).await, duplicate("2"));
    assert_ne!(admit(&*heir, ask(1)).await, duplicate("1"));
}

/// What is asked twice because an answer was lost is sent once.
pub async fn what_is_sent_again_after_a_lost_answer_waits_once(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    stage.publish("q", &["1"]).await;
    let first = fetch(&*consumer, 1, 1).await;
    let ask = |delivery: &Delivery| limited(delivery, 1, None);
    assert_eq!(admit(&*consumer, ask(&first[0])).await, Admitted::Runs);
    for _ in 0..2 {
        assert_eq!(enter(&stage, "2", rationed(1, None)).await, None);
    }
    for _ in 0..2 {
        assert_eq!(
            enter(&stage, "3", debounced(Duration::from_millis(1300))).await,
            None
        );
    }
    finish(&*consumer, &first[0]).await;
    let next = fetch(&*consumer, 4, 4).await;
    assert_eq!(ids(&next), ["2"]);
    finish(&*consumer, &next[0]).await;
    let last = fetch(&*consumer, 4, 4).await;
    assert_eq!(ids(&last), ["3"]);
    finish(&*consumer, &last[0]).await;
    assert!(finds_nothing(&*consumer).await);
}

/// A call with an eta takes its lock now, and asks for room when it is due.
pub async fn a_call_for_later_takes_its_lock_and_no_place_in_a_line(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    stage.publish("q", &["1"]).await;
    let first = fetch(&*consumer, 1, 1).await;
    let ask = limited(&first[0], 1, None);
    assert_eq!(admit(&*consumer, ask).await, Admitted::Runs);
    let demand = || Demand {
        rations: rationed(1, None).rations,
        ..locks(claim("k", Hold::End, false))
    };
    let entry = Entry {
        owner: "2".to_owned(),
        not_before: Some(in_future(600.0)),
        demand: demand(),
    };
    let (broker, message) = (stage.broker(), message("q", "2", 0));
    let sent = broker.publish_gated(&message, &entry).await;
    assert_eq!(sent.expect("it answers"), None);
    assert_eq!((depth(&stage).await, waiting(&stage).await), (1, 0));
    assert_eq!(enter(&stage, "3", demand()).await.as_deref(), Some("2"));
}
