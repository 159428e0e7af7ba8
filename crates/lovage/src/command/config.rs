//! `lovage config`: what the settings are, and what they could be.

use clap::{Args, Subcommand};
use lovage_settings::{Settings, Warning, env_example, reference};
use serde_json::{Map, Value, json};

use crate::{effective::effective, failure::Failure, output, table::Table};

/// Check the settings, or list all there are.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read the settings as every command does: list all faults, or show what holds
    ///
    /// Exit code 78 when something is wrong. Passwords are not shown. No connection is opened.
    Check(CheckArgs),
    /// Print .env.example: every variable with its default and meaning
    Example,
    /// Print the reference of settings as Markdown
    Reference,
}

/// How it is told.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(command: &ConfigCommand) -> Result<u8, Failure> {
    match command {
        ConfigCommand::Example => {
            output::data(env_example().trim_end())?;
            Ok(0)
        }
        ConfigCommand::Reference => {
            output::data(reference().trim_end())?;
            Ok(0)
        }
        ConfigCommand::Check(args) => check(args),
    }
}

fn texts(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(ToString::to_string).collect()
}

fn check(args: &CheckArgs) -> Result<u8, Failure> {
    let (settings, warnings) = match Settings::from_env() {
        Ok(read) => read,
        Err(faults) if args.json => {
            let listed: Vec<Value> = faults
                .0
                .iter()
                .map(|fault| {
                    json!({
                        "variable": fault.variable,
                        "value": fault.value,
                        "problem": fault.problem,
                        "expected": fault.expected,
                    })
                })
                .collect();
            let warnings = texts(&faults.1);
            output::json(&json!({"ok": false, "faults": listed, "warnings": warnings}))?;
            return Err(Failure::from(faults).told());
        }
        Err(faults) => {
            // A name that is written wrong is often the reason of a fault.
            for warning in &faults.1 {
                output::warning(warning);
            }
            return Err(faults.into());
        }
    };
    let rows = effective(&settings);
    if args.json {
        let values: Map<String, Value> = rows
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect();
        let warnings = texts(&warnings);
        output::json(&json!({"ok": true, "settings": values, "warnings": warnings}))?;
        return Ok(0);
    }
    let mut table = Table::new(["VARIABLE", "VALUE"]);
    for (name, value) in rows {
        table.push([name.to_owned(), output::one_line(&value)]);
    }
    output::line(table)?;
    for warning in warnings {
        output::warning(warning);
    }
    Ok(0)
}
