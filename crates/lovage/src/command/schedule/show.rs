//! Looking: list, show, history.

use clap::Args;
use lovage_beat::store::{self as beat_store, Stored, TickRecord};
use lovage_protocol::{State, TaskId, TaskMeta};
use lovage_settings::Settings;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    command::{
        beat::defaults,
        schedule::{preview::utc, store, store_beside},
    },
    connect,
    failure::Failure,
    output,
    table::Table,
};

/// How they are listed.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which one, and how much of it.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Its name
    name: String,
    /// At most so many; at the broker 200 are kept, in a database those of LOVAGE_KEEP_TASKS
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Those that were sent before the one with this task id, as the last page ended
    #[arg(long, value_name = "TASK_ID")]
    after: Option<Uuid>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn list(args: &ListArgs, settings: &Settings) -> Result<u8, Failure> {
    let all = beat_store::all(&*store(settings).await?).await?;
    if args.json {
        output::json(&all.iter().map(|one| describe(one, settings)).collect())?;
        return Ok(0);
    }
    if all.is_empty() {
        output::note("there are no schedules; see `lovage schedule add --help`");
        return Ok(0);
    }
    let mut table = Table::new(["NAME", "TASK", "WHEN", "STATE", "NEXT", "RUNS", "SOURCE"]);
    for stored in &all {
        let draft = &stored.definition.draft;
        table.push([
            output::one_line(&draft.name),
            output::one_line(&draft.task),
            output::one_line(&when(stored)),
            state(stored, settings).to_owned(),
            next(stored, settings).unwrap_or_default(),
            stored.progress.runs.to_string(),
            stored.definition.source.to_string(),
        ]);
    }
    output::line(table)?;
    Ok(0)
}

pub(crate) async fn show(args: &ShowArgs, settings: &Settings) -> Result<u8, Failure> {
    let stored = store(settings).await?.stored(&args.name).await?;
    let stored = stored.ok_or_else(|| unknown(&args.name))?;
    let told = describe(&stored, settings);
    if args.json {
        output::json(&told)?;
        return Ok(0);
    }
    for (name, value) in told.as_object().into_iter().flatten() {
        let style = output::HEADING;
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        output::line(format_args!(
            "{style}{name:<12}{style:#} {}",
            output::one_line(&text)
        ))?;
    }
    Ok(0)
}

pub(crate) async fn history(args: &HistoryArgs, settings: &Settings) -> Result<u8, Failure> {
    let connected = connect::once(settings, &[]).await?;
    let store = store_beside(settings, &connected).await?;
    let stored = store.stored(&args.name).await?;
    let stored = stored.ok_or_else(|| unknown(&args.name))?;
    let most = args.limit.saturating_add(1);
    let mut records = store.history(&args.name, args.after, most).await?;
    let more = records.len() > args.limit;
    records.truncate(args.limit);
    if let Some(last) = records.last().filter(|_| more) {
        output::hint(format_args!("there are more: --after {}", last.task_id));
    }
    let ids: Vec<TaskId> = records
        .iter()
        .map(|record| TaskId::from(record.task_id.to_string()))
        .collect();
    let states: Vec<Option<State>> = if stored.definition.draft.is_silent() {
        // What the platform does without a worker has no result.
        vec![None; records.len()]
    } else {
        let results = connected.results.load_many(&ids).await?;
        let state = |meta: Option<TaskMeta>| meta.map_or(State::Pending, |meta| meta.status);
        results.into_iter().map(state).map(Some).collect()
    };
    let rows: Vec<(&TickRecord, Option<String>)> = records
        .iter()
        .zip(
            states
                .iter()
                .map(|state| state.as_ref().map(State::to_string)),
        )
        .collect();
    if args.json {
        output::json(
            &rows
                .iter()
                .map(|(record, state)| tick(record, state.as_deref()))
                .collect(),
        )?;
        return Ok(0);
    }
    let mut table = Table::new(["DUE", "SENT", "TASK ID", "STATE", "WHY", "LEFT OUT"]);
    for (record, state) in &rows {
        table.push([
            utc(record.due),
            utc(record.sent),
            record.task_id.to_string(),
            state.clone().unwrap_or_default(),
            cause(record),
            if record.left_out == 0 {
                String::new()
            } else {
                record.left_out.to_string()
            },
        ]);
    }
    output::line(table)?;
    Ok(0)
}

fn tick(record: &TickRecord, state: Option<&str>) -> Value {
    json!({
        "due": utc(record.due),
        "sent": utc(record.sent),
        "task_id": record.task_id,
        "state": state,
        "cause": cause(record),
        "left_out": record.left_out,
    })
}

fn cause(record: &TickRecord) -> String {
    let told = serde_json::to_value(record.cause).unwrap_or_default();
    told.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn unknown(name: &str) -> Failure {
    Failure::failed(format!(
        "there is no schedule {name:?}; `lovage schedule list` shows those there are"
    ))
}

/// What is known of one.
pub(crate) fn describe(stored: &Stored, settings: &Settings) -> Value {
    let definition = &stored.definition;
    let mut told = serde_json::to_value(&definition.draft).unwrap_or_default();
    told["enabled"] = json!(definition.draft.enabled);
    told["id"] = json!(definition.id);
    told["source"] = json!(definition.source);
    told["paused"] = json!(definition.paused);
    told["state"] = json!(state(stored, settings));
    told["version"] = json!(stored.version);
    told["runs"] = json!(stored.progress.runs);
    told["last_run"] = json!(stored.progress.last_run.map(utc));
    told["next"] = json!(next(stored, settings));
    told
}

fn next(stored: &Stored, settings: &Settings) -> Option<String> {
    stored.next(&defaults(settings)).map(|next| utc(next.at))
}

fn state(stored: &Stored, settings: &Settings) -> &'static str {
    stored.standing(&defaults(settings)).name()
}

/// When it runs, in a few words.
fn when(stored: &Stored) -> String {
    let draft = &stored.definition.draft;
    let zone = draft
        .timezone
        .as_ref()
        .map_or_else(String::new, |zone| format!(" {zone}"));
    if let Some(crontab) = &draft.crontab {
        return format!("{crontab}{zone}");
    }
    if let Some(every) = draft.every {
        return format!("every {every}");
    }
    if let Some(solar) = &draft.solar {
        return format!("{} at {},{}", solar.event, solar.latitude, solar.longitude);
    }
    draft.at.clone().unwrap_or_default()
}
