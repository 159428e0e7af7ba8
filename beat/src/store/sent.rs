//! What is known to have been sent of a schedule, where not every tick has a row: by the spans of its past, and by the last records.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::TickRecord;
use crate::{check::Defaults, draft::Draft, due::Progress};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sent {
    ids: HashSet<Uuid>,
    /// Times of which every run was sent: after the first instant, and up to the second.
    whole: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// When runs of a schedule were due that ran at other times then, in microseconds.
    due: HashSet<i64>,
}

impl Sent {
    /// These were.
    pub(super) fn add(&mut self, records: &[TickRecord]) {
        self.ids.extend(records.iter().map(|record| record.task_id));
    }

    /// What a schedule sent while it was `then`, as far as it matters to what it is `now` and to a time.
    pub(super) fn add_span(
        &mut self,
        then: &Draft,
        progress: &Progress,
        now: &Draft,
        (first, last): (DateTime<Utc>, DateTime<Utc>),
        defaults: &Defaults,
    ) {
        let Some(since) = progress.gapless else {
            return;
        };
        if since >= last || progress.decided < first {
            return;
        }
        if then.same_times(now) {
            self.whole.push((since, progress.decided));
        } else if let Ok(timing) = then.timing(defaults) {
            let time = (since, progress.decided.min(last));
            let runs = timing.between(progress, time);
            let runs = runs.skip_while(|run| run.at < first);
            self.due.extend(runs.map(|run| run.at.timestamp_micros()));
        }
    }

    /// Whether this run was.
    pub(super) fn has(&self, run: &TickRecord) -> bool {
        self.ids.contains(&run.task_id)
            || self.due.contains(&run.due.timestamp_micros())
            || self
                .whole
                .iter()
                .any(|(after, until)| run.due > *after && run.due <= *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{due::task_id, store::Cause};

    fn at(text: &str) -> DateTime<Utc> {
        crate::instant(&format!("2026-11-{text}:00Z")).unwrap()
    }

    fn hourly(crontab: &str) -> Draft {
        let mut draft = Draft::new("x", "t");
        draft.crontab = Some(crontab.to_owned());
        draft
    }

    fn run(due: &str) -> TickRecord {
        TickRecord {
            due: at(due),
            sent: at(due),
            task_id: task_id(Uuid::nil(), at(due)),
            cause: Cause::Backfill,
            left_out: 0,
        }
    }

    fn progress(gapless: Option<&str>, decided: &str) -> Progress {
        Progress {
            decided: at(decided),
            last_run: None,
            runs: 0,
            gapless: gapless.map(at),
        }
    }

    #[test]
    fn a_span_says_of_its_own_runs_that_they_were_sent() {
        let now = hourly("0 * * * *");
        let time = (at("26T08:00"), at("26T12:00"));
        let check = |then: &Draft, progress: Progress, expected: &[&str]| {
            let mut sent = Sent::default();
            sent.add_span(then, &progress, &now, time, &Defaults::default());
            let runs = ["26T08:00", "26T09:00", "26T10:00", "26T11:00", "26T12:00"];
            let found: Vec<&str> = runs.into_iter().filter(|due| sent.has(&run(due))).collect();
            assert_eq!(found, expected, "{then:?} {progress:?}");
        };
        check(&now, progress(None, "26T12:00"), &[]);
        check(
            &now,
            progress(Some("26T08:00"), "26T10:30"),
            &["26T09:00", "26T10:00"],
        );
        check(&now, progress(Some("20T00:00"), "26T07:59"), &[]);
        check(&now, progress(Some("26T12:00"), "27T00:00"), &[]);
        // It had other times then: only those that are the same are known.
        let other = hourly("0,30 */2 * * *");
        check(
            &other,
            progress(Some("26T08:00"), "26T12:00"),
            &["26T10:00", "26T12:00"],
        );
        let mut interval = Draft::new("x", "t");
        interval.every = Some(crate::WithUnit(std::time::Duration::from_secs(3 * 3600)));
        // Its row stands on where it stood.
        check(
            &interval,
            progress(Some("25T00:00"), "26T23:00"),
            &["26T08:00", "26T11:00"],
        );
    }

    #[test]
    fn what_is_recorded_was_sent() {
        let mut sent = Sent::default();
        sent.add(&[run("26T08:00")]);
        assert!(sent.has(&run("26T08:00")) && !sent.has(&run("26T09:00")));
    }
}
