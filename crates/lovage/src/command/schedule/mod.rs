//! `lovage schedule`: periodic tasks, looked at and changed.

mod change;
pub(crate) mod chores;
mod export;
mod import;
pub(crate) mod kept;
pub(crate) mod leader;
mod preview;
mod show;
mod written;

use std::sync::Arc;

use clap::Subcommand;
use lovage_beat::{ByHandError, DeclaredError, Roster, StoreError, store::Store};
use lovage_settings::Settings;
use lovage_worker::{Catalogue, Module};

use self::kept::Place;
use crate::{
    connect::{self, Connected},
    failure::{Failure, chain},
};

/// Periodic tasks: look at them, change them, run them now.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  lovage schedule add nightly reports.build --crontab '30 2 * * mon-fri' --timezone Europe/Zurich
  lovage schedule preview --crontab '30 2 * * *' --timezone Europe/Zurich --after 2026-03-28T12:00:00Z --count 3
  lovage schedule import --celery myapp.json --force")]
pub(crate) enum ScheduleCommand {
    /// List them
    List(show::ListArgs),
    /// Show one
    Show(show::ShowArgs),
    /// Add one
    Add(change::AddArgs),
    /// Change one; what is not given stays as it is
    Edit(change::EditArgs),
    /// Remove one
    Remove(change::RemoveArgs),
    /// Let one rest; what is due meanwhile is not made up for
    Pause(change::NameArgs),
    /// Let one run again
    Resume(change::NameArgs),
    /// Send the task of one now, or the runs of a time that has passed
    Run(change::RunArgs),
    /// Send the runs of a time that has passed, each that was not sent before
    ///
    /// Asked again it sends nothing. What was sent is known as long as ticks are kept (LOVAGE_KEEP_TASKS); where schedules are kept at
    /// the broker, by the last 500 spans of time of which every run was sent, which is the whole past of most schedules.
    Backfill(change::BackfillArgs),
    /// The next runs, of one that is kept or of one given by flags
    Preview(preview::PreviewArgs),
    /// What one has sent, the newest first
    History(show::HistoryArgs),
    /// Take schedules over: a file, Celery's beat_schedule, django-celery-beat, RedBeat
    Import(import::ImportArgs),
    /// Write them all down but the platform's own, as schedule.toml or JSON
    Export(export::ExportArgs),
    /// Which beat leads, when it sent last and what is next; fails when none leads
    Leader(leader::LeaderArgs),
}

/// Runs the command.
pub(crate) async fn run(
    command: ScheduleCommand,
    settings: &Settings,
    modules: Vec<Module>,
) -> Result<u8, Failure> {
    match command {
        ScheduleCommand::List(args) => show::list(&args, settings).await,
        ScheduleCommand::Show(args) => show::show(&args, settings).await,
        ScheduleCommand::Add(args) => change::add(args, settings, modules).await,
        ScheduleCommand::Edit(args) => change::edit(args, settings, modules).await,
        ScheduleCommand::Remove(args) => change::remove(&args, settings).await,
        ScheduleCommand::Pause(args) => change::pause(&args, settings, true).await,
        ScheduleCommand::Resume(args) => change::pause(&args, settings, false).await,
        ScheduleCommand::Run(args) => change::run_now(&args, settings, modules).await,
        ScheduleCommand::Backfill(args) => change::fill(&args, settings, modules).await,
        ScheduleCommand::Preview(args) => preview::run(args, settings).await,
        ScheduleCommand::History(args) => show::history(&args, settings).await,
        ScheduleCommand::Import(args) => import::run(args, settings, modules).await,
        ScheduleCommand::Export(args) => export::run(&args, settings).await,
        ScheduleCommand::Leader(args) => leader::run(&args, settings).await,
    }
}

/// The store of schedules, for a command that runs once.
async fn store(settings: &Settings) -> Result<Arc<dyn Store>, Failure> {
    match kept::place(settings).await? {
        Place::Database(database) => Ok(kept::in_database(settings, database)),
        Place::Broker => Ok(kept::at_broker(connect::broker(settings).await?)),
    }
}

/// The same, for a command that is connected to the broker anyway.
async fn store_beside(
    settings: &Settings,
    connected: &Connected,
) -> Result<Arc<dyn Store>, Failure> {
    match kept::place(settings).await? {
        Place::Database(database) => Ok(kept::in_database(settings, database)),
        Place::Broker => Ok(kept::at_broker(Arc::clone(&connected.broker))),
    }
}

/// The tasks of this program.
fn roster(settings: &Settings, mut modules: Vec<Module>) -> Result<Roster, Failure> {
    if settings.worker.demo_tasks {
        modules.push(lovage_tasks::demo());
    }
    Ok(Roster::new(Catalogue::specs(&modules)?))
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<ByHandError> for Failure {
    fn from(error: ByHandError) -> Self {
        Self::failed(chain(&error))
    }
}

impl From<DeclaredError> for Failure {
    fn from(error: DeclaredError) -> Self {
        match error {
            DeclaredError::Faults(_) => Self::usage(error.to_string()),
            other => Self::failed(chain(&other)),
        }
    }
}
