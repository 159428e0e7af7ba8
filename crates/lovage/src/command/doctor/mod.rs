//! `lovage doctor`: looks at a live broker and says what is wrong. Each check is a module that gives findings.

mod chords;
mod finding;
mod nodes;
mod queues;
mod server;
mod tables;
mod verdict;

use std::time::Duration;

use clap::{Args, ValueEnum};
use lovage_flower_compat::Control;
use lovage_monitor::fleet;
use lovage_protocol::QueueName;
use lovage_settings::Settings;
use serde_json::json;

use self::finding::Finding;
use crate::{command::seconds, connect, failure::Failure, monitor, output};

/// Look at a live broker and tell what is wrong.
///
/// It looks at the broker's settings that may lose messages, at queues that tasks are sent to and nobody consumes, at messages that
/// could not be run or are long overdue, at the database's tables, at clocks, at workers of one name, and at stuck chords. Each
/// finding comes with what to do. Wrong settings of this command itself end it before it looks, all of them named (exit code 78).
///
/// Nothing is changed without --fix: without it the doctor tells what it would do. Stuck chords are those that wait for a member of
/// which no message exists any more, or whose end was never brought about. With --fix such a chord is ended by a worker: with
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
    /// Look only for these, with commas between them
    #[arg(long, value_enum, value_delimiter = ',', value_name = "CHECKS")]
    only: Vec<Check>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Check {
    /// Whether the broker may lose what it was given
    Broker,
    /// Queues that tasks are sent to and nobody consumes
    Queues,
    /// Delayed messages that are long due
    Overdue,
    /// Messages that could not be run
    DeadLetters,
    /// The tables of the database
    Database,
    /// Clocks that differ
    Clocks,
    /// Workers of one name
    Names,
    /// Chords that stand still
    Chords,
}

/// Runs the command.
pub(crate) async fn run(args: DoctorArgs, settings: &Settings) -> Result<u8, Failure> {
    let findings = look(&args, settings).await?;
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

async fn look(args: &DoctorArgs, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let wants = |check| args.only.is_empty() || args.only.contains(&check);
    let mut findings = Vec::new();
    if wants(Check::Database) {
        // It needs no broker, so it is told even when there is none.
        findings.extend(tables::look(settings).await);
    }
    let (connected, policy) = match connect::examined(settings).await {
        Ok(examined) => examined,
        Err(refused) => {
            for finding in findings {
                if !args.json {
                    finding.leave().tell()?;
                }
            }
            return Err(refused);
        }
    };
    let broker = &connected.broker;
    if wants(Check::Broker) {
        findings.extend(server::look(policy.as_deref()));
    }
    if wants(Check::Queues) {
        let control = Control::new(std::sync::Arc::clone(broker));
        let census = fleet::census(&**broker, &control).await?;
        let routed = monitor::routed(settings);
        findings.extend(queues::consumers(&**broker, &routed, &census).await?);
    }
    if wants(Check::Overdue) {
        findings.extend(queues::overdue(&**broker).await?);
    }
    if wants(Check::DeadLetters) {
        findings.extend(queues::letters(&**broker).await?);
    }
    if wants(Check::Clocks) {
        findings.extend(nodes::clocks(&**broker).await?);
    }
    if wants(Check::Names) {
        findings.extend(nodes::namesakes(&**broker).await?);
    }
    if wants(Check::Chords) {
        let (quiet_for, queue) = (args.quiet_for, args.queue.as_ref());
        findings.extend(chords::look(&connected, settings, quiet_for, queue).await?);
    }
    Ok(findings)
}
