//! What is asked and changes nothing.

use lovage_broker::{Delayed, Target};
use lovage_flower_compat::{Raised, machine};
use lovage_protocol::{Map, Message, TaskId, Value, repr, time};
use tracing::{debug, info, warn};

use super::{Panel, arguments::Arguments, object, process, task_info};
use crate::{presence, rules::Rules};

/// So many delayed tasks are shown; there may be a million.
const MOST_SCHEDULED: usize = 1_000;
/// So many ids are looked for at once.
const MOST_QUERIED: usize = 1_000;
/// The priority of Celery's timer for tasks with an eta.
const ETA_PRIORITY: i64 = 6;
/// The attributes that are shown of registered tasks when nobody says which.
const USUAL_ATTRIBUTES: [&str; 3] = ["exchange", "routing_key", "rate_limit"];

impl Panel {
    pub(super) fn clock(&self) -> Value {
        let clock = self.shared.announcer.emitter.clock().value();
        object([("clock", clock.into())])
    }

    fn info_of(&self, message: &Message) -> Value {
        let (node, decode) = (&self.shared.hostname, &self.shared.decode);
        task_info::info(message, node, None, false, decode)
    }

    pub(super) fn active(&self, safe: bool) -> Value {
        let (node, decode) = (&self.shared.hostname, &self.shared.decode);
        let active = self.shared.running.all();
        let active = active
            .iter()
            .map(|runs| task_info::info(runs.context.message(), node, Some(runs), safe, decode));
        Value::List(active.collect())
    }

    /// Those that wait for a slot, and those that wait for their rate limit here.
    async fn waiting(&self) -> Vec<Message> {
        let mut waiting = self.shared.line.waiting().await;
        waiting.extend(self.shared.turns.waiting());
        let decode = &self.shared.decode;
        waiting
            .iter()
            .filter_map(|delivery| Message::parse_with(&delivery.raw, decode).ok())
            .collect()
    }

    pub(super) async fn reserved(&self) -> Value {
        let waiting = self.waiting().await;
        let infos = waiting.iter().map(|message| self.info_of(message));
        Value::List(infos.collect())
    }

    /// Delayed tasks are the whole fleet's: the first of its workers by name answers for all.
    async fn answers_for_delayed(&self) -> bool {
        match self.shared.joiner.broker.peers().await {
            Ok(peers) => {
                let first = peers.iter().map(|peer| peer.node.as_str()).min();
                first.is_none_or(|first| first == &*self.shared.hostname)
            }
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "it cannot be seen who answers for delayed tasks"
                );
                false
            }
        }
    }

    fn read_delayed(&self, delayed: &[Delayed]) -> Vec<Message> {
        let decode = &self.shared.decode;
        delayed
            .iter()
            .filter_map(|one| Message::parse_with(&one.raw, decode).ok())
            // What waits for a rate limit or another worker has no time of its own.
            .filter(|message| message.headers.eta.is_some())
            .collect()
    }

    pub(super) async fn scheduled(&self) -> Value {
        if !self.answers_for_delayed().await {
            return Value::List(Vec::new());
        }
        let delayed = self.shared.joiner.broker.delayed(MOST_SCHEDULED).await;
        let delayed = delayed.unwrap_or_else(|error| {
            warn!(
                error = &error as &dyn std::error::Error,
                "the delayed tasks cannot be read"
            );
            Vec::new()
        });
        let zone = self.shared.settings.timezone;
        let entry = |message: &Message| {
            let eta = message.headers.eta.as_deref()?;
            let eta = match time::parse_iso(eta, zone) {
                Ok(eta) => time::format_iso(eta),
                Err(_) => eta.to_owned(),
            };
            Some(object([
                ("eta", eta.into()),
                ("priority", ETA_PRIORITY.into()),
                ("request", self.info_of(message)),
            ]))
        };
        Value::List(
            self.read_delayed(&delayed)
                .iter()
                .filter_map(entry)
                .collect(),
        )
    }

    pub(super) fn revoked(&self) -> Value {
        let ids = self.shared.revoked.ids();
        Value::List(ids.iter().map(|id| id.as_str().into()).collect())
    }

    pub(super) async fn query_task(&self, arguments: &Arguments) -> Result<Value, Raised> {
        if arguments.get("ids").is_null() {
            let text = "'NoneType' object is not iterable";
            return Err(Raised::new("TypeError", text));
        }
        let mut ids = arguments.texts("ids");
        ids.truncate(MOST_QUERIED);
        let mut found = Vec::new();
        for runs in self.shared.running.all() {
            let (message, node) = (runs.context.message(), &self.shared.hostname);
            let decode = &self.shared.decode;
            let info = task_info::info(message, node, Some(&runs), false, decode);
            found.push((message.headers.id.clone(), "active", info));
        }
        for message in self.waiting().await {
            let info = self.info_of(&message);
            found.push((message.headers.id, "reserved", info));
        }
        let asked: Vec<TaskId> = ids.iter().map(|id| TaskId::from(id.as_str())).collect();
        let delayed = self.shared.joiner.broker.delayed_of(&asked).await;
        let delayed = delayed.unwrap_or_default();
        if !delayed.is_empty() && self.answers_for_delayed().await {
            for message in self.read_delayed(&delayed) {
                let info = self.info_of(&message);
                found.push((message.headers.id, "scheduled", info));
            }
        }
        let mut answer = Map::new();
        for (id, state, info) in found {
            if asked.contains(&id) {
                let entry = Value::List(vec![state.into(), info]);
                answer.entry(id.as_str().to_owned()).or_insert(entry);
            }
        }
        Ok(Value::Map(answer))
    }

    pub(super) fn registered(&self, arguments: &Arguments) -> Value {
        let asked = arguments.texts("taskinfoitems");
        let mut wanted: Vec<&str> = asked
            .iter()
            .map(String::as_str)
            .filter(|name| !name.starts_with('_'))
            .collect();
        if asked.is_empty() {
            wanted = USUAL_ATTRIBUTES.to_vec();
        }
        let builtins = arguments.truth("builtins");
        let names = self.shared.catalogue.names().into_iter();
        let shown = names
            .filter(|name| builtins || !name.starts_with("celery."))
            .map(|name| {
                let told: Vec<String> = wanted
                    .iter()
                    .filter_map(|item| Some(format!("{item}={}", self.attribute(&name, item)?)))
                    .collect();
                if told.is_empty() {
                    Value::Str(name)
                } else {
                    Value::Str(format!("{name} [{}]", told.join(" ")))
                }
            });
        Value::List(shown.collect())
    }

    /// An attribute of a task as Python would print it; `None` for one that is not set, or that Rust's tasks do not have.
    fn attribute(&self, name: &str, item: &str) -> Option<String> {
        let task = self.shared.catalogue.get(name)?;
        let Rules {
            acks_late,
            track_started,
            ignore_result,
            max_retries,
            reject_on_worker_lost,
            ..
        } = task.rules;
        let limits = task.limits.get();
        let seconds = |limit: Option<std::time::Duration>| {
            limit.map(|limit| repr::python_repr(&Value::Float(limit.as_secs_f64())))
        };
        let truth = |value: bool| Some(if value { "True" } else { "False" }.to_owned());
        let options = &task.spec.options;
        match item {
            "name" => Some(name.to_owned()),
            "rate_limit" => self
                .handle
                .rate_limits()
                .get(name)
                .map(|rate| rate.to_string()),
            "acks_late" => truth(acks_late),
            "track_started" => truth(track_started),
            "ignore_result" => truth(ignore_result),
            "reject_on_worker_lost" => truth(reject_on_worker_lost),
            "max_retries" => max_retries.map(|most| most.to_string()),
            "time_limit" => seconds(limits.hard),
            "soft_time_limit" => seconds(limits.soft),
            "queue" => options.queue.as_ref().map(ToString::to_string),
            "priority" => options.priority.map(|priority| priority.to_string()),
            "serializer" => Some(self.shared.settings.tasks.serializer.clone()),
            "send_events" => truth(true),
            _ => None,
        }
    }

    pub(super) fn settings(&self, with_defaults: bool) -> Value {
        let conf = &self.conf;
        let shown = if with_defaults {
            &conf.all
        } else {
            &conf.changed
        };
        Value::Map(shown.clone())
    }

    /// For people, in the form of `celery report`.
    pub(super) fn report(&self) -> String {
        let settings = &self.shared.settings;
        let place = self.conf.all.get("result_backend").and_then(Value::as_str);
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let changed: String = self
            .conf
            .changed
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", repr::python_repr(value)))
            .collect();
        format!(
            "\nsoftware -> celery:5.7.0 (lovage:{}) rust:{}\nplatform -> system:{} arch:{}\n            kernel version:{} imp:Rust\nloader   -> lovage::main\nsettings -> transport:{} results:{}\n\n{changed}",
            machine::SW_VERSION,
            env!("CARGO_PKG_RUST_VERSION"),
            machine::SW_SYSTEM,
            std::env::consts::ARCH,
            kernel.trim_end(),
            super::stats::transport(settings.broker.url.as_ref()),
            place.unwrap_or("disabled"),
        )
    }

    /// Another worker begins (`celery/worker/control.py`, `hello`).
    pub(super) async fn hello(&self, arguments: &Arguments) -> Result<Value, Raised> {
        let from = arguments.text("from_node")?;
        if from == &*self.shared.hostname {
            return Ok(Value::Null);
        }
        info!("sync with {from}");
        let theirs = arguments.texts("revoked").into_iter();
        let theirs = theirs.map(|id| Target::Task(TaskId::from(id.as_str())));
        presence::revoke_new(&self.shared, theirs).await;
        let clock = self.shared.announcer.emitter.clock().forward();
        Ok(object([
            ("revoked", self.revoked()),
            ("clock", clock.into()),
        ]))
    }

    /// The heartbeat that is asked for, at once.
    pub(super) async fn heartbeat(&self) -> Value {
        debug!("heartbeat requested by remote");
        if let Err(error) = self.shared.announcer.emitter.forced_heartbeat().await {
            warn!(
                error = &error as &dyn std::error::Error,
                "the heartbeat was not sent"
            );
        }
        Value::Null
    }
}

/// Celery's form of it, with the one sample there is (`celery/utils/debug.py`, `memdump`).
pub(super) fn memdump() -> String {
    let used = process::amount(process::memory());
    format!("- rss (sample):\n-    > {used},\n- rss (end): {used}.\n")
}
