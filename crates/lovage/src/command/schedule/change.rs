//! Changing: add, edit, remove, pause, resume, run.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use lovage_beat::{
    Draft, added, backfill, changed, instant, may_become, may_go, run_now as send_now, set_paused,
    store::{Source, Store, Stored, TickRecord},
};
use lovage_keeper::outbox;
use lovage_settings::Settings;
use lovage_worker::{Catalogue, Module};
use serde_json::{Value, json};

use crate::{
    command::{
        beat::{defaults, relay_parts},
        schedule::{
            kept::{self, Place},
            preview::utc,
            roster,
            show::{describe, unknown},
            store, store_beside,
            written::{SendArgs, TimeArgs},
        },
    },
    connect,
    failure::{Failure, chain},
    output,
};

/// A new one.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// Its name, not taken yet
    name: String,
    /// The name of the task that it sends
    task: String,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is to be another.
#[derive(Debug, Args)]
pub(crate) struct EditArgs {
    /// Its name
    name: String,
    /// Another task
    #[arg(long)]
    task: Option<String>,
    #[command(flatten)]
    time: TimeArgs,
    #[command(flatten)]
    send: SendArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// Its name
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which one.
#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Its name
    name: String,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which one, and which runs.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Its name
    name: String,
    /// Send the runs that were due after this instant (RFC 3339) instead of one now
    #[arg(long, value_name = "TIME", requires = "until")]
    from: Option<String>,
    /// … up to this one
    #[arg(long, value_name = "TIME", requires = "from")]
    until: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Which one, and which time.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// Its name
    name: String,
    /// The runs that were due after this instant (RFC 3339)
    #[arg(long, value_name = "TIME")]
    from: String,
    /// … up to this one
    #[arg(long, value_name = "TIME")]
    until: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn add(
    args: AddArgs,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let mut draft = Draft::new(args.name, args.task);
    args.time.write(&mut draft);
    args.send.write(&mut draft);
    let save = checked(added(
        Source::Database,
        draft.clone(),
        &defaults(settings),
        Utc::now(),
    ))?;
    hold_to_tasks(&draft, settings, modules)?;
    let store = store(settings).await?;
    if store.save(&save).await?.is_none() {
        return Err(Failure::failed(format!(
            "there is a schedule {:?} already; `lovage schedule edit` changes it",
            draft.name
        )));
    }
    tell(&*store, &draft.name, "added", args.json, settings).await
}

pub(crate) async fn edit(
    args: EditArgs,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let store = store(settings).await?;
    let before = find(&*store, &args.name).await?;
    let mut draft = before.definition.draft.clone();
    if let Some(task) = args.task {
        draft.task = task;
    }
    args.time.write(&mut draft);
    args.send.write(&mut draft);
    may_become(&before, &draft)?;
    let save = checked(changed(
        &before,
        draft.clone(),
        &defaults(settings),
        Utc::now(),
    ))?;
    hold_to_tasks(&draft, settings, modules)?;
    if store.save(&save).await?.is_none() {
        return Err(Failure::failed(format!(
            "the schedule {:?} was changed by somebody else meanwhile; look at it, then try again",
            draft.name
        )));
    }
    tell(&*store, &draft.name, "changed", args.json, settings).await
}

pub(crate) async fn remove(args: &RemoveArgs, settings: &Settings) -> Result<u8, Failure> {
    let store = store(settings).await?;
    let stored = find(&*store, &args.name).await?;
    may_go(&stored)?;
    let name = &stored.definition.draft.name;
    if !args.force {
        if !output::can_ask() {
            return Err(Failure::usage(
                "this removes a schedule and there is no terminal to ask at; use -f",
            ));
        }
        let question =
            format!("This removes {name:?} and what it has sent so far is forgotten. Go on?");
        if !output::confirm(question)? {
            return Err(Failure::failed("nothing was removed"));
        }
    }
    let removed = store.remove(name).await?;
    if args.json {
        output::json(&json!({"removed": removed}))?;
    } else {
        output::line(format_args!("removed {}", output::one_line(name)))?;
    }
    Ok(0)
}

pub(crate) async fn pause(
    args: &NameArgs,
    settings: &Settings,
    paused: bool,
) -> Result<u8, Failure> {
    let store = store(settings).await?;
    let done = set_paused(&*store, &args.name, paused, &defaults(settings), Utc::now()).await?;
    let verb = match (paused, done) {
        (true, true) => "paused",
        (true, false) => "was paused already",
        (false, true) => "runs again",
        (false, false) => "was not paused",
    };
    tell(&*store, &args.name, verb, args.json, settings).await
}

pub(crate) async fn run_now(
    args: &RunArgs,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let range = match (&args.from, &args.until) {
        (Some(from), Some(until)) => Some(range(from, until)?),
        _ => None,
    };
    if let Some(range) = range {
        return make_up(&args.name, range, args.json, settings, modules).await;
    }
    let specs = Catalogue::specs(&modules)?;
    let connected = connect::once(settings, &specs).await?;
    let store = store_beside(settings, &connected).await?;
    let record = send_now(&*store, &connected.client, &args.name).await?;
    sent(&[record], args.json)
}

/// Sends the runs of a time that has passed.
pub(crate) async fn fill(
    args: &BackfillArgs,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let range = range(&args.from, &args.until)?;
    make_up(&args.name, range, args.json, settings, modules).await
}

fn range(from: &str, until: &str) -> Result<(DateTime<Utc>, DateTime<Utc>), Failure> {
    let time = |name: &str, text: &str| {
        instant(text).map_err(|why| Failure::usage(format!("--{name}: {why}")))
    };
    let (from, until) = (time("from", from)?, time("until", until)?);
    if until < from {
        return Err(Failure::usage(
            "--until is before --from; right would be a later time",
        ));
    }
    Ok((from, until))
}

async fn make_up(
    name: &str,
    range: (DateTime<Utc>, DateTime<Utc>),
    as_json: bool,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    let specs = Catalogue::specs(&modules)?;
    let connected = connect::once(settings, &specs).await?;
    let (store, database) = match kept::place(settings).await? {
        Place::Database(database) => (
            kept::in_database(settings, database.clone()),
            Some(database),
        ),
        Place::Broker => (kept::at_broker(Arc::clone(&connected.broker)), None),
    };
    let defaults = defaults(settings);
    let records = backfill(&*store, &connected.client, name, range, &defaults).await?;
    if let Some(database) = database {
        // They are in the outbox. Where nobody relays it, they are sent here.
        let parts = relay_parts(settings, database, &connected);
        outbox::relay_now(&parts)
            .await
            .map_err(|error| Failure::failed(chain(&error)))?;
    }
    sent(&records, as_json)
}

fn sent(records: &[TickRecord], as_json: bool) -> Result<u8, Failure> {
    if as_json {
        let rows = records
            .iter()
            .map(|record| json!({"due": utc(record.due), "task_id": record.task_id}));
        output::json(&rows.collect::<Value>())?;
        return Ok(0);
    }
    for record in records {
        output::line(format_args!("{}  {}", record.task_id, utc(record.due)))?;
    }
    if records.is_empty() {
        output::note("no run was due in that range that has not been sent");
    }
    Ok(0)
}

/// One that there is.
async fn find(store: &dyn Store, name: &str) -> Result<Stored, Failure> {
    store.stored(name).await?.ok_or_else(|| unknown(name))
}

fn checked<T>(made: Result<T, lovage_beat::DeclaredError>) -> Result<T, Failure> {
    made.map_err(Failure::from)
}

fn hold_to_tasks(draft: &Draft, settings: &Settings, modules: Vec<Module>) -> Result<(), Failure> {
    roster(settings, modules)?
        .check(draft)
        .map_err(|faults| Failure::usage(faults.to_string()))
}

async fn tell(
    store: &dyn Store,
    name: &str,
    verb: &str,
    as_json: bool,
    settings: &Settings,
) -> Result<u8, Failure> {
    let stored = store.stored(name).await?.ok_or_else(|| unknown(name))?;
    let told = describe(&stored, settings);
    if as_json {
        output::json(&told)?;
    } else {
        let next = told["next"]
            .as_str()
            .map_or_else(|| "never".to_owned(), str::to_owned);
        output::line(format_args!(
            "{} {verb}, next run: {next}",
            output::one_line(name)
        ))?;
    }
    Ok(0)
}
