//! `lovage schedule preview`: the next runs, with what the clocks do to them.

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use lovage_beat::{Draft, Run, Timing, instant};
use lovage_settings::Settings;
use serde_json::json;

use crate::{
    command::{
        beat::defaults,
        schedule::{store, written::TimeArgs},
    },
    failure::Failure,
    output,
    table::Table,
};

/// Which one, and how many runs of it.
#[derive(Debug, Args)]
pub(crate) struct PreviewArgs {
    /// One that is kept; else flags say when it runs
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    time: TimeArgs,
    /// The runs after this instant (RFC 3339) [default: now]
    #[arg(long, value_name = "TIME")]
    after: Option<String>,
    /// So many runs
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Print a JSON list of the instants in UTC
    #[arg(long)]
    json: bool,
    /// With --json: objects instead of texts, with the local time and what the clocks do
    #[arg(long, requires = "json")]
    remarks: bool,
}

/// Runs the command.
pub(crate) async fn run(args: PreviewArgs, settings: &Settings) -> Result<u8, Failure> {
    let after = match &args.after {
        Some(text) => instant(text).map_err(|why| Failure::usage(format!("--after: {why}")))?,
        None => Utc::now(),
    };
    let draft = draft(args.name, args.time, settings).await?;
    let timing = draft
        .timing(&defaults(settings))
        .map_err(|faults| Failure::usage(faults.to_string()))?;
    let count = usize::try_from(args.count).unwrap_or(usize::MAX);
    let runs: Vec<Run> = timing.upcoming(after).take(count).collect();
    if args.json {
        let rows = runs.iter().map(|run| match args.remarks {
            false => json!(utc(run.at)),
            true => json!({
                "at": utc(run.at),
                "local": local(run.at, &timing),
                "remark": run.remark.map(|remark| remark.to_string()),
            }),
        });
        output::json(&rows.collect())?;
        return Ok(0);
    }
    if runs.is_empty() {
        output::note("it does not run any more");
        return Ok(0);
    }
    let mut table = Table::new(["UTC", "LOCAL", "REMARK"]);
    for run in &runs {
        table.push([
            utc(run.at),
            local(run.at, &timing),
            run.remark
                .map(|remark| remark.to_string())
                .unwrap_or_default(),
        ]);
    }
    output::line(table)?;
    Ok(0)
}

async fn draft(
    name: Option<String>,
    time: TimeArgs,
    settings: &Settings,
) -> Result<Draft, Failure> {
    let mut draft = match name {
        None if time.say_when() => Draft::new("preview", "preview"),
        None => {
            return Err(Failure::usage(
                "nothing says which schedule: give the name of one, or --crontab, --every, --solar or --at",
            ));
        }
        Some(name) => {
            let stored = store(settings).await?.stored(&name).await?;
            let stored = stored.ok_or_else(|| super::show::unknown(&name))?;
            stored.definition.draft
        }
    };
    time.write(&mut draft);
    Ok(draft)
}

/// RFC 3339 in UTC.
pub(crate) fn utc(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

fn local(at: DateTime<Utc>, timing: &Timing) -> String {
    at.with_timezone(&timing.zone).to_rfc3339()
}
