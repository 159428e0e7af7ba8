//! Schedules: one leads, and what a tick sends is sent once.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{
    Stage,
    stage::{message, queue},
};
use crate::{
    Broker,
    timetable::{Candidate, Kept, Leadership, MadeUp, MakeUp, PAST, Past, Put, Span, Tick, Ticked},
};

fn candidate(owner: &str, lease: Duration) -> Candidate {
    Candidate {
        owner: owner.to_owned(),
        about: format!("{owner}@test"),
        lease,
    }
}

async fn lead(broker: &dyn Broker, owner: &str, lease: u64) -> Leadership {
    let candidate = candidate(owner, Duration::from_millis(lease));
    let led = broker.timetable().lead(&candidate).await;
    led.expect("the broker answers")
}

async fn put(broker: &dyn Broker, name: &str, version: Option<u64>, text: &str) -> Option<u64> {
    let put = Put {
        name: name.to_owned(),
        version,
        definition: Bytes::from(text.to_owned()),
        progress: version.is_none().then(|| "0".into()),
    };
    let put = broker.timetable().put(&put).await;
    put.expect("the broker answers")
}

async fn kept(broker: &dyn Broker, name: &str) -> Option<Kept> {
    let kept = broker.timetable().kept(name).await;
    kept.expect("the broker answers")
}

fn tick(name: &str, version: u64, steps: (&str, &str), id: &str) -> Tick {
    Tick {
        name: name.to_owned(),
        version,
        before: Bytes::from(steps.0.to_owned()),
        after: Bytes::from(steps.1.to_owned()),
        publishes: vec![message("ticks", id, 0)],
        records: vec![Bytes::from(id.to_owned())],
        breaks: false,
    }
}

fn span(definition: &str, progress: &str) -> Span {
    Span {
        definition: Bytes::from(definition.to_owned()),
        progress: Bytes::from(progress.to_owned()),
    }
}

async fn past(broker: &dyn Broker, name: &str) -> Past {
    let past = broker.timetable().past(name).await;
    past.expect("the broker answers")
}

async fn send(broker: &dyn Broker, owner: &str, fence: u64, ticks: &[Tick]) -> Option<Vec<Ticked>> {
    let ticked = broker.timetable().tick(owner, fence, ticks).await;
    ticked.expect("the broker answers")
}

async fn sent(broker: &dyn Broker) -> u64 {
    broker
        .depth(&[queue("ticks")])
        .await
        .expect("the broker answers")[0]
}

/// One leads at a time; the next one has a higher number.
pub async fn one_leads_until_its_lease_is_over(stage: impl Stage) {
    let broker = stage.broker();
    let timetable = broker.timetable();
    assert_eq!(timetable.leader().await.expect("the broker answers"), None);
    let first = lead(&*broker, "a", 60_000)
        .await
        .fence
        .expect("nobody else leads");
    assert_eq!(lead(&*broker, "a", 60_000).await.fence, Some(first));
    let refused = lead(&*broker, "b", 60_000).await;
    assert_eq!((refused.fence, refused.about.as_str()), (None, "a@test"));
    timetable.step_down("b").await.expect("the broker answers");
    assert_eq!(
        lead(&*broker, "b", 60_000).await.fence,
        None,
        "b had nothing to give up"
    );
    timetable.step_down("a").await.expect("the broker answers");
    let second = lead(&*broker, "b", 300).await.fence.expect("a gave up");
    assert!(second > first);
    let seen = timetable.leader().await.expect("the broker answers");
    assert_eq!(seen.map(|seen| seen.about), Some("b@test".to_owned()));
    let began = Instant::now();
    let third = loop {
        if let Some(fence) = lead(&*broker, "c", 60_000).await.fence {
            break fence;
        }
        assert!(began.elapsed() < Duration::from_secs(15), "b's lease ends");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(third > second);
}

/// Progress, message and record come together, and once.
pub async fn a_tick_and_its_messages_are_one_step(stage: impl Stage) {
    let broker = stage.broker();
    let fence = lead(&*broker, "a", 60_000)
        .await
        .fence
        .expect("nobody else leads");
    let version = put(&*broker, "x", None, "definition")
        .await
        .expect("it is new");
    let first = tick("x", version, ("0", "1"), "id-1");
    let done = Some(vec![Ticked::Done]);
    assert_eq!(
        send(&*broker, "a", fence, std::slice::from_ref(&first)).await,
        done
    );
    // Asked again after a lost answer.
    assert_eq!(
        send(&*broker, "a", fence, std::slice::from_ref(&first)).await,
        done
    );
    assert_eq!(sent(&*broker).await, 1);
    let second = tick("x", version, ("1", "2"), "id-2");
    let of_nobody = tick("y", version, ("0", "1"), "id-3");
    let outdated = tick("x", version, ("0", "7"), "id-4");
    assert_eq!(
        send(&*broker, "a", fence, &[second, of_nobody, outdated]).await,
        Some(vec![Ticked::Done, Ticked::Changed, Ticked::Changed])
    );
    assert_eq!(sent(&*broker).await, 2);
    assert_eq!(
        kept(&*broker, "x").await.map(|kept| kept.progress),
        Some("2".into())
    );
    let history = broker.timetable().history("x", 10).await;
    assert_eq!(history.expect("the broker answers"), ["id-2", "id-1"]);
    // What was sent beside the ticks is remembered with them.
    let beside = [
        Bytes::from_static(b"beside-1"),
        Bytes::from_static(b"beside-2"),
    ];
    let timetable = broker.timetable();
    timetable
        .remember("x", &beside)
        .await
        .expect("the broker answers");
    let history = timetable.history("x", 3).await.expect("the broker answers");
    assert_eq!(history, ["beside-2", "beside-1", "id-2"]);
    // An entry that was changed meanwhile is asked for anew.
    let changed = put(&*broker, "x", Some(version), "other")
        .await
        .expect("it is as known");
    let third = tick("x", version, ("2", "3"), "id-5");
    assert_eq!(
        send(&*broker, "a", fence, &[third]).await,
        Some(vec![Ticked::Changed])
    );
    let third = tick("x", changed, ("2", "3"), "id-5");
    assert_eq!(send(&*broker, "a", fence, &[third]).await, done);
    assert_eq!(sent(&*broker).await, 3);
}

/// A span ends with another progress and with a tick that says so; the rest of an entry's changes are none of its past.
pub async fn a_past_is_told_span_by_span(stage: impl Stage) {
    let broker = stage.broker();
    let timetable = broker.timetable();
    let fence = lead(&*broker, "a", 60_000).await.fence;
    let fence = fence.expect("nobody else leads");
    let version = put(&*broker, "x", None, "first").await.expect("it is new");
    let mut one = tick("x", version, ("0", "1"), "id-1");
    send(&*broker, "a", fence, std::slice::from_ref(&one)).await;
    assert_eq!(past(&*broker, "x").await, Past::default());
    (one.before, one.after, one.breaks) = ("1".into(), "3".into(), true);
    send(&*broker, "a", fence, std::slice::from_ref(&one)).await;
    // Asked again after a lost answer.
    send(&*broker, "a", fence, std::slice::from_ref(&one)).await;
    let version = put(&*broker, "x", Some(version), "second").await;
    let other = Put {
        name: "x".to_owned(),
        version,
        definition: "third".into(),
        progress: Some("9".into()),
    };
    let version = timetable.put(&other).await.expect("the broker answers");
    assert!(version.is_some());
    let expected = Past {
        number: 2,
        spans: vec![span("first", "1"), span("second", "3")],
    };
    assert_eq!(past(&*broker, "x").await, expected);
    assert!(timetable.remove("x").await.expect("the broker answers"));
    assert_eq!(past(&*broker, "x").await, Past::default());
}

/// What is made up for is sent in one step with its span, once, and only by who knows the whole past.
pub async fn what_is_made_up_for_is_one_step(stage: impl Stage) {
    let broker = stage.broker();
    let version = put(&*broker, "x", None, "first").await.expect("it is new");
    let mut make_up = MakeUp {
        name: "x".to_owned(),
        version,
        number: 0,
        span: span("first", "old"),
        publishes: vec![message("ticks", "id-1", 0), message("ticks", "id-2", 0)],
        records: vec!["id-1".into(), "id-2".into()],
    };
    let ask = async |make_up: &MakeUp| {
        let made = broker.timetable().make_up(make_up).await;
        made.expect("the broker answers")
    };
    assert_eq!(ask(&make_up).await, MadeUp::Done);
    assert_eq!(ask(&make_up).await, MadeUp::Done, "after a lost answer");
    assert_eq!(sent(&*broker).await, 2);
    let history = broker.timetable().history("x", 9).await;
    assert_eq!(history.expect("the broker answers"), ["id-2", "id-1"]);
    let known = past(&*broker, "x").await;
    assert_eq!((known.number, known.spans), (1, vec![span("first", "old")]));
    // Somebody else who does the same at the same time.
    make_up.span = span("first", "older");
    assert_eq!(ask(&make_up).await, MadeUp::Outdated);
    make_up.version += 7;
    assert_eq!(ask(&make_up).await, MadeUp::Changed);
    assert_eq!(sent(&*broker).await, 2);
    // Of very many spans the last ones are kept, and all are counted.
    make_up.version = version;
    make_up.publishes.clear();
    for number in 1..=u64::try_from(PAST).expect("it is small") {
        make_up.number = number;
        make_up.span = span("first", &number.to_string());
        assert_eq!(ask(&make_up).await, MadeUp::Done);
    }
    let known = past(&*broker, "x").await;
    assert_eq!(
        (known.number, known.spans.len()),
        (make_up.number + 1, PAST)
    );
    assert_eq!(known.spans[0], span("first", "1"));
}

/// A leader that slept for too long sends nothing when it wakes up.
pub async fn who_leads_no_more_does_nothing(stage: impl Stage) {
    let broker = stage.broker();
    let version = put(&*broker, "x", None, "definition")
        .await
        .expect("it is new");
    let old = lead(&*broker, "a", 60_000)
        .await
        .fence
        .expect("nobody else leads");
    broker
        .timetable()
        .step_down("a")
        .await
        .expect("the broker answers");
    let first = [tick("x", version, ("0", "1"), "id-1")];
    assert_eq!(send(&*broker, "a", old, &first).await, None, "nobody leads");
    let new = lead(&*broker, "b", 60_000)
        .await
        .fence
        .expect("nobody else leads");
    assert_eq!(send(&*broker, "a", old, &first).await, None);
    assert_eq!(send(&*broker, "b", old, &first).await, None);
    assert_eq!(sent(&*broker).await, 0);
    assert_eq!(
        send(&*broker, "b", new, &first).await,
        Some(vec![Ticked::Done])
    );
    assert_eq!(sent(&*broker).await, 1);
}

/// Whoever asks for changes learns of each, also in portions, and of what is gone.
pub async fn changes_are_told_in_their_order(stage: impl Stage) {
    let broker = stage.broker();
    let timetable = broker.timetable();
    let mut versions = Vec::new();
    for name in ["a", "b", "c"] {
        versions.push(put(&*broker, name, None, "1").await.expect("it is new"));
    }
    assert_eq!(put(&*broker, "a", None, "2").await, None, "it exists");
    assert_eq!(
        put(&*broker, "a", Some(99), "2").await,
        None,
        "another version"
    );
    assert_eq!(
        put(&*broker, "a", None, "1").await,
        Some(versions[0]),
        "it is so already"
    );
    let portion = timetable.changes(0, 2).await.expect("the broker answers");
    let names: Vec<_> = portion
        .entries
        .iter()
        .map(|kept| kept.name.as_str())
        .collect();
    assert_eq!((names, portion.more), (vec!["a", "b"], true));
    let rest = timetable
        .changes(portion.edition, 2)
        .await
        .expect("the broker answers");
    let names: Vec<_> = rest.entries.iter().map(|kept| kept.name.as_str()).collect();
    assert_eq!((names, rest.more), (vec!["c"], false));
    let known = rest.edition;
    assert_eq!(lead(&*broker, "l", 60_000).await.edition, known);
    put(&*broker, "b", Some(versions[1]), "2")
        .await
        .expect("it is as known");
    assert!(timetable.remove("a").await.expect("the broker answers"));
    assert!(!timetable.remove("a").await.expect("the broker answers"));
    let news = timetable
        .changes(known, 10)
        .await
        .expect("the broker answers");
    assert_eq!(news.removed, ["a"]);
    let definitions: Vec<_> = news
        .entries
        .iter()
        .map(|kept| (&*kept.name, &kept.definition[..]))
        .collect();
    assert_eq!(definitions, [("b", &b"2"[..])]);
    assert_eq!(lead(&*broker, "l", 60_000).await.edition, news.edition);
    assert_eq!(kept(&*broker, "a").await, None);
    // A name may come back.
    put(&*broker, "a", None, "3")
        .await
        .expect("it is new again");
    let back = timetable
        .changes(news.edition, 10)
        .await
        .expect("the broker answers");
    assert_eq!((back.entries.len(), back.removed.len()), (1, 0));
}
