//! Limits: who waits outside of its queue, and when it is called.

use std::time::{Duration, Instant};

use super::{
    Stage,
    asking::{admit, admit_all, asks, finish, limited},
    stage::{fetch, id, ids, queue},
};
use crate::{Admit, Admitted, Delivery, Demand, Ration};

/// One more than may run waits outside of the queue, and comes back at once when one ends.
pub async fn a_full_limit_lets_wait_in_order_of_arrival(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3", "4", "free"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 4, 4).await;
    let asked = taken.iter().map(|delivery| limited(delivery, 2, None));
    let decided = admit_all(&*consumer, asked.collect()).await;
    assert_eq!(
        decided,
        [
            Admitted::Runs,
            Admitted::Runs,
            Admitted::Waits,
            Admitted::Waits
        ]
    );
    assert_eq!(
        ids(&fetch(&*consumer, 5, 0).await),
        ["free"],
        "it blocks nobody"
    );
    let lines = stage.broker().lines().await.expect("it answers");
    assert_eq!((lines[0].waiting, lines[0].holding), (2, 2));
    stage.publish("q", &["5"]).await;
    finish(&*consumer, &taken[1]).await;
    let woken = fetch(&*consumer, 1, 1).await;
    assert_eq!(ids(&woken), ["3"]);
    assert_eq!(woken[0].raw, taken[2].raw, "byte for byte");
    let late = fetch(&*consumer, 1, 1).await;
    assert_eq!(ids(&late), ["5"]);
    assert_eq!(
        admit(&*consumer, limited(&late[0], 2, None)).await,
        Admitted::Waits,
        "nobody overtakes one that was called"
    );
    assert_eq!(
        admit(&*consumer, limited(&woken[0], 2, None)).await,
        Admitted::Runs
    );
    finish(&*consumer, &taken[0]).await;
    finish(&*consumer, &woken[0]).await;
    let rest = fetch(&*consumer, 2, 2).await;
    let mut rest_ids = ids(&rest);
    if rest.len() == 1 {
        rest_ids.extend(ids(&fetch(&*consumer, 1, 1).await));
    }
    // There is room for both; which of the two is fetched first does not matter.
    rest_ids.sort_unstable();
    assert_eq!(rest_ids, ["4", "5"]);
}

/// A dead worker's room is free when its lease has ended, and who waits for it is called.
pub async fn the_slots_of_a_dead_worker_are_freed(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let doomed = stage.consumer("doomed", &["q"]).await;
    let first = fetch(&*doomed, 1, 1).await;
    assert_eq!(
        admit(&*doomed, limited(&first[0], 1, None)).await,
        Admitted::Runs
    );
    let other = stage.consumer("other", &["q"]).await;
    let second = fetch(&*other, 1, 1).await;
    assert_eq!(
        admit(&*other, limited(&second[0], 1, None)).await,
        Admitted::Waits
    );
    stage.kill(doomed, "doomed").await;
    let mut ran = Vec::new();
    while ran.len() < 2 {
        let next = fetch(&*other, 1, 1).await;
        if admit(&*other, limited(&next[0], 1, None)).await == Admitted::Runs {
            ran.push(id(&next[0]));
            finish(&*other, &next[0]).await;
        }
    }
    ran.sort_unstable();
    assert_eq!(ran, ["1", "2"]);
}

/// So many in any stretch of time, the others as soon as they may.
pub async fn a_rate_spreads_starts_over_time(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3", "4", "5"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 5, 5).await;
    let period = Duration::from_millis(400);
    let began = Instant::now();
    let asked = taken.iter().map(|one| limited(one, 2, Some(period)));
    let decided = admit_all(&*consumer, asked.collect()).await;
    let runs = |decided: &[Admitted]| decided.iter().filter(|one| **one == Admitted::Runs).count();
    assert_eq!(runs(&decided), 2);
    let mut order = Vec::new();
    while order.len() < 3 {
        for delivery in fetch(&*consumer, 5, 5).await {
            let ask = limited(&delivery, 2, Some(period));
            if admit(&*consumer, ask).await == Admitted::Runs {
                order.push((id(&delivery), began.elapsed()));
                finish(&*consumer, &delivery).await;
            }
        }
    }
    let names: Vec<&str> = order.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(names, ["3", "4", "5"]);
    let early = Duration::from_millis(5);
    assert!(order[0].1 + early >= period, "{order:?}");
    assert!(order[2].1 + early >= period * 2, "{order:?}");
    assert!(
        order[1].1 < period + Duration::from_millis(250),
        "{order:?}"
    );
}

/// The last to close gives back also what waits for a limit.
pub async fn the_last_to_close_gives_back_who_waits(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    let asked = taken.iter().map(|one| limited(one, 1, None));
    let decided = admit_all(&*consumer, asked.collect()).await;
    assert_eq!(decided, [Admitted::Runs, Admitted::Waits]);
    consumer.close().await.expect("it answers");
    let depth = stage.broker().depth(&[queue("q")]).await;
    assert_eq!(depth.expect("it answers"), [2]);
    let heir = stage.consumer("heir", &["q"]).await;
    let all = fetch(&*heir, 2, 2).await;
    let asked = all.iter().map(|one| limited(one, 2, None));
    let decided = admit_all(&*heir, asked.collect()).await;
    assert_eq!(decided, [Admitted::Runs, Admitted::Runs]);
}

/// One that was called and ends otherwise, as when it is revoked, lets the next one go.
pub async fn who_is_called_and_does_not_run_lets_the_next_one_go(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 3, 3).await;
    let asked = taken.iter().map(|one| limited(one, 1, None));
    let decided = admit_all(&*consumer, asked.collect()).await;
    assert_eq!(decided, [Admitted::Runs, Admitted::Waits, Admitted::Waits]);
    finish(&*consumer, &taken[0]).await;
    let called = fetch(&*consumer, 2, 2).await;
    assert_eq!(ids(&called), ["2"]);
    finish(&*consumer, &called[0]).await;
    let next = fetch(&*consumer, 2, 2).await;
    assert_eq!(ids(&next), ["3"]);
}

/// Who waits for one of several limits keeps its place when it has to wait for another, and holds nobody up by that: there is
/// room, and it runs.
pub async fn who_comes_from_another_line_stands_where_its_ticket_says(stage: impl Stage) {
    let ration = |name: &str| Ration {
        key: format!("slots:{name}"),
        most: 1,
        period: None,
    };
    let ask = |delivery: &Delivery, names: &[&str]| Admit {
        demand: Demand {
            rations: names.iter().map(|name| ration(name)).collect(),
            ..Demand::default()
        },
        ..asks(delivery)
    };
    stage.publish("q", &["b", "both", "a1", "a2", "a3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 5, 5).await;
    let wishes: [&[&str]; 5] = [&["b"], &["a", "b"], &["a"], &["a"], &["a"]];
    let asked = taken.iter().zip(wishes);
    let asked = asked.map(|(delivery, names)| ask(delivery, names));
    let decided = admit_all(&*consumer, asked.collect()).await;
    assert_eq!(
        decided,
        [
            Admitted::Runs,
            Admitted::Waits,
            Admitted::Runs,
            Admitted::Waits,
            Admitted::Waits
        ]
    );
    finish(&*consumer, &taken[2]).await;
    let called = fetch(&*consumer, 1, 1).await;
    assert_eq!(ids(&called), ["a2"]);
    finish(&*consumer, &taken[0]).await;
    let both = fetch(&*consumer, 1, 1).await;
    assert_eq!(ids(&both), ["both"]);
    // Two wait for the one limit, and both came later.
    assert_eq!(
        admit(&*consumer, ask(&both[0], &["a", "b"])).await,
        Admitted::Runs
    );
    assert_eq!(
        admit(&*consumer, ask(&called[0], &["a"])).await,
        Admitted::Waits
    );
    finish(&*consumer, &both[0]).await;
    for expected in ["a2", "a3"] {
        let next = fetch(&*consumer, 2, 2).await;
        assert_eq!(ids(&next), [expected]);
        assert_eq!(
            admit(&*consumer, ask(&next[0], &["a"])).await,
            Admitted::Runs
        );
        finish(&*consumer, &next[0]).await;
    }
}
