//! What Celery 5.7 and ephem 4.2 computed (`scripts/record-fixtures` of the wire notes).

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde_json::Value;

use super::super::{
    Crontab, Solar, SolarEvent,
    field::{DAY_OF_MONTH, DAY_OF_WEEK, Field, HOUR, Kind, MINUTE, MONTH_OF_YEAR},
};

fn decoded(capture: &str) -> Value {
    let mut capture: Value = serde_json::from_str(capture).unwrap();
    capture["decoded"].take()
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field]
        .as_str()
        .unwrap_or_else(|| panic!("{field} of {row}"))
}

fn time(row: &Value, field: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(text(row, field))
        .unwrap()
        .to_utc()
}

/// Python's `int` and a search that does not look at the end of a text accept them; nobody writes them on purpose.
const NOT_OFFERED: [&str; 4] = ["1-2-3", "mon#2", "٣", "1_0"];

#[test]
fn fields_are_read_as_celery_reads_them() {
    let vectors = decoded(include_str!(
        "../../../tests/captures/09-vectors-crontab-fields.json"
    ));
    for row in vectors["fields"].as_array().unwrap() {
        let kind: Kind = match (row["max"].as_u64(), row["min"].as_u64()) {
            (Some(60), _) => MINUTE,
            (Some(24), _) => HOUR,
            (Some(7), _) => DAY_OF_WEEK,
            (Some(31), _) => DAY_OF_MONTH,
            (Some(12), _) => MONTH_OF_YEAR,
            other => panic!("{other:?}"),
        };
        let spec = text(row, "spec");
        let read = Field::parse(kind, spec);
        match row["values"].as_array() {
            Some(values) if !NOT_OFFERED.contains(&spec) => {
                let read: Vec<u64> = read.unwrap().numbers().map(Into::into).collect();
                let theirs: Vec<u64> = values.iter().map(|value| value.as_u64().unwrap()).collect();
                assert_eq!(read, theirs, "{spec}");
            }
            _ => assert!(read.is_err(), "{spec} is no {}", kind.name),
        }
    }
}

#[test]
fn a_crontab_that_cannot_be_is_refused_with_its_field() {
    let check = |text: &str, words: &str| {
        let error = Crontab::from_str(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    };
    check(
        "0 0 30 2 *",
        "day_of_month \"30\" never occurs in month_of_year \"2\"",
    );
    check("0 0 31 2,4 *", "never occurs");
    check("60 * * * *", "minute \"60\": 60 is above 59");
    check("* 24 * * *", "hour");
    check("* * 0 * *", "day_of_month \"0\": 0 is below 1");
    check("* * * 13 *", "month_of_year");
    check("* * * * 7", "day_of_week \"7\": 7 is above 6 (Sunday is 0)");
    check("1/5 * * * *", "a step needs * or a range");
    check("*/0 * * * *", "no number above 0");
    check("-1 * * * *", "negative");
    check("* * L * *", "neither a number nor the name");
    check("* * * *", "4 fields");
    check("*  * * * *", "6 fields");
    Crontab::from_str("0 0 29 2 *").expect("there are leap years");
}

#[test]
fn fields_are_kept_as_they_are_written() {
    let crontab = Crontab::new("0, 30", "*/2", "1-7", "*", "MON-fri").unwrap();
    assert_eq!(crontab.to_string(), "0,30 */2 1-7 * MON-fri");
    assert_eq!(Crontab::from_str(&crontab.to_string()), Ok(crontab));
}

#[test]
fn next_runs_are_celery_s() {
    let vectors = decoded(include_str!(
        "../../../tests/captures/09-vectors-crontab-next.json"
    ));
    let mut compared = 0;
    for row in vectors.as_array().unwrap() {
        let zone: Tz = text(row, "tz").parse().unwrap();
        let field = |name: &str| row["crontab"][name].as_str().unwrap_or("*").to_owned();
        let crontab = Crontab::new(
            &field("minute"),
            &field("hour"),
            &field("day_of_month"),
            &field("month_of_year"),
            &field("day_of_week"),
        )
        .unwrap();
        for run in row["runs"].as_array().unwrap() {
            let (last, theirs) = (time(run, "last"), time(run, "next_utc"));
            let ours = crontab.next_after(last, zone).unwrap().at;
            // Where the clocks repeat an hour, Celery passes over it; a crontab of every hour does not (see the ADR).
            let repeated = theirs - last > TimeDelta::minutes(60) && crontab.is_every_hour();
            let expected = match repeated {
                false => theirs,
                true if field("minute") == "0" => last + TimeDelta::minutes(60),
                true => last + TimeDelta::minutes(20),
            };
            assert_eq!(ours, expected, "{crontab} in {zone} after {last}");
            compared += 1;
        }
    }
    assert!(compared > 70, "{compared}");
}

#[test]
fn the_sun_is_where_ephem_sees_it() {
    let vectors = decoded(include_str!(
        "../../../tests/captures/09-vectors-solar.json"
    ));
    for row in vectors.as_array().unwrap() {
        let number = |field: &str| row[field].as_f64().unwrap();
        let event = SolarEvent::from_str(text(row, "event")).unwrap();
        let solar = Solar::new(event, number("lat"), number("lon")).unwrap();
        let (after, theirs) = (time(row, "after"), time(row, "next"));
        let ours = solar.next_after(after).unwrap();
        let apart = (ours - theirs).abs();
        assert!(
            apart <= TimeDelta::seconds(5),
            "{row}: {ours}, {apart} apart"
        );
        // The next one is another day's.
        let following = solar.next_after(ours).unwrap();
        assert!(
            following - ours > TimeDelta::hours(20),
            "{event}: {ours}, then {following}"
        );
    }
}

#[test]
fn a_place_or_event_that_cannot_be_is_refused() {
    let refused = |event: &str| SolarEvent::from_str(event).unwrap_err().to_string();
    assert!(refused("teatime").contains("solar_noon"));
    assert!(Solar::new(SolarEvent::Sunset, 90.5, 0.0).is_err());
    assert!(Solar::new(SolarEvent::Sunset, 0.0, f64::NAN).is_err());
}
