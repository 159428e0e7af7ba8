//! `lovage purge`: deletes the waiting messages of queues.

use clap::Args;
use lovage_settings::Settings;
use serde_json::json;

use crate::{
    command::{QueueList, select_queues},
    connect,
    failure::Failure,
    output,
    table::Table,
};

/// Delete all waiting messages of queues. There is no way back.
///
/// Messages that a worker holds already are not touched.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage purge -Q hot,mail
  lovage purge -f --json")]
pub(crate) struct PurgeArgs {
    /// Queues to empty, with commas between them [default: those of the settings]
    #[arg(short = 'Q', long, value_name = "QUEUES")]
    queues: Option<QueueList>,
    /// Queues not to empty
    #[arg(short = 'X', long, value_name = "QUEUES")]
    exclude_queues: Option<QueueList>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl PurgeArgs {
    /// These queues.
    pub(crate) fn of(queues: QueueList, force: bool, json: bool) -> Self {
        Self {
            queues: Some(queues),
            exclude_queues: None,
            force,
            json,
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: PurgeArgs, settings: &Settings) -> Result<u8, Failure> {
    let queues = select_queues(args.queues, args.exclude_queues, settings)?;
    if !args.force && !output::can_ask() {
        return Err(Failure::usage(
            "this deletes messages and there is no terminal to ask at; use -f",
        ));
    }
    let broker = connect::broker(settings).await?;
    if !args.force {
        let waiting: u64 = broker.depth(&queues).await?.iter().sum();
        let names: Vec<&str> = queues.iter().map(|queue| queue.as_str()).collect();
        let question = format!(
            "This deletes {} of {} for good. Go on?",
            output::count(waiting, "message"),
            names.join(", ")
        );
        if !output::confirm(question)? {
            return Err(Failure::failed("nothing was deleted"));
        }
    }
    let mut purged = Vec::with_capacity(queues.len());
    for queue in &queues {
        purged.push((queue.as_str(), broker.purge(queue).await?));
    }
    let total: u64 = purged.iter().map(|(_, count)| count).sum();
    if args.json {
        let by_queue: serde_json::Map<_, _> = purged
            .iter()
            .map(|(queue, count)| ((*queue).to_owned(), json!(count)))
            .collect();
        output::json(&json!({"purged": total, "queues": by_queue}))?;
        return Ok(0);
    }
    if purged.len() > 1 {
        let mut table = Table::new(["QUEUE", "PURGED"]);
        for (queue, count) in &purged {
            table.push([(*queue).to_owned(), output::thousands(*count)]);
        }
        output::line(table)?;
    }
    output::line(format_args!(
        "purged {} from {}",
        output::count(total, "message"),
        output::count(u64::try_from(purged.len()).unwrap_or(u64::MAX), "queue")
    ))?;
    Ok(0)
}
