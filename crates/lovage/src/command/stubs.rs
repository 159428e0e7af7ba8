//! `lovage stubs`: the tasks of this binary for programs in other languages.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use lovage_settings::Settings;
use lovage_worker::{Catalogue, Module};
use serde_json::json;

use crate::{
    failure::Failure,
    output, platform,
    stubs::{PACKAGE, Package, is_package_name},
};

/// Write the tasks of this binary as code of another language, for those who send them.
#[derive(Debug, Subcommand)]
pub(crate) enum StubsCommand {
    /// Write a typed Python package: `from lovage_stubs.demo import add`, `add.delay(2, 3)`
    ///
    /// Editors complete its tasks and checkers check their arguments; each is sent to its queue (CELERY_TASK_ROUTES, the
    /// task's own). Monitors start on it too: `celery -A lovage_stubs flower`. A Python worker refuses to. The demo tasks
    /// are among them with LOVAGE_DEMO_TASKS=1. A package of an earlier run is replaced; files of others never are.
    Python(PythonArgs),
}

/// Where it goes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage stubs python                                into ./lovage_stubs
  lovage stubs python --out src --package rust_tasks into src/rust_tasks")]
pub(crate) struct PythonArgs {
    /// The folder in which the package is made
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    out: PathBuf,
    /// The name of the package
    #[arg(long, value_name = "NAME", default_value = PACKAGE, value_parser = package_name)]
    package: String,
    /// Print as JSON which files were written
    #[arg(long)]
    json: bool,
}

fn package_name(text: &str) -> Result<String, String> {
    if is_package_name(text) {
        Ok(text.to_owned())
    } else {
        Err("is no name of a Python package".to_owned())
    }
}

/// Runs the command.
pub(crate) fn run(
    command: &StubsCommand,
    settings: &Settings,
    mut modules: Vec<Module>,
) -> Result<u8, Failure> {
    let StubsCommand::Python(args) = command;
    modules.extend(platform::modules(settings));
    let specs = Catalogue::specs(&modules)?;
    let package = Package::new(&args.package, &specs, settings)?;
    package.write(&args.out)?;
    let files = package.files().keys().map(|file| args.out.join(file));
    if args.json {
        let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
        output::json(&json!({
            "package": args.package,
            "tasks": specs.len(),
            "files": files,
        }))?;
        return Ok(0);
    }
    if specs.is_empty() {
        output::note("no tasks are registered; LOVAGE_DEMO_TASKS=1 adds the demo tasks");
    }
    let tasks = output::count(u64::try_from(specs.len()).unwrap_or(u64::MAX), "task");
    output::line(format_args!(
        "{tasks} in {}",
        args.out.join(&args.package).display()
    ))?;
    Ok(0)
}
