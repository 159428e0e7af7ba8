//! `lovage inspect`: what nodes tell of themselves.

mod reply_text;

use std::time::Duration;

use clap::{Args, Subcommand};
use lovage_flower_compat::machine;
use lovage_settings::Settings;

use crate::{
    command::remote::{self, Call, Said, Whom},
    failure::Failure,
    output,
};

/// Ask workers what they do and how they are; nothing is changed.
///
/// Workers of Lovage and of Python answer alike. Exit code 1 when a node answers with an error, 69 when nobody answers
/// in time.
#[derive(Debug, Args)]
#[command(
    arg_required_else_help = true,
    after_help = "\
Examples:
  lovage inspect active
  lovage inspect -t 5 -d w1@example,w2@example stats
  lovage inspect --pattern 'hot*@*' query_task 0a8a3b9e-7c1e-4c83-b5f1-6a2a1d1f0c11
  lovage inspect active_queues --json | jq 'map_values(map(.name))'

Names may be written with - for _."
)]
pub(crate) struct InspectArgs {
    #[command(flatten)]
    whom: Whom,
    /// List the commands
    #[arg(long)]
    list: bool,
    #[command(subcommand)]
    command: Option<InspectCommand>,
}

#[derive(Debug, Subcommand)]
enum InspectCommand {
    /// A sign of life
    Ping,
    /// The logical clock
    Clock,
    /// Numbers: tasks by name, pool, broker, memory and time used
    Stats,
    /// Tasks that run
    #[command(alias = "dump_active")]
    Active {
        /// Have arguments sent as text
        #[arg(long)]
        safe: bool,
    },
    /// Tasks that wait for their time
    #[command(alias = "dump_schedule")]
    Scheduled,
    /// Tasks that were fetched and do not run yet
    #[command(alias = "dump_reserved")]
    Reserved,
    /// Ids of revoked tasks
    #[command(alias = "dump_revoked")]
    Revoked,
    /// Tasks that the node can run
    #[command(alias = "dump_tasks")]
    Registered {
        /// What to show of each [default: exchange, routing_key, rate_limit]
        #[arg(value_name = "ATTRIBUTE")]
        attributes: Vec<String>,
    },
    /// Queues that the node consumes from
    #[command(name = "active_queues", alias = "active-queues")]
    ActiveQueues,
    /// The settings that were changed
    #[command(alias = "dump_conf")]
    Conf {
        /// All of them, also those that have their defaults
        #[arg(long)]
        with_defaults: bool,
        /// The same as Celery takes it: true or false
        #[arg(value_name = "WITH_DEFAULTS", hide = true, value_parser = truth)]
        positional: Option<bool>,
    },
    /// Versions and settings, for a bug report
    Report,
    /// What the node knows of tasks
    #[command(name = "query_task", alias = "query-task")]
    QueryTask {
        /// Ids of tasks
        #[arg(value_name = "ID", required = true)]
        ids: Vec<String>,
    },
    /// The memory in use now
    Memsample,
    /// The memory that was in use at the last samples
    Memdump {
        /// So many samples
        #[arg(value_name = "SAMPLES")]
        samples: Option<u32>,
    },
    /// A graph of objects in the memory of a Python worker; needs its library objgraph
    Objgraph {
        /// The type of the objects [default: Request]
        #[arg(value_name = "TYPE")]
        kind: Option<String>,
        /// At most so many objects [default: 200]
        #[arg(value_name = "NUM")]
        number: Option<u32>,
        /// How far references are followed [default: 10]
        #[arg(value_name = "DEPTH")]
        depth: Option<u32>,
    },
}

/// What Celery's command line takes for true and false.
fn truth(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("expected true or false".to_owned()),
    }
}

/// Celery gives a graph so long.
const GRAPH_WAIT: Duration = Duration::from_secs(60);

impl InspectCommand {
    fn call(&self) -> Call {
        let number = |number: Option<u32>| number.map(i64::from);
        match self {
            Self::Ping => Call::new("ping"),
            Self::Clock => Call::new("clock"),
            Self::Stats => Call::new("stats"),
            Self::Active { safe } => Call::new("active").with_some("safe", safe.then_some(true)),
            Self::Scheduled => Call::new("scheduled"),
            Self::Reserved => Call::new("reserved"),
            Self::Revoked => Call::new("revoked"),
            Self::Registered { attributes } => {
                Call::new("registered").with("taskinfoitems", remote::texts(attributes))
            }
            Self::ActiveQueues => Call::new("active_queues"),
            Self::Conf {
                with_defaults,
                positional,
            } => {
                let all = *with_defaults || *positional == Some(true);
                Call::new("conf").with_some("with_defaults", all.then_some(true))
            }
            Self::Report => Call::new("report"),
            Self::QueryTask { ids } => Call::new("query_task").with("ids", remote::texts(ids)),
            Self::Memsample => Call::new("memsample"),
            Self::Memdump { samples } => {
                Call::new("memdump").with_some("samples", number(*samples))
            }
            Self::Objgraph {
                kind,
                number: objects,
                depth,
            } => Call::new("objgraph")
                .waiting(GRAPH_WAIT)
                .with_some("type", kind.as_deref())
                .with_some("num", number(*objects))
                .with_some("max_depth", number(*depth)),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: InspectArgs, settings: &Settings) -> Result<u8, Failure> {
    let InspectArgs { whom, command, .. } = args;
    let Some(command) = command else {
        return Err(Failure::usage("no command; see lovage inspect --list"));
    };
    let call = command.call();
    let control = remote::control(settings).await?;
    let replies = whom.ask(&control, &call).await?;
    let code = remote::exit_code(&replies);
    if whom.wants_json() {
        remote::print_json(&remote::by_node(&replies))?;
        return Ok(code);
    }
    let now = machine::now();
    for reply in &replies {
        let fault = remote::fault(&reply.value);
        let body = match fault {
            Some(fault) => remote::fault_text(fault),
            None => reply_text::of(call.method, &reply.value, now),
        };
        output::line(Said {
            node: &reply.node,
            fine: fault.is_none(),
            body,
        })?;
    }
    remote::print_count(&replies)?;
    Ok(code)
}

impl InspectArgs {
    /// Prints the commands, if that is what is wanted.
    pub(crate) fn list(&self) -> Option<Result<u8, Failure>> {
        self.list
            .then(|| remote::print_commands::<InspectCommand>("Inspect commands"))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: InspectArgs,
    }

    fn check(words: &str, method: &str, arguments: &str) {
        let words = std::iter::once("inspect").chain(words.split(' '));
        let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{error}"));
        let call = line.args.command.unwrap().call();
        assert_eq!(call.method, method);
        let arguments_given = lovage_protocol::Value::Map(call.arguments).to_json();
        assert_eq!(arguments_given, arguments, "{method}");
    }

    #[test]
    fn commands_become_the_requests_of_celery() {
        check("ping", "ping", "{}");
        check("active -t 3", "active", "{}");
        check("-d a@h,b@h active --safe", "active", r#"{"safe": true}"#);
        check("dump_active", "active", "{}");
        check("registered", "registered", r#"{"taskinfoitems": []}"#);
        check(
            "registered rate_limit max_retries",
            "registered",
            r#"{"taskinfoitems": ["rate_limit", "max_retries"]}"#,
        );
        check("active-queues", "active_queues", "{}");
        check("active_queues --json", "active_queues", "{}");
        check("conf", "conf", "{}");
        check("conf --with-defaults", "conf", r#"{"with_defaults": true}"#);
        check("conf True", "conf", r#"{"with_defaults": true}"#);
        check("conf no", "conf", "{}");
        check("query_task 1 2", "query_task", r#"{"ids": ["1", "2"]}"#);
        check("query-task 1", "query_task", r#"{"ids": ["1"]}"#);
        check("memdump", "memdump", "{}");
        check("memdump 3", "memdump", r#"{"samples": 3}"#);
        check(
            "objgraph Request 5 2",
            "objgraph",
            r#"{"type": "Request", "num": 5, "max_depth": 2}"#,
        );
    }

    #[test]
    fn flags_may_stand_on_either_side_of_the_command() {
        for words in ["-t 3 -j ping", "ping -t 3 -j", "-t 3 ping -j"] {
            let words = std::iter::once("inspect").chain(words.split(' '));
            let line = Line::try_parse_from(words).unwrap();
            assert!(line.args.whom.wants_json());
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for words in [
            "hello",
            "query_task",
            "conf maybe",
            "memdump many",
            "--pattern w* -d w@h ping",
            "--matcher glob ping",
            "--pattern w* --matcher sql ping",
            "-t soon ping",
        ] {
            let words = std::iter::once("inspect").chain(words.split(' '));
            assert!(Line::try_parse_from(words).is_err());
        }
    }
}
