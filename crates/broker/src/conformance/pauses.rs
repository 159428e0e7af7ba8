//! Queues that are paused until they are resumed.

use super::{Stage, stage::queue};

/// Whoever asks later learns what is paused, and who resumes it whom to tell.
pub async fn a_pause_holds_until_it_is_ended(stage: impl Stage) {
    let broker = stage.broker();
    let pauses = broker.pauses();
    let paused = async || {
        let paused = pauses.paused().await.expect("the broker answers");
        paused.into_iter().collect::<Vec<_>>()
    };
    assert!(paused().await.is_empty());
    let told = ["celery@one".to_owned(), "celery@\"two\"".to_owned()];
    // Paused twice: all that were told are to be told of the end.
    for (name, told) in [("b", &told[..1]), ("a", &[]), ("b", &told[1..])] {
        let done = pauses.pause(&queue(name), told).await;
        done.expect("the broker answers");
    }
    assert_eq!(paused().await, [queue("a"), queue("b")]);
    let resume = async |name: &str| {
        let resumed = pauses.resume(&queue(name)).await;
        resumed.expect("the broker answers")
    };
    let mut resumed = resume("b").await.expect("it is paused");
    resumed.sort_unstable();
    assert_eq!(resumed, ["celery@\"two\"", "celery@one"]);
    assert_eq!(resume("b").await, None, "it is paused no longer");
    assert_eq!(resume("a").await, Some(Vec::new()));
    assert!(paused().await.is_empty());
}
