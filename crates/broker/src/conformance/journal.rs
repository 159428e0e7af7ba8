//! The journal.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Stage,
    stage::{end, fetch, ids},
};
use crate::{Budget, Finish, JournalEntry, Page, Settle, Start, Went};

const BUDGET: Budget = Budget {
    bytes: 1 << 20,
    life: Duration::from_secs(60),
};
const ENOUGH: usize = 1 << 20;

async fn page(stage: &impl Stage, after: Option<&str>) -> Page {
    let page = stage.broker().journal().read(after, ENOUGH).await;
    page.expect("the broker answers").expect("it is kept")
}

fn records(entries: &[JournalEntry]) -> Vec<String> {
    let records = entries.iter().flat_map(|entry| &entry.records);
    records
        .map(|record| String::from_utf8_lossy(record).into_owned())
        .collect()
}

fn line(text: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(text.as_bytes()))
}

/// Workers learn that a journal is kept with what they fetch, and tell in the step that ends a delivery, if it was theirs.
pub async fn what_ends_is_told_in_the_same_step(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    assert!(!consumer.journals());
    stage.publish("q", &["1", "2", "3"]).await;
    let before = fetch(&*consumer, 1, 1).await;
    let told = |at: &crate::Delivery, text| Finish {
        record: line(text),
        ..end(at, Settle::Ack)
    };
    let finished = consumer
        .finish(vec![told(&before[0], "nobody reads")])
        .await;
    finished.expect("the broker answers");
    let broker = stage.broker();
    let read = broker.journal().read(None, ENOUGH).await;
    assert_eq!(read.expect("the broker answers"), None);

    let epoch = broker.journal().keep(BUDGET).await;
    let epoch = epoch.expect("the broker answers");
    let taken = fetch(&*consumer, 2, 2).await;
    assert!(consumer.journals());
    let lost = crate::Delivery {
        tag: before[0].tag,
        ..taken[0].clone()
    };
    let batch = vec![
        told(&taken[0], "one"),
        told(&lost, "not ours"),
        told(&taken[1], "two"),
    ];
    consumer.finish(batch).await.expect("the broker answers");
    let found = page(&stage, None).await;
    assert_eq!((found.epoch, found.written), (epoch, 2));
    assert_eq!(records(&found.entries), ["one", "two"]);
    let nodes: Vec<_> = found.entries.iter().map(|entry| &entry.node).collect();
    assert!(nodes.iter().all(|node| *node == "w@test"), "{nodes:?}");
    // A place in it: nothing is read twice, nothing is left out.
    let last = found.entries.last().expect("two records");
    let alone = consumer.record(vec![Bytes::from_static(b"three")]).await;
    alone.expect("the broker answers");
    let after = page(&stage, Some(&last.mark.id)).await;
    assert_eq!(records(&after.entries), ["three"]);
    assert_eq!(after.entries[0].before(), last.mark.records);
    let forgotten = broker.journal().forget(&last.mark).await;
    forgotten.expect("the broker answers");
    assert_eq!(records(&page(&stage, None).await.entries), ["three"]);
}

/// A delivery that is settled as it starts is told of as it starts.
pub async fn an_early_ack_is_told_as_it_starts(stage: impl Stage) {
    let kept = stage.broker().journal().keep(BUDGET).await;
    kept.expect("the broker answers");
    stage.publish("q", &["1"]).await;
    let consumer = stage.consumer("w", &["q"]).await;
    let taken = fetch(&*consumer, 1, 1).await;
    let start = |text| Start {
        tag: taken[0].tag,
        ack: true,
        result: None,
        record: line(text),
    };
    for (text, ours) in [("begins", true), ("again", false)] {
        let started = consumer.start(vec![start(text)]).await;
        assert_eq!(started.expect("the broker answers"), [ours]);
    }
    assert_eq!(records(&page(&stage, None).await.entries), ["begins"]);
}

/// What a dead worker held is told of by whoever puts it back, and once more when it is given up.
pub async fn a_death_is_told_by_whoever_puts_the_message_back(stage: impl Stage) {
    let kept = stage.broker().journal().keep(BUDGET).await;
    kept.expect("the broker answers");
    stage.publish("q", &["1"]).await;
    let mut options = stage.options("w", &["q"]);
    options.max_deaths = 1;
    options.recorder = Some(Arc::new(|_, went| {
        let text = match went {
            Went::Back(deaths) => format!("back {deaths}"),
            Went::Under(deaths) => format!("under {deaths}"),
        };
        Some(Bytes::from(text))
    }));
    let open = stage.broker().consumer(options).await;
    let consumer = open.expect("the broker answers");
    for _ in 0..2 {
        let taken = fetch(&*consumer, 1, 1).await;
        assert_eq!(ids(&taken), ["1"]);
        if !taken[0].started {
            let start = Start {
                tag: taken[0].tag,
                ack: false,
                result: None,
                record: None,
            };
            consumer
                .start(vec![start])
                .await
                .expect("the broker answers");
        }
        let died = consumer.died(vec![taken[0].tag]).await;
        died.expect("the broker answers");
    }
    let found = page(&stage, None).await;
    assert_eq!(records(&found.entries), ["back 1", "under 2"]);
}

/// Beyond the budget the oldest go, and their number can be told from what is left.
pub async fn beyond_the_budget_the_oldest_go(stage: impl Stage) {
    let budget = Budget {
        bytes: 10_000,
        ..BUDGET
    };
    let broker = stage.broker();
    let kept = broker.journal().keep(budget).await;
    kept.expect("the broker answers");
    let consumer = stage.consumer("w", &["q"]).await;
    for number in 0..100 {
        let record = Bytes::from(format!("{number:0500}"));
        consumer
            .record(vec![record])
            .await
            .expect("the broker answers");
    }
    let found = page(&stage, None).await;
    assert_eq!(found.written, 100);
    let missing = found.entries[0].before();
    let left = u64::try_from(found.entries.len()).expect("a small number");
    assert_eq!(missing + left, 100);
    assert!((8..=16).contains(&left), "{left} entries of 650 bytes");
    assert_eq!(records(&found.entries)[0], format!("{missing:0500}"));
    // What was read makes room.
    let read = &found.entries[found.entries.len() - 1].mark;
    broker
        .journal()
        .forget(read)
        .await
        .expect("the broker answers");
    for number in 0..10 {
        let record = Bytes::from(format!("{number:0500}"));
        consumer
            .record(vec![record])
            .await
            .expect("the broker answers");
    }
    let after = page(&stage, Some(&read.id)).await;
    assert_eq!((after.entries.len(), after.entries[0].before()), (10, 100));
}

/// Nobody keeps it any more: it ends, and the next one is another.
pub async fn a_journal_that_nobody_keeps_ends(stage: impl Stage) {
    let broker = stage.broker();
    let short = Budget {
        life: Duration::from_millis(50),
        ..BUDGET
    };
    let first = broker.journal().keep(short).await;
    let first = first.expect("the broker answers");
    let consumer = stage.consumer("w", &["q"]).await;
    let told = consumer.record(vec![Bytes::from_static(b"gone")]).await;
    told.expect("the broker answers");
    let ended = async {
        while broker
            .journal()
            .read(None, ENOUGH)
            .await
            .expect("the broker answers")
            .is_some()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(15), ended).await;
    ended.expect("its life ends");
    let second = broker.journal().keep(BUDGET).await;
    assert_ne!(second.expect("the broker answers"), first);
    let found = page(&stage, None).await;
    assert_eq!((found.written, found.entries.len()), (0, 0));
    // A mark of the first says nothing about the second.
    let told = consumer.record(vec![Bytes::from_static(b"stays")]).await;
    told.expect("the broker answers");
    let stale = crate::Mark {
        epoch: first,
        ..page(&stage, None).await.entries[0].mark.clone()
    };
    broker
        .journal()
        .forget(&stale)
        .await
        .expect("the broker answers");
    assert_eq!(records(&page(&stage, None).await.entries), ["stays"]);
    broker.journal().end().await.expect("the broker answers");
    let read = broker.journal().read(None, ENOUGH).await;
    assert_eq!(read.expect("the broker answers"), None);
}
