//! `lovage health`: asks a role of this machine whether it can do its work, for container health checks.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, ValueEnum};
use lovage_monitor::{AskError, Readiness, ask};
use lovage_settings::Settings;
use serde_json::json;

use crate::{
    command::seconds,
    failure::{Failure, chain},
    output,
};

/// Ask a role whether it can do its work: 0 it can, 1 it cannot, 69 nobody answers.
///
/// The role is asked where the same settings have it listen: the API at LOVAGE_API_BIND, the others at LOVAGE_MONITOR_BIND.
/// Made for health checks of containers, which need no other program for it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  lovage health worker
  lovage health api --live                   is the process alive, whatever it can do?
  lovage health keeper --at 127.0.0.1:9540 --json")]
pub(crate) struct HealthArgs {
    /// Who is asked
    #[arg(value_enum)]
    role: Role,
    /// Where it listens, instead of what the settings say
    #[arg(long, value_name = "ADDRESS:PORT")]
    at: Option<SocketAddr>,
    /// Ask only whether the process lives
    #[arg(long)]
    live: bool,
    /// Fail on what is merely degraded, too
    #[arg(long, conflicts_with = "live")]
    strict: bool,
    /// How long to wait
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "4")]
    timeout: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Worker,
    Beat,
    Keeper,
    Api,
}

/// Runs the command.
pub(crate) async fn run(args: HealthArgs, settings: &Settings) -> Result<u8, Failure> {
    let address = match (args.at, args.role) {
        (Some(address), _) => Some(address),
        (None, Role::Api) => Some(settings.http.bind),
        (None, _) => settings.telemetry.monitor_bind,
    };
    let address = address.map(reachable).ok_or_else(|| {
        Failure::settings("LOVAGE_MONITOR_BIND is not set, so nobody answers; set it for the role and for this command, such as 127.0.0.1:9540")
    })?;
    let path = match (args.live, args.strict) {
        (true, _) => "/health/live",
        (false, true) => "/health/ready?strict=1",
        (false, false) => "/health/ready",
    };
    let (code, body) = ask(address, path, args.timeout)
        .await
        .map_err(|error| refused(&error))?;
    if args.live {
        return live(code, &args);
    }
    let told: Readiness = serde_json::from_str(&body).map_err(|_| {
        Failure::failed(format!(
            "what answers at {address} is no role of Lovage (HTTP {code})"
        ))
    })?;
    let is_ready = code == 200;
    if args.json {
        output::json(&json!({"ready": is_ready, "status": told.status, "parts": told.parts}))?;
        return Ok(u8::from(!is_ready));
    }
    for part in &told.parts {
        let status = json!(part.status);
        let status = status.as_str().unwrap_or_default();
        let detail = part.detail.as_deref().unwrap_or_default();
        output::line(
            format_args!("{:<10} {status:<9} {detail}", part.name)
                .to_string()
                .trim_end(),
        )?;
    }
    Ok(u8::from(!is_ready))
}

fn live(code: u16, args: &HealthArgs) -> Result<u8, Failure> {
    let lives = code == 200;
    if args.json {
        output::json(&json!({"live": lives}))?;
    } else {
        output::line(if lives {
            "it lives"
        } else {
            "it answers, but not well"
        })?;
    }
    Ok(u8::from(!lives))
}

/// Who listens at every address of the machine is reached at the loopback's.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn refused(error: &AskError) -> Failure {
    match error {
        AskError::Away { .. } | AskError::Slow { .. } => Failure::unavailable(chain(error)),
        _ => Failure::failed(chain(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::reachable;

    #[test]
    fn who_listens_everywhere_is_asked_on_the_loopback() {
        let check = |given: &str, asked: &str| {
            assert_eq!(reachable(given.parse().unwrap()), asked.parse().unwrap());
        };
        check("0.0.0.0:9540", "127.0.0.1:9540");
        check("[::]:9540", "[::1]:9540");
        check("10.0.0.7:1", "10.0.0.7:1");
    }
}
