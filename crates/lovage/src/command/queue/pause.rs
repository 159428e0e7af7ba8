//! `lovage queue pause` and `resume`.

use std::sync::Arc;

use clap::Args;
use lovage_flower_compat::{Control, pause_queue, resume_queue};
use lovage_protocol::{QueueName, control::Reply};
use lovage_settings::Settings;
use serde_json::json;

use super::meant;
use crate::{
    command::remote::{by_node, fault, fault_text, finite},
    connect,
    failure::Failure,
    output::{self, NAME},
};

/// Have nobody take from a queue, until it is resumed.
///
/// It is kept at the broker, so it outlives workers and whoever paused it. Workers of Lovage stop within a second, those that
/// start later too; what they run already ends. Workers of Python that consume it are told to stop, and told again when it is
/// resumed; one of those that starts meanwhile knows nothing of it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage queue pause hot
  lovage queue pause hot --json")]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    which: Which,
}

/// Have workers take from a queue again that was paused.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage queue resume hot
  lovage queue resume hot --json")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    which: Which,
}

#[derive(Debug, Args)]
struct Which {
    /// The queue
    #[arg(value_name = "QUEUE", value_parser = queue_name)]
    queue: QueueName,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Reads a queue's name.
pub(super) fn queue_name(text: &str) -> Result<QueueName, String> {
    QueueName::parse(text).map_err(|error| error.to_string())
}

/// Runs `lovage queue pause`.
pub(super) async fn pause(args: &PauseArgs, settings: &Settings) -> Result<u8, Failure> {
    let Which { queue, json } = &args.which;
    let queue = meant(queue, settings);
    let broker = connect::broker(settings).await?;
    let control = Control::new(Arc::clone(&broker));
    let told = pause_queue(&*broker, &control, &queue).await?;
    tell(&queue, true, &told, *json)
}

/// Runs `lovage queue resume`.
pub(super) async fn resume(args: &ResumeArgs, settings: &Settings) -> Result<u8, Failure> {
    let Which { queue, json } = &args.which;
    let queue = meant(queue, settings);
    let broker = connect::broker(settings).await?;
    let control = Control::new(Arc::clone(&broker));
    let told = resume_queue(&*broker, &control, &queue).await?;
    let told = told.ok_or_else(|| Failure::failed(format!("the queue {queue} is not paused")))?;
    tell(&queue, false, &told, *json)
}

fn tell(queue: &QueueName, paused: bool, told: &[Reply], as_json: bool) -> Result<u8, Failure> {
    if as_json {
        let told = finite(by_node(told)).to_json();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        output::json(&json!({"queue": queue.as_str(), "paused": paused, "told": told}))?;
        return Ok(0);
    }
    let (done, order) = match paused {
        true => ("paused", "stops"),
        false => ("resumed", "goes on"),
    };
    output::line(format_args!("{done} {NAME}{queue}{NAME:#}"))?;
    for reply in told {
        let node = output::one_line(&reply.node);
        match fault(&reply.value) {
            None => output::line(format_args!("  {node} was told and {order}"))?,
            Some(fault) => output::warning(format_args!(
                "{node} was told and does not obey: {}",
                fault_text(fault)
            )),
        }
    }
    Ok(0)
}
