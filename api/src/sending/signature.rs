//! A call, and what hangs on it, as a Celery signature; each task of it is checked on the way.

use chrono::{DateTime, SecondsFormat, Utc};
use lovage_broker::Destination;
use lovage_client::{
    Client, Composed, Outgoing, canvas,
    signature::{self, Follow},
};
use lovage_protocol::{Map, Signature, Value};

use crate::{
    auth::Identity,
    plain,
    problem::Problem,
    schema::{step::Step, task::CallBody},
    sending::registered::Registered,
};

/// What is asked, by whom, and with what it is checked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Checks<'a> {
    pub(super) client: &'a Client,
    pub(super) registered: &'a Registered,
    pub(super) caller: &'a Identity,
}

/// What a task is called with before its own arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    /// Nothing: it begins.
    Nothing,
    /// A result: of the step before, or the list of a chord's.
    Result,
    /// What error callbacks get, which depends on the task; its arguments are not counted.
    Failure,
}

impl Checks<'_> {
    /// A step with everything in it.
    pub(super) fn step(&self, step: &Step, before: Before) -> Result<Signature, Problem> {
        match step {
            Step::Call(call) => self.call(call, before),
            Step::Chain(chain) => {
                let mut steps = Vec::with_capacity(chain.chain.len());
                let mut before = before;
                for step in &chain.chain {
                    steps.push(self.step(step, before)?);
                    before = Before::Result;
                }
                Ok(canvas::chain(steps))
            }
            Step::Group(group) => Ok(canvas::group(self.steps(&group.group, before)?)),
            Step::Chord(chord) => {
                let header = self.steps(&chord.chord.header, before)?;
                let body = self.step(&chord.chord.body, Before::Result)?;
                Ok(canvas::chord(header, &body))
            }
        }
    }

    fn steps(&self, steps: &[Step], before: Before) -> Result<Vec<Signature>, Problem> {
        steps.iter().map(|step| self.step(step, before)).collect()
    }

    /// One task with its callbacks, as a part of something larger.
    pub(super) fn call(&self, call: &CallBody, before: Before) -> Result<Signature, Problem> {
        let signature = self.signature(call, before)?;
        let previewed = self.client.preview(&outgoing(&signature)?)?;
        self.within_reach(&previewed.publish.destination)?;
        Ok(signature)
    }

    /// One task with its callbacks, as the message that is sent. It is written once, after its queue was looked at.
    pub(super) fn message(&self, call: &CallBody) -> Result<Composed, Problem> {
        let signature = self.signature(call, Before::Nothing)?;
        let call = signature::into_outgoing(signature, Follow::default())?;
        self.client
            .compose_call(call, |destination| self.within_reach(destination))
    }

    /// One task with its callbacks; where it goes itself is not looked at.
    fn signature(&self, call: &CallBody, before: Before) -> Result<Signature, Problem> {
        let immutable = call.immutable.unwrap_or_default();
        let args = call.args.iter().flatten().map(plain::value);
        let args: Vec<Value> = args.collect::<Result<_, _>>()?;
        let kwargs = plain::map(call.kwargs.iter().flatten())?;
        self.caller.require_task(&call.task)?;
        let given_first = match before {
            Before::Result if !immutable => 1,
            _ => 0,
        };
        if before != Before::Failure || immutable {
            self.registered
                .check(&call.task, &args, &kwargs, given_first)?;
        }
        let mut signature = Signature::new(call.task.as_str(), args, kwargs);
        signature.immutable = immutable;
        signature.options = self.options(call)?;
        Ok(signature)
    }

    fn options(&self, call: &CallBody) -> Result<Map, Problem> {
        let both = |one: &str, other: &str| {
            Problem::invalid(format!(
                "{}: {one} and {other} cannot be given together",
                call.task
            ))
        };
        if call.countdown.is_some() && call.eta.is_some() {
            return Err(both("countdown", "eta"));
        }
        if call.expires.is_some() && call.expires_after.is_some() {
            return Err(both("expires", "expires_after"));
        }
        let mut options = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                options.insert(name.to_owned(), value);
            }
        };
        let text = |text: &Option<String>| text.as_deref().map(Value::from);
        put("task_id", text(&call.task_id));
        put("queue", text(&call.queue));
        put("shadow", text(&call.shadow));
        put("priority", call.priority.map(Value::Int));
        put("countdown", call.countdown.map(Value::Float));
        put("eta", call.eta.map(moment));
        let expires = call.expires.map(moment);
        put("expires", expires.or(call.expires_after.map(Value::Float)));
        put("time_limit", call.time_limit.map(Value::Float));
        put("soft_time_limit", call.soft_time_limit.map(Value::Float));
        put("ignore_result", call.ignore_result.map(Value::Bool));
        if let Some(headers) = &call.headers {
            put("headers", Some(Value::Map(plain::map(headers)?)));
        }
        for (name, links, before) in [
            ("link", &call.link, Before::Result),
            ("link_error", &call.link_error, Before::Failure),
        ] {
            if let Some(links) = links {
                let links = self.steps(links, before)?;
                let links = links.iter().map(Signature::to_value).collect();
                put(name, Some(Value::List(links)));
            }
        }
        Ok(options)
    }

    /// Refuses a queue that the caller's key is not for.
    fn within_reach(&self, destination: &Destination) -> Result<(), Problem> {
        match destination {
            Destination::Queue(queue) => self.caller.require_queue(queue.as_str()),
            Destination::Exchange { exchange, .. } | Destination::Fanout { exchange, .. } => {
                self.caller.require_queue(exchange)
            }
            _ => Err(Problem::invalid(
                "it would be sent to nowhere that is known",
            )),
        }
    }
}

/// The call behind the signature of one task.
fn outgoing(signature: &Signature) -> Result<Outgoing, Problem> {
    Ok(signature::outgoing(signature, Follow::default())?)
}

fn moment(at: DateTime<Utc>) -> Value {
    Value::Str(at.to_rfc3339_opts(SecondsFormat::Micros, false))
}
