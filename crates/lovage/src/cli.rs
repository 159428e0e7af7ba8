//! The command line as a whole.

use std::{ffi::OsString, process::ExitCode};

use clap::{Parser, Subcommand};
use lovage_settings::Settings;
use lovage_worker::Module;

use crate::{
    command::{
        api, beat, call, completions, config, control, dlq, doctor, events, health, inspect,
        keeper, list, migrate, openapi, pool_child, purge, queue, result, revoke, schedule, status,
        stubs, up, user, worker,
    },
    failure::Failure,
    output,
};

/// A Celery-protocol-compatible task platform.
#[derive(Debug, Parser)]
#[command(name = "lovage", version, styles = output::HELP, propagate_version = true, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,

    /// Accepted for Celery's sake: tasks are compiled in.
    #[arg(
        short = 'A',
        long = "app",
        global = true,
        hide = true,
        value_name = "APP"
    )]
    app: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  lovage up                             try it: a Redis of its own, a worker with the demo tasks
  lovage worker -Q hot -c 200           a worker as in production
  lovage api                            the HTTP API, with its documentation at /docs
  lovage call demo.add 2 3 --wait       send a task and print its result
  lovage events                         watch workers and tasks

Settings come from the environment and, in development, from .env; `lovage config example` lists them all.
Exit codes: 0 done, 1 failed, 2 called wrongly, 69 no worker answered, 73 already running, 78 settings are wrong.";

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::UpArgs),
    Worker(worker::WorkerArgs),
    Beat(beat::BeatArgs),
    Keeper(keeper::KeeperArgs),
    Api(api::ApiArgs),
    Call(call::CallArgs),
    Result(result::ResultArgs),
    Revoke(revoke::RevokeArgs),
    Status(status::StatusArgs),
    Inspect(inspect::InspectArgs),
    Control(control::ControlArgs),
    Events(events::EventsArgs),
    List(list::ListArgs),
    #[command(subcommand)]
    Stubs(stubs::StubsCommand),
    Purge(purge::PurgeArgs),
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    #[command(subcommand)]
    Schedule(schedule::ScheduleCommand),
    #[command(subcommand)]
    User(user::UserCommand),
    #[command(subcommand)]
    Migrate(migrate::MigrateCommand),
    Openapi(openapi::OpenapiArgs),
    #[command(subcommand)]
    Config(config::ConfigCommand),
    Doctor(doctor::DoctorArgs),
    Health(health::HealthArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    PoolChild(pool_child::PoolChildArgs),
}

/// Reads the command line, runs the command, and gives its exit code.
pub(crate) fn run(modules: Vec<Module>) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nobody may be reading; the code says it too.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    if cli.app.is_some() {
        output::hint("-A has no effect: tasks are compiled into this binary");
    }
    let as_json = wants_json(std::env::args_os().skip(1));
    let ended = dispatch(cli.command, modules);
    ExitCode::from(ended.unwrap_or_else(if as_json {
        Failure::tell_program
    } else {
        Failure::tell
    }))
}

/// Whether a command that was understood was given `--json`, as many of them may be.
fn wants_json(words: impl Iterator<Item = OsString>) -> bool {
    words
        .take_while(|word| word != "--")
        .any(|word| word == "--json")
}

fn dispatch(command: Command, modules: Vec<Module>) -> Result<u8, Failure> {
    match command {
        Command::Up(args) => up::run(args, settings()?, modules),
        Command::Worker(args) => worker::run(args, settings()?, modules),
        Command::Api(args) => api::run(args, settings()?, modules),
        Command::Beat(args) => beat::run(args, settings()?, modules),
        Command::Call(args) => once(call::run(args, &settings()?, &modules)),
        Command::Result(args) => once(result::run(args, &settings()?)),
        Command::Revoke(args) => once(revoke::run(args, &settings()?)),
        Command::Status(args) => once(status::run(args, &settings()?)),
        Command::Inspect(args) => match args.list() {
            Some(listed) => listed,
            None => once(inspect::run(args, &settings()?)),
        },
        Command::Control(args) => match args.list() {
            Some(listed) => listed,
            None => once(control::run(args, &settings()?)),
        },
        Command::Events(args) => once(events::run(args, &settings()?)),
        Command::List(args) => list::run(&args, &settings()?, modules),
        Command::Stubs(command) => stubs::run(&command, &settings()?, modules),
        Command::Purge(args) => once(purge::run(args, &settings()?)),
        Command::Queue(command) => once(queue::run(command, &settings()?)),
        Command::Dlq(command) => once(dlq::run(command, &settings()?)),
        Command::Keeper(args) => keep(keeper::run(args, settings()?)),
        Command::User(command) => once(user::run(command, &settings()?)),
        Command::Openapi(_) => openapi::run(&settings()?, modules),
        Command::Migrate(command) => once(migrate::run(command, &settings()?)),
        Command::Health(args) => once(health::run(args, &settings()?)),
        Command::Doctor(args) => once(doctor::run(args, &settings()?)),
        Command::Schedule(command) => once(schedule::run(command, &settings()?, modules)),
        Command::Config(command) => config::run(&command),
        Command::Completions(args) => completions::run(&args),
        Command::PoolChild(args) => pool_child::run(args, modules),
    }
}

/// The flags of a worker as they stand behind a program's name, and whether it is that of `lovage up`.
pub(crate) fn worker_flags(words: Vec<OsString>) -> Option<(worker::RunArgs, bool)> {
    match Cli::try_parse_from(words).ok()?.command {
        Command::Worker(args) => Some((args.into_run(), false)),
        Command::Up(args) => Some((args.into_run(), true)),
        _ => None,
    }
}

fn settings() -> Result<Settings, Failure> {
    let (settings, warnings) = Settings::from_env()?;
    for warning in warnings {
        output::warning(warning);
    }
    Ok(settings)
}

/// Runs a command that asks a few things and ends: one thread will do.
pub(crate) fn once(command: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    let ended = runtime.block_on(command);
    // What is still being looked up (a host's name) is not waited for.
    runtime.shutdown_background();
    ended
}

/// Runs a role that works beside others on the same machine.
fn keep(role: impl Future<Output = Result<u8, Failure>>) -> Result<u8, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the runtime: {error}")))?;
    runtime.block_on(role)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, wants_json};

    #[test]
    fn what_stands_behind_two_dashes_is_no_flag() {
        let wants = |words: &[&str]| wants_json(words.iter().map(Into::into));
        assert!(wants(&["result", "x", "--json"]));
        assert!(!wants(&["result", "x"]));
        assert!(!wants(&["call", "x", "--", "--json"]));
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn celery_invocations_are_understood() {
        let check = |words: &str| {
            let parsed = Cli::try_parse_from(words.split(' '));
            assert!(parsed.is_ok(), "{words}: {}", parsed.unwrap_err());
        };
        check("lovage -A proj worker -l INFO");
        check("lovage worker -A proj -l info -c 4 -P threads -Q a,b -X b -n w1@%h -O fair -E");
        check(
            "lovage worker --concurrency=auto --without-gossip --without-mingle --without-heartbeat",
        );
        check(
            "lovage worker --pool=async --prefetch-multiplier=1 --pidfile=/run/%n.pid --loglevel=WARNING",
        );
        check("lovage worker -P prefork --max-tasks-per-child=10 --max-memory-per-child=200000");
        check("lovage worker -P processes --autoscale=10,3");
        check("lovage worker -P solo --autoscale=10");
        check("lovage worker --time-limit=300 --soft-time-limit=240.5");
        check(
            "lovage call demo.add --args=[2,3] --kwargs={} --countdown=1.5 --expires=10 --queue=hot",
        );
        check("lovage call demo.add -2 -3.5");
        check("lovage result 0a8a3b9e --traceback");
        check("lovage purge -f -Q a,b -X b");
        check("lovage queue release-eta -f --json");
        check("lovage queue list -Q a,b --watch 2 --json");
        check("lovage queue peek hot -n 3 --json");
        check("lovage queue pause hot --json");
        check("lovage queue resume hot --json");
        check("lovage queue purge hot,mail -f --json");
        check("lovage migrate up --steps 2 --json");
        check("lovage migrate down --force");
        check("lovage stubs python --out src --package rust_tasks --json");
        check("lovage revoke 0a8a3b9e 7c1e4c83 -t -s KILL");
        check("lovage revoke --stamp customer=acme --stamp day=monday");
        check("lovage -A proj status -t 3 -d w1@h -j");
        check("lovage -A proj inspect -d w1@h,w2@h active");
        check("lovage inspect active -A proj --timeout=5 --destination w1@h --json");
        check("lovage inspect --list");
        check("lovage inspect registered rate_limit");
        check("lovage control -d w1@h rate_limit t.add 10/m");
        check("lovage control time_limit t.add 120 180 --destination=w1@h");
        check("lovage control shutdown");
        check("lovage keeper -l debug --json-logs");
        check("lovage keeper replay --last 10000 --json");
        check("lovage keeper gaps");
        check("lovage api --bind 127.0.0.1:0 -l debug --json-logs");
        check("lovage user create ada@example.org --role operator --password-stdin --json");
        check("lovage user role ada@example.org viewer");
        check("lovage openapi");
        check(
            "lovage -A proj beat -l info -s /run/beat-schedule --max-interval 5 --pidfile /run/beat.pid",
        );
        check("lovage schedule add x demo.add --every 5m --args [1,2] --timezone Europe/Zurich");
        check(
            "lovage schedule add x demo.add --solar sunset,-33.9,18.4 --missed all --max-missed 5",
        );
        check("lovage schedule preview nightly -n 3 --json");
        check("lovage events --dump");
        check("lovage events -d -A proj");
        check("lovage events --json --enable --count=3 --duration=2.5 --max-tasks=100");
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        let check = |words: &str, reason: &str| {
            let error = Cli::try_parse_from(words.split(' ')).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{words}");
            assert!(error.to_string().contains(reason), "{words}: {error}");
        };
        check("lovage worker -P gevent", "async");
        check("lovage worker -P forked", "prefork");
        check("lovage worker --autoscale=many", "max,min");
        check("lovage worker --autoscale=2,5", "max,min");
        check("lovage worker --max-tasks-per-child=0", "0");
        check("lovage worker --max-memory-per-child=1GiB", "digit");
        check("lovage worker -c 0", "whole number");
        check("lovage worker -c many", "whole number");
        check("lovage worker -l loud", "log level");
        check("lovage worker -n w%z@%h -l info -Q ,", "queue");
        check("lovage call demo.add 1 --args=[2]", "cannot be used with");
        check("lovage call demo.add --args={}", "array");
        check("lovage call demo.add --kwargs=[1]", "object");
        check("lovage call demo.add --kwargs={", "JSON");
        check("lovage call demo.add --countdown=soon", "seconds");
        check(
            "lovage call demo.add --countdown=1 --eta=2030-01-01",
            "cannot be used with",
        );
        check("lovage call demo.add --priority=300", "300");
        check("lovage call demo.add --count=0", "0");
        check("lovage call demo.add --timeout=3", "--wait");
        check("lovage api --bind 5000", "bind");
        check("lovage user role ada@example.org king", "operator");
        check("lovage dlq discard", "ID");
        check("lovage migrate up --steps 0", "0");
        check("lovage revoke", "ID");
        check("lovage stubs python --package a-b", "Python package");
        check("lovage revoke 1 --stamp customer", "HEADER=VALUE");
        check("lovage revoke 1 -s TERM", "--terminate");
        check("lovage revoke 1 -t -s 9", "signal");
        check("lovage dlq replay --all 17", "cannot be used with");
        check("lovage inspect", "A sign of life");
        check("lovage inspect hello", "hello");
        check("lovage status -d w1@h --pattern w*", "cannot be used with");
        check("lovage control add_consumer", "QUEUE");
        check("lovage events --dump --json", "cannot be used with");
        check("lovage events --count=0", "0");
        check("lovage keeper replay", "--last");
        check("lovage keeper replay --last 0", "0");
        check("lovage schedule add x t --every 300", "unit");
        check(
            "lovage schedule add x t --every 5m --at 2030-01-01T00:00:00Z",
            "cannot be used with",
        );
        check(
            "lovage schedule add x t --solar sunset",
            "EVENT,LATITUDE,LONGITUDE",
        );
        check("lovage schedule add x t --every 5m --missed never", "once");
        check(
            "lovage schedule run x --from 2030-01-01T00:00:00Z",
            "--until",
        );
        check("lovage schedule preview --crontab * --count 0", "0");
    }
}
