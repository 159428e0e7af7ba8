//! Dead letters in the database: what the broker has is moved there first.

use std::{
    fs,
    io::{self, Read},
    sync::Arc,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::SubsecRound;
use lovage_broker::Broker;
use lovage_client::{ClientOptions, Composer};
use lovage_database::{
    Database,
    store::dead_letter::{
        Act, DeadLetter, Fate, Filter, count, discard, edit, find, find_by_source, latest, page,
        replay, waiting,
    },
};
use lovage_keeper::{dead_letters, outbox};
use lovage_protocol::time::format_iso;
use lovage_settings::{DatabaseSettings, DatabaseUrl, Settings};
use serde_json::{Value, json};

use super::{ChoiceArgs, DlqCommand, EditArgs, ListArgs, SearchArgs, missing, told::Done};
use crate::{failure::Failure, output, table::Table};

/// So many in one transaction.
const BATCH: u64 = 200;
/// Who is told to have decided.
const BY: &str = "lovage dlq";

/// The database, where one is in use: it was set, or the default's file is there.
pub(super) async fn database(settings: &Settings) -> Result<Option<Database>, Failure> {
    let is_default = settings.database.url == DatabaseSettings::default().url;
    let used = match &settings.database.url {
        // Whoever connects makes the file, and then it has no tables.
        DatabaseUrl::Sqlite(path) if !path.exists() && !is_default => {
            return Err(Failure::failed(format!(
                "there is no database at {}; run `lovage migrate up`",
                path.display()
            )));
        }
        DatabaseUrl::Sqlite(path) => path.exists(),
        DatabaseUrl::Postgres(_) => true,
        DatabaseUrl::Foreign { .. } => false,
    };
    if !used {
        return Ok(None);
    }
    let database = Database::connect(&settings.database, "dlq").await?;
    let schema = database.schema().await?;
    if schema.is_usable() {
        Ok(Some(database))
    } else {
        Err(Failure::failed(schema.to_string()))
    }
}

/// How many wait in the database, and why the newest does; none where no database was ever named or made.
pub(crate) async fn waiting_in_database(
    settings: &Settings,
) -> Result<(u64, Option<String>), Failure> {
    let Some(database) = database(settings).await? else {
        return Ok((0, None));
    };
    let waiting = Filter {
        fates: vec![Fate::Waiting],
        ..Filter::default()
    };
    let reader = database.reader();
    let newest = page(reader, &waiting, None, 1).await?.into_iter().next();
    let why = newest.map(|letter| letter.died.code);
    Ok((count(reader, &waiting).await?, why))
}

pub(super) async fn run(
    command: DlqCommand,
    settings: &Settings,
    database: Database,
    broker: Arc<dyn Broker>,
) -> Result<u8, Failure> {
    dead_letters::collect(&database, &*broker).await?;
    match command {
        DlqCommand::List(args) => list(&args, &database).await,
        DlqCommand::Show(args) => {
            let letter = get(&args.id, &database).await?;
            if args.json {
                output::json(&describe(&letter))?;
                return Ok(0);
            }
            show(&letter)
        }
        DlqCommand::Edit(args) => change(&args, &database).await,
        DlqCommand::Replay(choice) => {
            let done = each(&choice, &database, Act::Replay).await?;
            send(settings, &database, broker).await?;
            done.tell("replayed", choice.json)
        }
        DlqCommand::Discard(args) => {
            if args.choice.all && !args.force {
                ask(&args.choice.search, &database).await?;
            }
            let done = each(&args.choice, &database, Act::Discard).await?;
            done.tell("discarded", args.choice.json)
        }
    }
}

fn filter(search: &SearchArgs, fates: Vec<Fate>) -> Filter {
    Filter {
        fates,
        codes: search.code.clone(),
        tasks: search.task.clone(),
        queues: search.queue.clone(),
        text: search.text.clone(),
        ..Filter::default()
    }
}

async fn list(args: &ListArgs, database: &Database) -> Result<u8, Failure> {
    let fates = if args.resolved {
        Vec::new()
    } else {
        vec![Fate::Waiting]
    };
    let filter = filter(&args.search, fates);
    let found = page_at(database, &filter, args.offset, args.limit).await?;
    if args.json {
        output::json(&found.iter().map(describe).collect())?;
        return Ok(0);
    }
    if found.is_empty() {
        output::note("there are no such dead letters");
        return Ok(0);
    }
    let mut table = Table::new(["ID", "WHEN", "QUEUE", "TASK", "REASON", "STATE", "DETAIL"]);
    for letter in &found {
        let died = &letter.died;
        table.push([
            letter.id.to_string(),
            when(letter),
            output::one_line(&died.queue),
            output::one_line(died.task.as_deref().unwrap_or("-")),
            output::one_line(&died.code),
            letter.fate.as_str().to_owned(),
            output::one_line(&died.detail),
        ]);
    }
    output::line(table)?;
    let (shown, total) = (found.len(), count(database.reader(), &filter).await?);
    if u64::try_from(args.offset + shown).is_ok_and(|end| end < total) {
        output::note(format_args!(
            "{} of {}; see --limit and --offset",
            shown,
            output::count(total, "dead letter")
        ));
    }
    Ok(0)
}

/// The store gives pages from a letter on; people count from the newest.
async fn page_at(
    database: &Database,
    filter: &Filter,
    offset: usize,
    limit: usize,
) -> Result<Vec<DeadLetter>, Failure> {
    let (mut skip, mut found, mut before) = (offset, Vec::new(), None);
    while found.len() < limit {
        let some = page(database.reader(), filter, before, BATCH).await?;
        let Some(last) = some.last() else {
            break;
        };
        before = Some(last.id);
        let passed = skip.min(some.len());
        skip -= passed;
        found.extend(some.into_iter().skip(passed));
    }
    found.truncate(limit);
    Ok(found)
}

/// One by its number, or by the id that it had at the broker.
async fn look_for(id: &str, database: &Database) -> Result<Option<DeadLetter>, Failure> {
    let reader = database.reader();
    let by_number = match id.parse::<i64>() {
        Ok(number) => find(reader, number).await?,
        Err(_) => None,
    };
    match by_number {
        Some(letter) => Ok(Some(letter)),
        None => Ok(find_by_source(reader, id).await?),
    }
}

/// The same, where there must be one.
async fn get(id: &str, database: &Database) -> Result<DeadLetter, Failure> {
    let letter = look_for(id, database).await?;
    letter.ok_or_else(|| Failure::failed(missing(id)))
}

fn show(letter: &DeadLetter) -> Result<u8, Failure> {
    let died = &letter.died;
    let fact = |name: &str, value: &str| {
        let style = output::HEADING;
        output::line(format_args!(
            "{style}{name:<8}{style:#} {}",
            output::one_line(value)
        ))
    };
    fact("id", &letter.id.to_string())?;
    fact("when", &when(letter))?;
    fact("state", letter.fate.as_str())?;
    fact("reason", &format!("{}: {}", died.code, died.detail))?;
    fact("queue", &died.queue)?;
    fact("worker", died.worker.as_deref().unwrap_or("-"))?;
    fact("task", died.task.as_deref().unwrap_or("-"))?;
    fact("task id", died.task_id.as_deref().unwrap_or("-"))?;
    if let Some((args, kwargs)) = super::arguments(letter.message()) {
        fact("args", &args)?;
        fact("kwargs", &kwargs)?;
    }
    if let Some(traceback) = &died.traceback {
        output::line("")?;
        output::line(output::printable(traceback.trim_end()))?;
    }
    output::line("")?;
    match serde_json::from_slice::<Value>(letter.message()) {
        Ok(envelope) => output::line(output::printable(&format!("{envelope:#}")))?,
        Err(_) => output::line(output::printable(&String::from_utf8_lossy(
            letter.message(),
        )))?,
    }
    Ok(0)
}

fn describe(letter: &DeadLetter) -> Value {
    let died = &letter.died;
    let mut value = json!({
        "id": letter.id.to_string(),
        "source_id": died.source_id,
        "code": died.code,
        "detail": died.detail,
        "traceback": died.traceback,
        "task": died.task,
        "task_id": died.task_id,
        "queue": died.queue,
        "worker": died.worker,
        "when": when(letter),
        "state": letter.fate.as_str(),
        "resolved_by": letter.resolved_by,
        "edited": letter.edited.is_some(),
    });
    match std::str::from_utf8(letter.message()) {
        Ok(text) => value["raw"] = json!(text),
        Err(_) => value["raw_base64"] = json!(STANDARD.encode(letter.message())),
    }
    value
}

fn when(letter: &DeadLetter) -> String {
    format_iso(letter.died.died_at.trunc_subsecs(0))
}

async fn change(args: &EditArgs, database: &Database) -> Result<u8, Failure> {
    let letter = get(&args.id, database).await?;
    let mut message = Vec::new();
    match &args.file {
        Some(path) => {
            message = fs::read(path).map_err(|error| {
                Failure::usage(format!("{} cannot be read: {error}", path.display()))
            })?;
        }
        None => {
            io::stdin().read_to_end(&mut message)?;
        }
    }
    if message.is_empty() {
        return Err(Failure::usage("the message is empty"));
    }
    if !edit(database.writer(), letter.id, letter.version, message).await? {
        return Err(Failure::failed(format!(
            "dead letter {} is {}, or somebody else has just changed it",
            letter.id,
            letter.fate.as_str()
        )));
    }
    if args.json {
        output::json(&json!({"edited": letter.id.to_string()}))?;
    } else {
        output::line(format_args!("edited {}", letter.id))?;
    }
    Ok(0)
}

async fn each(choice: &ChoiceArgs, database: &Database, act: Act) -> Result<Done, Failure> {
    if choice.all {
        let filter = filter(&choice.search, vec![Fate::Waiting]);
        return all(&filter, database, act).await;
    }
    let mut told = Done::default();
    for id in &choice.ids {
        let Some(letter) = look_for(id, database).await? else {
            told.gone.push(id.clone());
            continue;
        };
        let transaction = database.begin().await?;
        let ours = match act {
            Act::Replay => replay(&transaction, letter.id, BY).await?,
            Act::Discard => discard(&transaction, letter.id, BY).await?,
        };
        lovage_database::commit(transaction).await?;
        if ours {
            told.done += 1;
        } else {
            // As it is by now: somebody else may have decided since it was read.
            let now = find(database.writer(), letter.id).await?;
            match now {
                Some(letter) => told.before.push((id.clone(), letter.fate.as_str())),
                None => told.gone.push(id.clone()),
            }
        }
    }
    Ok(told)
}

/// All that match now, page by page; what dies once more meanwhile stays.
async fn all(filter: &Filter, database: &Database, act: Act) -> Result<Done, Failure> {
    let verb = match act {
        Act::Replay => "replaying",
        Act::Discard => "giving up",
    };
    let last = latest(database.reader()).await?;
    let bar = output::progress(count(database.reader(), filter).await?, verb);
    let (mut told, mut after) = (Done::default(), 0);
    loop {
        let transaction = database.begin().await?;
        let letters = waiting(&transaction, filter, after, last, BATCH).await?;
        let Some(newest) = letters.last() else {
            bar.finish_and_clear();
            return Ok(told);
        };
        after = newest.id;
        for letter in &letters {
            told.done += u64::from(act.on(&transaction, letter, BY).await?);
        }
        lovage_database::commit(transaction).await?;
        bar.inc(u64::try_from(letters.len()).unwrap_or(0));
    }
}

/// Sends what was replayed, unless a keeper does.
async fn send(
    settings: &Settings,
    database: &Database,
    broker: Arc<dyn Broker>,
) -> Result<(), Failure> {
    let composer = Composer::new(ClientOptions::from(settings));
    let holder = format!("{BY} {}", uuid::Uuid::new_v4());
    let parts = outbox::Parts::new(database.clone(), broker, composer, holder);
    outbox::relay_now(&parts).await?;
    Ok(())
}

async fn ask(search: &SearchArgs, database: &Database) -> Result<(), Failure> {
    if !output::can_ask() {
        return Err(Failure::usage(
            "this gives messages up and there is no terminal to ask at; use -f",
        ));
    }
    let filter = filter(search, vec![Fate::Waiting]);
    let total = output::count(count(database.reader(), &filter).await?, "dead letter");
    if output::confirm(format_args!("This gives up {total} for good. Go on?"))? {
        Ok(())
    } else {
        Err(Failure::failed("nothing was given up"))
    }
}
