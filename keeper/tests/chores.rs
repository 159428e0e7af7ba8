//! Chores: done at the ticks of their schedules, and without a beat by the keeper's own clock.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is the failed test")]

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use lovage_broker::MemoryBroker;
use lovage_client::{ClientOptions, Composer};
use lovage_database::{
    Database,
    store::{
        chore::{PRUNE, Signal, signal},
        history_gap::{self, Gap},
        lease::Lease,
        schedule::{self, Change, Definition, Progress},
        schedule_tick::{self, Record},
    },
    testing::on_both,
};
use lovage_keeper::Keeper;
use lovage_settings::Settings;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn keeper(database: &Database) -> Keeper {
    let (settings, _) = Settings::from_lookup(Vec::<(String, String)>::new()).unwrap();
    Keeper {
        broker: Arc::new(MemoryBroker::new()),
        database: database.clone(),
        history: settings.history.clone(),
        retention: settings.database.retention.clone(),
        mail: settings.mail.clone(),
        composer: Composer::new(ClientOptions::default()),
    }
}

fn old() -> DateTime<Utc> {
    Utc::now() - TimeDelta::days(3650)
}

/// Something that a keeper prunes.
async fn something_old(database: &Database) {
    let gap = Gap {
        source: "events".to_owned(),
        began_at: old(),
        ended_at: old(),
        lost: 0,
        reason: "long ago".to_owned(),
    };
    gap.record(database.writer()).await.unwrap();
}

async fn is_there(database: &Database) -> bool {
    !history_gap::newest(database.reader(), 1)
        .await
        .unwrap()
        .is_empty()
}

/// The schedule of a chore as a beat declares it.
async fn declared(database: &Database, paused: bool) {
    let change = Change {
        definition: Definition {
            id: Uuid::new_v4(),
            name: PRUNE.to_owned(),
            task: PRUNE.to_owned(),
            kind: "interval".to_owned(),
            source: "builtin".to_owned(),
            draft: "{}".to_owned(),
            paused,
            enabled: !paused,
        },
        version: None,
        progress: Some(Progress {
            decided: Utc::now(),
            last_due: None,
            runs: 0,
        }),
    };
    schedule::save(database, change).await.unwrap().unwrap();
}

async fn ticked(database: &Database) {
    let record = Record {
        due: Utc::now(),
        fired: Utc::now(),
        cause: "now".to_owned(),
        task_id: Uuid::new_v4().to_string(),
        left_out: 0,
    };
    schedule_tick::remember(database, PRUNE, &[record])
        .await
        .unwrap();
}

on_both! {
    async fn a_tick_of_its_schedule_has_the_keeper_prune(database: Database) {
        something_old(&database).await;
        // Ticks count even of one that is paused: somebody wanted it now.
        declared(&database, true).await;
        ticked(&database).await;
        let stop = CancellationToken::new();
        let (told, ready) = tokio::sync::oneshot::channel();
        let running = tokio::spawn(keeper(&database).run(stop.clone(), || told.send(()).unwrap()));
        ready.await.unwrap();
        // What was ticked before anybody looked is not made up for, and it is paused.
        let looked = async {
            sleep(Duration::from_secs(5)).await;
            is_there(&database).await
        };
        assert!(looked.await);
        ticked(&database).await;
        let gone = async {
            while is_there(&database).await {
                sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it prunes");
        stop.cancel();
        running.await.unwrap();
    }

    async fn where_a_chore_stands_is_read_in_one_look(database: Database) {
        assert_eq!(signal(&database, PRUNE).await.unwrap(), None);
        declared(&database, false).await;
        let fresh = Signal { enabled: true, last: None };
        assert_eq!(signal(&database, PRUNE).await.unwrap(), Some(fresh));
        ticked(&database).await;
        let first = signal(&database, PRUNE).await.unwrap().unwrap().last;
        ticked(&database).await;
        let second = signal(&database, PRUNE).await.unwrap().unwrap().last;
        assert!(first.is_some() && second > first, "{first:?} {second:?}");
        assert!(!lovage_database::store::chore::is_ticked(&database).await.unwrap());
        let lease = Lease::take(&database, schedule::LEASE, "a", Duration::from_secs(60)).await.unwrap();
        assert!(lease.is_some());
        assert!(lovage_database::store::chore::is_ticked(&database).await.unwrap());
    }
}
