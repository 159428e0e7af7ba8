//! What has passed: what was sent is read in pages, and what was not is made up for once.

use std::time::Duration;

use chrono::{DateTime, Utc};
use lovage_beat::{
    Defaults, WithUnit, backfill, changed, set_paused,
    store::{Cause, Stored, Tick, TickRecord, Ticked},
    task_id,
};
use uuid::Uuid;

use super::{DatabaseKind, Form, LONG, at, draft, record};

impl Form {
    /// What is due of a schedule at a time, as its beat decides.
    async fn decide(&self, name: &str, now: DateTime<Utc>) -> Tick {
        let stored = self.stored(name).await;
        let definition = &stored.definition;
        let timing = definition.draft.timing(&Defaults::default()).unwrap();
        let decision = timing.decide(definition.id, &stored.progress, now);
        let mut tick = self.tick(&stored);
        (tick.messages, tick.records, tick.after) = (Vec::new(), Vec::new(), decision.progress);
        for (place, run) in decision.send.iter().enumerate() {
            let id = task_id(definition.id, run.at);
            let message = lovage_beat::prepare(&self.client, &definition.draft, id, run.at);
            tick.messages.push(message.unwrap());
            let mut record = record(run.at, id, Cause::Due);
            record.left_out = if place == 0 { decision.left_out } else { 0 };
            tick.records.push(record);
        }
        tick
    }

    /// Sends what a schedule has at each of these minutes.
    async fn beat(&self, name: &str, owner: &str, fence: u64, minutes: &[i64]) {
        for minute in minutes {
            let tick = self.decide(name, at(*minute)).await;
            assert_eq!(
                self.send(owner, fence, &[tick]).await,
                Some(vec![Ticked::Done])
            );
        }
    }

    /// So much is sent by hand that at the broker no record of anything else is left.
    async fn forget_the_records(&self, name: &str) {
        let by_hand = |number: i64| record(at(500 + number), Uuid::new_v4(), Cause::Now);
        let records: Vec<TickRecord> = (0..250).map(by_hand).collect();
        self.store.remember(name, &records).await.unwrap();
    }

    /// The minutes of what a backfill of these sends.
    async fn backfill(&self, name: &str, from: i64, until: i64) -> Vec<i64> {
        let range = (at(from), at(until));
        let defaults = Defaults::default();
        let filled = backfill(&*self.store, &self.client, name, range, &defaults);
        let filled = filled.await.unwrap().into_iter();
        filled.map(|run| (run.due - at(0)).num_minutes()).collect()
    }
}

on_every_form! {
    async fn a_run_is_made_up_for_once(form: Form) {
        let fence = form.lead("a", LONG).await.unwrap();
        let tick = form.tick(&form.add("x").await);
        form.send("a", fence, std::slice::from_ref(&tick)).await.unwrap();
        let kept = form.stored("x").await;
        let runs = |minutes: std::ops::RangeInclusive<i64>| {
            let runs = minutes.map(|minute| {
                let (due, id) = (at(minute), task_id(kept.definition.id, at(minute)));
                let message = lovage_beat::prepare(&form.client, &kept.definition.draft, id, due).unwrap();
                (message, record(due, id, Cause::Backfill))
            });
            runs.collect::<Vec<_>>()
        };
        let make_up = async |kept: &Stored, minutes| {
            let sent = form.store.make_up(kept, &form.client, runs(minutes), &Defaults::default()).await.unwrap();
            sent.map(|sent| sent.into_iter().map(|one| one.due).collect::<Vec<_>>())
        };
        // The run of minute 1 was a tick.
        assert_eq!(make_up(&kept, -1..=1).await, Some(vec![at(-1), at(0)]));
        assert_eq!(make_up(&kept, -2..=1).await, Some(vec![at(-2)]));
        assert_eq!(make_up(&kept, -2..=1).await, Some(Vec::new()), "asked again");
        let history = form.store.history("x", None, 10).await.unwrap();
        let due: Vec<_> = history.iter().map(|one| one.due).collect();
        assert_eq!(due, [at(-2), at(0), at(-1), at(1)]);
        assert_eq!(form.sent().await, 4);
        let mut other = kept.clone();
        other.version += 7;
        assert_eq!(make_up(&other, -9..=-9).await, None, "it is another meanwhile");
    }

    async fn what_was_sent_long_ago_is_never_sent_again(form: Form) {
        let fence = form.lead("a", LONG).await.unwrap();
        form.add("x").await;
        // The runs of minutes 4 to 9 are missed.
        form.beat("x", "a", fence, &[1, 2, 3, 10, 11]).await;
        form.forget_the_records("x").await;
        assert_eq!(form.sent().await, 5);
        assert_eq!(form.backfill("x", -2, 6).await, [-1, 0, 4, 5, 6]);
        form.forget_the_records("x").await;
        assert_eq!(form.backfill("x", -3, 20).await, [-2, 7, 8, 9]);
        form.forget_the_records("x").await;
        assert_eq!(form.backfill("x", -3, 20).await, [0; 0], "asked again");
        // From minute 13 on it runs at even minutes of the clock, which are 80 s after at(0) and so on; from 21 to 31 it is paused.
        let mut other = draft("x");
        (other.every, other.crontab) = (None, Some("*/2 * * * *".to_owned()));
        let defaults = Defaults::default();
        form.beat("x", "a", fence, &[12, 13]).await;
        let save = changed(&form.stored("x").await, other, &defaults, at(13)).unwrap();
        form.store.save(&save).await.unwrap().unwrap();
        form.beat("x", "a", fence, &[15, 17, 19, 21]).await;
        set_paused(&*form.store, "x", true, &defaults, at(21)).await.unwrap();
        set_paused(&*form.store, "x", false, &defaults, at(31)).await.unwrap();
        form.beat("x", "a", fence, &[33]).await;
        form.forget_the_records("x").await;
        let sent = form.sent().await;
        assert_eq!(form.backfill("x", 12, 40).await, [21, 23, 25, 27, 29]);
        form.forget_the_records("x").await;
        assert_eq!(form.backfill("x", 12, 40).await, [0; 0], "asked again");
        assert_eq!(form.sent().await, sent + 5);
    }

    async fn an_interval_that_was_slowed_down_is_not_made_up_for_where_it_ran(form: Form) {
        let fence = form.lead("a", LONG).await.unwrap();
        form.add("x").await;
        form.beat("x", "a", fence, &[1, 2, 3, 8]).await;
        let mut other = draft("x");
        other.every = Some(WithUnit(Duration::from_secs(120)));
        let defaults = Defaults::default();
        let save = changed(&form.stored("x").await, other, &defaults, at(8)).unwrap();
        form.store.save(&save).await.unwrap().unwrap();
        form.forget_the_records("x").await;
        // Its row is that of the even minutes now, on both sides of the change.
        assert_eq!(form.backfill("x", -3, 20).await, [-2, 0, 4, 6]);
        form.forget_the_records("x").await;
        assert_eq!(form.backfill("x", -3, 20).await, [0; 0], "asked again");
    }

    async fn two_that_make_up_for_the_same_send_it_once(form: Form) {
        form.add("x").await;
        let both = tokio::join!(form.backfill("x", -60, 0), form.backfill("x", -30, 0));
        let mut all = [both.0, both.1].concat();
        all.sort_unstable();
        assert_eq!(all, (-59..=0).collect::<Vec<_>>());
        assert_eq!(form.sent().await, 60);
    }

    async fn a_history_is_read_in_pages(form: Form) {
        form.add("x").await;
        let all: Vec<TickRecord> = (0..5).map(|minute| record(at(minute), Uuid::new_v4(), Cause::Now)).collect();
        form.store.remember("x", &all).await.unwrap();
        let mut pages: Vec<TickRecord> = Vec::new();
        loop {
            let after = pages.last().map(|last| last.task_id);
            let page = form.store.history("x", after, 2).await.unwrap();
            assert!(page.len() <= 2);
            if page.is_empty() {
                break;
            }
            pages.extend(page);
            // What is sent meanwhile is on no later page.
            let other = record(at(9), Uuid::new_v4(), Cause::Now);
            form.store.remember("x", &[other]).await.unwrap();
        }
        pages.reverse();
        assert_eq!(pages, all);
        let forgotten = form.store.history("x", Some(Uuid::new_v4()), 2).await.unwrap();
        assert_eq!(forgotten, [], "with it goes what was before");
    }
}
