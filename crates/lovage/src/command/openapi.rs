//! `lovage openapi`: the API's document.

use clap::Args;
use lovage_settings::Settings;
use lovage_worker::{Catalogue, Module};

use crate::{failure::Failure, output};

/// Print the OpenAPI document of the HTTP API, with an operation for each task compiled into this program.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage openapi > openapi.json
  LOVAGE_DEMO_TASKS=1 lovage openapi     with the demo tasks")]
pub(crate) struct OpenapiArgs {}

/// Runs the command.
pub(crate) fn run(settings: &Settings, mut modules: Vec<Module>) -> Result<u8, Failure> {
    if settings.worker.demo_tasks {
        modules.push(lovage_tasks::demo());
    }
    let specs = Catalogue::specs(&modules)?;
    let document = lovage_api::document(specs);
    let document = document.map_err(|error| Failure::settings(error.to_string()))?;
    output::data(document.trim_end())?;
    Ok(0)
}
