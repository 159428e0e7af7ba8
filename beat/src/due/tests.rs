use std::{str::FromStr, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::Value;
use uuid::Uuid;

use super::{Decision, Missed, Progress, Timing, task_id};
use crate::schedule::{Crontab, Interval, Schedule};

fn at(text: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text).unwrap().to_utc()
}

fn seconds(number: f64) -> TimeDelta {
    TimeDelta::from_std(Duration::from_secs_f64(number)).unwrap()
}

fn timing(schedule: Schedule) -> Timing {
    Timing {
        schedule,
        zone: Tz::UTC,
        starts: None,
        ends: None,
        max_runs: None,
        jitter: Duration::ZERO,
        missed: Missed::Once,
        deadline: None,
    }
}

fn crontab(text: &str) -> Timing {
    timing(Schedule::Crontab(Crontab::from_str(text).unwrap()))
}

fn every(text: &str) -> Timing {
    let every = lovage_settings::parse_duration(text).unwrap();
    timing(Schedule::Interval(Interval::new(every).unwrap()))
}

fn since(text: &str) -> Progress {
    Progress {
        decided: at(text),
        last_run: None,
        runs: 0,
        gapless: None,
    }
}

fn decide(timing: &Timing, progress: &Progress, now: &str) -> Decision {
    timing.decide(Uuid::nil(), progress, at(now))
}

fn sent(decision: &Decision) -> Vec<String> {
    let times = decision.send.iter();
    times
        .map(|run| run.at.format("%dT%H:%M:%S").to_string())
        .collect()
}

#[test]
fn what_is_due_is_what_celery_finds_due() {
    let capture = include_str!("../../tests/captures/09-vectors-is-due.json");
    let capture: Value = serde_json::from_str(capture).unwrap();
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    for row in capture["decoded"]["crontab"].as_array().unwrap() {
        let mut timing = crontab(&text(row, "crontab"));
        timing.deadline = row["beat_cron_starting_deadline"]
            .as_u64()
            .map(Duration::from_secs);
        let decision = decide(
            &timing,
            &since(&text(row, "last_run_at")),
            &text(row, "now"),
        );
        assert_eq!(
            Some(!decision.send.is_empty()),
            row["is_due"].as_bool(),
            "{row}"
        );
        let wait = decision.next.unwrap().at - at(&text(row, "now"));
        assert_eq!(wait, seconds(row["next"].as_f64().unwrap()), "{row}");
    }
    for row in capture["decoded"]["interval"].as_array().unwrap() {
        let every = Duration::from_secs_f64(row["run_every"].as_f64().unwrap());
        let interval = Interval::new(every)
            .unwrap()
            .relative(row["relative"] == true);
        let timing = timing(Schedule::Interval(interval));
        let (last, now) = (text(row, "last_run_at"), text(row, "now"));
        let decision = decide(&timing, &since(&last), &now);
        assert_eq!(
            Some(!decision.send.is_empty()),
            row["is_due"].as_bool(),
            "{row}"
        );
        // Celery counts on from the moment of sending, which lets an interval drift; ours keeps its row.
        let from = if decision.send.is_empty() {
            at(&last)
        } else {
            at(&now)
        };
        let next = timing.schedule.next_after(from, Tz::UTC).unwrap().at;
        assert_eq!(
            next - at(&now),
            seconds(row["next"].as_f64().unwrap()),
            "{row}"
        );
    }
}

#[test]
fn missed_runs_are_sent_once_or_left_out_or_all_sent() {
    let progress = since("2026-11-26T10:00:00Z");
    let mut hourly = crontab("0 * * * *");
    let now = "2026-11-26T15:30:00Z";

    let once = decide(&hourly, &progress, now);
    assert_eq!(
        (sent(&once), once.left_out),
        (vec!["26T15:00:00".to_owned()], 4)
    );
    assert_eq!(once.next.unwrap().at, at("2026-11-26T16:00:00Z"));

    hourly.missed = Missed::Skip;
    let skip = decide(&hourly, &progress, now);
    assert_eq!((sent(&skip), skip.left_out), (vec![], 5));
    assert_eq!(skip.next.unwrap().at, at("2026-11-26T16:00:00Z"));
    // A change of leaders is no miss.
    let late = decide(&hourly, &progress, "2026-11-26T15:00:09Z");
    assert_eq!(sent(&late), ["26T15:00:00"]);

    hourly.missed = Missed::All(100);
    let all = decide(&hourly, &progress, now);
    assert_eq!(all.send.len(), 5);
    assert_eq!((all.left_out, all.progress.runs), (0, 5));
    hourly.missed = Missed::All(2);
    let bounded = decide(&hourly, &progress, now);
    assert_eq!(sent(&bounded), ["26T14:00:00", "26T15:00:00"]);
    assert_eq!(bounded.left_out, 3);
    // Nothing is decided twice.
    assert!(decide(&hourly, &bounded.progress, now).send.is_empty());

    hourly.missed = Missed::All(100);
    hourly.deadline = Some(Duration::from_secs(2 * 3600));
    let in_time = decide(&hourly, &progress, now);
    assert_eq!(sent(&in_time), ["26T14:00:00", "26T15:00:00"]);
}

#[test]
fn since_when_nothing_was_left_out_is_known() {
    let mut hourly = crontab("0 * * * *");
    let gapless = |timing: &Timing, progress: &Progress, now: &str| {
        let progress = decide(timing, progress, now).progress;
        (
            progress,
            progress
                .gapless
                .unwrap()
                .format("%dT%H:%M:%S%.6f")
                .to_string(),
        )
    };
    // What was before the first tick of this version is not known.
    let unknown = since("2026-11-26T10:00:00Z");
    assert_eq!(
        decide(&hourly, &unknown, "2026-11-26T10:59:00Z").progress,
        unknown
    );
    let (first, known) = gapless(&hourly, &unknown, "2026-11-26T11:00:00Z");
    assert_eq!(known, "26T10:00:00.000000");
    let (second, known) = gapless(&hourly, &first, "2026-11-26T12:00:00Z");
    assert_eq!(known, "26T10:00:00.000000");
    // Of what was missed the last is sent.
    let (_, known) = gapless(&hourly, &second, "2026-11-26T15:00:00Z");
    assert_eq!(known, "26T14:59:59.999999");
    hourly.missed = Missed::All(2);
    let (_, known) = gapless(&hourly, &second, "2026-11-26T15:00:00Z");
    assert_eq!(known, "26T13:59:59.999999");
    hourly.missed = Missed::All(3);
    let (_, known) = gapless(&hourly, &second, "2026-11-26T15:00:00Z");
    assert_eq!(known, "26T10:00:00.000000");
    hourly.missed = Missed::Skip;
    let (_, known) = gapless(&hourly, &second, "2026-11-26T15:30:00Z");
    assert_eq!(known, "26T15:00:00.000000", "none of them is sent");
    let resumed = second.resumed(&hourly.schedule, at("2026-11-27T00:00:00Z"));
    assert_eq!(resumed.gapless, Some(at("2026-11-27T00:00:00Z")));
}

#[test]
fn a_time_that_has_passed_has_the_runs_of_its_row() {
    let times = |timing: &Timing, stands: &str, from: &str, until: &str| {
        let range = (at(from), at(until));
        let stands = since(stands);
        let runs = timing.between(&stands, range);
        let runs = runs.map(|run| run.at.format("%H:%M:%S%.f").to_string());
        runs.collect::<Vec<_>>()
    };
    // On both sides of where it stands.
    let stands = "2026-11-26T10:00:07.0000007Z";
    let (from, until) = ("2026-11-26T09:00:00Z", "2026-11-26T11:05:00Z");
    assert_eq!(
        times(&every("40m"), stands, from, until),
        [
            "09:20:07.000000700",
            "10:00:07.000000700",
            "10:40:07.000000700"
        ]
    );
    // After the first instant, and up to the last.
    let (from, until) = ("2026-11-26T09:20:00Z", "2026-11-26T10:00:00Z");
    let stands = "2026-11-26T10:00:00Z";
    assert_eq!(times(&every("40m"), stands, from, until), ["10:00:00"]);
    let mut bounded = every("40m");
    bounded.starts = Some(at("2026-11-26T09:50:00Z"));
    let (from, until) = ("2026-11-26T08:00:00Z", "2026-11-26T11:00:00Z");
    let before = "2026-11-20T00:00:00Z";
    assert_eq!(
        times(&bounded, before, from, until),
        ["09:50:00", "10:30:00"]
    );
    let hourly = crontab("0 * * * *");
    assert_eq!(
        times(&hourly, stands, from, until),
        ["09:00:00", "10:00:00", "11:00:00"]
    );
}

#[test]
fn a_long_absence_is_decided_quickly_and_as_a_short_one() {
    let long_ago = since("2016-11-26T10:00:00Z");
    let now = "2026-11-26T15:30:30Z";
    let mut timing = every("1s");
    timing.missed = Missed::All(3);
    let decision = decide(&timing, &long_ago, now);
    assert_eq!(
        sent(&decision),
        ["26T15:30:28", "26T15:30:29", "26T15:30:30"]
    );
    assert_eq!(decision.left_out, 315_552_630 - 3);
    assert_eq!(decision.next.unwrap().at, at("2026-11-26T15:30:31Z"));
    let mut timing = crontab("* * * * *");
    timing.missed = Missed::All(2);
    let decision = decide(&timing, &long_ago, now);
    assert_eq!(sent(&decision), ["26T15:29:00", "26T15:30:00"]);
    // One that is rarer than the look back is looked at from its last run on.
    let mut timing = crontab("0 0 1 1 *");
    timing.missed = Missed::All(100);
    assert_eq!(decide(&timing, &long_ago, now).send.len(), 10);
}

#[test]
fn an_interval_keeps_its_row() {
    let timing = every("30s");
    let mut progress = since("2026-11-26T10:00:10Z");
    let mut now = at("2026-11-26T10:00:41.7Z");
    for expected in ["26T10:00:40", "26T10:01:10", "26T10:01:40"] {
        let decision = timing.decide(Uuid::nil(), &progress, now);
        assert_eq!(sent(&decision), [expected]);
        progress = decision.progress;
        now += TimeDelta::seconds(30);
    }
}

#[test]
fn start_end_and_number_of_runs_bound_a_schedule() {
    let mut timing = every("1h");
    timing.starts = Some(at("2026-11-26T12:15:00Z"));
    timing.ends = Some(at("2026-11-26T14:15:00Z"));
    timing.missed = Missed::All(100);
    let progress = since("2026-11-20T00:00:00Z");
    let first = timing.next(Uuid::nil(), &progress).unwrap().at;
    assert_eq!(first, at("2026-11-26T12:15:00Z"));
    let decision = decide(&timing, &progress, "2026-11-27T00:00:00Z");
    assert_eq!(
        sent(&decision),
        ["26T12:15:00", "26T13:15:00", "26T14:15:00"]
    );
    assert_eq!(decision.next, None);

    timing.max_runs = Some(2);
    let decision = decide(&timing, &progress, "2026-11-27T00:00:00Z");
    assert_eq!(sent(&decision), ["26T12:15:00", "26T13:15:00"]);
    assert_eq!((decision.next, decision.progress.runs), (None, 2));
    assert!(
        decide(&timing, &decision.progress, "2026-11-28T00:00:00Z")
            .send
            .is_empty()
    );

    let mut timing = crontab("0 12 * * *");
    timing.starts = Some(at("2026-11-26T12:00:00Z"));
    let first = timing.next(Uuid::nil(), &progress).unwrap().at;
    assert_eq!(first, at("2026-11-26T12:00:00Z"), "the start itself counts");
}

#[test]
fn a_clocked_schedule_runs_once_also_when_its_time_has_passed() {
    let due = at("2026-11-26T10:00:00Z");
    let timing = timing(Schedule::Clocked(due));
    let progress = Progress::new(&timing.schedule, at("2026-11-26T12:00:00Z"));
    let decision = decide(&timing, &progress, "2026-11-26T12:00:01Z");
    assert_eq!(
        (sent(&decision), decision.next),
        (vec!["26T10:00:00".to_owned()], None)
    );
    let later = decision
        .progress
        .resumed(&timing.schedule, at("2026-11-26T13:00:00Z"));
    assert!(
        decide(&timing, &later, "2026-11-26T14:00:00Z")
            .send
            .is_empty()
    );
}

#[test]
fn jitter_delays_each_run_alike_for_every_beat() {
    let mut timing = every("1h");
    timing.jitter = Duration::from_secs(600);
    let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let progress = since("2026-11-26T10:00:00Z");
    let next = timing.next(one, &progress).unwrap();
    assert_eq!(next.run.at, at("2026-11-26T11:00:00Z"));
    let delay = next.at - next.run.at;
    assert!(
        delay >= TimeDelta::zero() && delay < TimeDelta::seconds(600),
        "{delay}"
    );
    assert_eq!(timing.next(one, &progress).unwrap().at, next.at);
    assert_ne!(timing.next(other, &progress).unwrap().at, next.at);
    assert!(
        timing
            .decide(one, &progress, next.at - TimeDelta::milliseconds(1))
            .send
            .is_empty()
    );
    assert_eq!(timing.decide(one, &progress, next.at).send.len(), 1);
}

#[test]
fn a_clock_that_jumps_sends_nothing_twice_and_leaves_nothing_out() {
    let mut timing = every("10m");
    timing.missed = Missed::All(100);
    let mut progress = since("2026-11-26T10:00:00Z");
    let mut all = Vec::new();
    // An hour forth, then an hour back, then on as the clock goes.
    for now in [
        "2026-11-26T10:10:00Z",
        "2026-11-26T11:11:00Z",
        "2026-11-26T10:12:00Z",
        "2026-11-26T10:22:00Z",
        "2026-11-26T11:12:00Z",
        "2026-11-26T11:22:00Z",
    ] {
        let decision = decide(&timing, &progress, now);
        progress = decision.progress;
        all.extend(decision.send.into_iter().map(|run| run.at));
    }
    let mut row = Vec::new();
    let mut due = at("2026-11-26T10:10:00Z");
    while due <= at("2026-11-26T11:20:00Z") {
        row.push(due);
        due += TimeDelta::minutes(10);
    }
    assert_eq!(all, row);
}

#[test]
fn the_task_id_follows_from_schedule_and_due_time() {
    let due = at("2026-11-26T10:00:00Z");
    let id = task_id(Uuid::from_u128(7), due);
    assert_eq!(id, task_id(Uuid::from_u128(7), due));
    assert_ne!(id, task_id(Uuid::from_u128(8), due));
    assert_ne!(
        id,
        task_id(Uuid::from_u128(7), due + TimeDelta::microseconds(1))
    );
    assert_eq!(id.get_version_num(), 5);
}
