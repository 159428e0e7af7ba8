//! Signatures as messages: the merging rules of wire 6.1 and what a worker adds when one follows a task (6.3).
//!
//! `celery/canvas.py`, `Signature._merge` and `apply_async`.

use lovage_protocol::{Embed, Map, QueueName, Serializer, Signature, TaskId, TaskName, Value};

use crate::{Composer, Error, Moment, Outgoing, Prepared};

/// What the caller of a signature adds to it.
#[derive(Debug, Clone, Default)]
pub struct Follow {
    /// The task it follows.
    pub parent_id: Option<TaskId>,
    /// The first task of the workflow.
    pub root_id: Option<TaskId>,
    /// The result of the task it follows, or the id of a failed one: goes before the arguments stored, unless the
    /// signature is immutable.
    pub prepend: Option<Value>,
    /// The rest of its chain, reversed as on the wire: replaces a chain stored in the options.
    pub chain: Vec<Signature>,
    /// Group and index, unless the signature has a group already.
    pub group: Option<(String, i64)>,
    /// The priority of the task it follows, when it is to be inherited: it stands above the signature's own.
    pub priority: Option<i64>,
    /// The priority of the task that sends it, when it is to be inherited: for a signature that has none.
    pub default_priority: Option<i64>,
}

/// Options that say how Celery's own producer works, and nothing about the message.
const PRODUCER_OPTIONS: [&str; 15] = [
    "producer",
    "connection",
    "publisher",
    "router",
    "result_cls",
    "add_to_parent",
    "task_type",
    "retry",
    "retry_policy",
    "declare",
    "timeout",
    "confirm_timeout",
    "exchange_type",
    "delivery_mode",
    "event_dispatcher",
];

/// Writes the message of a plain signature that follows another task.
///
/// # Errors
/// When it is a chain, group or chord (its parts are sent one by one), or an option cannot be understood.
pub fn publish_of(
    composer: &Composer,
    signature: &Signature,
    follow: Follow,
) -> Result<Prepared, Error> {
    composer.compose(outgoing(signature, follow)?)
}

/// The call behind a signature, merged with what its caller adds.
///
/// # Errors
/// As [`publish_of`].
pub fn outgoing(signature: &Signature, follow: Follow) -> Result<Outgoing, Error> {
    let (args, kwargs) = (signature.args.clone(), signature.kwargs.clone());
    call_of(signature, args, kwargs, follow)
}

/// As [`outgoing`], of a signature that nobody needs any more.
///
/// # Errors
/// As [`publish_of`].
pub fn into_outgoing(mut signature: Signature, follow: Follow) -> Result<Outgoing, Error> {
    let args = std::mem::take(&mut signature.args);
    let kwargs = std::mem::take(&mut signature.kwargs);
    call_of(&signature, args, kwargs, follow)
}

/// The call of a signature with these arguments of it.
fn call_of(
    signature: &Signature,
    args: Vec<Value>,
    kwargs: Map,
    follow: Follow,
) -> Result<Outgoing, Error> {
    let invalid = |problem: String| Error::invalid(&signature.task, problem);
    if let Some(kind) = &signature.subtask_type {
        return Err(invalid(format!("a {kind} is no single task")));
    }
    let mut call = Outgoing::new(signature.task.clone());
    call.args = args;
    call.kwargs = kwargs;
    if let Some(first) = follow.prepend
        && !signature.immutable
    {
        call.args.insert(0, first);
    }
    Options {
        call: &mut call,
        stamps: stamp_names(&signature.options),
    }
    .read(&signature.options)
    .map_err(invalid)?;

    if call.route_name.is_none() {
        call.route_name = inner_task(&call);
    }
    if let Some(parent_id) = follow.parent_id {
        call.parent_id = Some(parent_id);
    }
    if let Some(root_id) = follow.root_id {
        call.root_id = Some(root_id);
    }
    let own = call.priority.or(follow.default_priority);
    call.priority = follow.priority.or(own);
    if let Some((group, index)) = follow.group
        && call.group.is_none()
    {
        call.group = Some(group);
        call.group_index = Some(index);
    }
    if !follow.chain.is_empty() {
        call.embed = call.embed.with_chain(&follow.chain);
    }
    Ok(call)
}

/// A task that runs another one goes where that one would (`celery/canvas.py`, `_basemap`). Celery's own workers forget it when
/// such a task is a later step of a chain.
fn inner_task(of: &Outgoing) -> Option<TaskName> {
    if !["celery.map", "celery.starmap"].contains(&of.task.as_str()) {
        return None;
    }
    let inner = of.kwargs.get("task")?.get("task")?;
    inner.as_str().map(TaskName::from)
}

fn stamp_names(options: &Map) -> Vec<String> {
    let listed = options
        .get("stamped_headers")
        .and_then(Value::as_list)
        .unwrap_or_default();
    listed
        .iter()
        .filter_map(|name| name.as_str().map(str::to_owned))
        .collect()
}

/// Reads the options of a signature into a call.
struct Options<'a> {
    call: &'a mut Outgoing,
    stamps: Vec<String>,
}

impl Options<'_> {
    fn read(&mut self, options: &Map) -> Result<(), String> {
        let mut embed = Embed::default();
        for (name, value) in options {
            // Null is Celery's "not given".
            if !value.is_null() {
                self.option(&mut embed, name, value)
                    .map_err(|expected| format!("its option {name} must be {expected}"))?;
            }
        }
        self.call.embed = embed;
        Ok(())
    }

    fn option(&mut self, embed: &mut Embed, name: &str, value: &Value) -> Result<(), &'static str> {
        let call = &mut *self.call;
        match name {
            "task_id" => call.id = Some(id(value)?),
            "root_id" => call.root_id = Some(id(value)?),
            "parent_id" => call.parent_id = Some(id(value)?),
            "group_id" => call.group = Some(text(value)?),
            "group_index" => call.group_index = Some(int(value)?),
            "reply_to" => call.reply_to = Some(text(value)?),
            "route_name" => call.route_name = Some(text(value)?.into()),
            "shadow" => call.shadow = Some(text(value)?),
            "origin" => call.origin = Some(text(value)?),
            "compression" => call.compression = Some(text(value)?),
            "queue" => call.queue = Some(queue(value)?),
            "exchange" => call.exchange = Some(text(value)?),
            "routing_key" => call.routing_key = Some(text(value)?),
            "priority" => call.priority = Some(int(value)?),
            "retries" => {
                call.retries = u32::try_from(int(value)?).map_err(|_| "a whole number from 0")?;
            }
            "replaced_task_nesting" => call.replaced_task_nesting = int(value)?,
            "time_limit" => call.time_limit = Some(number(value)?),
            "soft_time_limit" => call.soft_time_limit = Some(number(value)?),
            "ignore_result" => match value {
                Value::Bool(ignore) => call.ignore_result = Some(*ignore),
                _ => return Err("true or false"),
            },
            "countdown" => call.eta = Some(moment(value)?),
            // A countdown wins over an eta, whichever comes first.
            "eta" => {
                call.eta.get_or_insert(moment(value)?);
            }
            "expires" => call.expires = Some(moment(value)?),
            "headers" => match value {
                Value::Map(headers) => call.headers.clone_from(headers),
                _ => return Err("an object"),
            },
            "link" => *embed = std::mem::take(embed).with_callbacks(&signatures(value)?),
            "link_error" => *embed = std::mem::take(embed).with_errbacks(&signatures(value)?),
            "chain" => *embed = std::mem::take(embed).with_chain(&signatures(value)?),
            "chord" => {
                let body = signatures(value)?.pop().ok_or("a signature")?;
                *embed = std::mem::take(embed).with_chord(Some(&body));
            }
            // A pickle is never written; the settings' serializer holds all that a pickle was read to.
            "serializer" => match Serializer::from_name(&text(value)?) {
                Some(Serializer::Pickle) => {}
                Some(serializer) => call.serializer = Some(serializer.name().to_owned()),
                None => return Err("json, msgpack, yaml or pickle"),
            },
            "stamped_headers" => call.stamped_headers = Some(self.stamps.clone()),
            stamp if self.stamps.iter().any(|name| name == stamp) => {
                call.stamps.insert(stamp.to_owned(), value.clone());
            }
            producer if PRODUCER_OPTIONS.contains(&producer) => {}
            // Celery hands what it does not know on to the message's properties.
            other => {
                call.properties.insert(other.to_owned(), value.clone());
            }
        }
        Ok(())
    }
}

fn text(value: &Value) -> Result<String, &'static str> {
    value.as_str().map(str::to_owned).ok_or("a text")
}

fn id(value: &Value) -> Result<TaskId, &'static str> {
    match value {
        Value::Uuid(uuid) => Ok(TaskId::from(uuid.to_string())),
        other => other.as_str().map(TaskId::from).ok_or("a text"),
    }
}

fn int(value: &Value) -> Result<i64, &'static str> {
    value.as_i64().ok_or("a whole number")
}

fn number(value: &Value) -> Result<f64, &'static str> {
    value.as_f64().ok_or("a number")
}

fn queue(value: &Value) -> Result<QueueName, &'static str> {
    value
        .as_str()
        .and_then(|name| QueueName::parse(name).ok())
        .ok_or("the name of a queue")
}

fn moment(value: &Value) -> Result<Moment, &'static str> {
    let moment = match value {
        Value::DateTime(text) | Value::Str(text) => Some(Moment::Text(text.clone())),
        other => other.as_f64().and_then(Moment::after_seconds),
    };
    moment.ok_or("a time in ISO 8601 or a number of seconds")
}

/// One signature or a list of them.
fn signatures(value: &Value) -> Result<Vec<Signature>, &'static str> {
    let expected = "a signature or a list of signatures";
    let values = match value {
        Value::List(values) => values.clone(),
        other => vec![other.clone()],
    };
    values
        .into_iter()
        .map(|value| Signature::from_value(value).map_err(|_| expected))
        .collect()
}
