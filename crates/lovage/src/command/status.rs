//! `lovage status`: who is there.

use clap::Args;
use lovage_settings::Settings;

use crate::{
    command::remote::{self, Call, Said, Whom},
    failure::Failure,
    output,
};

/// Show which workers are online: those of Lovage and those of Python alike.
///
/// Each is asked for a sign of life. Exit code 69 when nobody answers in time.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage status
  lovage status -t 5 -d w1@example,w2@example
  lovage status --json | jq keys")]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    whom: Whom,
}

/// Runs the command.
pub(crate) async fn run(args: StatusArgs, settings: &Settings) -> Result<u8, Failure> {
    let whom = args.whom;
    let control = remote::control(settings).await?;
    let replies = whom.ask(&control, &Call::new("ping")).await?;
    let code = remote::exit_code(&replies);
    if whom.wants_json() {
        remote::print_json(&remote::by_node(&replies))?;
        return Ok(code);
    }
    for reply in &replies {
        let fault = remote::fault(&reply.value);
        output::line(Said {
            node: &reply.node,
            fine: fault.is_none(),
            body: fault.map(remote::fault_text).unwrap_or_default(),
        })?;
    }
    remote::print_count(&replies)?;
    Ok(code)
}
