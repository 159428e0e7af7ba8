//! `lovage doctor`: looks at a live broker and says what is wrong. Each check is a module that gives findings.

mod chords;
mod finding;
mod verdict;

use std::time::Duration;

use clap::Args;
use lovage_protocol::QueueName;
use lovage_settings::Settings;
use serde_json::json;

use crate::{command::seconds, connect, failure::Failure, output};

/// Look at a live broker and tell what is wrong.
///
/// Nothing is changed without --fix: without it the doctor tells what it would do. It looks for chords that wait for a member
/// of which no message exists any more, or whose end was never brought about. With --fix such a chord is ended by a worker: with
/// its body, when the results of all members are stored; else its body fails with ChordError, and whoever waits is told.
///
/// Exits with 1 when something was found that is still so at the end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage doctor
  lovage doctor --json | jq '.findings[].subject'
  lovage doctor --quiet-for 3600 --fix")]
pub(crate) struct DoctorArgs {
    /// Repair what can be repaired
    #[arg(long)]
    fix: bool,
    /// How long a chord must have stood still. Messages that a Python worker acknowledged early cannot be seen while it runs them:
    /// this must be longer than such tasks take
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "600")]
    quiet_for: Duration,
    /// The queue by which a worker is told to end a chord [default: that of its body, or as tasks are routed]
    #[arg(long, value_name = "QUEUE")]
    queue: Option<QueueName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(args: DoctorArgs, settings: &Settings) -> Result<u8, Failure> {
    let connected = connect::once(settings, &[]).await?;
    let findings = chords::look(&connected, settings, args.quiet_for, args.queue.as_ref()).await?;
    let mut treated = Vec::with_capacity(findings.len());
    for finding in findings {
        treated.push(match args.fix {
            true => finding.fix().await?,
            false => finding.leave(),
        });
    }
    let count = |picked: usize, noun| {
        let picked = u64::try_from(picked).unwrap_or(u64::MAX);
        output::count(picked, noun)
    };
    let remaining = treated.iter().filter(|one| one.remains()).count();
    let fixable = treated.iter().filter(|one| one.can_be_fixed()).count();
    if args.json {
        let findings: Vec<_> = treated.iter().map(finding::Treated::to_json).collect();
        output::json(&json!({"findings": findings, "remaining": remaining}))?;
        return Ok(u8::from(remaining > 0));
    }
    for one in &treated {
        one.tell()?;
    }
    match (treated.len(), fixable) {
        (0, _) => output::line("nothing was found")?,
        (found, 0) => output::line(count(found, "finding"))?,
        (found, fixable) => output::line(format_args!(
            "{}; `lovage doctor --fix` repairs {fixable}",
            count(found, "finding")
        ))?,
    }
    Ok(u8::from(remaining > 0))
}
