//! `lovage queue`: what to do with queues as a whole.

mod list;
mod pause;
mod peek;

use clap::{Args, Subcommand};
use lovage_protocol::QueueName;
use lovage_settings::Settings;
use serde_json::json;

use crate::{
    command::{QueueList, in_full, purge},
    connect,
    failure::Failure,
    output,
};

/// Look after queues: what waits in them, who takes it, and whether anybody may.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lovage queue list
  lovage queue peek hot -n 3
  lovage queue pause hot              until it is resumed, whichever worker starts
  lovage queue resume hot
  lovage queue purge hot --force")]
pub(crate) enum QueueCommand {
    List(list::ListArgs),
    Peek(peek::PeekArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Purge(PurgeArgs),
    ReleaseEta(ReleaseArgs),
}

/// Delete all messages that wait in queues. There is no way back.
///
/// Messages that a worker holds already are not touched. The same as `lovage purge -Q`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage queue purge hot
  lovage queue purge hot,mail -f --json")]
pub(crate) struct PurgeArgs {
    /// The queues, with commas between them
    #[arg(value_name = "QUEUES")]
    queues: QueueList,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
        QueueCommand::List(args) => list::run(args, settings).await,
        QueueCommand::Peek(args) => peek::run(&args, settings).await,
        QueueCommand::Pause(args) => pause::pause(&args, settings).await,
        QueueCommand::Resume(args) => pause::resume(&args, settings).await,
        QueueCommand::Purge(args) => {
            let args = purge::PurgeArgs::of(args.queues, args.force, args.json);
            purge::run(args, settings).await
        }
        QueueCommand::ReleaseEta(args) => release(&args, settings).await,
    }
}

/// The queue of a name, which may be an alias of the settings.
fn meant(name: &QueueName, settings: &Settings) -> QueueName {
    let mut queues = in_full(vec![name.clone()], settings);
    queues.pop().unwrap_or_else(|| name.clone())
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
