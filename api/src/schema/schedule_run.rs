//! Runs of schedules: those to come, and those that were sent.

use chrono::{DateTime, Utc};
use lovage_beat::{
    Draft, DraftFaults, Run, SolarDraft, Timing, WithUnit,
    store::{Cause, TickRecord},
};
use lovage_settings::parse_duration;
use poem_openapi::{Enum, Object};

use super::schedule::{SolarBody, written};

/// Times of which the runs are wanted, before anything is saved. Exactly one of `crontab`, `every`, `solar` and `at` is given.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "ScheduleTimes", deny_unknown_fields)]
pub(crate) struct PreviewWish {
    /// As in a schedule.
    #[oai(validator(max_length = 500))]
    pub(crate) crontab: Option<String>,
    /// As in a schedule.
    #[oai(validator(max_length = 50))]
    pub(crate) every: Option<String>,
    /// As in a schedule.
    pub(crate) relative: Option<bool>,
    /// As in a schedule.
    pub(crate) solar: Option<SolarBody>,
    /// As in a schedule.
    pub(crate) at: Option<DateTime<Utc>>,
    /// As in a schedule.
    #[oai(validator(max_length = 100))]
    pub(crate) timezone: Option<String>,
    /// As in a schedule.
    pub(crate) start: Option<DateTime<Utc>>,
    /// As in a schedule.
    pub(crate) end: Option<DateTime<Utc>>,
    /// The runs after this instant; by default now.
    pub(crate) after: Option<DateTime<Utc>>,
    /// So many; 10 by default.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000")))]
    pub(crate) count: Option<usize>,
}

impl PreviewWish {
    /// A schedule that runs then, and sends nothing.
    pub(crate) fn draft(self) -> Result<Draft, DraftFaults> {
        let mut draft = Draft::new("preview", "preview");
        let mut faults = DraftFaults::of(&draft);
        if let Some(text) = self.every {
            match parse_duration(&text) {
                Ok(every) => draft.every = Some(WithUnit(every)),
                Err(problem) => faults.push("every", problem),
            }
        }
        draft.crontab = self.crontab;
        draft.relative = self.relative.unwrap_or_default();
        draft.solar = self.solar.map(SolarDraft::from);
        draft.at = self.at.map(written);
        draft.timezone = self.timezone;
        draft.start = self.start.map(written);
        draft.end = self.end.map(written);
        faults.unless_any(draft)
    }
}

/// One run to come.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "ScheduleRun")]
pub(crate) struct RunToCome {
    /// When it is due.
    pub(crate) at: DateTime<Utc>,
    /// The same on the clocks of its zone.
    pub(crate) local: String,
    /// What a change of the clocks does to it, if one does.
    pub(crate) remark: Option<String>,
}

/// Runs to come, without any jitter.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "SchedulePreview")]
pub(crate) struct Preview {
    /// The first due first; fewer than were asked for when there are no more.
    pub(crate) runs: Vec<RunToCome>,
}

impl Preview {
    pub(crate) fn of(timing: &Timing, after: DateTime<Utc>, count: usize) -> Self {
        let shown = |run: Run| RunToCome {
            at: run.at,
            local: run.at.with_timezone(&timing.zone).to_rfc3339(),
            remark: run.remark.map(|remark| remark.to_string()),
        };
        Self {
            runs: timing.upcoming(after).take(count).map(shown).collect(),
        }
    }
}

/// Why a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum TickCause {
    /// It was due.
    Due,
    /// Somebody wanted it at once.
    Now,
    /// Somebody wanted the runs of a time that has passed.
    Backfill,
}

/// One message that a schedule has sent.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "ScheduleTick")]
pub(crate) struct TickShown {
    /// When it was due.
    pub(crate) due: DateTime<Utc>,
    /// When it was sent.
    pub(crate) sent: DateTime<Utc>,
    /// The Celery id of its task.
    pub(crate) task_id: String,
    /// Why it was sent.
    pub(crate) cause: TickCause,
    /// So many runs before it were due and left out.
    pub(crate) left_out: u64,
    /// The state of its task as the result store has it, or else as it is recorded; null for what the platform does without a worker.
    pub(crate) state: Option<String>,
}

impl TickShown {
    pub(crate) fn of(record: &TickRecord, state: Option<String>) -> Self {
        Self {
            due: record.due,
            sent: record.sent,
            task_id: record.task_id.to_string(),
            cause: match record.cause {
                Cause::Now => TickCause::Now,
                Cause::Backfill => TickCause::Backfill,
                _ => TickCause::Due,
            },
            left_out: record.left_out,
            state,
        }
    }
}

/// What a schedule has sent, the newest first.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "ScheduleHistory")]
pub(crate) struct TickList {
    /// One for each message.
    pub(crate) ticks: Vec<TickShown>,
    /// Gets the next page; null on the last.
    pub(crate) next: Option<String>,
}

/// What is sent now.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "ScheduleSent")]
pub(crate) struct SentRun {
    /// When it was due.
    pub(crate) due: DateTime<Utc>,
    /// The Celery id of its task.
    pub(crate) task_id: String,
}

impl SentRun {
    pub(crate) fn of(record: &TickRecord) -> Self {
        Self {
            due: record.due,
            task_id: record.task_id.to_string(),
        }
    }
}

/// A time whose runs are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct Backfill {
    /// The runs that were due after this instant.
    pub(crate) from: DateTime<Utc>,
    /// And up to this one.
    pub(crate) until: DateTime<Utc>,
}

/// What is sent of a time that has passed, the first due first. What was sent before is not among it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(crate) struct Backfilled {
    /// So many.
    pub(crate) sent: usize,
    /// Each of them.
    pub(crate) runs: Vec<SentRun>,
}
