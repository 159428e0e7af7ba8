//! Publishing once what several may hand over.

use super::{
    Stage,
    stage::{fetch, ids, message, queue},
};
use crate::{Broker, Relay, Relayed};

fn relay(scope: &str, fence: i64, marks: &[&str], forget: &[&str]) -> Relay {
    let messages = marks
        .iter()
        .map(|mark| ((*mark).to_owned(), message("q", mark, 0)));
    Relay {
        scope: scope.to_owned(),
        fence,
        messages: messages.collect(),
        forget: forget.iter().map(|mark| (*mark).to_owned()).collect(),
    }
}

async fn published(broker: &dyn Broker, relayed: Relay) -> u64 {
    match broker.relay(&relayed).await.expect("the broker answers") {
        Relayed::Done { published } => published,
        Relayed::Superseded { by } => panic!("{by} has taken over"),
    }
}

/// However often and by whomever a message is handed over, there is one of it, in the order of the first time.
pub async fn what_is_handed_over_twice_is_published_once(stage: impl Stage) {
    let broker = stage.broker();
    assert_eq!(
        published(&*broker, relay("s", 1, &["1", "2"], &[])).await,
        2
    );
    assert_eq!(
        published(&*broker, relay("s", 1, &["1", "2", "3"], &[])).await,
        1
    );
    assert_eq!(
        published(&*broker, relay("s", 2, &["3", "2"], &[])).await,
        0
    );
    assert_eq!(published(&*broker, relay("s", 2, &[], &[])).await, 0);
    let consumer = stage.consumer("w", &["q"]).await;
    assert_eq!(ids(&fetch(&*consumer, 10, 0).await), ["1", "2", "3"]);
    // Another's messages may have the same marks.
    assert_eq!(published(&*broker, relay("t", 1, &["1"], &[])).await, 1);
    // What is forgotten is new.
    assert_eq!(
        published(&*broker, relay("s", 2, &["1", "2"], &["1"])).await,
        1
    );
}

/// Who was taken over does nothing any more, and is told.
pub async fn who_was_taken_over_publishes_nothing(stage: impl Stage) {
    let broker = stage.broker();
    assert_eq!(published(&*broker, relay("s", 7, &["1"], &[])).await, 1);
    let late = relay("s", 6, &["2"], &["1"]);
    let answer = broker.relay(&late).await.expect("the broker answers");
    assert_eq!(answer, Relayed::Superseded { by: 7 });
    assert_eq!(
        published(&*broker, relay("s", 7, &["1"], &[])).await,
        0,
        "nothing was forgotten"
    );
    let depth = broker.depth(&[queue("q")]).await;
    assert_eq!(depth.expect("the broker answers"), [1]);
}
