//! A schedule given by flags.

use clap::Args;
use lovage_beat::{Draft, SolarDraft, WithUnit};
use lovage_settings::parse_duration;
use serde_json::{Map, Value};

/// When it runs.
#[derive(Debug, Args, Default)]
pub(crate) struct TimeArgs {
    /// minute hour day_of_month month_of_year day_of_week, as Celery reads them: all five must match
    #[arg(long, value_name = "'M H DOM MON DOW'", conflicts_with_all = ["every", "solar", "at"])]
    pub(crate) crontab: Option<String>,
    /// Every so long, such as 5m or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with_all = ["solar", "at"])]
    every: Option<WithUnit>,
    /// With --every: rounded down to its unit, as Celery's relative
    #[arg(long, requires = "every")]
    relative: bool,
    /// By the sun: EVENT,LATITUDE,LONGITUDE, such as sunset,46.2,6.14
    #[arg(long, value_name = "EVENT,LAT,LON", value_parser = solar, conflicts_with = "at", allow_hyphen_values = true)]
    solar: Option<SolarDraft>,
    /// Once, at this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The zone on whose clocks it runs [default: CELERY_TIMEZONE]
    #[arg(long, value_name = "ZONE")]
    timezone: Option<String>,
    /// No run before this instant
    #[arg(long, value_name = "TIME")]
    start: Option<String>,
    /// No run after this instant
    #[arg(long, value_name = "TIME")]
    end: Option<String>,
    /// It ends after so many runs
    #[arg(long, value_name = "N")]
    max_runs: Option<u64>,
    /// Each run is sent later by up to so much
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    jitter: Option<WithUnit>,
}

/// What it sends, and what becomes of it.
#[derive(Debug, Args, Default)]
pub(crate) struct SendArgs {
    /// All positional arguments as one JSON array
    #[arg(long, value_name = "JSON", value_parser = list, allow_hyphen_values = true)]
    args: Option<Json<Vec<Value>>>,
    /// Keyword arguments as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    kwargs: Option<Json<Map<String, Value>>>,
    /// The queue [default: what the task or the routes say]
    #[arg(short, long)]
    queue: Option<String>,
    /// Priority; on Redis 0 is served first
    #[arg(long, value_name = "0-255")]
    priority: Option<i64>,
    /// User headers as a JSON object
    #[arg(long, value_name = "JSON", value_parser = object)]
    headers: Option<Json<Map<String, Value>>>,
    /// Not worth running so long after it was sent
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires: Option<WithUnit>,
    /// Runs that were due while no beat was up: send the last of them, none, or all
    #[arg(long, value_parser = ["once", "skip", "all"])]
    missed: Option<String>,
    /// With --missed all: so many at most [default: 100]
    #[arg(long, value_name = "N")]
    max_missed: Option<u32>,
    /// A run that is later than this is left out
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    deadline: Option<WithUnit>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The task is known to Python workers only: do not check it
    #[arg(long)]
    force: bool,
}

/// What was read as JSON. Its own type: clap would take a plain list for an argument that is given more than once.
#[derive(Debug, Clone)]
pub(crate) struct Json<T>(T);

fn duration(text: &str) -> Result<WithUnit, String> {
    parse_duration(text).map(WithUnit)
}

fn list(text: &str) -> Result<Json<Vec<Value>>, String> {
    let read = serde_json::from_str(text).map(Json);
    read.map_err(|error| format!("expected a JSON array such as [2, 3]: {error}"))
}

fn object(text: &str) -> Result<Json<Map<String, Value>>, String> {
    let read = serde_json::from_str(text).map(Json);
    read.map_err(|error| format!("expected a JSON object such as {{\"x\": 2}}: {error}"))
}

fn solar(text: &str) -> Result<SolarDraft, String> {
    let wrong = || "expected EVENT,LATITUDE,LONGITUDE, such as sunset,46.2,6.14".to_owned();
    let parts: Vec<&str> = text.split(',').map(str::trim).collect();
    let [event, latitude, longitude] = parts[..] else {
        return Err(wrong());
    };
    Ok(SolarDraft {
        event: event.to_owned(),
        latitude: latitude.parse().map_err(|_| wrong())?,
        longitude: longitude.parse().map_err(|_| wrong())?,
    })
}

impl TimeArgs {
    /// Whether they say when it runs.
    pub(crate) fn say_when(&self) -> bool {
        self.crontab.is_some() || self.every.is_some() || self.solar.is_some() || self.at.is_some()
    }

    /// Writes what is given into a draft; what is not stays.
    pub(crate) fn write(self, draft: &mut Draft) {
        if self.say_when() {
            draft.crontab = self.crontab;
            draft.every = self.every;
            draft.relative = self.relative;
            draft.solar = self.solar;
            draft.at = self.at;
        }
        give(&mut draft.timezone, self.timezone);
        give(&mut draft.start, self.start);
        give(&mut draft.end, self.end);
        give(&mut draft.max_runs, self.max_runs);
        give(&mut draft.jitter, self.jitter);
    }
}

impl SendArgs {
    /// Writes what is given into a draft; what is not stays.
    pub(crate) fn write(self, draft: &mut Draft) {
        if let Some(Json(args)) = self.args {
            draft.args = args;
        }
        if let Some(Json(kwargs)) = self.kwargs {
            draft.kwargs = kwargs;
        }
        if let Some(Json(headers)) = self.headers {
            draft.headers = headers;
        }
        if self.missed.as_deref().is_some_and(|missed| missed != "all") {
            draft.max_missed = None;
        }
        give(&mut draft.queue, self.queue);
        give(&mut draft.priority, self.priority);
        give(&mut draft.expires, self.expires);
        give(&mut draft.missed, self.missed);
        give(&mut draft.max_missed, self.max_missed);
        give(&mut draft.deadline, self.deadline);
        give(&mut draft.description, self.description);
        draft.unchecked |= self.force;
    }
}

fn give<T>(field: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *field = given;
    }
}
