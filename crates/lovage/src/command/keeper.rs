//! `lovage keeper`: what all workers do, into the database.

use std::sync::Arc;

use clap::{Args, Subcommand};
use lovage_broker::Broker;
use lovage_client::{ClientOptions, Composer};
use lovage_database::{Database, store::history_gap};
use lovage_keeper::{Keeper, replay};
use lovage_settings::{Settings, parse_level};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::{connect, failure::Failure, monitor, output, table::Table};

/// Keep the history of all workers in the database, until told to stop.
///
/// Workers of ours write a journal while a keeper is known to them, Python workers are heard by their events. Several keepers may
/// run; each duty is done by one of them. The journal goes on for LOVAGE_JOURNAL_LIFE after the last keeper has gone, so one that
/// is started anew has missed nothing.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  lovage migrate up && lovage keeper
  lovage keeper gaps                    times of which history is not whole
  lovage keeper replay --last 10000     give a Flower that was started anew its history back"
)]
pub(crate) struct KeeperArgs {
    #[command(subcommand)]
    command: Option<KeeperCommand>,
    /// debug, info, warning or error [default: LOVAGE_LOG]
    #[arg(short = 'l', long, value_name = "LEVEL", value_parser = parse_level)]
    loglevel: Option<String>,
    /// Write the log as JSON
    #[arg(long)]
    json_logs: bool,
}

#[derive(Debug, Subcommand)]
enum KeeperCommand {
    Replay(ReplayArgs),
    Gaps(GapsArgs),
}

/// Tell the newest saved events once more, with their old times.
///
/// For a Flower that was started anew. Everybody who listens to events hears them: a second Flower counts them twice.
#[derive(Debug, Args)]
struct ReplayArgs {
    /// So many of those that were saved; an attempt of ours is one, and told as three
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    last: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Show the times of which history is not whole.
#[derive(Debug, Args)]
struct GapsArgs {
    /// So many at most, the newest first
    #[arg(long, value_name = "GAPS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    last: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: KeeperArgs, mut settings: Settings) -> Result<u8, Failure> {
    match args.command {
        Some(KeeperCommand::Replay(args)) => return tell_again(&args, &settings).await,
        Some(KeeperCommand::Gaps(args)) => return gaps(&args, &settings).await,
        None => {}
    }
    if let Some(level) = args.loglevel {
        settings.telemetry.level = level;
    }
    settings.telemetry.json |= args.json_logs;
    let _told = lovage_telemetry::start(&settings.telemetry, "keeper")?;
    let stop = CancellationToken::new();
    end_with_signals(&stop)?;
    let database = open(&settings).await?;
    let broker = connect::broker_lazily(&settings)?;
    let watch = monitor::KeeperProbe::new(Arc::clone(&broker), database.clone(), &settings);
    let served = monitor::serve(&settings, watch.clone()).await?;
    let told = served
        .is_some()
        .then(|| tokio::spawn(watch.clone().tell_of_the_fleet(stop.clone())));
    keeper(&settings, broker, database)
        .run(stop, || {
            watch.ready();
            info!("keeper ready.");
        })
        .await;
    if let Some(told) = told {
        // It ends with the keeper; a panic in it has been told of.
        let _ = told.await;
    }
    info!("keeper stopped");
    Ok(0)
}

/// A keeper as the settings say.
pub(crate) fn keeper(settings: &Settings, broker: Arc<dyn Broker>, database: Database) -> Keeper {
    Keeper {
        broker,
        database,
        history: settings.history.clone(),
        retention: settings.database.retention.clone(),
        mail: settings.mail.clone(),
        composer: Composer::new(ClientOptions::from(settings)),
    }
}

async fn open(settings: &Settings) -> Result<Database, Failure> {
    Ok(Database::connect(&settings.database, "keeper").await?)
}

fn end_with_signals(stop: &CancellationToken) -> Result<(), Failure> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut heard = signal(kind)
            .map_err(|error| Failure::failed(format!("cannot listen to signals: {error}")))?;
        let stop = stop.clone();
        tokio::spawn(async move {
            if heard.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    Ok(())
}

async fn tell_again(args: &ReplayArgs, settings: &Settings) -> Result<u8, Failure> {
    let database = open(settings).await?;
    let broker = connect::broker(settings).await?;
    let told = replay(&database, &broker, args.last).await?;
    if args.json {
        output::json(&json!({ "events": told }))?;
    } else {
        let told = u64::try_from(told).unwrap_or(u64::MAX);
        output::line(format_args!(
            "told {} once more",
            output::count(told, "event")
        ))?;
    }
    Ok(0)
}

async fn gaps(args: &GapsArgs, settings: &Settings) -> Result<u8, Failure> {
    let database = open(settings).await?;
    let gaps = history_gap::newest(database.reader(), args.last).await?;
    if args.json {
        let gaps: Vec<_> = gaps
            .iter()
            .map(|gap| {
                json!({
                    "source": gap.source,
                    "began_at": gap.began_at.to_rfc3339(),
                    "ended_at": gap.ended_at.to_rfc3339(),
                    "lost": gap.lost,
                    "reason": gap.reason,
                })
            })
            .collect();
        output::json(&json!({ "gaps": gaps }))?;
        return Ok(0);
    }
    if gaps.is_empty() {
        output::note("history has no gap");
        return Ok(0);
    }
    let mut table = Table::new(["SOURCE", "FROM", "TO", "LOST", "WHY"]);
    for gap in gaps {
        let lost = match u64::try_from(gap.lost) {
            Ok(lost) if lost > 0 => output::thousands(lost),
            _ => "unknown".to_owned(),
        };
        table.push([
            gap.source,
            gap.began_at.to_rfc3339(),
            gap.ended_at.to_rfc3339(),
            lost,
            gap.reason,
        ]);
    }
    output::line(table)?;
    Ok(0)
}
