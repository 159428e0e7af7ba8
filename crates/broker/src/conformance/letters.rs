//! Dead letters.

use super::{
    Stage,
    stage::{end, fetch, ids, queue},
};
use crate::{Reason, Settle};

/// A letter keeps the message byte for byte, and its reason.
pub async fn a_letter_can_be_listed_shown_replayed_and_discarded(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let broker = stage.broker();
    let letters = broker.dead_letters();
    assert!(
        letters
            .list(0, 10)
            .await
            .expect("the broker answers")
            .is_empty()
    );
    for number in 0..3 {
        let taken = fetch(&*consumer, 1, 0).await;
        let reason = Reason {
            code: "rejected".into(),
            detail: format!("für \"{number}\"\n"),
            task: (number == 0).then(|| "t".into()),
            task_id: Some(number.to_string()),
        };
        consumer
            .finish(vec![end(&taken[0], Settle::DeadLetter(reason))])
            .await
            .expect("the broker answers");
    }
    assert_eq!(letters.count().await.expect("the broker answers"), 3);
    assert_eq!(
        broker
            .depth(&[queue("q")])
            .await
            .expect("the broker answers"),
        [0]
    );
    let all = letters.list(0, 10).await.expect("the broker answers");
    let numbers: Vec<_> = all
        .iter()
        .map(|letter| letter.reason.task_id.as_deref())
        .collect();
    assert_eq!(
        numbers,
        [Some("2"), Some("1"), Some("0")],
        "the newest first"
    );
    assert_eq!(
        letters.list(1, 1).await.expect("the broker answers")[0].id,
        all[1].id
    );
    assert!(
        letters
            .list(0, 0)
            .await
            .expect("the broker answers")
            .is_empty()
    );
    let first = letters
        .show(&all[2].id)
        .await
        .expect("the broker answers")
        .expect("it is there");
    assert_eq!(first.reason.detail, "für \"0\"\n");
    assert_eq!(
        (first.reason.task.as_deref(), all[0].reason.task.as_deref()),
        (Some("t"), None)
    );
    assert_eq!((first.queue.as_str(), first.node.as_str()), ("q", "w@test"));
    assert!(first.at > 1_000_000_000.0);

    assert!(
        letters
            .replay(&all[0].id)
            .await
            .expect("the broker answers")
    );
    assert!(
        !letters
            .replay(&all[0].id)
            .await
            .expect("the broker answers"),
        "once is enough"
    );
    assert!(
        letters
            .discard(&all[1].id)
            .await
            .expect("the broker answers")
    );
    assert!(
        !letters
            .discard(&all[1].id)
            .await
            .expect("the broker answers")
    );
    assert!(
        letters
            .show(&all[1].id)
            .await
            .expect("the broker answers")
            .is_none()
    );
    assert_eq!(letters.count().await.expect("the broker answers"), 1);
    let back = fetch(&*consumer, 5, 0).await;
    assert_eq!(ids(&back), ["3"]);
    assert_eq!(back[0].raw, all[0].raw);
}
