//! `lovage doctor`: looks at a live broker and says what is wrong. Each check is a module that gives findings.

mod chords;
mod finding;
mod litter;
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
/// could not be run, are long overdue or held for too long, at the database's tables, at clocks, at workers of one name or without
/// events, at keys that nobody takes away, and at stuck chords. Each finding comes with what to do. Wrong settings of this command
/// itself end it before it looks, all of them named (exit code 78).
///
/// Nothing is changed without --fix: without it, and with --fix --dry-run, the doctor tells what it would do. Stuck chords are those
/// that wait for a member of which no message exists any more, or whose end was never brought about. With --fix such a chord is
/// ended by a worker: with its body, when the results of all members are stored; else its body fails with ChordError, and whoever
/// waits is told. Replies that nobody waits for are deleted, results without a time to live are given one.
///
/// Exits with 1 when something was found that is still so at the end. Hints, which may be as they are meant to be, do not count.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage doctor
  lovage doctor --json | jq '.findings[].subject'
  lovage doctor --only results --fix --dry-run
  lovage doctor --quiet-for 3600 --fix")]
pub(crate) struct DoctorArgs {
    /// Repair what can be repaired
    #[arg(long)]
    fix: bool,
    /// With --fix: tell what would be repaired, and change nothing
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// How long a chord must have stood still. Messages that a Python worker acknowledged early cannot be seen while it runs them:
    /// this must be longer than such tasks take
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "600")]
    quiet_for: Duration,
    /// The queue by which a worker is told to end a chord [default: that of its body, or as tasks are routed]
    #[arg(long, value_name = "QUEUE")]
    queue: Option<QueueName>,
    /// Look at the names of no more than so many keys for what nobody takes away
    #[arg(long, value_name = "KEYS", default_value_t = 1_000_000)]
    most_keys: u64,
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
    /// Whether the broker may lose what it was given, and what its disk and memory are like
    Broker,
    /// Queues that tasks are sent to and nobody consumes
    Queues,
    /// Delayed messages that are long due
    Overdue,
    /// Messages that are held for longer than the visibility time-out
    Held,
    /// Messages that could not be run
    DeadLetters,
    /// The tables of the database
    Database,
    /// Clocks of workers and of the broker's server that differ from this machine's
    Clocks,
    /// Workers of one name
    Names,
    /// Workers that send no task events
    Events,
    /// Replies that nobody waits for, and locks that nobody opens
    Replies,
    /// Results without a time to live
    Results,
    /// Chords that stand still
    Chords,
}

/// Runs the command.
pub(crate) async fn run(args: DoctorArgs, settings: &Settings) -> Result<u8, Failure> {
    let findings = look(&args, settings).await?;
    let mut treated = Vec::with_capacity(findings.len());
    for finding in findings {
        treated.push(match args.fix && !args.dry_run {
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
    let hints = treated.iter().filter(|one| one.is_hint()).count();
    let mut told = match treated.len() - hints {
        0 => "nothing was found".to_owned(),
        found => count(found, "finding"),
    };
    if hints > 0 {
        told = format!("{told}; {}", count(hints, "hint"));
    }
    if fixable > 0 {
        told = format!("{told}; `lovage doctor --fix` repairs {fixable}");
    }
    output::line(told)?;
    Ok(u8::from(remaining > 0))
}

async fn look(args: &DoctorArgs, settings: &Settings) -> Result<Vec<Finding>, Failure> {
    let wants = |check| args.only.is_empty() || args.only.contains(&check);
    let mut findings = Vec::new();
    if wants(Check::Database) {
        // It needs no broker, so it is told even when there is none.
        findings.extend(tables::look(settings).await);
    }
    let (connected, redis) = match connect::examined(settings).await {
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
    let control = Control::new(std::sync::Arc::clone(broker));
    let condition = match wants(Check::Broker) || wants(Check::Clocks) {
        true => redis.condition().await?,
        false => None,
    };
    if wants(Check::Broker) {
        match &condition {
            Some(condition) => findings.extend(server::look(condition, settings)),
            None => findings.push(server::closed()),
        }
    }
    if wants(Check::Queues) {
        let census = fleet::census(&**broker, &control).await?;
        let mut sent_to = monitor::routed(settings);
        let (waited_in, not_all) = queues::with_tasks(&redis, args.most_keys).await?;
        sent_to.extend(waited_in);
        findings.extend(queues::consumers(&**broker, &sent_to, &census).await?);
        findings.extend(not_all);
    }
    if wants(Check::Overdue) {
        findings.extend(queues::overdue(&**broker).await?);
    }
    if wants(Check::Held) {
        findings.extend(queues::held(&redis, settings).await?);
    }
    if wants(Check::DeadLetters) {
        findings.extend(queues::letters(&**broker, settings).await?);
    }
    if wants(Check::Clocks) {
        findings.extend(condition.as_ref().and_then(server::clock));
        findings.extend(nodes::clocks(&**broker).await?);
    }
    if wants(Check::Names) {
        findings.extend(nodes::namesakes(&**broker).await?);
    }
    if wants(Check::Events) {
        findings.extend(nodes::silent(&**broker, &control).await?);
    }
    if wants(Check::Replies) {
        findings.extend(litter::replies(&redis, settings, args.most_keys).await?);
    }
    if wants(Check::Results) {
        findings.extend(litter::results(&connected, settings, args.most_keys).await?);
    }
    if wants(Check::Chords) {
        let (quiet_for, queue) = (args.quiet_for, args.queue.as_ref());
        findings.extend(chords::look(&connected, settings, quiet_for, queue).await?);
    }
    Ok(findings)
}
