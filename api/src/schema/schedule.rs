//! Periodic tasks: schedules as they are written down, and how they stand.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, Utc};
use lovage_beat::{
    Defaults, Draft, DraftFaults, Kind, SolarDraft, Standing, WithUnit,
    store::{Source, Stored},
};
use lovage_settings::parse_duration;
use poem_openapi::{Enum, Object};
use serde_json::Value;
use uuid::Uuid;

/// What the sun does.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Solar", deny_unknown_fields)]
pub(crate) struct SolarBody {
    /// One of Celery's events, such as `sunset`.
    pub(crate) event: String,
    /// In degrees north of the equator.
    pub(crate) latitude: f64,
    /// In degrees east of Greenwich.
    pub(crate) longitude: f64,
}

impl From<SolarBody> for SolarDraft {
    fn from(solar: SolarBody) -> Self {
        Self {
            event: solar.event,
            latitude: solar.latitude,
            longitude: solar.longitude,
        }
    }
}

/// What becomes of runs that were due while no beat was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum MissedRuns {
    /// The last of them is sent.
    Once,
    /// None is sent.
    Skip,
    /// Each is sent, up to `max_missed`.
    All,
}

/// A schedule as it is written down. Exactly one of `crontab`, `every`, `solar` and `at` says when it runs. Durations are texts with
/// their unit, such as `5m` or `1h30m`.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "ScheduleDefinition", deny_unknown_fields)]
pub(crate) struct DefinitionBody {
    /// The name of the task that it sends.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub(crate) task: String,
    /// `minute hour day_of_month month_of_year day_of_week`, with Celery's meaning: all five must match.
    #[oai(validator(max_length = 500))]
    pub(crate) crontab: Option<String>,
    /// So much time between two runs.
    #[oai(validator(max_length = 50))]
    pub(crate) every: Option<String>,
    /// With `every`: runs are rounded down to its unit, as Celery's `relative`.
    pub(crate) relative: Option<bool>,
    /// What the sun does.
    pub(crate) solar: Option<SolarBody>,
    /// Once, at this instant.
    pub(crate) at: Option<DateTime<Utc>>,
    /// The IANA zone on whose clocks it runs; by default that of the settings.
    #[oai(validator(max_length = 100))]
    pub(crate) timezone: Option<String>,
    /// Positional arguments.
    pub(crate) args: Option<Vec<Value>>,
    /// Keyword arguments.
    pub(crate) kwargs: Option<BTreeMap<String, Value>>,
    /// The queue; by default what the task or the routes say.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub(crate) queue: Option<String>,
    /// An exchange to send to, instead of a queue.
    #[oai(validator(min_length = 1, max_length = 255))]
    pub(crate) exchange: Option<String>,
    /// The routing key for the exchange.
    #[oai(validator(max_length = 255))]
    pub(crate) routing_key: Option<String>,
    /// On Redis 0 is served first and 9 last.
    #[oai(validator(minimum(value = "0"), maximum(value = "255")))]
    pub(crate) priority: Option<i64>,
    /// User headers.
    pub(crate) headers: Option<BTreeMap<String, Value>>,
    /// How long after it is sent a message is still worth running.
    #[oai(validator(max_length = 50))]
    pub(crate) expires: Option<String>,
    /// No run is due before; an interval's first run is due then.
    pub(crate) start: Option<DateTime<Utc>>,
    /// No run is due after.
    pub(crate) end: Option<DateTime<Utc>>,
    /// Whether it runs at all; true by default.
    pub(crate) enabled: Option<bool>,
    /// After so many runs it has ended.
    #[oai(validator(minimum(value = "1")))]
    pub(crate) max_runs: Option<u64>,
    /// Each run is sent later by up to so much.
    #[oai(validator(max_length = 50))]
    pub(crate) jitter: Option<String>,
    /// What becomes of runs that were due while no beat was up; `once` by default.
    pub(crate) missed: Option<MissedRuns>,
    /// With `missed` as `all`: so many of them at most; 100 by default.
    #[oai(validator(minimum(value = "1")))]
    pub(crate) max_missed: Option<u32>,
    /// A run that is later than this is not sent any more.
    #[oai(validator(max_length = 50))]
    pub(crate) deadline: Option<String>,
    /// What it is for.
    #[oai(validator(max_length = 2000))]
    pub(crate) description: Option<String>,
    /// The task is not checked: only Python workers know it.
    pub(crate) unchecked: Option<bool>,
}

impl DefinitionBody {
    /// As beat knows it.
    ///
    /// # Errors
    /// Every duration that is none, each with its field.
    pub(crate) fn draft(self, name: String) -> Result<Draft, DraftFaults> {
        let mut draft = Draft::new(name, self.task);
        let mut faults = DraftFaults::of(&draft);
        let mut duration = |field: &str, text: Option<String>| {
            let read = parse_duration(&text?).map(WithUnit);
            read.map_err(|problem| faults.push(field, problem)).ok()
        };
        draft.every = duration("every", self.every);
        draft.expires = duration("expires", self.expires);
        draft.jitter = duration("jitter", self.jitter);
        draft.deadline = duration("deadline", self.deadline);
        draft.crontab = self.crontab;
        draft.relative = self.relative.unwrap_or_default();
        draft.solar = self.solar.map(SolarDraft::from);
        draft.at = self.at.map(written);
        draft.timezone = self.timezone;
        draft.args = self.args.unwrap_or_default();
        draft.kwargs = self.kwargs.into_iter().flatten().collect();
        draft.queue = self.queue;
        draft.exchange = self.exchange;
        draft.routing_key = self.routing_key;
        draft.priority = self.priority;
        draft.headers = self.headers.into_iter().flatten().collect();
        draft.start = self.start.map(written);
        draft.end = self.end.map(written);
        draft.enabled = self.enabled.unwrap_or(true);
        draft.max_runs = self.max_runs;
        draft.missed = self.missed.map(|missed| missed.name().to_owned());
        draft.max_missed = self.max_missed;
        draft.description = self.description;
        draft.unchecked = self.unchecked.unwrap_or_default();
        faults.unless_any(draft)
    }

    fn of(draft: &Draft) -> Self {
        let Draft {
            name: _,
            task,
            crontab,
            every,
            relative,
            solar,
            at,
            timezone,
            args,
            kwargs,
            queue,
            exchange,
            routing_key,
            priority,
            headers,
            expires,
            start,
            end,
            enabled,
            max_runs,
            jitter,
            missed,
            max_missed,
            deadline,
            description,
            unchecked,
        } = draft.clone();
        let text = |duration: Option<WithUnit>| duration.map(|duration| duration.to_string());
        let instant = |text: Option<String>| text.and_then(|text| lovage_beat::instant(&text).ok());
        Self {
            task,
            crontab,
            every: text(every),
            relative: relative.then_some(true),
            solar: solar.map(|solar| SolarBody {
                event: solar.event,
                latitude: solar.latitude,
                longitude: solar.longitude,
            }),
            at: instant(at),
            timezone,
            args: (!args.is_empty()).then_some(args),
            kwargs: (!kwargs.is_empty()).then(|| kwargs.into_iter().collect()),
            queue,
            exchange,
            routing_key,
            priority,
            headers: (!headers.is_empty()).then(|| headers.into_iter().collect()),
            expires: text(expires),
            start: instant(start),
            end: instant(end),
            enabled: Some(enabled),
            max_runs,
            jitter: text(jitter),
            missed: missed.as_deref().and_then(MissedRuns::read),
            max_missed,
            deadline: text(deadline),
            description,
            unchecked: unchecked.then_some(true),
        }
    }
}

/// As a draft has instants.
pub(super) fn written(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

impl MissedRuns {
    fn name(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Skip => "skip",
            Self::All => "all",
        }
    }

    fn read(text: &str) -> Option<Self> {
        [Self::Once, Self::Skip, Self::All]
            .into_iter()
            .find(|missed| missed.name() == text)
    }
}

/// A schedule to be made.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(deny_unknown_fields)]
pub(crate) struct NewSchedule {
    /// Its name, by which it is known; not taken yet.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub(crate) name: String,
    /// When it runs and what it sends.
    pub(crate) definition: DefinitionBody,
}

/// Who declared a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum ScheduleSource {
    /// Made by hand, here or with `lovage schedule`.
    Database,
    /// `schedule.toml`; it follows that file.
    File,
    /// The program, beside its task; it follows the program.
    Code,
    /// Taken over from another scheduler; from then on as if made by hand.
    Import,
    /// The platform itself; its times may be changed.
    Builtin,
}

impl ScheduleSource {
    fn of(source: Source) -> Self {
        match source {
            Source::File => Self::File,
            Source::Code => Self::Code,
            Source::Import => Self::Import,
            Source::Builtin => Self::Builtin,
            _ => Self::Database,
        }
    }

    pub(crate) fn source(self) -> Source {
        match self {
            Self::Database => Source::Database,
            Self::File => Source::File,
            Self::Code => Source::Code,
            Self::Import => Source::Import,
            Self::Builtin => Source::Builtin,
        }
    }
}

/// What says when a schedule runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum ScheduleKind {
    /// The clock on the wall.
    Crontab,
    /// So much time.
    Interval,
    /// The sun.
    Solar,
    /// An instant, once.
    Clocked,
}

impl ScheduleKind {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::Crontab => Kind::Crontab,
            Self::Interval => Kind::Interval,
            Self::Solar => Kind::Solar,
            Self::Clocked => Kind::Clocked,
        }
    }
}

/// How a schedule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub(crate) enum ScheduleState {
    /// It runs.
    Active,
    /// Somebody has paused it.
    Paused,
    /// It is written down as not enabled.
    Disabled,
    /// It cannot run as it is written down.
    Refused,
    /// Nothing will ever be due.
    Ended,
}

/// A schedule.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Schedule")]
pub(crate) struct ScheduleShown {
    /// Its name.
    pub(crate) name: String,
    /// Its id, of which with the due time the id of each task is made.
    pub(crate) id: Uuid,
    /// Who declared it.
    pub(crate) source: ScheduleSource,
    /// How it stands.
    pub(crate) state: ScheduleState,
    /// Somebody has paused it.
    pub(crate) paused: bool,
    /// When it runs and what it sends.
    pub(crate) definition: DefinitionBody,
    /// So many messages were sent.
    pub(crate) runs: u64,
    /// When the last run was due that was sent.
    pub(crate) last_run: Option<DateTime<Utc>>,
    /// When the next is sent; null when none will be.
    pub(crate) next_run: Option<DateTime<Utc>>,
    /// Counts its changes; the ETag.
    pub(crate) version: u64,
}

impl ScheduleShown {
    pub(crate) fn of(stored: &Stored, defaults: &Defaults) -> Self {
        let definition = &stored.definition;
        Self {
            name: definition.draft.name.clone(),
            id: definition.id,
            source: ScheduleSource::of(definition.source),
            state: match stored.standing(defaults) {
                Standing::Active => ScheduleState::Active,
                Standing::Paused => ScheduleState::Paused,
                Standing::Disabled => ScheduleState::Disabled,
                Standing::Ended => ScheduleState::Ended,
                _ => ScheduleState::Refused,
            },
            paused: definition.paused,
            definition: DefinitionBody::of(&definition.draft),
            runs: stored.progress.runs,
            last_run: stored.progress.last_run,
            next_run: stored.next(defaults).map(|next| next.at),
            version: stored.version,
        }
    }
}

/// A page of schedules, by name.
#[derive(Debug, Clone, PartialEq, Object)]
pub(crate) struct SchedulePage {
    /// This page's.
    pub(crate) schedules: Vec<ScheduleShown>,
    /// Gets the next page; null on the last.
    pub(crate) next: Option<String>,
}
