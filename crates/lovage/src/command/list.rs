//! `lovage list`: the tasks that this binary can run.

use std::time::Duration;

use clap::Args;
use lovage_registry::{Param, TaskSpec};
use lovage_settings::Settings;
use lovage_worker::{Catalogue, Module};
use serde_json::{Value, json};

use crate::{failure::Failure, output, platform, table::Table};

/// List the tasks that this binary can run: names, parameters, documentation.
///
/// The demo tasks are among them with LOVAGE_DEMO_TASKS=1.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Print everything that is known of them as JSON: schemas, options, state
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(
    args: &ListArgs,
    settings: &Settings,
    mut modules: Vec<Module>,
) -> Result<u8, Failure> {
    modules.extend(platform::modules(settings));
    let specs = Catalogue::specs(&modules)?;
    if args.json {
        output::json(&specs.iter().map(describe).collect())?;
        return Ok(0);
    }
    if specs.is_empty() {
        output::note("no tasks are registered; LOVAGE_DEMO_TASKS=1 adds the demo tasks");
        return Ok(0);
    }
    let mut table = Table::new(["TASK", "PARAMETERS", "ABOUT"]);
    for spec in &specs {
        let name = spec.name.as_str();
        let signature = spec.signature();
        let parameters = signature.strip_prefix(name).unwrap_or(&signature);
        let about = spec
            .doc
            .as_deref()
            .and_then(|doc| doc.lines().next())
            .unwrap_or_default();
        table.push([
            name.to_owned(),
            output::one_line(parameters),
            output::one_line(about),
        ]);
    }
    output::line(table)?;
    Ok(0)
}

fn describe(spec: &TaskSpec) -> Value {
    let options = &spec.options;
    let state: Vec<&str> = spec.state.iter().map(|need| need.type_name).collect();
    json!({
        "name": spec.name.as_str(),
        "doc": spec.doc,
        "parameters": spec.params.iter().map(parameter).collect::<Vec<_>>(),
        "returns": spec.returns,
        "signature": spec.signature(),
        "async": spec.is_async,
        "typed": spec.typed,
        "state": state,
        "options": {
            "queue": options.queue.as_ref().map(|queue| queue.as_str()),
            "priority": options.priority,
            "rate_limit": options.rate_limit.as_ref().map(|limit| limit.as_str()),
            "ignore_result": options.ignore_result,
            "track_started": options.track_started,
            "acks_late": options.acks_late,
            "expires": options.expires.map(in_seconds),
            "soft_time_limit": options.soft_time_limit.map(in_seconds),
            "time_limit": options.hard_time_limit.map(in_seconds),
            "max_retries": options.max_retries,
            "min_retry_delay": options.min_retry_delay.map(in_seconds),
            "max_retry_delay": options.max_retry_delay.map(in_seconds),
            "retry_for_unexpected": options.retry_for_unexpected,
        },
    })
}

fn parameter(param: &Param) -> Value {
    let mut value = json!({
        "name": param.name,
        "required": param.is_required(),
        "schema": param.schema,
    });
    // A default of null is not the same as none.
    if let Some(default) = &param.default {
        value["default"] = default.clone();
    }
    value
}

fn in_seconds(length: Duration) -> f64 {
    length.as_secs_f64()
}
