//! What an operator sees.

use std::time::Duration;

use super::{
    Stage,
    chords::{GROUP, begin, finish, part},
    stage::{end, envelope, fetch, in_future},
};
use crate::{Kept, Settle, Spot};

async fn seen(stage: &impl Stage) -> Vec<Kept> {
    let mut seen = Vec::new();
    let broker = stage.broker();
    let looked = broker.survey().messages(&mut |kept| seen.push(kept)).await;
    looked.expect("the broker answers");
    seen
}

/// Wherever a message is, it is shown with its place.
pub async fn every_message_is_shown_wherever_it_is(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    stage.publish("q", &["held", "delayed"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    let later = Settle::Delay {
        until: in_future(600.0),
        payload: None,
    };
    let ended = consumer.finish(vec![end(&taken[1], later)]).await;
    ended.expect("the broker answers");
    stage.publish("elsewhere", &["waiting"]).await;
    let mut spots: Vec<(String, bool)> = Vec::new();
    for kept in seen(&stage).await {
        let (name, id) = match kept.spot {
            Spot::Waiting(list) => {
                assert_eq!(list, "elsewhere");
                ("waiting", "waiting")
            }
            Spot::Held => ("held", "held"),
            Spot::Delayed => ("delayed", "delayed"),
        };
        spots.push((name.to_owned(), kept.raw == envelope(id, 0)));
    }
    spots.sort();
    let expected = ["delayed", "held", "waiting"].map(|name| (name.to_owned(), true));
    assert_eq!(spots, expected);
}

/// A chord is open from its size on until it is closed, and tells what it waits for.
pub async fn a_chord_is_open_until_it_is_closed(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let keys = "celery-taskset-meta-";
    let open = async || {
        let broker = stage.broker();
        let found = broker.survey().open_chords(&stage.place(), keys).await;
        found.expect("the broker answers")
    };
    let taken = begin(&stage, &*consumer).await;
    let fresh = open().await;
    assert_eq!(fresh.len(), 1);
    assert_eq!((fresh[0].size, fresh[0].returned), (3, 0));
    assert_eq!((fresh[0].body.as_deref(), fresh[0].claimed), (None, false));
    for (index, id) in [(0, "0"), (1, "1")] {
        let part = part(&stage, id, f64::from(index));
        finish(&*consumer, &taken[usize::from(index != 0)], part).await;
    }
    let waiting = open().await;
    assert_eq!(waiting[0].group_key, GROUP);
    assert_eq!((waiting[0].size, waiting[0].returned), (3, 2));
    assert_eq!(
        waiting[0].body.as_deref(),
        Some(&b"{\"task\": \"body\"}"[..])
    );
    assert!(
        waiting[0]
            .left
            .is_none_or(|left| left <= Duration::from_secs(60))
    );
    let parts = stage.broker();
    let parts = parts.survey().parts(&stage.place(), GROUP).await;
    let indexes: Vec<f64> = parts
        .expect("the broker answers")
        .iter()
        .map(|(index, _)| *index)
        .collect();
    assert_eq!(indexes, [0.0, 1.0]);
    let token = finish(&*consumer, &taken[2], part(&stage, "2", 2.0)).await;
    let token = token.expect("it is the last part");
    assert!(open().await[0].claimed);
    let close = super::chords::close(&stage, &token, false);
    assert!(
        stage
            .broker()
            .chord_close(close)
            .await
            .expect("the broker answers")
    );
    assert_eq!(open().await, []);
}
