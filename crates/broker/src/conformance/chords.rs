//! Chords.

use std::time::Duration;

use super::{
    Stage,
    stage::{end, fetch, ids, message, queue},
};
use crate::{ChordClose, ChordPart, Consumer, Delivery, Finish, Finished, Settle};

pub(super) const GROUP: &str = "celery-taskset-meta-g";

pub(super) fn part(stage: &impl Stage, id: &str, index: f64) -> ChordPart {
    ChordPart {
        group_key: GROUP.into(),
        task_id: id.into(),
        member: format!("[1, \"{id}\", \"SUCCESS\", {index}]").into(),
        body: "{\"task\": \"body\"}".into(),
        index: Some(index),
        more: 0,
        expires: Some(Duration::from_secs(60)),
        claim: Duration::from_secs(6),
        place: stage.place(),
    }
}

/// Writes the size as a producer does, and takes three messages.
pub(super) async fn begin(stage: &impl Stage, consumer: &dyn Consumer) -> Vec<Delivery> {
    stage.publish("q", &["0", "1", "2", "3"]).await;
    let taken = fetch(consumer, 4, 4).await;
    let mut size = stage.write(&format!("{GROUP}.s"), "");
    size.value = "3".into();
    let finish = Finish {
        results: vec![size],
        ..end(&taken[3], Settle::Ack)
    };
    consumer
        .finish(vec![finish])
        .await
        .expect("the broker answers");
    taken
}

pub(super) fn close(stage: &impl Stage, token: &str, failed: bool) -> ChordClose {
    ChordClose {
        group_key: GROUP.into(),
        place: stage.place(),
        token: token.into(),
        publishes: vec![message("next", "body", 0)],
        results: vec![stage.write("body", "FAILURE")],
        failed,
    }
}

pub(super) async fn finish(
    consumer: &dyn Consumer,
    delivery: &Delivery,
    part: ChordPart,
) -> Option<String> {
    let finish = Finish {
        chord: Some(part),
        ..end(delivery, Settle::Ack)
    };
    match consumer
        .finish(vec![finish])
        .await
        .expect("the broker answers")
        .as_slice()
    {
        [Finished::Done { chord }] => chord.clone(),
        other => panic!("{other:?}"),
    }
}

/// The last part gets the claim, and only its token closes.
pub async fn the_last_part_claims_and_closes(stage: impl Stage) {
    let (consumer, broker) = (stage.consumer("w", &["q"]).await, stage.broker());
    let taken = begin(&stage, &*consumer).await;
    assert_eq!(
        finish(&*consumer, &taken[2], part(&stage, "2", 2.0)).await,
        None
    );
    assert_eq!(
        finish(&*consumer, &taken[0], part(&stage, "0", 0.0)).await,
        None
    );
    let token = finish(&*consumer, &taken[1], part(&stage, "1", 1.0))
        .await
        .expect("it was the last");
    let members = broker
        .chord_members(&stage.place(), GROUP)
        .await
        .expect("the broker answers");
    let expected: Vec<_> = [("0", 0.0), ("1", 1.0), ("2", 2.0)]
        .map(|(id, at)| part(&stage, id, at).member)
        .into();
    assert_eq!(members, expected, "in the order of their index");
    assert!(
        !broker
            .chord_close(close(&stage, "somebody", false))
            .await
            .expect("the broker answers")
    );
    assert_eq!(
        broker
            .depth(&[queue("next")])
            .await
            .expect("the broker answers"),
        [0]
    );
    assert!(
        broker
            .chord_close(close(&stage, &token, false))
            .await
            .expect("the broker answers")
    );
    assert_eq!(
        broker
            .depth(&[queue("next")])
            .await
            .expect("the broker answers"),
        [1]
    );
    assert!(stage.result("body").await.is_some());
    assert!(
        broker
            .chord_members(&stage.place(), GROUP)
            .await
            .expect("the broker answers")
            .is_empty()
    );
}

/// A header task that ran twice is one part.
pub async fn a_part_counts_once(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = begin(&stage, &*consumer).await;
    for (at, id) in [(0, "0"), (1, "0")] {
        let mut again = part(&stage, id, 0.0);
        again.member = format!("[1, \"0\", \"SUCCESS\", \"run {at}\"]").into();
        assert_eq!(finish(&*consumer, &taken[at], again).await, None);
    }
    assert_eq!(
        finish(&*consumer, &taken[2], part(&stage, "2", 2.0)).await,
        None
    );
    let members = stage
        .broker()
        .chord_members(&stage.place(), GROUP)
        .await
        .expect("the broker answers");
    assert_eq!(members.len(), 2);
    assert_eq!(members[0], "[1, \"0\", \"SUCCESS\", \"run 0\"]");
}

/// Parts that a header task adds are waited for, and are added once however often it ends.
pub async fn added_parts_are_waited_for_once(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = begin(&stage, &*consumer).await;
    let adding = || ChordPart {
        more: 1,
        ..part(&stage, "0", 0.0)
    };
    assert_eq!(finish(&*consumer, &taken[0], adding()).await, None);
    for (at, id) in [(1, "1"), (2, "2")] {
        let returned = finish(&*consumer, &taken[at], part(&stage, id, 1.0));
        assert_eq!(returned.await, None, "one more is to come");
        let again = Finish {
            settle: None,
            chord: Some(adding()),
            ..end(&taken[0], Settle::Ack)
        };
        let ended = consumer.finish(vec![again]).await;
        let ended = ended.expect("the broker answers");
        assert!(matches!(ended[..], [Finished::Done { chord: None }]));
    }
    stage.publish("q", &["more"]).await;
    let last = fetch(&*consumer, 1, 1).await;
    let token = finish(&*consumer, &last[0], part(&stage, "added", 0.0)).await;
    assert!(token.is_some(), "it was the last");
}

/// For a look at what failed.
pub async fn a_failed_chord_keeps_its_members(stage: impl Stage) {
    let (consumer, broker) = (stage.consumer("w", &["q"]).await, stage.broker());
    let taken = begin(&stage, &*consumer).await;
    let mut token = None;
    for (at, id) in ["0", "1", "2"].into_iter().enumerate() {
        token = finish(
            &*consumer,
            &taken[at],
            part(&stage, id, [0.0, 1.0, 2.0][at]),
        )
        .await;
    }
    let token = token.expect("the last part claims");
    assert!(
        broker
            .chord_close(close(&stage, &token, true))
            .await
            .expect("the broker answers")
    );
    assert_eq!(
        broker
            .chord_members(&stage.place(), GROUP)
            .await
            .expect("the broker answers")
            .len(),
        3
    );
    assert!(
        stage.result(&format!("{GROUP}.s")).await.is_none(),
        "so that a late part does not fail it again"
    );
}

/// Between the claim and the end of the chord its worker dies, with the message not yet settled: the redelivery takes the
/// claim over, even before that runs out.
pub async fn the_claim_of_a_dead_worker_is_taken_over(stage: impl Stage) {
    let keeper = stage.consumer("keeper", &[]).await;
    let (consumer, broker) = (stage.consumer("w", &["q"]).await, stage.broker());
    let taken = begin(&stage, &*consumer).await;
    for (delivery, id, index) in [(&taken[0], "0", 0.0), (&taken[2], "2", 2.0)] {
        assert_eq!(
            finish(&*consumer, delivery, part(&stage, id, index)).await,
            None
        );
    }
    let unsettled = Finish {
        settle: None,
        chord: Some(part(&stage, "1", 1.0)),
        ..end(&taken[1], Settle::Ack)
    };
    let lost = match consumer.finish(vec![unsettled]).await.as_deref() {
        Ok([Finished::Done { chord: Some(token) }]) => token.clone(),
        other => panic!("{other:?}"),
    };
    stage.kill(consumer, "w").await;
    keeper.set_queues(vec![queue("q")]);
    let again = fetch(&*keeper, 9, 9).await;
    assert_eq!(ids(&again), ["1"]);
    let token = finish(&*keeper, &again[0], part(&stage, "1", 1.0))
        .await
        .expect("it is the same task's claim");
    for (token, ours) in [(&lost, false), (&token, true)] {
        let closed = broker.chord_close(close(&stage, token, false)).await;
        assert_eq!(closed.expect("the broker answers"), ours);
    }
    let depth = broker.depth(&[queue("next")]).await;
    assert_eq!(depth.expect("the broker answers"), [1], "one body");
}
