//! What is due now: a pure decision from a schedule's timing, what has become of it so far, and a given time.

use std::{collections::VecDeque, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::schedule::{Run, Schedule};

/// How late a run may be that is not to be made up for, when the schedule says nothing else.
pub const SKIP_AFTER: Duration = Duration::from_secs(60);
/// So many missed runs are made up for at most, when the schedule says nothing else.
pub const MOST_MISSED: u32 = 100;
/// Missed runs are looked for so far back first; only a schedule that has fewer in that time is looked at from its last on.
const LOOK_BACK: TimeDelta = TimeDelta::days(32);

/// Everything that decides when a schedule's task is sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Timing {
    /// What makes it run.
    pub schedule: Schedule,
    /// The zone on whose clocks crontabs are read.
    pub zone: Tz,
    /// No run is due before; an interval's first run is due then.
    pub starts: Option<DateTime<Utc>>,
    /// No run is due after.
    pub ends: Option<DateTime<Utc>>,
    /// After so many messages it has ended.
    pub max_runs: Option<u64>,
    /// Each run is sent later by up to so much, by chance that is the same for every beat.
    pub jitter: Duration,
    /// What becomes of runs that were due while no beat was up.
    pub missed: Missed,
    /// A run that is later than this is not sent any more (`beat_cron_starting_deadline`).
    pub deadline: Option<Duration>,
}

/// What becomes of runs that were due while no beat was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Missed {
    /// The last of them is sent, however late: Celery's way.
    #[default]
    Once,
    /// They are left out. The last is still sent within the deadline, by default a minute: a change of leaders misses nothing.
    Skip,
    /// Each is sent, up to so many of the last ones.
    All(u32),
}

/// What has become of a schedule so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Every run due up to then is decided.
    pub decided: DateTime<Utc>,
    /// When the last run was due that was sent.
    pub last_run: Option<DateTime<Utc>>,
    /// So many messages were sent.
    pub runs: u64,
    /// Each run that was due after this and is decided was sent: what people need not make up for. Not every store keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gapless: Option<DateTime<Utc>>,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The runs to send, the first due first.
    pub send: Vec<Run>,
    /// So many runs were due and are not sent; after a long absence there may have been more.
    pub left_out: u64,
    /// What has become of the schedule once they are sent.
    pub progress: Progress,
    /// When to look again; `None`: nothing will ever be due.
    pub next: Option<Next>,
}

/// The next run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The run.
    pub run: Run,
    /// When it is sent: when it is due, and its jitter later.
    pub at: DateTime<Utc>,
}

impl Progress {
    /// A schedule that is new at `now`. What was due before is not its business, but for a clocked one: the instant was
    /// asked for.
    pub fn new(schedule: &Schedule, now: DateTime<Utc>) -> Self {
        let decided = match schedule {
            Schedule::Clocked(at) => now.min(just_before(*at)),
            _ => now,
        };
        Self {
            decided,
            last_run: None,
            runs: 0,
            gapless: Some(decided),
        }
    }

    /// Of a time that was made up for: every run from the first instant to the last was sent.
    pub(crate) fn filled((first, last): (DateTime<Utc>, DateTime<Utc>)) -> Self {
        Self {
            decided: last,
            last_run: Some(last),
            runs: 0,
            gapless: Some(just_before(first)),
        }
    }

    /// The same, once the schedule was changed or resumed at `now`: what was due before is not made up for.
    #[must_use]
    pub fn resumed(self, schedule: &Schedule, now: DateTime<Utc>) -> Self {
        let fresh = Self::new(schedule, now);
        let already = matches!(schedule, Schedule::Clocked(at) if self.last_run == Some(*at));
        let decided = if already { now } else { fresh.decided };
        Self {
            decided,
            gapless: Some(decided),
            ..self
        }
    }
}

/// The id of the task that a run sends: the same whoever derives it, so that a run has one message only.
pub fn task_id(schedule: Uuid, due: DateTime<Utc>) -> Uuid {
    Uuid::new_v5(&schedule, due.timestamp_micros().to_string().as_bytes())
}

impl Timing {
    /// What is due at `now`.
    pub fn decide(&self, schedule: Uuid, progress: &Progress, now: DateTime<Utc>) -> Decision {
        let mut progress = *progress;
        let (due, seen) = self.due(schedule, &progress, now);
        let last_due = due.back().map(|run| run.at);
        let deadline = match self.missed {
            Missed::Skip => Some(self.deadline.unwrap_or(SKIP_AFTER)),
            _ => self.deadline,
        };
        let in_time = |run: &Run| {
            let late = (now - self.send_at(schedule, *run))
                .to_std()
                .unwrap_or_default();
            deadline.is_none_or(|deadline| late <= deadline)
        };
        let rest = self
            .max_runs
            .map_or(u64::MAX, |most| most.saturating_sub(progress.runs));
        let send: Vec<Run> = due
            .iter()
            .copied()
            .filter(in_time)
            .take(usize::try_from(rest).unwrap_or(usize::MAX))
            .collect();
        let sent = u64::try_from(send.len()).unwrap_or(u64::MAX);
        if sent < seen {
            progress.gapless = after_gaps(&due, &send).or(progress.gapless);
        } else if sent > 0 {
            progress.gapless = progress.gapless.or(Some(progress.decided));
        }
        progress.runs = progress.runs.saturating_add(sent);
        progress.last_run = send.last().map(|run| run.at).or(progress.last_run);
        progress.decided = last_due.unwrap_or(progress.decided);
        Decision {
            left_out: seen - sent,
            next: self.next(schedule, &progress),
            send,
            progress,
        }
    }

    /// The next run that is not decided yet.
    pub fn next(&self, schedule: Uuid, progress: &Progress) -> Option<Next> {
        if self.max_runs.is_some_and(|most| progress.runs >= most) {
            return None;
        }
        let run = self.run_after(self.base(progress.decided))?;
        Some(Next {
            run,
            at: self.send_at(schedule, run),
        })
    }

    /// The runs after an instant and up to another that lie in the row on which the schedule stands: an interval counts from one
    /// of its runs, in both directions.
    pub fn between(
        &self,
        progress: &Progress,
        (after, until): (DateTime<Utc>, DateTime<Utc>),
    ) -> impl Iterator<Item = Run> {
        let first = self.in_row(progress.decided, after).unwrap_or(after);
        self.upcoming(first)
            .skip_while(move |run| run.at <= after)
            .take_while(move |run| run.at <= until)
    }

    /// The last instant of an interval's row that is not after another, if it can be counted.
    fn in_row(&self, one: DateTime<Utc>, not_after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let Schedule::Interval(interval) = &self.schedule else {
            return None;
        };
        if interval.is_relative() {
            return None;
        }
        let one = self.base(one);
        let every = i64::try_from(interval.every().as_nanos()).ok()?;
        let steps = (not_after - one).num_nanoseconds()?.div_euclid(every);
        one.checked_add_signed(TimeDelta::nanoseconds(steps.checked_mul(every)?))
    }

    /// The runs after an instant, as they would be due without any jitter.
    pub fn upcoming(&self, after: DateTime<Utc>) -> impl Iterator<Item = Run> {
        let mut last = self.base(after);
        std::iter::from_fn(move || {
            let run = self.run_after(last)?;
            last = run.at;
            Some(run)
        })
    }

    fn run_after(&self, last: DateTime<Utc>) -> Option<Run> {
        let run = self.schedule.next_after(last, self.zone)?;
        self.ends.is_none_or(|ends| run.at <= ends).then_some(run)
    }

    /// From where on runs are looked for: what is decided, or the start.
    fn base(&self, decided: DateTime<Utc>) -> DateTime<Utc> {
        let Some(starts) = self.starts else {
            return decided;
        };
        let before_start = match &self.schedule {
            Schedule::Interval(interval) if !interval.is_relative() => {
                let every = TimeDelta::from_std(interval.every()).unwrap_or_default();
                starts.checked_sub_signed(every).unwrap_or(starts)
            }
            _ => just_before(starts),
        };
        if decided >= starts {
            decided
        } else {
            before_start
        }
    }

    fn send_at(&self, schedule: Uuid, run: Run) -> DateTime<Utc> {
        let micros = self.jitter.as_micros();
        if micros == 0 {
            return run.at;
        }
        let chance = task_id(schedule, run.at).as_u128() % micros;
        let chance = i64::try_from(chance).unwrap_or_default();
        run.at
            .checked_add_signed(TimeDelta::microseconds(chance))
            .unwrap_or(run.at)
    }

    /// The last runs that are due, as many as may be sent, and how many were seen.
    fn due(&self, schedule: Uuid, progress: &Progress, now: DateTime<Utc>) -> (VecDeque<Run>, u64) {
        if self.max_runs.is_some_and(|most| progress.runs >= most) {
            return (VecDeque::new(), 0);
        }
        let most = match self.missed {
            Missed::Once | Missed::Skip => 1,
            Missed::All(most) => usize::try_from(most.max(1)).unwrap_or(usize::MAX),
        };
        let base = self.base(progress.decided);
        let leapt = self.leap(base, now, most);
        let near = now
            .checked_sub_signed(LOOK_BACK)
            .filter(|near| leapt.is_none() && *near > base);
        if let Some(near) = near {
            let (due, seen) = self.collect(schedule, near, now, most);
            if due.len() == most {
                return (due, seen);
            }
        }
        let (from, passed) = leapt.unwrap_or((base, 0));
        let (due, seen) = self.collect(schedule, from, now, most);
        (due, seen + passed)
    }

    /// For an interval that has run many times: a later base, and how many runs lie before it.
    fn leap(
        &self,
        base: DateTime<Utc>,
        now: DateTime<Utc>,
        most: usize,
    ) -> Option<(DateTime<Utc>, u64)> {
        let Schedule::Interval(interval) = &self.schedule else {
            return None;
        };
        let until = self.ends.map_or(now, |ends| ends.min(now));
        // What its jitter keeps back is not due yet.
        let until = until - TimeDelta::from_std(self.jitter).unwrap_or_default();
        let (last, count) = interval.leap(base, until)?;
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        let passed = count.checked_sub(most).filter(|passed| *passed > 0)?;
        let every = TimeDelta::from_std(interval.every()).ok()?;
        let back = i32::try_from(most).ok()?;
        Some((last - every * back, passed))
    }

    fn collect(
        &self,
        schedule: Uuid,
        from: DateTime<Utc>,
        now: DateTime<Utc>,
        most: usize,
    ) -> (VecDeque<Run>, u64) {
        let (mut due, mut seen, mut last) = (VecDeque::new(), 0, from);
        while let Some(run) = self.run_after(last) {
            if self.send_at(schedule, run) > now {
                break;
            }
            if due.len() == most {
                due.pop_front();
            }
            due.push_back(run);
            seen += 1;
            last = run.at;
        }
        (due, seen)
    }
}

/// From when on everything that was due was sent, when not all of it was.
fn after_gaps(due: &VecDeque<Run>, sent: &[Run]) -> Option<DateTime<Utc>> {
    let last = due.back()?;
    let together = due.iter().rev().zip(sent.iter().rev());
    let row = together.take_while(|(due, sent)| due == sent).last();
    Some(row.map_or(last.at, |(first, _)| just_before(first.at)))
}

fn just_before(at: DateTime<Utc>) -> DateTime<Utc> {
    at.checked_sub_signed(TimeDelta::microseconds(1))
        .unwrap_or(at)
}

#[cfg(test)]
mod tests;
