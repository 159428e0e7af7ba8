//! `lovage control`: orders for nodes.

use clap::{Args, Subcommand};
use lovage_flower_compat::Control;
use lovage_protocol::{Map, Value, control::Reply};
use lovage_settings::Settings;

use crate::{
    command::{
        remote::{self, Call, Said, Whom},
        revoke::{signal, stamp},
    },
    failure::Failure,
    output,
};

/// Change what workers do while they run.
///
/// It holds until they are started anew. Workers of Lovage and of Python are told alike. Exit code 1 when a node answers
/// with an error, 69 when nobody answers in time.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  lovage control rate_limit mail.send 10/m
  lovage control -d w1@example add_consumer hot
  lovage control revoke --terminate 0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11
  lovage control --pattern 'old*@*' shutdown

Names may be written with - for _."
)]
pub(crate) struct ControlArgs {
    #[command(flatten)]
    whom: Whom,
    /// List the commands
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<ControlCommand>,
}

#[derive(Debug, Subcommand)]
enum ControlCommand {
    /// Limit how often tasks of a name start, in each worker
    #[command(name = "rate_limit", alias = "rate-limit")]
    RateLimit {
        /// The task's name
        task: String,
        /// So many in that time, such as 5/s, 100/m or 10/h; 0: no limit
        rate: String,
    },
    /// Limit how long tasks of a name run
    #[command(name = "time_limit", alias = "time-limit")]
    TimeLimit {
        /// The task's name
        task: String,
        /// Seconds until the task is asked to end
        #[arg(value_parser = limit)]
        soft: f64,
        /// Seconds until it is ended
        #[arg(value_parser = limit)]
        hard: Option<f64>,
    },
    /// Add processes or threads to the pool
    #[command(name = "pool_grow", alias = "pool-grow")]
    PoolGrow {
        /// How many [default: 1]
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        number: Option<u32>,
    },
    /// Take processes or threads from the pool
    #[command(name = "pool_shrink", alias = "pool-shrink")]
    PoolShrink {
        /// How many [default: 1]
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        number: Option<u32>,
    },
    /// Start the pool's processes anew, where worker_pool_restarts allows it
    #[command(name = "pool_restart", alias = "pool-restart")]
    PoolRestart,
    /// Change the bounds of the pool's size, in workers that have --autoscale
    Autoscale {
        /// The largest size
        max: u32,
        /// The smallest size [default: as it is]
        min: Option<u32>,
    },
    /// Consume from one more queue
    #[command(name = "add_consumer", alias = "add-consumer")]
    AddConsumer {
        /// The queue's name
        queue: String,
        /// Its exchange [default: named as the queue]
        exchange: Option<String>,
        /// The kind of the exchange [default: direct]
        #[arg(value_name = "TYPE", value_parser = ["direct", "topic", "fanout"])]
        kind: Option<String>,
        /// The routing key [default: the queue's name]
        #[arg(value_name = "KEY")]
        routing_key: Option<String>,
    },
    /// Stop consuming from a queue
    #[command(name = "cancel_consumer", alias = "cancel-consumer")]
    CancelConsumer {
        /// The queue's name
        queue: String,
    },
    /// Send events of tasks
    #[command(name = "enable_events", alias = "enable-events")]
    EnableEvents,
    /// Send no events of tasks
    #[command(name = "disable_events", alias = "disable-events")]
    DisableEvents,
    /// Send a heartbeat event now
    Heartbeat,
    /// Revoke tasks by their ids
    ///
    /// Workers that run now are told. `lovage revoke` also holds for workers of Lovage that start later.
    Revoke {
        /// Ids of tasks
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        ending: Ending,
    },
    /// Revoke tasks and end those that run, with a signal
    Terminate {
        /// The signal, such as TERM or KILL
        #[arg(value_parser = signal)]
        signal: String,
        /// Ids of tasks
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// Revoke tasks by the stamps they carry
    #[command(
        name = "revoke_by_stamped_headers",
        alias = "revoke-by-stamped-headers"
    )]
    RevokeByStampedHeaders {
        /// Stamps
        #[arg(value_name = "HEADER=VALUE", required = true, value_parser = stamp)]
        stamps: Vec<(String, String)>,
        #[command(flatten)]
        ending: Ending,
    },
    /// End workers: running tasks are finished first
    ///
    /// Workers do not reply to it: those that are shown were online and were told.
    Shutdown {
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
    #[command(hide = true)]
    Election {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<String>,
    },
}

/// What becomes of revoked tasks that run.
#[derive(Debug, Args)]
struct Ending {
    /// End those that run already
    #[arg(long)]
    terminate: bool,
    /// The signal with which a process pool ends them [default: SIGTERM]
    #[arg(short, long, value_name = "SIGNAL", requires = "terminate", value_parser = signal)]
    signal: Option<String>,
}

impl Ending {
    fn of(&self, call: Call) -> Call {
        call.with_some("terminate", self.terminate.then_some(true))
            .with_some("signal", self.signal.as_deref())
    }
}

fn limit(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds >= 0.0 => Ok(seconds),
        _ => Err("is not a number of seconds from 0 on".to_owned()),
    }
}

const NO_ELECTION: &str = "an election is held by workers among themselves, when one of them is to act for all; \
                           called by hand it has no sense, and a Python worker that is alone ends over it";

impl ControlCommand {
    fn call(&self) -> Result<Call, Failure> {
        let number = |number: Option<u32>| number.map(i64::from);
        Ok(match self {
            Self::RateLimit { task, rate } => Call::new("rate_limit")
                .with("task_name", task.as_str())
                .with("rate_limit", rate.as_str()),
            Self::TimeLimit { task, soft, hard } => Call::new("time_limit")
                .with("task_name", task.as_str())
                .with("soft", *soft)
                .with_some("hard", *hard),
            Self::PoolGrow { number: by } => Call::new("pool_grow").with_some("n", number(*by)),
            Self::PoolShrink { number: by } => Call::new("pool_shrink").with_some("n", number(*by)),
            Self::PoolRestart => Call::new("pool_restart"),
            Self::Autoscale { max, min } => Call::new("autoscale")
                .with("max", i64::from(*max))
                .with_some("min", number(*min)),
            Self::AddConsumer {
                queue,
                exchange,
                kind,
                routing_key,
            } => Call::new("add_consumer")
                .with("queue", queue.as_str())
                .with_some("exchange", exchange.as_deref())
                .with_some("exchange_type", kind.as_deref())
                .with_some("routing_key", routing_key.as_deref()),
            Self::CancelConsumer { queue } => {
                Call::new("cancel_consumer").with("queue", queue.as_str())
            }
            Self::EnableEvents => Call::new("enable_events"),
            Self::DisableEvents => Call::new("disable_events"),
            Self::Heartbeat => Call::new("heartbeat"),
            Self::Revoke { ids, ending } => {
                ending.of(Call::new("revoke").with("task_id", remote::texts(ids)))
            }
            Self::Terminate { signal, ids } => Call::new("terminate")
                .with("signal", signal.as_str())
                .with("task_id", remote::texts(ids)),
            Self::RevokeByStampedHeaders { stamps, ending } => {
                ending.of(Call::new("revoke_by_stamped_headers").with("headers", headers(stamps)))
            }
            Self::Shutdown { .. } => Call::new("shutdown"),
            Self::Election { .. } => return Err(Failure::usage(NO_ELECTION)),
        })
    }
}

/// Stamps as an object: in Celery's list form a header could have one value only, and none with `=` in it.
fn headers(stamps: &[(String, String)]) -> Value {
    let mut headers = Map::new();
    for (header, value) in stamps {
        let values = headers
            .entry(header.clone())
            .or_insert_with(|| Value::List(Vec::new()));
        if let Value::List(values) = values {
            values.push(value.as_str().into());
        }
    }
    Value::Map(headers)
}

/// Runs the command.
pub(crate) async fn run(args: ControlArgs, settings: &Settings) -> Result<u8, Failure> {
    let ControlArgs { whom, command, .. } = args;
    let Some(command) = command else {
        return Err(Failure::usage("no command; see lovage control --list"));
    };
    let call = command.call()?;
    let control = remote::control(settings).await?;
    let replies = match command {
        ControlCommand::Shutdown { force } => shutdown(&whom, &control, &call, force).await?,
        _ => whom.ask(&control, &call).await?,
    };
    let code = remote::exit_code(&replies);
    if whom.wants_json() {
        remote::print_json(&remote::one_by_one(&replies))?;
        return Ok(code);
    }
    for reply in &replies {
        let fault = remote::fault(&reply.value);
        output::line(Said {
            node: &reply.node,
            fine: fault.is_none(),
            body: match fault {
                Some(fault) => remote::fault_text(fault),
                None => done(&reply.value),
            },
        })?;
    }
    Ok(code)
}

fn done(value: &Value) -> String {
    match value.get("ok").unwrap_or(value) {
        Value::Null => String::new(),
        Value::Str(text) => output::printable(text).into_owned(),
        other => output::printable(&other.to_json()).into_owned(),
    }
}

/// Workers do not reply to a shutdown, so they are counted before.
async fn shutdown(
    whom: &Whom,
    control: &Control,
    call: &Call,
    force: bool,
) -> Result<Vec<Reply>, Failure> {
    let asks = !force && whom.is_everybody() && output::is_typed_at();
    if asks && !output::can_ask() {
        return Err(Failure::usage(
            "this ends all workers and there is no terminal to ask at; use -f",
        ));
    }
    let online = whom.ask(control, &Call::new("ping")).await;
    if asks {
        let nodes = online.as_ref().map_or(0, Vec::len);
        let nodes = output::count(u64::try_from(nodes).unwrap_or(u64::MAX), "worker");
        let question = format!("This ends all workers ({nodes} online). Go on?");
        if !output::confirm(question)? {
            return Err(Failure::failed("nothing was sent"));
        }
    }
    // One that is too busy to answer hears of it all the same.
    whom.tell(control, call).await?;
    let mut told = online?;
    for reply in &mut told {
        reply.value = Value::Null;
    }
    Ok(told)
}

impl ControlArgs {
    /// Prints the commands, if that is what is wanted.
    pub(crate) fn list(&self) -> Option<Result<u8, Failure>> {
        self.list
            .then(|| remote::print_commands::<ControlCommand>("Control commands"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ControlArgs,
    }

    fn parse(words: &str) -> Result<ControlCommand, clap::Error> {
        let words = std::iter::once("control").chain(words.split(' '));
        Ok(Line::try_parse_from(words)?.args.command.unwrap())
    }

    fn check(words: &str, method: &str, arguments: &str) {
        let command = parse(words).unwrap_or_else(|error| panic!("{error}"));
        let call = command.call().unwrap();
        assert_eq!(call.method, method);
        assert_eq!(Value::Map(call.arguments).to_json(), arguments, "{words}");
    }

    #[test]
    fn commands_become_the_requests_of_celery() {
        check(
            "rate_limit t.add 5/s",
            "rate_limit",
            r#"{"task_name": "t.add", "rate_limit": "5/s"}"#,
        );
        check(
            "time-limit t.add 10",
            "time_limit",
            r#"{"task_name": "t.add", "soft": 10.0}"#,
        );
        check(
            "time_limit t.add 10 20.5",
            "time_limit",
            r#"{"task_name": "t.add", "soft": 10.0, "hard": 20.5}"#,
        );
        check("pool_grow", "pool_grow", "{}");
        check("pool-shrink 2", "pool_shrink", r#"{"n": 2}"#);
        check("pool_restart", "pool_restart", "{}");
        check("autoscale 5", "autoscale", r#"{"max": 5}"#);
        check("autoscale 5 1", "autoscale", r#"{"max": 5, "min": 1}"#);
        check("add_consumer hot", "add_consumer", r#"{"queue": "hot"}"#);
        check(
            "add-consumer hot ex topic a.#",
            "add_consumer",
            r#"{"queue": "hot", "exchange": "ex", "exchange_type": "topic", "routing_key": "a.#"}"#,
        );
        check(
            "cancel_consumer hot",
            "cancel_consumer",
            r#"{"queue": "hot"}"#,
        );
        check("enable_events", "enable_events", "{}");
        check("disable-events", "disable_events", "{}");
        check("heartbeat", "heartbeat", "{}");
        check("revoke 1 2", "revoke", r#"{"task_id": ["1", "2"]}"#);
        check(
            "revoke 1 --terminate -s kill",
            "revoke",
            r#"{"task_id": ["1"], "terminate": true, "signal": "SIGKILL"}"#,
        );
        check(
            "terminate KILL 1 2",
            "terminate",
            r#"{"signal": "SIGKILL", "task_id": ["1", "2"]}"#,
        );
        check(
            "revoke_by_stamped_headers customer=acme customer=b=c day=1 --terminate",
            "revoke_by_stamped_headers",
            r#"{"headers": {"customer": ["acme", "b=c"], "day": ["1"]}, "terminate": true}"#,
        );
        check("shutdown", "shutdown", "{}");
        check("-d w@h shutdown -f", "shutdown", "{}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for words in [
            "rate_limit t.add",
            "time_limit t.add soon",
            "time_limit t.add -1",
            "pool_grow 0",
            "autoscale",
            "autoscale -1",
            "add_consumer q ex headers",
            "revoke",
            "revoke 1 --signal TERM",
            "terminate 9 1",
            "terminate TERM",
            "revoke_by_stamped_headers customer",
            "ping",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn elections_are_refused_with_the_reason() {
        let refused = parse("election id topic").unwrap().call().unwrap_err();
        assert_eq!(refused, Failure::usage(NO_ELECTION));
    }
}
