//! What is revoked, and what that means for messages that are delayed.

use std::time::Duration;

use futures::StreamExt;
use lovage_protocol::TaskId;

use super::{
    Stage,
    stage::{end, envelope, fetch, fetch_all, finds_nothing, ids, queue},
};
use crate::{Consumer, Destination, Publish, Revoke, Settle, Target, revocation};

fn revoke(targets: Vec<Target>) -> Revoke {
    Revoke {
        targets,
        terminate: None,
        life: Duration::from_secs(600),
        most: 100,
    }
}

fn task(id: &str) -> Target {
    Target::Task(TaskId::from(id))
}

fn stamp(value: &str) -> Target {
    Target::Stamp {
        header: "customer".to_owned(),
        value: value.into(),
    }
}

async fn delay_all(consumer: &dyn Consumer, count: usize) {
    let taken = fetch_all(consumer, count, 0).await;
    let far = Settle::Delay {
        until: 4e9,
        payload: None,
    };
    let delays = taken.iter().map(|delivery| end(delivery, far.clone()));
    consumer
        .finish(delays.collect())
        .await
        .expect("the broker answers");
}

/// Who asks later learns what was revoked, and what is to be ended by which signal.
pub async fn what_was_revoked_is_known_to_who_asks_later(stage: impl Stage) {
    let broker = stage.broker();
    let revocations = broker.revocations();
    let nothing = revocations.recorded(0.0).await.expect("the broker answers");
    assert!(nothing.revoked.is_empty() && nothing.now > 1e9);
    let first = revoke(vec![task("1"), stamp("acme")]);
    revocations
        .revoke(&first)
        .await
        .expect("the broker answers");
    let known = revocations.recorded(0.0).await.expect("the broker answers");
    let targets: Vec<_> = known.revoked.iter().map(|(target, _)| target).collect();
    assert!(
        targets.len() == 2 && targets.contains(&&task("1")) && targets.contains(&&stamp("acme"))
    );
    assert!(known.terminated.is_empty());
    let second = Revoke {
        terminate: Some("SIGKILL".to_owned()),
        ..revoke(vec![task("2")])
    };
    revocations
        .revoke(&second)
        .await
        .expect("the broker answers");
    let since = known.revoked.iter().map(|(_, at)| *at).fold(0.0, f64::max);
    let news = revocations
        .recorded(since)
        .await
        .expect("the broker answers");
    assert_eq!(news.revoked.len(), 1, "{news:?}");
    for (target, life, expected) in [
        (task("1"), 600, true),
        (stamp("acme"), 600, true),
        (stamp("other"), 600, false),
        (task("1"), 0, false),
    ] {
        let life = Duration::from_secs(life);
        let revoked = revocations.is_revoked(&target, life).await;
        assert_eq!(revoked.expect("the broker answers"), expected, "{target:?}");
    }
    assert_eq!(news.revoked[0].0, task("2"));
    let (target, signal, _) = &news.terminated[0];
    assert_eq!((target, signal.as_str()), (&task("2"), "SIGKILL"));
}

/// Beyond their number the oldest are forgotten.
pub async fn the_oldest_revocations_make_room(stage: impl Stage) {
    let broker = stage.broker();
    for id in ["1", "2", "3", "1"] {
        let few = Revoke {
            most: 2,
            ..revoke(vec![task(id)])
        };
        broker
            .revocations()
            .revoke(&few)
            .await
            .expect("the broker answers");
    }
    let known = broker
        .revocations()
        .recorded(0.0)
        .await
        .expect("the broker answers");
    let targets: Vec<_> = known
        .revoked
        .into_iter()
        .map(|(target, _)| target)
        .collect();
    assert_eq!(targets, [task("3"), task("1")]);
}

/// Who listens hears of each.
pub async fn a_revocation_is_heard(stage: impl Stage) {
    let broker = stage.broker();
    let mut heard = broker
        .subscribe(revocation::EXCHANGE, "")
        .await
        .expect("the broker answers");
    broker
        .revocations()
        .revoke(&revoke(vec![task("1")]))
        .await
        .expect("the broker answers");
    let next = tokio::time::timeout(Duration::from_secs(5), heard.next()).await;
    assert!(next.expect("it arrives").is_some());
}

/// A delayed message comes back when its task is recalled, also when several of the same task wait.
pub async fn delayed_messages_of_a_task_are_recalled(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    stage.publish("q", &["1", "2", "2", "2", "3"]).await;
    delay_all(&*consumer, 5).await;
    let broker = stage.broker();
    let (known, unknown) = (TaskId::from("2"), TaskId::from("9"));
    let recalled = broker.revocations().recall(&[unknown, known]).await;
    assert_eq!(recalled.expect("the broker answers"), 3);
    assert_eq!(ids(&fetch_all(&*consumer, 3, 0).await), ["2", "2", "2"]);
    assert!(finds_nothing(&*consumer).await);
    assert_eq!(
        broker.release_delayed().await.expect("the broker answers"),
        2
    );
    assert_eq!(ids(&fetch_all(&*consumer, 2, 0).await), ["1", "3"]);
    let again = broker.release_delayed().await;
    assert_eq!(again.expect("the broker answers"), 0);
}

/// Those that contain a text and are chosen come back, out of however many.
pub async fn delayed_messages_are_recalled_by_what_they_contain(stage: impl Stage) {
    let consumer = stage.consumer("w", &["q"]).await;
    let numbers: Vec<String> = (0..1200).map(|number| format!("task-{number}-")).collect();
    let messages: Vec<Publish> = numbers
        .iter()
        .map(|id| Publish {
            destination: Destination::Queue(queue("q")),
            priority: 0,
            payload: envelope(id, 0),
        })
        .collect();
    stage
        .broker()
        .publish(&messages)
        .await
        .expect("the broker answers");
    delay_all(&*consumer, 1200).await;
    let broker = stage.broker();
    let texts = ["\"task-7\"".to_owned(), "\"task-777-\"".to_owned()];
    let chosen = |raw: &[u8]| raw.windows(9).any(|part| part == b"task-777-");
    let recalled = broker.revocations().recall_where(&texts, &chosen).await;
    assert_eq!(recalled.expect("the broker answers"), 1);
    assert_eq!(ids(&fetch(&*consumer, 5, 0).await), ["task-777-"]);
}
