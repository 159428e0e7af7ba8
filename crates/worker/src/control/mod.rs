//! Remote control: every command of a Celery worker (`celery/worker/control.py`), with its answers and its errors.
//!
//! What is asked never waits for a task, and no task waits for it: the answers come from counts, from lists that attempts enter
//! themselves in, and from the broker.
//!
//! | module | knows |
//! |---|---|
//! | `arguments` | what a command takes |
//! | `inspect` | what is asked: tasks, settings, the worker itself |
//! | `task_info` | a task as `active` and others show it |
//! | `stats` | the counters |
//! | `change` | limits, pool, events, shutdown |
//! | `revoke` | what is not to be run |
//! | `queues` | what is consumed |
//! | `process` | what the system says of this process |

mod arguments;
mod change;
mod inspect;
mod process;
mod queues;
mod revoke;
mod stats;
mod task_info;

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use lovage_flower_compat::{Answer, ControlHandler, Gossip, Raised};
use lovage_protocol::Value;

use self::arguments::Parameters;
pub(crate) use self::queues::{Queues, paused};
use crate::{attempt::Shared, handle::WorkerHandle, presence::Conf};

/// Whoever obeys for one worker.
pub(crate) struct Panel {
    shared: Arc<Shared>,
    handle: WorkerHandle,
    queues: Queues,
    gossip: Option<Gossip>,
    conf: Conf,
    since: Instant,
}

impl Panel {
    pub(crate) fn new(
        shared: Arc<Shared>,
        handle: WorkerHandle,
        queues: Queues,
        gossip: Option<Gossip>,
        conf: Conf,
    ) -> Self {
        Self {
            shared,
            handle,
            queues,
            gossip,
            conf,
            since: Instant::now(),
        }
    }
}

/// What a command takes: its own name, what must be given, what may be, and whether others are ignored.
const fn takes(
    function: &'static str,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> Parameters {
    Parameters {
        function,
        required,
        optional,
        others: true,
    }
}

const fn takes_only(function: &'static str, optional: &'static [&'static str]) -> Parameters {
    Parameters {
        function,
        required: &[],
        optional,
        others: false,
    }
}

/// Every command, with the names under which Celery had it before.
static COMMANDS: &[(&[&str], Parameters)] = &[
    (&["ping"], takes("ping", &[], &[])),
    (&["clock"], takes("clock", &[], &[])),
    (&["stats"], takes("stats", &[], &[])),
    (&["active", "dump_active"], takes("active", &[], &["safe"])),
    (&["reserved", "dump_reserved"], takes("reserved", &[], &[])),
    (
        &["scheduled", "dump_schedule"],
        takes("scheduled", &[], &[]),
    ),
    (&["revoked", "dump_revoked"], takes("revoked", &[], &[])),
    (
        &["registered", "dump_tasks"],
        takes("registered", &[], &["taskinfoitems", "builtins"]),
    ),
    (&["active_queues"], takes_only("active_queues", &[])),
    (
        &["conf", "dump_conf"],
        takes("conf", &[], &["with_defaults"]),
    ),
    (&["query_task"], takes("query_task", &["ids"], &[])),
    (&["report"], takes_only("report", &[])),
    (&["hello"], takes("hello", &["from_node"], &["revoked"])),
    (&["memsample"], takes("memsample", &[], &[])),
    (&["memdump"], takes("memdump", &[], &["samples"])),
    (
        &["objgraph"],
        takes_only("objgraph", &["num", "max_depth", "type"]),
    ),
    (
        &["revoke"],
        takes("revoke", &["task_id"], &["terminate", "signal"]),
    ),
    (
        &["terminate"],
        takes("terminate", &["signal", "task_id"], &[]),
    ),
    (
        &["revoke_by_stamped_headers"],
        takes(
            "revoke_by_stamped_headers",
            &["headers"],
            &["terminate", "signal"],
        ),
    ),
    (
        &["rate_limit"],
        takes("rate_limit", &["task_name", "rate_limit"], &[]),
    ),
    (
        &["time_limit"],
        takes("time_limit", &[], &["task_name", "hard", "soft"]),
    ),
    (&["pool_grow"], takes("pool_grow", &[], &["n"])),
    (&["pool_shrink"], takes("pool_shrink", &[], &["n"])),
    (
        &["pool_restart"],
        takes("pool_restart", &[], &["modules", "reload", "reloader"]),
    ),
    (&["autoscale"], takes_only("autoscale", &["max", "min"])),
    (
        &["add_consumer"],
        takes(
            "add_consumer",
            &["queue"],
            &["exchange", "exchange_type", "routing_key"],
        ),
    ),
    (
        &["cancel_consumer"],
        takes("cancel_consumer", &["queue"], &[]),
    ),
    (&["enable_events"], takes_only("enable_events", &[])),
    (&["disable_events"], takes_only("disable_events", &[])),
    (&["heartbeat"], takes_only("heartbeat", &[])),
    (
        &["election"],
        takes("election", &["id", "topic"], &["action"]),
    ),
    (&["shutdown"], takes("shutdown", &[], &["msg"])),
];

#[async_trait]
impl ControlHandler for Panel {
    async fn handle(&self, method: &str, arguments: Value) -> Result<Answer, Raised> {
        let found = COMMANDS.iter().find(|(names, _)| names.contains(&method));
        let Some((_, parameters)) = found else {
            return Err(Raised::new("KeyError", method));
        };
        let arguments = parameters.bind(arguments)?;
        let answer = match parameters.function {
            "ping" => return Ok(Answer::ok("pong")),
            "clock" => self.clock(),
            "stats" => self.stats(),
            "active" => self.active(arguments.truth("safe")),
            "reserved" => self.reserved().await,
            "scheduled" => self.scheduled().await,
            "revoked" => self.revoked(),
            "registered" => self.registered(&arguments),
            "active_queues" => self.queues.active(),
            "conf" => self.settings(arguments.truth("with_defaults")),
            "query_task" => self.query_task(&arguments).await?,
            "report" => return Ok(Answer::ok(self.report())),
            "hello" => self.hello(&arguments).await?,
            "memsample" => Value::Str(process::amount(process::memory())),
            "memdump" => Value::Str(inspect::memdump()),
            "objgraph" => {
                return Err(Raised::new("ImportError", "Requires the objgraph library"));
            }
            "revoke" => return self.revoke(&arguments, arguments.truth("terminate")).await,
            "terminate" => return self.revoke(&arguments, true).await,
            "revoke_by_stamped_headers" => return self.revoke_by_stamps(&arguments).await,
            "rate_limit" => return self.rate_limit(&arguments),
            "time_limit" => return self.time_limit(&arguments),
            "pool_grow" => return self.pool_grow(&arguments),
            "pool_shrink" => return self.pool_shrink(&arguments),
            "pool_restart" => return self.pool_restart(),
            "autoscale" => return self.autoscale(&arguments),
            "add_consumer" => return self.queues.add(&arguments),
            "cancel_consumer" => return self.queues.cancel(&arguments),
            "enable_events" => return Ok(self.enable_events()),
            "disable_events" => return Ok(self.disable_events()),
            "heartbeat" => self.heartbeat().await,
            "election" => self.election(&arguments).await?,
            "shutdown" => return Ok(self.shut_down(&arguments)),
            other => return Err(Raised::new("KeyError", other)),
        };
        Ok(Answer::Value(answer))
    }
}

/// A text, a number, a list … under names.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let fields = fields.into_iter();
    Value::Map(
        fields
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}
