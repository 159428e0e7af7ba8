//! The loop on a broker in memory and a clock that is moved by hand.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where what it stands on is not there"
)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use lovage_beat::{
    Beat, BeatOptions, BrokerStore, Defaults, Draft, Roster, Ticks, WithUnit, added, run_now,
    set_paused,
    store::{Cause, Save, Source, Store},
};
use lovage_broker::MemoryBroker;
use lovage_client::{Client, ClientOptions};
use lovage_protocol::Clock;
use lovage_results::MemoryStore;
use lovage_settings::ResultSettings;
use serde_json::Value;
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// A broker in memory and a clock. Waiting costs no time: tokio's clock is paused, and goes on by itself while all wait.
struct Stage {
    broker: MemoryBroker,
    store: BrokerStore,
    client: Client,
    now: Arc<Mutex<DateTime<Utc>>>,
}

struct Running {
    status: watch::Receiver<lovage_beat::Status>,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Stage {
    fn at(text: &str) -> Self {
        let now = Arc::new(Mutex::new(lovage_beat::instant(text).unwrap()));
        let hand = Arc::clone(&now);
        let clock = Clock::read_by(move || *hand.lock().unwrap());
        let broker = MemoryBroker::with_clock(clock.clone());
        let results = MemoryStore::new(&ResultSettings::default(), &broker).unwrap();
        let options = ClientOptions {
            clock,
            ..ClientOptions::default()
        };
        Self {
            store: BrokerStore::new(Arc::new(broker.clone())),
            client: Client::new(Arc::new(broker.clone()), Arc::new(results), options),
            broker,
            now,
        }
    }

    fn beat(&self, node: &str) -> Running {
        let options = BeatOptions {
            node: node.to_owned(),
            lease: Duration::from_secs(6),
            defaults: Defaults::default(),
            roster: Roster::default(),
        };
        let store = Arc::new(self.store.clone());
        let beat = Beat::new(store, self.client.clone(), options);
        let (status, stop) = (beat.status(), CancellationToken::new());
        let ended = tokio::spawn(beat.run(stop.clone()));
        Running {
            status,
            stop,
            ended,
        }
    }

    async fn add(&self, draft: Draft) {
        let now = *self.now.lock().unwrap();
        let save = added(Source::Database, draft, &Defaults::default(), now).unwrap();
        self.store.save(&save).await.unwrap().unwrap();
    }

    /// Moves the clock, and lets everybody look at it.
    async fn move_to(&self, text: &str) {
        *self.now.lock().unwrap() = lovage_beat::instant(text).unwrap();
        self.look().await;
    }

    async fn look(&self) {
        tokio::time::sleep(Duration::from_secs(4)).await;
    }

    /// What was sent, when due, by schedule, in the order of sending.
    fn sent(&self) -> BTreeMap<String, Vec<String>> {
        let mut sent: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, raw) in self.broker.contents().waiting {
            let message: Value = serde_json::from_slice(&raw).unwrap();
            let header = |name: &str| message["headers"][name].as_str().unwrap().to_owned();
            sent.entry(header("periodic_task_name"))
                .or_default()
                .push(header("lovage_due"));
        }
        sent
    }
}

impl Running {
    async fn stop(self) {
        self.stop.cancel();
        self.ended.await.unwrap();
    }
}

fn every(name: &str, minutes: u64, missed: &str) -> Draft {
    let mut draft = Draft::new(name, "t.add");
    draft.every = Some(WithUnit(Duration::from_secs(minutes * 60)));
    draft.missed = Some(missed.to_owned());
    draft.unchecked = true;
    draft
}

#[tokio::test(start_paused = true)]
async fn clocks_that_jump_an_hour_neither_miss_nor_double_a_tick() {
    let stage = Stage::at("2026-11-26T10:00:00Z");
    stage.add(every("all", 10, "all")).await;
    let (one, other) = (stage.beat("one@test"), stage.beat("other@test"));
    for now in [
        "2026-11-26T10:10:00Z",
        "2026-11-26T11:11:00Z",
        "2026-11-26T10:12:00Z",
        "2026-11-26T10:22:00Z",
        "2026-11-26T11:12:00Z",
        "2026-11-26T11:22:00Z",
    ] {
        stage.move_to(now).await;
    }
    let mut row = Vec::new();
    let mut due = lovage_beat::instant("2026-11-26T10:10:00Z").unwrap();
    while due <= lovage_beat::instant("2026-11-26T11:20:00Z").unwrap() {
        row.push(due.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true));
        due += TimeDelta::minutes(10);
    }
    assert_eq!(stage.sent()["all"], row);
    one.stop().await;
    other.stop().await;
}

#[tokio::test(start_paused = true)]
async fn one_leads_and_the_other_takes_over() {
    let stage = Stage::at("2026-11-26T10:00:00Z");
    stage.add(every("x", 10, "once")).await;
    let one = stage.beat("one@test");
    stage.look().await;
    let other = stage.beat("other@test");
    stage.look().await;
    let (status, standby) = (one.status.borrow().clone(), other.status.borrow().clone());
    assert!(status.leads && !standby.leads);
    assert_eq!(standby.leader, "one@test");
    assert_eq!(status.schedules, 1);
    assert_eq!(
        status.next_due,
        lovage_beat::instant("2026-11-26T10:10:00Z").ok()
    );
    // One that stops gives the lead up at once.
    one.stop().await;
    stage.look().await;
    assert!(other.status.borrow().leads);
    // One that dies is missed after its lease, which runs on the broker's clock.
    other.ended.abort();
    let third = stage.beat("third@test");
    stage.look().await;
    assert!(!third.status.borrow().leads);
    stage.move_to("2026-11-26T10:10:07Z").await;
    assert!(third.status.borrow().leads);
    assert_eq!(stage.sent()["x"], ["2026-11-26T10:10:00Z"]);
    third.stop().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_noticed_while_it_runs() {
    let stage = Stage::at("2026-11-26T10:00:00Z");
    let beat = stage.beat("one@test");
    stage.look().await;
    stage.add(every("x", 10, "once")).await;
    stage.look().await;
    stage.move_to("2026-11-26T10:10:00Z").await;
    assert_eq!(stage.sent()["x"].len(), 1);
    // Paused, it sends nothing, and makes up for nothing when it is resumed.
    let (defaults, now) = (
        Defaults::default(),
        lovage_beat::instant("2026-11-26T10:11:00Z").unwrap(),
    );
    assert!(
        set_paused(&stage.store, "x", true, &defaults, now)
            .await
            .unwrap()
    );
    stage.look().await;
    stage.move_to("2026-11-26T10:25:00Z").await;
    assert_eq!(stage.sent()["x"].len(), 1);
    let now = lovage_beat::instant("2026-11-26T10:25:00Z").unwrap();
    assert!(
        set_paused(&stage.store, "x", false, &defaults, now)
            .await
            .unwrap()
    );
    stage.look().await;
    assert_eq!(stage.sent()["x"].len(), 1);
    stage.move_to("2026-11-26T10:35:00Z").await;
    assert_eq!(
        stage.sent()["x"],
        ["2026-11-26T10:10:00Z", "2026-11-26T10:35:00Z"]
    );
    // Run by hand, it is sent at once, beside its own runs.
    let record = run_now(&stage.store, &stage.client, "x").await.unwrap();
    assert_eq!(record.cause, Cause::Now);
    let history = stage.store.history("x", None, 10).await.unwrap();
    assert_eq!(history.len(), 3);
    assert_eq!(history[0], record);
    assert!(stage.store.remove("x").await.unwrap());
    stage.look().await;
    stage.move_to("2026-11-26T12:00:00Z").await;
    assert_eq!(stage.sent()["x"].len(), 3);
    beat.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_schedule_whose_task_is_gone_is_refused_and_the_others_run() {
    let stage = Stage::at("2026-11-26T10:00:00Z");
    let mut gone = every("gone", 10, "once");
    gone.unchecked = false;
    stage.add(gone).await;
    stage.add(every("x", 10, "once")).await;
    let beat = stage.beat("one@test");
    stage.look().await;
    let status = beat.status.borrow().clone();
    assert_eq!((status.schedules, status.refused), (1, 1));
    stage.move_to("2026-11-26T10:10:00Z").await;
    let sent = stage.sent();
    assert_eq!(sent.keys().collect::<Vec<_>>(), ["x"]);
    beat.stop().await;
}

/// What the platform does itself has ticks and no message: the beat that leads is told of each, and nobody else.
#[tokio::test(start_paused = true)]
async fn the_beat_that_leads_is_told_of_the_ticks_of_a_chore() {
    let stage = Stage::at("2026-11-26T10:00:00Z");
    let mut chore = every("lovage.reap", 10, "once");
    chore.task = "lovage.reap".to_owned();
    stage.add(chore).await;
    // One that was before anybody looked is not made up for.
    run_now(&stage.store, &stage.client, "lovage.reap")
        .await
        .unwrap();
    let watched = |beat: &Running| {
        let (told, count) = watch::channel(0);
        let store = Arc::new(stage.store.clone());
        let mut ticks = Ticks::new(store, "lovage.reap", beat.status.clone());
        let watching = tokio::spawn(async move {
            loop {
                ticks.next().await;
                told.send_modify(|count| *count += 1);
            }
        });
        (count, watching)
    };
    let one = stage.beat("one@test");
    let (count, watching) = watched(&one);
    stage.look().await;
    let other = stage.beat("other@test");
    let (standby, standing_by) = watched(&other);
    stage.look().await;
    assert_eq!((*count.borrow(), *standby.borrow()), (0, 0));
    stage.move_to("2026-11-26T10:10:00Z").await;
    assert_eq!((*count.borrow(), *standby.borrow()), (1, 0));
    run_now(&stage.store, &stage.client, "lovage.reap")
        .await
        .unwrap();
    stage.look().await;
    assert_eq!((*count.borrow(), *standby.borrow()), (2, 0));
    one.stop().await;
    stage.look().await;
    assert!(other.status.borrow().leads);
    stage.move_to("2026-11-26T10:20:00Z").await;
    assert_eq!((*count.borrow(), *standby.borrow()), (2, 1));
    assert_eq!(stage.sent(), BTreeMap::new());
    other.stop().await;
    watching.abort();
    standing_by.abort();
}

#[tokio::test(start_paused = true)]
async fn who_changes_what_somebody_else_has_changed_is_told() {
    let stage = Stage::at("2026-11-26T10:00:00Z");
    stage.add(every("x", 10, "once")).await;
    let before = stage.store.stored("x").await.unwrap().unwrap();
    let save = |minutes| Save {
        definition: lovage_beat::store::Definition {
            draft: every("x", minutes, "once"),
            ..before.definition.clone()
        },
        version: Some(before.version),
        progress: None,
    };
    assert!(stage.store.save(&save(20)).await.unwrap().is_some());
    assert!(stage.store.save(&save(30)).await.unwrap().is_none());
}
