//! Ending deliveries.

use lovage_protocol::Message;

use super::{
    Stage,
    stage::{end, fetch, fetch_all, finds_nothing, id, ids, message, queue},
};
use crate::{Error, Finish, Finished, Publish, ResultPlace, Settle};

const DONE: Finished = Finished::Done { chord: None };

/// One finish stores, sends and settles.
pub async fn ack_removes_and_does_everything_else(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    let finish = Finish {
        publishes: vec![message("next", "2", 9), message("next", "3", 0)],
        results: vec![stage.write("r", "SUCCESS")],
        ..end(&taken[0], Settle::Ack)
    };
    assert_eq!(
        consumer
            .finish(vec![finish])
            .await
            .expect("the broker answers"),
        [DONE]
    );
    assert!(
        stage
            .result("r")
            .await
            .expect("it was stored")
            .starts_with(b"{\"status\": \"SUCCESS\"")
    );
    consumer.close().await.expect("the broker answers");
    let other = stage.consumer("other", &["q", "next"]).await;
    assert_eq!(ids(&fetch(&*other, 5, 0).await), ["3", "2"]);
}

/// Whoever lost a delivery changes nothing.
pub async fn a_lost_delivery_does_nothing(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 1).await;
    consumer
        .release_unstarted()
        .await
        .expect("the broker answers");
    let finish = |at: usize| Finish {
        publishes: vec![message("next", "x", 0)],
        results: vec![stage.write(&format!("r{at}"), "SUCCESS")],
        ..end(&taken[at], Settle::Ack)
    };
    let finished = consumer
        .finish(vec![finish(1), finish(0)])
        .await
        .expect("the broker answers");
    assert_eq!(finished, [Finished::Lost, DONE]);
    assert!(stage.result("r1").await.is_none());
    assert!(stage.result("r0").await.is_some());
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("next"), queue("q")])
            .await
            .expect("the broker answers"),
        [1, 1]
    );
}

/// Also within one batch.
pub async fn a_second_finish_is_lost(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    let finish = || Finish {
        publishes: vec![message("next", "x", 0)],
        ..end(&taken[0], Settle::Requeue)
    };
    let finished = consumer
        .finish(vec![finish(), finish()])
        .await
        .expect("the broker answers");
    assert_eq!(finished, [DONE, Finished::Lost]);
    let again = consumer
        .finish(vec![finish()])
        .await
        .expect("the broker answers");
    assert_eq!(again, [Finished::Lost]);
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("next"), queue("q")])
            .await
            .expect("the broker answers"),
        [1, 1]
    );
}

/// The two ways back, both marked.
pub async fn requeue_goes_to_the_end_and_restore_to_the_head(stage: impl Stage) {
    let broker = stage.broker();
    let batch: Vec<Publish> = ["1", "2", "3", "4"].map(|id| message("q", id, 6)).into();
    broker.publish(&batch).await.expect("the broker answers");
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 0).await;
    let ends = vec![
        end(&taken[0], Settle::Requeue),
        end(&taken[1], Settle::Restore),
    ];
    assert_eq!(
        consumer.finish(ends).await.expect("the broker answers"),
        [DONE, DONE]
    );
    let all = fetch_all(&*consumer, 4, 0).await;
    assert_eq!(ids(&all), ["2", "3", "4", "1"]);
    let marked: Vec<bool> = all
        .iter()
        .map(|delivery| Message::parse(&delivery.raw).expect("valid").redelivered())
        .collect();
    assert_eq!(marked, [true, false, false, true]);
    assert!(all[0].tag > taken[1].tag, "a redelivery has another tag");
}

/// After an early ack the rest is done in any case.
pub async fn without_a_settlement_only_the_rest_is_done(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    consumer
        .finish(vec![end(&taken[0], Settle::Ack)])
        .await
        .expect("the broker answers");
    let finish = Finish {
        settle: None,
        publishes: vec![message("next", "2", 0)],
        results: vec![stage.write("r", "FAILURE")],
        ..end(&taken[0], Settle::Ack)
    };
    assert_eq!(
        consumer
            .finish(vec![finish])
            .await
            .expect("the broker answers"),
        [DONE]
    );
    assert!(stage.result("r").await.is_some());
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("next")])
            .await
            .expect("the broker answers"),
        [1]
    );
}

/// Not by a later state, nor within one batch.
pub async fn a_success_is_never_overwritten(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 2, 2).await;
    let first = Finish {
        results: vec![
            stage.write("a", "STARTED"),
            stage.write("a", "SUCCESS"),
            stage.write("a", "FAILURE"),
        ],
        ..end(&taken[0], Settle::Ack)
    };
    let second = Finish {
        results: vec![stage.write("a", "FAILURE"), stage.write("b", "FAILURE")],
        ..end(&taken[1], Settle::Ack)
    };
    assert_eq!(
        consumer
            .finish(vec![first])
            .await
            .expect("the broker answers"),
        [DONE]
    );
    assert_eq!(
        consumer
            .finish(vec![second])
            .await
            .expect("the broker answers"),
        [DONE]
    );
    assert!(
        stage
            .result("a")
            .await
            .expect("it was stored")
            .starts_with(b"{\"status\": \"SUCCESS\"")
    );
    assert!(
        stage
            .result("b")
            .await
            .expect("it was stored")
            .starts_with(b"{\"status\": \"FAILURE\"")
    );
}

/// What cannot be one step is not done in two.
pub async fn a_result_elsewhere_is_refused(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    let place = ResultPlace::Redis {
        address: "elsewhere:6379".into(),
        database: 0,
    };
    assert!(!stage.broker().shares_server_with(&place));
    assert!(stage.broker().shares_server_with(&stage.place()));
    let mut write = stage.write("r", "SUCCESS");
    write.place = place;
    let finish = Finish {
        results: vec![write],
        ..end(&taken[0], Settle::Ack)
    };
    let error = consumer
        .finish(vec![finish])
        .await
        .expect_err("it cannot be done");
    assert!(matches!(error, Error::ForeignPlace { .. }), "{error:?}");
    assert!(!error.is_transient());
    assert_eq!(
        consumer
            .finish(vec![end(&taken[0], Settle::Ack)])
            .await
            .expect("the broker answers"),
        [DONE]
    );
}

/// Batches of any size and weight.
pub async fn large_batches_are_finished_whole(stage: impl Stage) {
    const COUNT: usize = 1700;
    let batch: Vec<Publish> = (0..COUNT)
        .map(|number| message("q", &number.to_string(), 0))
        .collect();
    stage
        .broker()
        .publish(&batch)
        .await
        .expect("the broker answers");
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch_all(&*consumer, COUNT, COUNT).await;
    let order: Vec<String> = (0..COUNT).map(|number| number.to_string()).collect();
    assert_eq!(ids(&taken), order);
    let big = "x".repeat(20_000);
    let ends = taken.iter().map(|delivery| {
        let mut result = stage.write(&id(delivery), "SUCCESS");
        result.value = format!("{{\"status\": \"SUCCESS\", \"result\": \"{big}\"}}").into();
        Finish {
            publishes: vec![message("next", &id(delivery), 0)],
            results: vec![result],
            ..end(delivery, Settle::Ack)
        }
    });
    let finished = consumer
        .finish(ends.collect())
        .await
        .expect("the broker answers");
    assert_eq!(finished, vec![DONE; COUNT]);
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("next"), queue("q")])
            .await
            .expect("the broker answers"),
        [1700, 0]
    );
    assert_eq!(
        stage.result("1699").await.expect("it was stored").len(),
        big.len() + 35
    );
}

/// What runs goes on.
pub async fn release_keeps_what_was_started(stage: impl Stage) {
    stage.publish("q", &["1", "2", "3", "4"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 3, 1).await;
    assert_eq!(
        consumer
            .release_unstarted()
            .await
            .expect("the broker answers"),
        2
    );
    assert_eq!(
        consumer
            .release_unstarted()
            .await
            .expect("the broker answers"),
        0
    );
    let other = stage.consumer("other", &["q"]).await;
    assert_eq!(ids(&fetch(&*other, 10, 0).await), ["2", "3", "4"]);
    assert_eq!(
        consumer
            .finish(vec![end(&taken[0], Settle::Ack)])
            .await
            .expect("the broker answers"),
        [DONE]
    );
    assert!(finds_nothing(&*other).await);
}

/// The next worker finds everything as it was.
pub async fn close_puts_everything_back_in_order(stage: impl Stage) {
    let all: Vec<String> = (0..450).map(|number| number.to_string()).collect();
    stage
        .publish("q", &all.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let consumer = stage.consumer("w", &["q"]).await;
    fetch_all(&*consumer, 430, 5).await;
    consumer.close().await.expect("the broker answers");
    let other = stage.consumer("other", &["q"]).await;
    let again = fetch_all(&*other, 450, 0).await;
    assert_eq!(ids(&again), all);
    let marked = again
        .iter()
        .filter(|delivery| Message::parse(&delivery.raw).expect("valid").redelivered())
        .count();
    assert_eq!(marked, 430);
}
