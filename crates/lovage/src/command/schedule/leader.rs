//! Who leads: what `lovage schedule leader` and `lovage beat --check` say.

use chrono::Utc;
use clap::Args;
use lovage_beat::LeaderReport;
use lovage_settings::Settings;
use serde_json::json;

use crate::{
    command::schedule::{preview::utc, store},
    failure::Failure,
    output,
};

/// How it is told.
#[derive(Debug, Args)]
pub(crate) struct LeaderArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: &LeaderArgs, settings: &Settings) -> Result<u8, Failure> {
    check(settings, args.json).await
}

/// Says who leads, and fails when nobody does.
pub(crate) async fn check(settings: &Settings, as_json: bool) -> Result<u8, Failure> {
    let leadership = store(settings).await?.leader().await?;
    let Some(leadership) = leadership else {
        let why = "no beat leads; start one with `lovage beat`";
        if as_json {
            output::json(&json!({"leader": null}))?;
            return Err(Failure::failed(why).told());
        }
        return Err(Failure::failed(why));
    };
    let report = LeaderReport::read(&leadership.about);
    let now = Utc::now();
    let age = |at: Option<chrono::DateTime<Utc>>| at.map(|at| (now - at).num_milliseconds().max(0));
    if as_json {
        output::json(&json!({
            "leader": report.node,
            "fence": leadership.fence,
            "seen": report.seen.map(utc),
            "last_tick": report.last_tick.map(utc),
            "last_tick_age_ms": age(report.last_tick),
            "next_due": report.next_due.map(utc),
            "schedules": report.schedules,
            "refused": report.refused,
        }))?;
        return Ok(0);
    }
    let time = |at: Option<chrono::DateTime<Utc>>| at.map_or_else(|| "never".to_owned(), utc);
    output::line(format_args!(
        "{} leads: {} run, {} refused; last sent: {}, next due: {}",
        output::one_line(&report.node),
        output::count(
            u64::try_from(report.schedules).unwrap_or(u64::MAX),
            "schedule"
        ),
        report.refused,
        time(report.last_tick),
        time(report.next_due),
    ))?;
    Ok(0)
}
