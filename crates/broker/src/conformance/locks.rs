//! Locks: who is a duplicate of whom, and until when.

use std::time::{Duration, Instant};

use super::{
    Stage,
    asking::{
        DONE, admit, admit_all, asks, claim, debounced, duplicate, finish, joined, joins, leaves,
        locks, rationed, unique,
    },
    stage::{end, fetch, finds_nothing, id, ids, message, queue},
};
use crate::{Admit, Admitted, Delivery, Demand, Hold, Leave, Settle};

/// A task keeps others of its key away until it has ended, in whatever way.
pub async fn a_lock_is_held_until_its_task_has_ended(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3", "4"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 4, 4).await;
    let ask = |at: usize| unique(&taken[at], Hold::End);
    assert_eq!(admit(&*consumer, ask(0)).await, Admitted::Runs);
    assert_eq!(
        admit(&*consumer, ask(0)).await,
        Admitted::Runs,
        "the answer was lost"
    );
    assert_eq!(admit(&*consumer, ask(1)).await, duplicate("1"));
    finish(&*consumer, &taken[1]).await;
    assert_eq!(
        admit(&*consumer, ask(2)).await,
        duplicate("1"),
        "a duplicate frees nothing"
    );
    finish(&*consumer, &taken[0]).await;
    assert_eq!(admit(&*consumer, ask(2)).await, Admitted::Runs);
    // A message that is given up ends its task without a word from the worker.
    let reason = crate::Reason {
        code: "test".into(),
        detail: String::new(),
        task: None,
        task_id: None,
    };
    let buried = end(&taken[2], Settle::DeadLetter(reason));
    assert_eq!(
        consumer.finish(vec![buried]).await.expect("it answers"),
        DONE
    );
    assert_eq!(admit(&*consumer, ask(3)).await, Admitted::Runs);
}

/// A retry is a new message with the id that holds the lock.
pub async fn a_retry_keeps_its_lock(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    assert_eq!(
        admit(&*consumer, unique(&taken[0], Hold::End)).await,
        Admitted::Runs
    );
    let leave = Some(Leave::Again {
        owner: "1".into(),
        pause: Duration::ZERO,
    });
    let mut again = leaves(&taken[0], Settle::Ack, leave);
    again.publishes.push(message("q", "1", 0));
    assert_eq!(
        consumer.finish(vec![again]).await.expect("it answers"),
        DONE
    );
    assert_eq!(
        admit(&*consumer, unique(&taken[1], Hold::End)).await,
        duplicate("1")
    );
    let retry = fetch(&*consumer, 1, 1).await;
    assert_eq!(
        admit(&*consumer, unique(&retry[0], Hold::End)).await,
        Admitted::Runs
    );
    finish(&*consumer, &retry[0]).await;
    assert_eq!(
        admit(&*consumer, unique(&taken[1], Hold::End)).await,
        Admitted::Runs
    );
}

/// What is put back or was held by the dead still counts; then the redelivery runs, and not as its own duplicate.
pub async fn a_dead_workers_lock_waits_for_the_redelivery(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let other = stage.consumer("other", &[]).await;
    let doomed = stage.consumer("doomed", &["q"]).await;
    let taken = fetch(&*doomed, 1, 1).await;
    assert_eq!(
        admit(&*doomed, unique(&taken[0], Hold::End)).await,
        Admitted::Runs
    );
    stage.kill(doomed, "doomed").await;
    other.set_queues(vec![queue("q")]);
    let second = fetch(&*other, 1, 1).await;
    if id(&second[0]) == "2" {
        assert_eq!(
            admit(&*other, unique(&second[0], Hold::End)).await,
            duplicate("1")
        );
        finish(&*other, &second[0]).await;
    } else {
        let back = end(&second[0], Settle::Restore);
        assert_eq!(other.finish(vec![back]).await.expect("it answers"), DONE);
    }
    let back = fetch(&*other, 1, 1).await;
    assert_eq!(ids(&back), ["1"]);
    assert_eq!(
        admit(&*other, unique(&back[0], Hold::End)).await,
        Admitted::Runs
    );
    finish(&*other, &back[0]).await;
    stage.publish("q", &["3"]).await;
    for _ in 0..2 {
        let next = fetch(&*other, 1, 1).await;
        assert_eq!(
            admit(&*other, unique(&next[0], Hold::End)).await,
            Admitted::Runs
        );
        finish(&*other, &next[0]).await;
        if id(&next[0]) == "3" {
            break;
        }
    }
}

/// Acked as it began and lost with its worker: nobody waits for what never comes.
pub async fn the_lock_of_a_lost_task_is_free(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let other = stage.consumer("other", &["q"]).await;
    let taken = fetch(&*other, 1, 1).await;
    let doomed = stage.consumer("doomed", &["q"]).await;
    let lost = fetch(&*doomed, 1, 1).await;
    let early = |delivery: &Delivery| Admit {
        early: true,
        demand: Demand {
            rations: rationed(1, None).rations,
            ..locks(claim("k", Hold::End, false))
        },
        ..asks(delivery)
    };
    assert_eq!(admit(&*doomed, early(&lost[0])).await, Admitted::Runs);
    let start = crate::Start {
        tag: lost[0].tag,
        ack: true,
        result: None,
        record: None,
    };
    assert_eq!(doomed.start(vec![start]).await.expect("it answers"), [true]);
    assert_eq!(admit(&*other, early(&taken[0])).await, duplicate("2"));
    stage.kill(doomed, "doomed").await;
    assert_eq!(admit(&*other, early(&taken[0])).await, Admitted::Runs);
}

/// Until it begins, or for a time whatever becomes of it.
pub async fn a_lock_may_end_at_the_start_or_after_a_time(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 3, 3).await;
    let waiting = Admit {
        not_before: Some(super::stage::in_future(3600.0)),
        ..unique(&taken[0], Hold::Start)
    };
    assert_eq!(admit(&*consumer, waiting).await, Admitted::Waits);
    let ask = |at: usize| unique(&taken[at], Hold::Start);
    assert_eq!(
        admit(&*consumer, ask(1)).await,
        duplicate("1"),
        "it waits for its eta"
    );
    finish(&*consumer, &taken[1]).await;
    let free = |at: usize| Admit {
        demand: locks(claim("other", Hold::Start, false)),
        ..asks(&taken[at])
    };
    assert_eq!(admit(&*consumer, free(2)).await, Admitted::Runs);
    stage.publish("q", &["4", "5", "6"]).await;
    let next = fetch(&*consumer, 3, 3).await;
    let began = Admit {
        demand: locks(claim("other", Hold::Start, false)),
        ..asks(&next[0])
    };
    assert_eq!(
        admit(&*consumer, began).await,
        Admitted::Runs,
        "the other has begun"
    );
    let timed = |delivery: &Delivery| Admit {
        demand: locks(claim("timed", Hold::For(Duration::from_millis(400)), false)),
        ..asks(delivery)
    };
    let first = Instant::now();
    assert_eq!(admit(&*consumer, timed(&next[1])).await, Admitted::Runs);
    finish(&*consumer, &next[1]).await;
    assert_eq!(
        admit(&*consumer, timed(&next[2])).await,
        duplicate("5"),
        "it has ended, its time has not"
    );
    while admit(&*consumer, timed(&next[2])).await != Admitted::Runs {
        assert!(first.elapsed() < Duration::from_secs(5), "the lock stays");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(first.elapsed() >= Duration::from_millis(400));
}

/// Who joins comes back when the first has ended, and learns whose result it gets, also after a death.
pub async fn who_joins_waits_for_the_end_of_the_first(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 3, 3).await;
    let decided = admit_all(&*consumer, taken.iter().map(joins).collect()).await;
    assert_eq!(decided, [Admitted::Runs, Admitted::Waits, Admitted::Waits]);
    assert!(finds_nothing(&*consumer).await);
    let lines = stage.broker().lines().await.expect("it answers");
    assert_eq!((lines[0].key.as_str(), lines[0].waiting), ("unique:k", 2));
    finish(&*consumer, &taken[0]).await;
    let back = fetch(&*consumer, 2, 2).await;
    assert_eq!(ids(&back), ["2", "3"], "in the order in which they came");
    assert_eq!(admit(&*consumer, joins(&back[0])).await, joined("1"));
    finish(&*consumer, &back[0]).await;
    let restored = end(&back[1], Settle::Restore);
    assert_eq!(
        consumer.finish(vec![restored]).await.expect("it answers"),
        DONE
    );
    let again = fetch(&*consumer, 1, 1).await;
    assert_eq!(
        admit(&*consumer, joins(&again[0])).await,
        joined("1"),
        "it is not forgotten"
    );
    finish(&*consumer, &again[0]).await;
    assert!(stage.broker().lines().await.expect("it answers").is_empty());
}

/// Only the last of several calls runs, once the window after it is over.
pub async fn only_the_last_call_runs_after_the_window(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    let window = Duration::from_millis(300);
    let ask = |delivery: &Delivery| Admit {
        demand: debounced(window),
        ..asks(delivery)
    };
    let began = Instant::now();
    let decided = admit_all(&*consumer, taken.iter().map(ask).collect()).await;
    assert_eq!(decided, [Admitted::Waits, Admitted::Waits]);
    let mut back = fetch(&*consumer, 2, 2).await;
    if back.len() == 1 {
        back.extend(fetch(&*consumer, 1, 1).await);
    }
    assert!(began.elapsed() >= window - Duration::from_millis(20));
    for delivery in &back {
        let expected = match id(delivery).as_str() {
            "1" => duplicate("2"),
            _ => Admitted::Runs,
        };
        assert_eq!(admit(&*consumer, ask(delivery)).await, expected);
        assert_eq!(
            admit(&*consumer, ask(delivery)).await,
            expected,
            "the answer was lost"
        );
    }
    for delivery in &back {
        finish(&*consumer, delivery).await;
    }
    stage.publish("q", &["3"]).await;
    let next = fetch(&*consumer, 1, 1).await;
    assert_eq!(
        admit(&*consumer, ask(&next[0])).await,
        Admitted::Waits,
        "a new window"
    );
}

/// A call that another replaced does not run, however late it comes: not after the other has ended either.
pub async fn a_replaced_call_never_runs_after_the_last_one(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    let ask = |delivery: &Delivery| Admit {
        demand: debounced(Duration::from_millis(200)),
        ..asks(delivery)
    };
    let decided = admit_all(&*consumer, taken.iter().map(ask).collect()).await;
    assert_eq!(decided, [Admitted::Waits, Admitted::Waits]);
    let mut back = fetch(&*consumer, 2, 2).await;
    if back.len() == 1 {
        back.extend(fetch(&*consumer, 1, 1).await);
    }
    let find = |wanted: &str| back.iter().find(|one| id(one) == wanted);
    let (replaced, last) = (
        find("1").expect("it is back"),
        find("2").expect("it is back"),
    );
    assert_eq!(admit(&*consumer, ask(last)).await, Admitted::Runs);
    finish(&*consumer, last).await;
    assert_eq!(
        admit(&*consumer, ask(replaced)).await,
        duplicate("a later call")
    );
    finish(&*consumer, replaced).await;
}

/// A message that is no longer ours is not decided about.
pub async fn what_was_lost_is_not_admitted(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    finish(&*consumer, &taken[0]).await;
    assert_eq!(
        admit(&*consumer, unique(&taken[0], Hold::End)).await,
        Admitted::Lost
    );
}
