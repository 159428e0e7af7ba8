//! `lovage revoke`: tasks that are not to be run.

use clap::Args;
use lovage_client::Revocation;
use lovage_protocol::Value;
use lovage_settings::Settings;
use serde_json::json;

use crate::{connect, failure::Failure, output};

/// Revoke tasks: they end as REVOKED instead of being run.
///
/// It holds for tasks that wait in a queue or in a worker, and for delayed ones, which end at once. Workers that start
/// later know of it for CELERY_WORKER_REVOKE_EXPIRES. A task that runs is left alone unless --terminate is given.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage revoke 0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11
  lovage revoke --terminate 0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11
  lovage revoke --stamp customer=acme              every task that carries the stamp")]
pub(crate) struct RevokeArgs {
    /// Ids of tasks
    #[arg(value_name = "ID", required_unless_present = "stamps")]
    ids: Vec<String>,
    /// Tasks that carry this stamp; may be given several times
    #[arg(long = "stamp", value_name = "HEADER=VALUE", value_parser = stamp)]
    stamps: Vec<(String, String)>,
    /// End those that run already
    #[arg(short, long)]
    terminate: bool,
    /// The signal with which a process pool ends them [default: SIGTERM]
    #[arg(short, long, value_name = "SIGNAL", requires = "terminate", value_parser = signal)]
    signal: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn stamp(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((header, value)) if !header.is_empty() => Ok((header.to_owned(), value.to_owned())),
        _ => Err("expected HEADER=VALUE".to_owned()),
    }
}

/// Celery takes a signal with or without its SIG, in any case.
pub(crate) fn signal(text: &str) -> Result<String, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    match name {
        "TERM" | "KILL" | "INT" | "QUIT" | "HUP" | "USR1" | "USR2" | "ABRT" => {
            Ok(format!("SIG{name}"))
        }
        _ => Err("expected a signal such as TERM, KILL, INT, QUIT or USR1".to_owned()),
    }
}

/// Runs the command.
pub(crate) async fn run(args: RevokeArgs, settings: &Settings) -> Result<u8, Failure> {
    let RevokeArgs {
        ids,
        stamps,
        terminate,
        signal,
        json,
    } = args;
    let client = connect::once(settings, &[]).await?.client;
    let mut revocation = Revocation::of_tasks(ids.iter().map(String::as_str));
    for (header, value) in &stamps {
        revocation = revocation.stamp(header.as_str(), Value::from(value.as_str()));
    }
    if terminate {
        revocation = revocation.terminate(signal.as_deref());
    }
    client.revoke(&revocation).await?;
    if json {
        let stamps: Vec<_> = stamps
            .iter()
            .map(|(header, value)| json!({"header": header, "value": value}))
            .collect();
        output::json(&json!({"revoked": ids, "stamps": stamps, "terminate": terminate}))?;
        return Ok(0);
    }
    let count = |number: usize, thing: &str| {
        output::count(u64::try_from(number).unwrap_or(u64::MAX), thing)
    };
    let what = match (ids.len(), stamps.len()) {
        (tasks, 0) => count(tasks, "task"),
        (0, stamps) => format!("the tasks of {}", count(stamps, "stamp")),
        (tasks, stamps) => format!(
            "{} and those of {}",
            count(tasks, "task"),
            count(stamps, "stamp")
        ),
    };
    let ended = if terminate {
        "; those that run are ended"
    } else {
        ""
    };
    output::line(format_args!("flagged {what} as revoked{ended}"))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn signals_are_named_in_any_way() {
        for text in ["TERM", "SIGTERM", "sigterm"] {
            assert_eq!(super::signal(text).as_deref(), Ok("SIGTERM"));
        }
        assert!(super::signal("9").is_err());
    }
}
