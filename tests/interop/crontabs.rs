//! When a crontab runs, asked of Celery's own `crontab` and of ours: equal, but for what the policy for clock changes says.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails where what it stands on is not there"
)]

use std::time::Duration;

use chrono::{DateTime, Datelike, MappedLocalTime, SecondsFormat, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use lovage_beat::{
    Remark,
    schedule::{Crontab, Interval, changes_between},
};
use lovage_integration_tests::{Python, RedisServer};
use serde_json::{Value, json};

/// Zones of every kind of clock change: none, an hour, half an hour, two hours, at midnight, backwards in summer.
const ZONES: [&str; 24] = [
    "UTC",
    "Europe/Zurich",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Dublin",
    "Europe/Istanbul",
    "America/New_York",
    "America/Los_Angeles",
    "America/St_Johns",
    "America/Sao_Paulo",
    "America/Havana",
    "America/Santiago",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Asia/Tokyo",
    "Asia/Beirut",
    "Asia/Tehran",
    "Africa/Cairo",
    "Africa/Casablanca",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Pacific/Auckland",
    "Pacific/Chatham",
    "Antarctica/Troll",
];

const CASES: usize = 10_000;
/// So many more right at clock changes, where most differences are.
const AT_CHANGES: usize = 2_000;

/// Asks Celery: of each crontab, zone and last run the next one.
const NEXT_RUNS: &str = r#"
    import json
    from datetime import datetime, timedelta, timezone
    from zoneinfo import ZoneInfo
    from celery.schedules import crontab, schedule
    def next_run(case):
        text, zone, last = case
        last = datetime.fromisoformat(last)
        made = crontab.from_string(text)
        made.tz = ZoneInfo(zone)
        made.nowfun = lambda: last
        try:
            remaining = made.remaining_estimate(last)
        except RuntimeError:
            return None
        return (last + remaining).timestamp()
    def relative(case):
        every, zone, last = case
        last = datetime.fromisoformat(last)
        made = schedule(timedelta(seconds=every), relative=True)
        made.tz = ZoneInfo(zone)
        made.nowfun = lambda: last.astimezone(made.tz)
        return (last + made.remaining_estimate(last.astimezone(made.tz))).timestamp()
    def each(function, path):
        with open(path) as cases:
            return [function(case) for case in json.load(cases)]
"#;

#[derive(Debug)]
struct Case {
    text: String,
    zone: Tz,
    last: DateTime<Utc>,
}

/// Random numbers that can be had again: a failure prints the seed.
struct Chance(fastrand::Rng);

impl Chance {
    fn number(&mut self, least: u32, most: u32) -> u32 {
        self.0.u32(least..=most)
    }

    fn part(&mut self, least: u32, most: u32) -> String {
        let (one, other) = (self.number(least, most), self.number(least, most));
        match self.0.u8(0..7) {
            0 | 1 => one.to_string(),
            2 => format!("{one}-{other}"),
            3 => format!("{one}-{other}/{}", self.number(1, 9)),
            4 => format!("*/{}", self.number(1, most)),
            _ => format!("{one},{other}"),
        }
    }

    fn field(&mut self, least: u32, most: u32, star: f64) -> String {
        if self.0.f64() < star {
            return "*".to_owned();
        }
        let parts: Vec<String> = (0..self.number(1, 2))
            .map(|_| self.part(least, most))
            .collect();
        parts.join(",")
    }

    fn crontab(&mut self) -> String {
        loop {
            let text = [
                self.field(0, 59, 0.2),
                self.field(0, 23, 0.4),
                self.field(1, 31, 0.6),
                self.field(1, 12, 0.7),
                self.field(0, 6, 0.6),
            ]
            .join(" ");
            if text.parse::<Crontab>().is_ok() {
                return text;
            }
        }
    }

    fn time(&mut self) -> DateTime<Utc> {
        let from = Utc
            .with_ymd_and_hms(2016, 1, 1, 0, 0, 0)
            .unwrap()
            .timestamp();
        let until = Utc
            .with_ymd_and_hms(2030, 1, 1, 0, 0, 0)
            .unwrap()
            .timestamp();
        let micros = i64::from(self.number(0, 1)) * i64::from(self.number(0, 999_999));
        DateTime::from_timestamp_micros(self.0.i64(from..until) * 1_000_000 + micros).unwrap()
    }

    fn zone(&mut self) -> Tz {
        let at = self.0.usize(..ZONES.len());
        ZONES[at].parse().unwrap()
    }

    /// Within hours of a clock change of a zone that has one.
    fn near_a_change(&mut self) -> (Tz, DateTime<Utc>) {
        loop {
            let (zone, at) = (self.zone(), self.time());
            let until = at + TimeDelta::days(40);
            if !changes_between(at, until, zone) {
                continue;
            }
            let (mut steady, mut changed) = (at, until);
            while changed - steady > TimeDelta::minutes(1) {
                let middle = steady + (changed - steady) / 2;
                if changes_between(at, middle, zone) {
                    changed = middle;
                } else {
                    steady = middle;
                }
            }
            let minutes = i64::from(self.number(0, 8 * 60)) - 4 * 60;
            return (zone, changed + TimeDelta::minutes(minutes));
        }
    }
}

fn ask(python: &mut Python, function: &str, cases: &[Value]) -> Vec<Option<DateTime<Utc>>> {
    let mut answers = Vec::with_capacity(cases.len());
    for portion in cases.chunks(2_000) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), serde_json::to_vec(portion).unwrap()).unwrap();
        let path = file.path().display().to_string();
        let told = python.eval(&format!("each({function}, {path:?})"));
        let told = told.as_array().unwrap().iter();
        answers.extend(told.map(|answer| instant(answer.as_f64()?)));
    }
    answers
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "it is a time of this century"
)]
fn instant(seconds: f64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros((seconds * 1e6).round() as i64)
}

fn text(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, false)
}

/// Whether the zone's clocks show this instant's time for the second time.
fn is_second_passing(at: DateTime<Utc>, zone: Tz) -> bool {
    let wall = at.with_timezone(&zone).naive_local();
    match zone.from_local_datetime(&wall) {
        MappedLocalTime::Ambiguous(one, other) => at == one.to_utc().max(other.to_utc()),
        _ => false,
    }
}

/// Whether this instant is one that the clocks left out since then, later by what they left out.
fn was_left_out(since: DateTime<Utc>, at: DateTime<Utc>, zone: Tz) -> bool {
    let ahead = |at: DateTime<Utc>| at.with_timezone(&zone).naive_local() - at.naive_utc();
    let skipped = ahead(at) - ahead(since);
    let wall = at.with_timezone(&zone).naive_local() - skipped;
    skipped > TimeDelta::zero() && zone.from_local_datetime(&wall) == MappedLocalTime::None
}

/// Why the policy for clock changes makes another run of it than Celery; nothing when it does not.
fn explained(
    case: &Case,
    ours: DateTime<Utc>,
    theirs: DateTime<Utc>,
    remark: Option<Remark>,
) -> Option<&'static str> {
    let Case { zone, last, .. } = *case;
    let (from, until) = (
        last - TimeDelta::days(2),
        ours.max(theirs) + TimeDelta::days(2),
    );
    if !changes_between(from, until, zone) {
        return None;
    }
    match remark {
        Some(Remark::SecondPassing { .. }) => {
            return Some("an hourly one runs on in the repeated hour");
        }
        Some(Remark::Shifted { .. }) if theirs > ours => {
            return Some(
                "each skipped time runs, Celery goes on from the wall clock after the gap",
            );
        }
        _ => {}
    }
    if ours < theirs && was_left_out(last, theirs, zone) {
        return Some("a time after the gap does not wait for one in it, which runs later");
    }
    if is_second_passing(theirs, zone) {
        return Some("fixed hours run at the first passing only");
    }
    if is_second_passing(last, zone) || theirs <= last {
        return Some("Celery reads a last run in the repeated hour as one of its first passing");
    }
    None
}

#[test]
fn ten_thousand_crontabs_run_when_celery_runs_them() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = Chance(fastrand::Rng::with_seed(seed));
    let mut cases = Vec::with_capacity(CASES + AT_CHANGES);
    for _ in 0..CASES {
        let (text, zone, last) = (chance.crontab(), chance.zone(), chance.time());
        cases.push(Case { text, zone, last });
    }
    for _ in 0..AT_CHANGES {
        let (zone, last) = chance.near_a_change();
        let text = format!(
            "{} {} * * *",
            chance.field(0, 59, 0.2),
            chance.field(0, 4, 0.4)
        );
        cases.push(Case { text, zone, last });
    }
    let redis = RedisServer::start();
    let mut python = Python::on(&redis);
    python.run(NEXT_RUNS);
    let asked: Vec<Value> = cases
        .iter()
        .map(|case| json!([case.text, case.zone.name(), text(case.last)]))
        .collect();
    let theirs = ask(&mut python, "next_run", &asked);
    let (mut equal, mut apart) = (0, std::collections::BTreeMap::<&str, usize>::new());
    for (case, theirs) in cases.iter().zip(theirs) {
        let crontab: Crontab = case.text.parse().unwrap();
        let run = crontab.next_after(case.last, case.zone);
        let (Some(run), Some(theirs)) = (run, theirs) else {
            // Celery gives up after 2,000 months, we after 60 years; a day that is so rare is asked for by nobody.
            assert!(
                theirs.is_none() || theirs.unwrap().year() > 2070,
                "{case:?}: {run:?}, Celery {theirs:?}"
            );
            continue;
        };
        if run.at == theirs {
            equal += 1;
            continue;
        }
        match explained(case, run.at, theirs, run.remark) {
            Some(why) => *apart.entry(why).or_default() += 1,
            None => panic!(
                "{case:?}: ours {} ({:?}), Celery's {theirs}",
                run.at, run.remark
            ),
        }
    }
    println!("equal: {equal}, apart: {apart:#?}");
    assert!(equal > CASES, "{equal}");
}

#[test]
fn relative_intervals_run_when_celery_runs_them() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut chance = Chance(fastrand::Rng::with_seed(seed));
    let mut cases = Vec::new();
    while cases.len() < 2_000 {
        let unit = [1, 60, 3_600, 86_400][chance.0.usize(..4)];
        let every = unit * u64::from(chance.number(1, 40));
        let (zone, last) = (chance.zone(), chance.time());
        let until = last + TimeDelta::seconds(i64::try_from(every).unwrap()) + TimeDelta::days(2);
        // Around clock changes Celery looks for boundaries in several ways; ours is the simple one (docs/beat.md).
        if !changes_between(last - TimeDelta::days(2), until, zone) {
            cases.push((every, zone, last));
        }
    }
    let redis = RedisServer::start();
    let mut python = Python::on(&redis);
    python.run(NEXT_RUNS);
    let asked: Vec<Value> = cases
        .iter()
        .map(|(every, zone, last)| json!([every, zone.name(), text(*last)]))
        .collect();
    let theirs = ask(&mut python, "relative", &asked);
    for ((every, zone, last), theirs) in cases.iter().zip(theirs) {
        let interval = Interval::new(Duration::from_secs(*every))
            .unwrap()
            .relative(true);
        let ours = interval.next_after(*last, *zone);
        assert_eq!(ours, theirs, "every {every} s in {zone} after {last}");
    }
}
