//! `lovage dlq`: messages that could not be run.

mod stored;
mod told;

pub(crate) use self::stored::waiting_in_database;

use std::{path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::{DateTime, SubsecRound, Utc};
use clap::{Args, Subcommand};
use lovage_broker::{Broker, DeadLetter, DeadLetters};
use lovage_protocol::{DecodeOptions, Message, kwargs_repr, saferepr, time::format_iso};
use lovage_settings::Settings;
use serde_json::{Value, json};

use self::told::Done;
use crate::{connect, failure::Failure, output, table::Table};

/// Letters read in one round trip.
const PAGE: usize = 500;
/// Of ids that begin in the same way so many are told.
const SHOWN: usize = 5;

/// Messages that could not be run: look at them, send them again, delete them.
///
/// A message comes here byte for byte when it cannot be read, when no worker knows its task, when it cost too many
/// workers, or when a task rejected it. With a database they are moved there, and can be searched and edited; what is
/// replayed goes through its outbox.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lovage dlq list
  lovage dlq show ID
  lovage dlq replay --all                     after the missing worker was started
  lovage dlq replay --all --task 'app.add'    those of one task; needs a database
  lovage dlq edit ID < message.json           what is to be sent instead; needs a database")]
pub(crate) enum DlqCommand {
    /// List them, the newest first
    List(ListArgs),
    /// Show one: why it is here, and its message
    Show(ShowArgs),
    /// Send them again, to the end of the queues they came from
    Replay(ChoiceArgs),
    /// Set what is sent instead of one's message; needs a database
    Edit(EditArgs),
    /// Delete them for good
    Discard(DiscardArgs),
}

/// Which ones, where a database can be searched. Each may be given several times.
#[derive(Debug, Args, Default, PartialEq)]
pub(crate) struct SearchArgs {
    /// Only those with this reason, such as unknown-task
    #[arg(long, value_name = "WORD")]
    code: Vec<String>,
    /// Only those of this task
    #[arg(long, value_name = "NAME")]
    task: Vec<String>,
    /// Only those from this queue
    #[arg(long, value_name = "NAME")]
    queue: Vec<String>,
    /// Only those with this in their task, id, detail or traceback
    #[arg(long, value_name = "TEXT")]
    text: Option<String>,
}

/// What is sent instead.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Its id
    id: String,
    /// The file that holds the message; else standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which part of the list.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    search: SearchArgs,
    /// Also those that were replayed or discarded and are still known; needs a database
    #[arg(long)]
    resolved: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Leave out so many of the newest
    #[arg(long, value_name = "N", default_value_t = 0)]
    offset: usize,
    /// Print JSON, with the messages
    #[arg(long)]
    json: bool,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its id, as `lovage dlq list` prints it, or how it begins
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which ones.
#[derive(Debug, Args)]
pub(crate) struct ChoiceArgs {
    /// Their ids, as `lovage dlq list` prints them
    #[arg(value_name = "ID", required_unless_present = "all")]
    ids: Vec<String>,
    /// All there are now (that match)
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    #[command(flatten)]
    search: SearchArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which ones to delete.
#[derive(Debug, Args)]
pub(crate) struct DiscardArgs {
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

const NEEDS_DATABASE: &str =
    "searching and editing need a database; set DATABASE_URL and run `lovage migrate up`";

impl DlqCommand {
    /// Without a database nothing can be searched.
    fn refuse_search(&self) -> Result<(), Failure> {
        let (search, resolved) = match self {
            Self::List(args) => (&args.search, args.resolved),
            Self::Replay(choice) => (&choice.search, false),
            Self::Discard(args) => (&args.choice.search, false),
            Self::Show(_) | Self::Edit(_) => return Ok(()),
        };
        if *search == SearchArgs::default() && !resolved {
            Ok(())
        } else {
            Err(Failure::usage(NEEDS_DATABASE))
        }
    }
}

/// Runs the command.
pub(crate) async fn run(command: DlqCommand, settings: &Settings) -> Result<u8, Failure> {
    let broker = connect::broker(settings).await?;
    if let Some(database) = stored::database(settings).await? {
        return stored::run(command, settings, database, broker).await;
    }
    let letters = broker.dead_letters();
    command.refuse_search()?;
    match command {
        DlqCommand::Edit(_) => Err(Failure::usage(NEEDS_DATABASE)),
        DlqCommand::List(args) => list(&args, letters).await,
        DlqCommand::Show(args) => {
            let letter = find(&args.id, letters).await?;
            if args.json {
                output::json(&describe(&letter))?;
                return Ok(0);
            }
            show(&letter)
        }
        DlqCommand::Replay(choice) => each(choice, &broker, Act::Replay).await,
        DlqCommand::Discard(args) => {
            if args.choice.all && !args.force {
                ask(letters).await?;
            }
            each(args.choice, &broker, Act::Discard).await
        }
    }
}

/// The one of this id, or the only one whose id begins so.
async fn find(id: &str, letters: &dyn DeadLetters) -> Result<DeadLetter, Failure> {
    if let Some(letter) = letters.show(id).await? {
        return Ok(letter);
    }
    let mut ids = all_ids(letters).await?;
    ids.retain(|other| other.starts_with(id));
    match ids.as_slice() {
        [only] => letters
            .show(only)
            .await?
            .ok_or_else(|| Failure::failed(missing(id))),
        [] => Err(Failure::failed(missing(id))),
        several => Err(Failure::failed(format!(
            "{} begin with {}: {}",
            output::count(
                u64::try_from(several.len()).unwrap_or(u64::MAX),
                "dead letter"
            ),
            output::one_line(id),
            output::one_line(&several[..several.len().min(SHOWN)].join(", "))
        ))),
    }
}

async fn list(args: &ListArgs, letters: &dyn DeadLetters) -> Result<u8, Failure> {
    let found = letters.list(args.offset, args.limit).await?;
    if args.json {
        output::json(&found.iter().map(describe).collect())?;
        return Ok(0);
    }
    if found.is_empty() {
        output::note("there are no dead letters");
        return Ok(0);
    }
    let mut table = Table::new(["ID", "WHEN", "QUEUE", "TASK", "REASON", "DETAIL"]);
    for letter in &found {
        table.push([
            letter.id.clone(),
            when(letter.at),
            output::one_line(&letter.queue),
            output::one_line(letter.reason.task.as_deref().unwrap_or("-")),
            output::one_line(&letter.reason.code),
            output::one_line(&letter.reason.detail),
        ]);
    }
    output::line(table)?;
    let (shown, total) = (found.len(), letters.count().await?);
    if u64::try_from(args.offset + shown).is_ok_and(|end| end < total) {
        output::note(format_args!(
            "{} of {}; see --limit and --offset",
            shown,
            output::count(total, "dead letter")
        ));
    }
    Ok(0)
}

fn show(letter: &DeadLetter) -> Result<u8, Failure> {
    let reason = &letter.reason;
    let fact = |name: &str, value: &str| {
        let style = output::HEADING;
        output::line(format_args!(
            "{style}{name:<8}{style:#} {}",
            output::one_line(value)
        ))
    };
    fact("id", &letter.id)?;
    fact("when", &when(letter.at))?;
    fact("reason", &format!("{}: {}", reason.code, reason.detail))?;
    fact("queue", &letter.queue)?;
    fact("worker", &letter.node)?;
    fact("task", reason.task.as_deref().unwrap_or("-"))?;
    fact("task id", reason.task_id.as_deref().unwrap_or("-"))?;
    if let Some((args, kwargs)) = arguments(&letter.raw) {
        fact("args", &args)?;
        fact("kwargs", &kwargs)?;
    }
    output::line("")?;
    match serde_json::from_slice::<Value>(&letter.raw) {
        Ok(envelope) => output::line(output::printable(&format!("{envelope:#}")))?,
        Err(_) => output::line(output::printable(&String::from_utf8_lossy(&letter.raw)))?,
    }
    Ok(0)
}

/// The arguments of a message, when they can be read.
fn arguments(raw: &[u8]) -> Option<(String, String)> {
    let body = Message::parse(raw)
        .ok()?
        .decode_body(&DecodeOptions::default())
        .ok()?;
    Some((saferepr(&body.args), kwargs_repr(&body.kwargs)))
}

fn describe(letter: &DeadLetter) -> Value {
    let mut value = json!({
        "id": letter.id,
        "code": letter.reason.code,
        "detail": letter.reason.detail,
        "task": letter.reason.task,
        "task_id": letter.reason.task_id,
        "queue": letter.queue,
        "worker": letter.node,
        "at": letter.at,
        "when": when(letter.at),
    });
    match std::str::from_utf8(&letter.raw) {
        Ok(text) => value["raw"] = json!(text),
        Err(_) => value["raw_base64"] = json!(STANDARD.encode(&letter.raw)),
    }
    value
}

/// A unix time for people.
fn when(at: f64) -> String {
    let time = std::time::Duration::try_from_secs_f64(at)
        .ok()
        .and_then(|since| i64::try_from(since.as_millis()).ok())
        .and_then(DateTime::<Utc>::from_timestamp_millis);
    time.map_or_else(|| at.to_string(), |time| format_iso(time.trunc_subsecs(0)))
}

/// What is done with letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Replay,
    Discard,
}

impl Act {
    async fn on(self, id: &str, letters: &dyn DeadLetters) -> Result<bool, lovage_broker::Error> {
        match self {
            Self::Replay => letters.replay(id).await,
            Self::Discard => letters.discard(id).await,
        }
    }

    fn past(self) -> &'static str {
        match self {
            Self::Replay => "replayed",
            Self::Discard => "discarded",
        }
    }

    fn present(self) -> &'static str {
        match self {
            Self::Replay => "replaying",
            Self::Discard => "deleting",
        }
    }
}

async fn each(choice: ChoiceArgs, broker: &Arc<dyn Broker>, act: Act) -> Result<u8, Failure> {
    let letters = broker.dead_letters();
    // All ids first: each one done moves the others up.
    let ids = if choice.all {
        all_ids(letters).await?
    } else {
        choice.ids
    };
    let bar = output::progress(u64::try_from(ids.len()).unwrap_or(u64::MAX), act.present());
    let mut told = Done::default();
    for id in ids {
        if act.on(&id, letters).await? {
            told.done += 1;
        } else if !choice.all {
            // With --all, somebody else was faster.
            told.gone.push(id);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    told.tell(act.past(), choice.json)
}

async fn all_ids(letters: &dyn DeadLetters) -> Result<Vec<String>, Failure> {
    let mut ids = Vec::new();
    loop {
        let page = letters.list(ids.len(), PAGE).await?;
        let full = page.len() == PAGE;
        ids.extend(page.into_iter().map(|letter| letter.id));
        if !full {
            return Ok(ids);
        }
    }
}

async fn ask(letters: &dyn DeadLetters) -> Result<(), Failure> {
    if !output::can_ask() {
        return Err(Failure::usage(
            "this deletes messages and there is no terminal to ask at; use -f",
        ));
    }
    let total = output::count(letters.count().await?, "dead letter");
    if output::confirm(format_args!("This deletes {total} for good. Go on?"))? {
        Ok(())
    } else {
        Err(Failure::failed("nothing was deleted"))
    }
}

fn missing(id: &str) -> String {
    format!("there is no dead letter {}", output::one_line(id))
}

#[cfg(test)]
mod tests {
    use lovage_broker::{DeadLetter, Reason};

    use super::{describe, when};

    fn letter(raw: &'static [u8]) -> DeadLetter {
        let reason = Reason {
            code: "undecodable".to_owned(),
            detail: "is not JSON".to_owned(),
            task: None,
            task_id: None,
        };
        DeadLetter {
            id: "7".to_owned(),
            reason,
            queue: "celery".to_owned(),
            node: "w@h".to_owned(),
            at: 1_700_000_000.25,
            raw: raw.into(),
        }
    }

    #[test]
    fn messages_are_told_byte_for_byte() {
        let text = describe(&letter(b"{\"x\": 1}"));
        assert_eq!(text["raw"], "{\"x\": 1}");
        assert_eq!(text["when"], "2023-11-14T22:13:20+00:00");
        let bytes = describe(&letter(b"\xff\x00"));
        assert_eq!(
            (&bytes["raw_base64"], bytes.get("raw")),
            (&"/wA=".into(), None)
        );
    }

    #[test]
    fn odd_times_are_shown_as_numbers() {
        assert_eq!(when(-1.0), "-1");
        assert_eq!(when(1e300), format!("{}", 1e300));
    }
}
