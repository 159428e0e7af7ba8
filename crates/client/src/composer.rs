//! From a call to the bytes of its message (wire 1.1 to 1.4); celery/app/amqp.py, `as_task_v2`.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use lovage_broker::{Destination, Publish};
use lovage_protocol::{
    Body, Clock, Compression, Headers, Map, Message, Properties, QueueName, Serializer, TaskId,
    TaskName, TimeLimit, Value, compress,
    repr::{args_repr_within, kwargs_repr_within},
};
use lovage_telemetry::Publishing;
use uuid::Uuid;

use crate::{
    BadRoute, Error, Moment, Outgoing, Prepared, Router, Target,
    client::{ClientOptions, DemandOf, OwnOptions},
};

/// Names that a user header cannot have: a wrong value in them ends Python workers.
const RESERVED_HEADERS: [&str; 20] = [
    "lang",
    "task",
    "id",
    "shadow",
    "eta",
    "expires",
    "group",
    "group_index",
    "retries",
    "timelimit",
    "root_id",
    "parent_id",
    "argsrepr",
    "kwargsrepr",
    "origin",
    "ignore_result",
    "replaced_task_nesting",
    "stamped_headers",
    "stamps",
    "compression",
];

/// Celery's `argsrepr_maxsize`.
const REPR_LIMIT: usize = 1024;

/// Writes messages. Pure: it knows the settings and this process's name, and touches nothing.
#[derive(Debug, Clone)]
pub struct Composer {
    router: Router,
    origin: String,
    reply_to: String,
    default_priority: Option<i64>,
    serializer: String,
    compression: Option<String>,
    repr_limit: usize,
    naive_zone: Tz,
    own: HashMap<TaskName, OwnOptions>,
    clock: Clock,
}

/// What the call leaves open is as the task says.
fn fill(outgoing: &mut Outgoing, own: &OwnOptions) {
    if outgoing.queue.is_none() && outgoing.exchange.is_none() {
        outgoing.queue.clone_from(&own.queue);
    }
    outgoing.priority = outgoing.priority.or(own.priority);
    if outgoing.expires.is_none() {
        outgoing.expires = own.expires.map(Moment::from);
    }
    if outgoing.serializer.is_none() {
        outgoing.serializer.clone_from(&own.serializer);
    }
    if outgoing.compression.is_none() {
        outgoing.compression.clone_from(&own.compression);
    }
}

impl Composer {
    /// A composer for this process.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            router: Router::new(&options.tasks),
            origin: origin(),
            reply_to: Uuid::new_v4().to_string(),
            default_priority: options.tasks.default_priority,
            serializer: options.tasks.serializer,
            compression: options.tasks.compression,
            repr_limit: options.repr_limit.unwrap_or(REPR_LIMIT),
            naive_zone: options.timezone,
            own: options.own,
            clock: options.clock,
        }
    }

    /// `gen<pid>@<host>`, as this process signs its messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Where this process hears of `rpc://` results.
    pub fn reply_to(&self) -> &str {
        &self.reply_to
    }

    /// What it takes for now.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The routes.
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// Writes one message.
    ///
    /// # Errors
    /// When what is asked for cannot be sent: see [`Error::Invalid`].
    pub fn compose(&self, outgoing: Outgoing) -> Result<Prepared, Error> {
        self.write(self.route(outgoing)?)
    }

    /// Finds out where a call goes, by what it says, its task says, and the routes say.
    ///
    /// # Errors
    /// When that is nowhere.
    pub(crate) fn route(&self, mut outgoing: Outgoing) -> Result<Routed, Error> {
        if let Some(own) = self.own.get(&outgoing.task) {
            fill(&mut outgoing, own);
        }
        let (address, priority) = self
            .address(&outgoing)
            .map_err(|problem| Error::invalid(&outgoing.task, problem))?;
        Ok(Routed {
            outgoing,
            address,
            priority,
        })
    }

    /// Writes the message of a call of which it is known where it goes.
    ///
    /// # Errors
    /// As [`Composer::compose`].
    pub(crate) fn write(&self, routed: Routed) -> Result<Prepared, Error> {
        let task = routed.outgoing.task.clone();
        self.message(routed, self.clock.now())
            .map_err(|problem| Error::invalid(task, problem))
    }

    /// The queue that a task goes to when its sender does not say, and the priority that its definition or its route gives it.
    ///
    /// # Errors
    /// When its route cannot be followed.
    pub(crate) fn place_of(&self, task: &TaskName) -> Result<(QueueName, Option<i64>), BadRoute> {
        let own = self.own.get(task);
        let priority = own.and_then(|own| own.priority);
        if let Some(queue) = own.and_then(|own| own.queue.clone()) {
            return Ok((queue, priority));
        }
        let target = self.router.route(task.as_str())?;
        Ok((target.queue, priority.or(target.priority)))
    }

    /// What calls of a task ask for as they are sent, if they ask for anything.
    pub(crate) fn demand_of(&self, task: &TaskName) -> Option<&DemandOf> {
        self.own.get(task)?.demand.as_ref()
    }

    fn message(&self, routed: Routed, now: DateTime<Utc>) -> Result<Prepared, String> {
        let Routed {
            outgoing,
            address,
            priority: routed_priority,
        } = routed;
        let priority = outgoing
            .priority
            .or(routed_priority)
            .or(self.default_priority)
            .unwrap_or(0);
        let id = outgoing.id.unwrap_or_else(TaskId::new);
        let (not_before, eta) = match outgoing.eta {
            // Celery takes a countdown of 0 for none.
            Some(eta) if !eta.is_now() => {
                let (at, text) = eta.resolve(now, self.naive_zone)?;
                (Some(at), Some(text))
            }
            _ => (None, None),
        };
        let expires = outgoing
            .expires
            .map(|at| at.resolve(now, self.naive_zone))
            .transpose()?;

        let mut headers = Headers::new(outgoing.task, id.clone());
        headers.lang = "rust".to_owned();
        headers.shadow = outgoing.shadow;
        headers.eta = eta;
        headers.group = outgoing.group;
        headers.group_index = outgoing.group_index;
        headers.retries = outgoing.retries;
        headers.timelimit = time_limit(outgoing.time_limit, outgoing.soft_time_limit)?;
        headers.root_id = Some(outgoing.root_id.unwrap_or_else(|| id.clone()));
        headers.parent_id = outgoing.parent_id;
        headers.argsrepr = Some(args_repr_within(&outgoing.args, self.repr_limit));
        headers.kwargsrepr = Some(kwargs_repr_within(&outgoing.kwargs, self.repr_limit));
        headers.origin = Some(outgoing.origin.unwrap_or_else(|| self.origin.clone()));
        headers.ignore_result = outgoing.ignore_result;
        headers.replaced_task_nesting = outgoing.replaced_task_nesting;
        headers.stamped_headers = outgoing.stamped_headers;
        headers.stamps = outgoing.stamps;
        refuse_reserved(&outgoing.headers)?;
        headers.extra = outgoing.headers;

        let mut properties = self.properties(&id, &address, priority);
        if let Some(reply_to) = outgoing.reply_to {
            properties.reply_to = Some(reply_to);
        }
        properties.extra = outgoing.properties;
        if let Some((at, text)) = expires {
            properties.expiration = Some(milliseconds_until(at, now));
            headers.expires = Some(text);
        }

        let mut body = Body::new(outgoing.args, outgoing.kwargs);
        body.embed = outgoing.embed;
        let serializer = self.serializer(outgoing.serializer.as_deref())?;
        let mut message = Message::written(headers, properties, &body, serializer)
            .map_err(|error| error.to_string())?;
        if let Some(method) = outgoing
            .compression
            .as_deref()
            .or(self.compression.as_deref())
        {
            compress_body(&mut message, method)?;
        }
        Ok(Prepared {
            not_before,
            ..seal(&message, address)
        })
    }

    /// Properties of a new message: its own delivery tag, this process's reply address.
    pub(crate) fn properties(&self, id: &TaskId, address: &Address, priority: i64) -> Properties {
        let (exchange, routing_key) = address.parts();
        let mut properties = Properties::new(id.as_str(), routing_key);
        exchange.clone_into(&mut properties.delivery_info.exchange);
        properties.reply_to = Some(self.reply_to.clone());
        properties.priority = priority;
        properties
    }

    /// The serializer of that name, or the settings'.
    pub(crate) fn serializer(&self, name: Option<&str>) -> Result<Serializer, String> {
        let name = name.unwrap_or(&self.serializer);
        Serializer::from_name(name)
            .filter(|serializer| *serializer != Serializer::Pickle)
            .ok_or_else(|| {
                format!("the serializer {name:?} is not written here; json, msgpack and yaml are")
            })
    }

    fn address(&self, outgoing: &Outgoing) -> Result<(Address, Option<i64>), String> {
        if let (Some(exchange), Some(routing_key)) = (&outgoing.exchange, &outgoing.routing_key)
            && !exchange.is_empty()
        {
            let to = self.router.exchange(exchange.clone(), routing_key.clone());
            return Ok((Address(to), None));
        }
        // The route's priority holds for an explicit queue too, as in `Router.route`.
        let name = outgoing.route_name.as_ref().unwrap_or(&outgoing.task);
        let routed = self.router.route(name.as_str());
        let (mut target, priority) = match (&outgoing.queue, routed) {
            (Some(queue), routed) => {
                let target = Target {
                    queue: queue.clone(),
                    exchange: None,
                    routing_key: None,
                    priority: None,
                };
                (target, routed.ok().and_then(|routed| routed.priority))
            }
            (None, routed) => {
                let target = routed.map_err(|bad| bad.to_string())?;
                let priority = target.priority;
                (target, priority)
            }
        };
        if outgoing.routing_key.is_some() {
            target.routing_key.clone_from(&outgoing.routing_key);
        }
        let to = self.router.destination(&target);
        to.map(|to| (Address(to), priority))
            .map_err(|bad| bad.to_string())
    }

    /// The instant and text of a moment, with this process's time zone for texts without one.
    pub(crate) fn resolve(
        &self,
        moment: &Moment,
        now: DateTime<Utc>,
    ) -> Result<(DateTime<Utc>, String), String> {
        moment.resolve(now, self.naive_zone)
    }
}

/// A call of which it is known where it goes.
#[derive(Debug)]
pub(crate) struct Routed {
    pub(crate) outgoing: Outgoing,
    address: Address,
    /// The priority that its route gives it.
    priority: Option<i64>,
}

impl Routed {
    pub(crate) fn destination(&self) -> &Destination {
        &self.address.0
    }
}

/// Where a message goes, with what its `delivery_info` says of it.
#[derive(Debug, Clone)]
pub(crate) struct Address(Destination);

impl Address {
    /// Where a received message goes again: its queue, or its exchange and routing key.
    pub(crate) fn of(message: &Message, router: &Router) -> Self {
        let info = &message.properties.delivery_info;
        if !info.exchange.is_empty() {
            return Self(router.exchange(info.exchange.clone(), info.routing_key.clone()));
        }
        // A message made by hand may name no queue that can exist: then it goes where a new one would.
        let queue = QueueName::parse(&info.routing_key)
            .or_else(|_| {
                router
                    .route(message.headers.task.as_str())
                    .map(|target| target.queue)
            })
            .unwrap_or_else(|_| QueueName::parse("celery").expect("six letters are a name"));
        Self(Destination::Queue(queue))
    }

    /// A queue by its name.
    pub(crate) fn queue(queue: QueueName) -> Self {
        Self(Destination::Queue(queue))
    }

    fn parts(&self) -> (&str, &str) {
        match &self.0 {
            Destination::Exchange {
                exchange,
                routing_key,
            }
            | Destination::Fanout {
                exchange,
                routing_key,
            } => (exchange, routing_key),
            Destination::Queue(queue) => ("", queue.as_str()),
            _ => ("", ""),
        }
    }

    fn destination(self) -> Destination {
        self.0
    }
}

pub(crate) fn seal(message: &Message, address: Address) -> Prepared {
    Prepared {
        id: message.headers.id.clone(),
        publish: Publish {
            destination: address.destination(),
            priority: message.properties.priority,
            payload: message.to_json().into(),
        },
        ignores_result: message.headers.ignore_result == Some(true),
        not_before: None,
        span: Publishing::default(),
    }
}

/// Compresses a plain body and says so in the headers.
pub(crate) fn compress_body(message: &mut Message, method: &str) -> Result<(), String> {
    let method = Compression::from_name(method).map_err(|error| error.to_string())?;
    message.body = compress(method, &message.body).map_err(|error| error.to_string())?;
    message.headers.compression = Some(method.content_type().to_owned());
    Ok(())
}

/// Decimal text of whole milliseconds; the past is 0.
pub(crate) fn milliseconds_until(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    (at - now).num_milliseconds().max(0).to_string()
}

fn time_limit(hard: Option<f64>, soft: Option<f64>) -> Result<TimeLimit, String> {
    for limit in [hard, soft].into_iter().flatten() {
        if !limit.is_finite() || limit < 0.0 {
            return Err(format!("a time limit of {limit} s is none"));
        }
    }
    if let (Some(hard), Some(soft)) = (hard, soft)
        && soft > hard
        && hard > 0.0
    {
        return Err(format!(
            "its soft limit of {soft} s is above its hard limit of {hard} s"
        ));
    }
    Ok(TimeLimit { hard, soft })
}

fn refuse_reserved(headers: &Map) -> Result<(), String> {
    match headers
        .keys()
        .find(|name| RESERVED_HEADERS.contains(&name.as_str()))
    {
        Some(name) => Err(format!(
            "{name:?} is a header of the protocol, choose another name"
        )),
        None => Ok(()),
    }
}

/// Celery's `anon_nodename`.
fn origin() -> String {
    let host = hostname::get()
        .ok()
        .and_then(|name| name.into_string().ok());
    format!(
        "gen{}@{}",
        std::process::id(),
        host.as_deref().unwrap_or("localhost")
    )
}

/// The list behind arguments given as anything that serialises as one.
pub(crate) fn as_args(task: &TaskName, value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::List(args) => Ok(args),
        Value::Null => Ok(Vec::new()),
        _ => Err(Error::invalid(task, "args must be a list or a tuple")),
    }
}

/// The map behind keyword arguments given as anything that serialises as one.
pub(crate) fn as_kwargs(task: &TaskName, value: Value) -> Result<Map, Error> {
    match value {
        Value::Map(kwargs) => Ok(kwargs),
        Value::Null => Ok(Map::new()),
        _ => Err(Error::invalid(task, "kwargs must be a map or a struct")),
    }
}
