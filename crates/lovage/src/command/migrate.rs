//! `lovage migrate`: the database's tables.

use clap::{Args, Subcommand};
use lovage_database::Database;
use lovage_settings::Settings;
use serde_json::{Value, json};

use crate::{failure::Failure, output, table::Table};

/// Make the database's tables, or take them back.
///
/// Only one process migrates at a time; another waits, and finds nothing left to do. A migration that fails leaves nothing. Every
/// role but `worker` says that it is not ready until the tables are those of its version.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lovage migrate status
  lovage migrate up
  lovage migrate down --steps 1 --force   the newest migration's tables go, with their rows")]
pub(crate) enum MigrateCommand {
    /// Apply the migrations that are missing
    Up(UpArgs),
    /// Take the newest migrations back; what is in their tables is lost
    Down(DownArgs),
    /// Tell which are applied
    ///
    /// Exit code 1 while some are missing.
    Status(StatusArgs),
}

/// How far up.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    /// At most so many
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How far down.
#[derive(Debug, Args)]
pub(crate) struct DownArgs {
    /// So many
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How it is told.
#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(command: MigrateCommand, settings: &Settings) -> Result<u8, Failure> {
    let database = Database::connect(&settings.database, "migrate").await?;
    let place = settings.database.url.to_string();
    let done = migrate(command, &database, place).await;
    // SQLite then has one file again, not three.
    database.close().await?;
    done
}

async fn migrate(
    command: MigrateCommand,
    database: &Database,
    place: String,
) -> Result<u8, Failure> {
    match command {
        MigrateCommand::Up(args) => {
            let names = lovage_migrations::up(database.writer(), args.steps).await?;
            tell(
                &Told {
                    done: "applied",
                    names,
                    place,
                },
                args.json,
            )
        }
        MigrateCommand::Down(args) => {
            if !args.force {
                ask(&place, args.steps)?;
            }
            let names = lovage_migrations::down(database.writer(), args.steps).await?;
            tell(
                &Told {
                    done: "taken back",
                    names,
                    place,
                },
                args.json,
            )
        }
        MigrateCommand::Status(args) => status(database, &place, args.json).await,
    }
}

/// What was done to which database.
struct Told {
    done: &'static str,
    names: Vec<String>,
    place: String,
}

fn tell(told: &Told, as_json: bool) -> Result<u8, Failure> {
    let Told { done, names, place } = told;
    if as_json {
        let key = done.replace(' ', "_");
        output::json(&json!({"database": place, key: names}))?;
        return Ok(0);
    }
    for name in names {
        output::line(format_args!("{done} {name}"))?;
    }
    if names.is_empty() {
        output::note(format_args!("{place}: there was nothing to do"));
    }
    Ok(0)
}

fn ask(place: &str, steps: u32) -> Result<(), Failure> {
    if !output::can_ask() {
        return Err(Failure::usage(
            "rows would be lost and nobody can be asked; use --force",
        ));
    }
    let what = output::count(u64::from(steps), "migration");
    if output::confirm(format_args!(
        "take back {what} of {place}, with all rows of their tables?"
    ))? {
        Ok(())
    } else {
        Err(Failure::failed("nothing was done"))
    }
}

async fn status(database: &Database, place: &str, as_json: bool) -> Result<u8, Failure> {
    let steps = lovage_migrations::status(database.reader()).await?;
    let missing = steps.iter().filter(|step| !step.applied).count();
    if as_json {
        let listed: Vec<Value> = steps
            .iter()
            .map(|step| json!({"name": step.name, "applied": step.applied}))
            .collect();
        output::json(&json!({"database": place, "at_head": missing == 0, "migrations": listed}))?;
    } else {
        let mut table = Table::new(["MIGRATION", "STATE"]);
        for step in steps {
            let state = if step.applied { "applied" } else { "missing" };
            table.push([step.name, state.to_owned()]);
        }
        output::line(table)?;
        if missing > 0 {
            output::note(format_args!("{place}: run `lovage migrate up`"));
        }
    }
    Ok(u8::from(missing > 0))
}
