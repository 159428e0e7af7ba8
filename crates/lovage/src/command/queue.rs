//! `lovage queue`: what to do with queues as a whole.

use clap::{Args, Subcommand};
use lovage_settings::Settings;
use serde_json::json;

use crate::{connect, failure::Failure, output};

/// Look after queues.
#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    ReleaseEta(ReleaseArgs),
}

/// Put every delayed task back into its queue, due or not.
///
/// Workers of Lovage keep tasks whose eta is ahead outside the queues, where Python workers do not look. The last one that
/// stops gives them back by itself; this is for the case that it died. A Python worker takes them and waits for their eta
/// itself. Workers of Lovage that run would take them out again, so it is refused while there are any.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage queue release-eta
  lovage queue release-eta --force --json   although workers of Lovage run")]
pub(crate) struct ReleaseArgs {
    /// Do it although workers of Lovage run
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(command: QueueCommand, settings: &Settings) -> Result<u8, Failure> {
    match command {
        QueueCommand::ReleaseEta(args) => release(&args, settings).await,
    }
}

async fn release(args: &ReleaseArgs, settings: &Settings) -> Result<u8, Failure> {
    let broker = connect::broker(settings).await?;
    let peers = broker.peers().await?;
    if !args.force && !peers.is_empty() {
        let nodes: Vec<&str> = peers.iter().map(|peer| peer.node.as_str()).collect();
        return Err(Failure::failed(format!(
            "workers of Lovage run and would delay the tasks again: {}; stop them first, or use --force",
            nodes.join(", ")
        )));
    }
    let released = broker.release_delayed().await?;
    if args.json {
        output::json(&json!({"released": released}))?;
    } else {
        output::line(format_args!(
            "put {} back into their queues",
            output::count(released, "delayed task")
        ))?;
    }
    Ok(0)
}
