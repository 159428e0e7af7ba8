//! The policy for clock changes, held against every change of every zone in ten years.
//!
//! What is expected is made from the changes themselves, by walking through the minutes around each: nothing here asks
//! which instant a time of the wall clock is.

use std::{
    collections::{HashMap, HashSet},
    str::FromStr,
    sync::LazyLock,
};

use chrono::{DateTime, Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;

use super::super::{Crontab, Interval, Remark, Schedule};

/// The clocks of a zone change at `at`.
#[derive(Debug, Clone, Copy)]
struct Change {
    zone: Tz,
    at: DateTime<Utc>,
    before: TimeDelta,
    after: TimeDelta,
}

fn offset(zone: Tz, at: DateTime<Utc>) -> TimeDelta {
    let seconds = zone
        .offset_from_utc_datetime(&at.naive_utc())
        .fix()
        .local_minus_utc();
    TimeDelta::seconds(seconds.into())
}

fn year(year: i32) -> DateTime<Utc> {
    Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap()
}

static CHANGES: LazyLock<Vec<Change>> = LazyLock::new(|| {
    let mut changes = Vec::new();
    for zone in TZ_VARIANTS {
        let mut at = year(2020);
        let mut before = offset(zone, at);
        while at < year(2030) {
            let next = at + TimeDelta::hours(12);
            let after = offset(zone, next);
            if before != after {
                // To the second: the first at which the new offset holds.
                let (mut old, mut new) = (at, next);
                while new - old > TimeDelta::seconds(1) {
                    let middle = old + TimeDelta::seconds((new - old).num_seconds() / 2);
                    if offset(zone, middle) == before {
                        old = middle;
                    } else {
                        new = middle;
                    }
                }
                changes.push(Change {
                    zone,
                    at: new,
                    before,
                    after,
                });
            }
            (at, before) = (next, after);
        }
    }
    changes
});

/// Its fields as plain lists, read here once more in the simplest way.
#[derive(Debug, Clone)]
struct Lists {
    minutes: Vec<u32>,
    hours: Vec<u32>,
    days: Vec<u32>,
    weekdays: Vec<u32>,
}

impl Lists {
    fn matches(&self, wall: NaiveDateTime) -> bool {
        self.minutes.contains(&wall.minute())
            && self.hours.contains(&wall.hour())
            && self.days.contains(&wall.day())
            && self
                .weekdays
                .contains(&wall.weekday().num_days_from_sunday())
    }

    fn crontab(&self) -> Crontab {
        let listed = |numbers: &[u32]| {
            let texts: Vec<String> = numbers.iter().map(u32::to_string).collect();
            texts.join(",")
        };
        let (minutes, hours) = (listed(&self.minutes), listed(&self.hours));
        Crontab::new(
            &minutes,
            &hours,
            &listed(&self.days),
            "*",
            &listed(&self.weekdays),
        )
        .unwrap()
    }
}

fn lists() -> impl Strategy<Value = Lists> {
    let some = |most: u32| proptest::collection::btree_set(0..most, 1..6);
    let all = |most: u32| Just((0..most).collect::<std::collections::BTreeSet<u32>>());
    let night = proptest::collection::btree_set(0..4_u32, 1..4);
    let hours = prop_oneof![2 => all(24), 3 => night, 1 => some(24)];
    let weekdays = prop_oneof![3 => all(7), 1 => some(7)];
    let days = prop_oneof![3 => all(31), 1 => proptest::collection::btree_set(0..31_u32, 10..25)];
    (some(60), hours, days, weekdays).prop_map(|(minutes, hours, days, weekdays)| Lists {
        minutes: minutes.into_iter().collect(),
        hours: hours.into_iter().collect(),
        days: days.into_iter().map(|day| day + 1).collect(),
        weekdays: weekdays.into_iter().collect(),
    })
}

/// So far before and after a change runs are compared.
const AROUND: TimeDelta = TimeDelta::hours(4);

/// The runs around a change, as the policy has them.
fn expected(
    lists: &Lists,
    change: &Change,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let every_hour = lists.hours.len() == 24;
    let mut runs = Vec::new();
    let skipped = change.after - change.before;
    let mut at = from + TimeDelta::minutes(1);
    while at <= until {
        let offset = if at < change.at {
            change.before
        } else {
            change.after
        };
        let wall = (at + offset).naive_utc();
        // Clocks that went back show again what they showed right before the change.
        let second_passing = at >= change.at && at < change.at - skipped;
        if lists.matches(wall) && (every_hour || !second_passing) {
            runs.push(at);
        }
        at += TimeDelta::minutes(1);
    }
    let mut gone = TimeDelta::zero();
    while gone < skipped {
        let wall = (change.at + change.before + gone).naive_utc();
        if lists.matches(wall) {
            runs.push(change.at + gone);
        }
        gone += TimeDelta::minutes(1);
    }
    runs.sort_unstable();
    runs.dedup();
    runs.retain(|at| *at > from && *at <= until);
    runs
}

fn found(
    crontab: &Crontab,
    zone: Tz,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let mut runs = Vec::new();
    let mut last = from;
    while let Some(run) = crontab.next_after(last, zone) {
        if run.at > until {
            break;
        }
        assert!(
            run.at > last,
            "{crontab} in {zone}: {} after {last}",
            run.at
        );
        runs.push(run.at);
        last = run.at;
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_clock_change_of_ten_years_follows_the_policy(lists in lists(), shift in 0..48_usize) {
        let crontab = lists.crontab();
        // Each case takes every 48th change, from another one on: together they meet nearly all of them.
        for change in CHANGES.iter().skip(shift).step_by(48) {
            let (from, until) = (change.at - AROUND, change.at + AROUND);
            prop_assert_eq!(
                found(&crontab, change.zone, from, until),
                expected(&lists, change, from, until),
                "{} at {:?}", crontab, change
            );
        }
    }
}

/// What the clocks do for days around a change; `None`: they change more than once.
fn alone(at: usize) -> Option<(DateTime<Utc>, TimeDelta, TimeDelta)> {
    let change = CHANGES[at];
    let neighbours = [at.checked_sub(1), Some(at + 1)].into_iter().flatten();
    let is_near = |other: &Change| {
        other.zone == change.zone && (other.at - change.at).abs() < TimeDelta::days(5)
    };
    let mut neighbours = neighbours.filter_map(|at| CHANGES.get(at));
    (!neighbours.any(is_near)).then_some((change.at, change.before, change.after))
}

#[test]
fn every_zone_follows_the_policy_in_the_small_hours() {
    let texts = [
        "30 2 * * *",
        "0 0 * * *",
        "*/30 * * * *",
        "15 1,2,3 * * *",
        "0 */2 * * *",
    ];
    assert!(CHANGES.len() > 2000, "{} clock changes", CHANGES.len());
    // Most changes are those of many zones at once, whose clocks are the same for days around. Each such change is looked at in one
    // zone for every text, and each zone's last one for one text.
    let mut seen = HashSet::new();
    let mut zones = HashMap::new();
    for (at, change) in CHANGES.iter().enumerate() {
        zones.insert(change.zone, at);
    }
    assert!(
        zones.len() > 200,
        "{} zones change their clocks",
        zones.len()
    );
    let lists = texts.map(|text| {
        let crontab = Crontab::from_str(text).unwrap();
        let lists = Lists {
            minutes: crontab.minute.numbers().collect(),
            hours: crontab.hour.numbers().collect(),
            days: (1..=31).collect(),
            weekdays: (0..7).collect(),
        };
        (crontab, lists)
    });
    for (at, change) in CHANGES.iter().enumerate() {
        let is_new = alone(at).is_none_or(|clocks| seen.insert(clocks));
        let is_last = zones.get(&change.zone) == Some(&at);
        let (from, until) = (change.at - AROUND, change.at + AROUND);
        for (place, (crontab, lists)) in lists.iter().enumerate() {
            if is_new || (is_last && at % texts.len() == place) {
                assert_eq!(
                    found(crontab, change.zone, from, until),
                    expected(lists, change, from, until),
                    "{crontab} at {change:?}"
                );
            }
        }
    }
}

fn remarks(text: &str, zone: Tz, after: &str, count: usize) -> Vec<(String, Option<&'static str>)> {
    let schedule = Schedule::Crontab(text.parse().unwrap());
    let mut last = after.parse::<DateTime<Utc>>().unwrap();
    let mut told = Vec::new();
    for _ in 0..count {
        let run = schedule.next_after(last, zone).unwrap();
        last = run.at;
        let remark = run.remark.map(|remark| match remark {
            Remark::Shifted { .. } => "shifted",
            Remark::OnceOfTwo { .. } => "once",
            Remark::FirstPassing { .. } => "first",
            Remark::SecondPassing { .. } => "second",
        });
        told.push((run.at.with_timezone(&zone).to_rfc3339(), remark));
    }
    told
}

#[test]
fn both_nights_of_zurich_are_remarked_on() {
    let zone = Tz::Europe__Zurich;
    let spring = remarks("30 2 * * *", zone, "2026-03-28T12:00:00Z", 2);
    assert_eq!(
        spring[0],
        ("2026-03-29T03:30:00+02:00".to_owned(), Some("shifted"))
    );
    assert_eq!(spring[1], ("2026-03-30T02:30:00+02:00".to_owned(), None));
    let autumn = remarks("30 2 * * *", zone, "2026-10-24T12:00:00Z", 2);
    assert_eq!(
        autumn[0],
        ("2026-10-25T02:30:00+02:00".to_owned(), Some("once"))
    );
    assert_eq!(autumn[1], ("2026-10-26T02:30:00+01:00".to_owned(), None));
    let hourly = remarks("30 * * * *", zone, "2026-10-24T23:45:00Z", 3);
    assert_eq!(
        hourly[0],
        ("2026-10-25T02:30:00+02:00".to_owned(), Some("first"))
    );
    assert_eq!(
        hourly[1],
        ("2026-10-25T02:30:00+01:00".to_owned(), Some("second"))
    );
    assert_eq!(hourly[2], ("2026-10-25T03:30:00+01:00".to_owned(), None));
}

#[test]
fn an_interval_does_not_look_at_clocks() {
    let zone = Tz::Europe__Zurich;
    let interval = Interval::new(std::time::Duration::from_secs(3600)).unwrap();
    let last = "2026-03-29T00:30:00Z".parse::<DateTime<Utc>>().unwrap();
    assert_eq!(
        interval.next_after(last, zone),
        Some(last + TimeDelta::hours(1))
    );
}
