//! Workers that die.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Stage,
    stage::{end, fetch, fetch_all, finds_nothing, ids, queue},
};
use crate::{Finished, Reaped, Reaping, Settle};

/// Nothing is lost, and the order is kept.
pub async fn the_dead_workers_messages_come_back_in_order(stage: impl Stage) {
    let all: Vec<String> = (0..460).map(|number| number.to_string()).collect();
    stage
        .publish("q", &all.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let other = stage.consumer("other", &[]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch_all(&*consumer, 450, 0).await;
    let done = consumer
        .finish(vec![end(&taken[0], Settle::Ack)])
        .await
        .expect("the broker answers");
    assert_eq!(done, [Finished::Done { chord: None }]);
    stage.kill(consumer, "w").await;
    let began = Instant::now();
    while stage
        .broker()
        .depth(&[queue("q")])
        .await
        .expect("the broker answers")
        != [459]
    {
        assert!(began.elapsed() < Duration::from_secs(15), "they come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    other.set_queues(vec![queue("q")]);
    assert_eq!(ids(&fetch_all(&*other, 459, 0).await), all[1..]);
    assert!(finds_nothing(&*other).await);
}

/// A message that only waited in a dead worker's hands is innocent.
pub async fn only_started_messages_count_deaths(stage: impl Stage) {
    stage.publish("q", &["1", "2"]).await;
    let keeper = stage.consumer("keeper", &[]).await;
    for round in 0..4 {
        let name = format!("w{round}");
        let consumer = stage.consumer(&name, &["q"]).await;
        let taken = fetch_all(&*consumer, 2, 0).await;
        assert_eq!(ids(&taken), ["1", "2"]);
        if round % 2 == 0 {
            stage.kill(consumer, &name).await;
        } else {
            let starts = taken.iter().map(|delivery| crate::Start {
                tag: delivery.tag,
                ack: false,
                result: None,
                record: None,
            });
            consumer
                .start(starts.collect())
                .await
                .expect("the broker answers");
            consumer
                .close()
                .await
                .expect("handing back is no death either");
        }
    }
    assert_eq!(
        stage
            .broker()
            .dead_letters()
            .count()
            .await
            .expect("the broker answers"),
        0
    );
    keeper.close().await.expect("the broker answers");
}

/// A child process that dies costs its worker nothing else: the message is back at once, at the head, and counted.
pub async fn the_death_of_one_process_counts_while_its_worker_lives(stage: impl Stage) {
    stage.publish("q", &["killer", "other"]).await;
    let mut options = stage.options("w", &["q"]);
    let obituary = stage.write("killer", "FAILURE");
    options.obituary = Some(Arc::new(move |_, deaths| {
        assert_eq!(deaths, 4);
        vec![obituary.clone()]
    }));
    let consumer = stage.broker().consumer(options).await;
    let consumer = consumer.expect("the broker answers");
    for round in 0..4 {
        let taken = fetch(&*consumer, 1, 1).await;
        assert_eq!(ids(&taken), ["killer"], "round {round}");
        begin(&*consumer, &taken[0]).await;
        let died = consumer.died(vec![taken[0].tag]).await;
        died.expect("the broker answers");
        let late = consumer.finish(vec![end(&taken[0], Settle::Ack)]).await;
        assert_eq!(late.expect("the broker answers"), [Finished::Lost]);
    }
    assert_eq!(ids(&fetch(&*consumer, 1, 1).await), ["other"]);
    let letters = stage.broker().dead_letters().list(0, 10).await;
    let letters = letters.expect("the broker answers");
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].reason.code, "died");
}

/// Past the deaths it may cost it goes to the dead letters, and its producer gets an answer.
pub async fn a_message_that_kills_is_given_up(stage: impl Stage) {
    stage.publish("q", &["killer"]).await;
    let mut options = stage.options("keeper", &[]);
    let obituary = stage.write("killer", "FAILURE");
    options.obituary = Some(Arc::new(move |raw, deaths| {
        assert!(!raw.is_empty());
        assert_eq!(deaths, 4);
        vec![obituary.clone()]
    }));
    let keeper = stage
        .broker()
        .consumer(options.clone())
        .await
        .expect("the broker answers");
    for round in 0..4 {
        let mut options = stage.options(&format!("w{round}"), &["q"]);
        options.obituary = keeper_obituary(&stage);
        let consumer = stage
            .broker()
            .consumer(options)
            .await
            .expect("the broker answers");
        let taken = fetch(&*consumer, 1, 1).await;
        assert_eq!(ids(&taken), ["killer"]);
        begin(&*consumer, &taken[0]).await;
        stage.kill(consumer, &format!("w{round}")).await;
    }
    let began = Instant::now();
    while stage
        .broker()
        .dead_letters()
        .count()
        .await
        .expect("the broker answers")
        == 0
    {
        assert!(began.elapsed() < Duration::from_secs(15), "it is given up");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let letters = stage
        .broker()
        .dead_letters()
        .list(0, 1)
        .await
        .expect("the broker answers");
    assert_eq!(
        (
            letters[0].reason.code.as_str(),
            letters[0].reason.task_id.as_deref()
        ),
        ("died", Some("killer"))
    );
    assert_eq!(letters[0].queue, "q");
    assert!(
        stage
            .result("killer")
            .await
            .expect("the producer is told")
            .starts_with(b"{\"status\": \"FAILURE\"")
    );
    assert_eq!(
        stage
            .broker()
            .depth(&[queue("q")])
            .await
            .expect("the broker answers"),
        [0]
    );
    keeper.close().await.expect("the broker answers");
}

fn keeper_obituary(stage: &impl Stage) -> Option<crate::Obituary> {
    let write = stage.write("killer", "FAILURE");
    Some(Arc::new(move |_, _| vec![write.clone()]))
}

/// Where no consumer is left, somebody who takes nothing gives back what the dead held.
pub async fn a_bystander_gives_back_what_the_dead_held(stage: impl Stage) {
    let broker = stage.broker();
    let options = stage.options("bystander", &[]);
    let mut reaping = Reaping::new(options.node);
    reaping.lease = options.lease;
    let reap = async || broker.reap(&reaping).await.expect("the broker answers");
    assert_eq!(reap().await, Reaped::default(), "there is nobody");
    stage.publish("q", &["1", "2", "3"]).await;
    let living = stage.consumer("living", &["q"]).await;
    assert_eq!(ids(&fetch(&*living, 1, 1).await), ["1"]);
    assert_eq!(reap().await, Reaped::default(), "nobody is dead");
    living.close().await.expect("the broker answers");
    // Nobody is left who looks after the dead.
    let consumer = stage.consumer("w", &["q"]).await;
    assert_eq!(ids(&fetch_all(&*consumer, 2, 1).await), ["1", "2"]);
    stage.kill(consumer, "w").await;
    let reaped = reap().await;
    let found = Reaped {
        workers: 1,
        messages: 2,
        ..Reaped::default()
    };
    // In memory the first look of anybody gives them back.
    assert!([found, Reaped::default()].contains(&reaped), "{reaped:?}");
    let depth = broker.depth(&[queue("q")]).await;
    assert_eq!(depth.expect("the broker answers"), [3]);
    assert_eq!(reap().await, Reaped::default(), "asked again");
    let last = stage.consumer("last", &["q"]).await;
    let taken = fetch_all(&*last, 3, 0).await;
    assert_eq!(ids(&taken), ["1", "2", "3"]);
}

/// One good run and all is forgiven.
pub async fn success_forgets_deaths(stage: impl Stage) {
    let keeper = stage.consumer("keeper", &[]).await;
    for _ in 0..2 {
        stage.publish("q", &["same-id"]).await;
        for round in 0..2 {
            let name = format!("w{round}");
            let consumer = stage.consumer(&name, &["q"]).await;
            fetch(&*consumer, 1, 1).await;
            stage.kill(consumer, &name).await;
        }
        let good = stage.consumer("good", &["q"]).await;
        let taken = fetch(&*good, 1, 1).await;
        good.finish(vec![end(&taken[0], Settle::Ack)])
            .await
            .expect("the broker answers");
        good.close().await.expect("the broker answers");
    }
    assert_eq!(
        stage
            .broker()
            .dead_letters()
            .count()
            .await
            .expect("the broker answers"),
        0
    );
    keeper.close().await.expect("the broker answers");
}

/// What has cost nearly as many workers as it may is handed out as a suspect, which is never started by the fetch.
pub async fn a_suspect_is_told_apart(stage: impl Stage) {
    stage.publish("q", &["1"]).await;
    let keeper = stage.consumer("keeper", &[]).await;
    for round in 0..3 {
        let name = format!("w{round}");
        let consumer = stage.consumer(&name, &["q"]).await;
        let taken = fetch(&*consumer, 1, 1).await;
        let suspect = round == 2;
        assert_eq!((taken[0].suspect, taken[0].started), (suspect, !suspect));
        stage.kill(consumer, &name).await;
    }
    keeper.close().await.expect("the broker answers");
}

/// Begins a delivery, unless the fetch has done so: it never does for a suspect.
async fn begin(consumer: &dyn crate::Consumer, delivery: &crate::Delivery) {
    if delivery.started {
        return;
    }
    let start = crate::Start {
        tag: delivery.tag,
        ack: false,
        result: None,
        record: None,
    };
    let ours = consumer.start(vec![start]).await;
    assert_eq!(ours.expect("the broker answers"), [true]);
}
