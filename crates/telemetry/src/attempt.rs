//! The span of one attempt at a task, as Python's instrumentation writes it: `run/NAME`, a consumer, with the attributes of its
//! `set_attributes_from_context`.

use lovage_protocol::{ExceptionInfo, Message, Value};
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};

use crate::{carrier, trace::Trace, traces};

/// The span of an attempt that runs. Dropped without an [`end`](Self::end), it ends all the same.
#[derive(Debug, Default)]
pub struct Attempt(Trace);

/// How an attempt ended.
#[derive(Debug, Default)]
pub struct Ending<'a> {
    /// The state that follows, such as `SUCCESS`; none, when nothing is recorded.
    pub state: Option<&'a str>,
    /// What it failed with.
    pub failure: Option<&'a ExceptionInfo>,
    /// Where it failed, as text.
    pub traceback: Option<&'a str>,
    /// Why it runs again.
    pub retried_for: Option<String>,
}

impl Attempt {
    /// Begins the span of a message's task, in the trace that its headers name. `node` is the name of the worker.
    pub fn begin(message: &Message, node: &str) -> Self {
        let Some(tracer) = traces::tracer() else {
            return Self(Trace::default());
        };
        let headers = &message.headers;
        let parent = carrier::extract(&headers.extra);
        let links = carrier::read_links(&headers.extra);
        let links = links.into_iter().map(Link::with_context).collect();
        let span = SpanBuilder::from_name(format!("run/{}", headers.task))
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes(message, node))
            .with_links(links);
        let span = tracer.build_with_context(span, &parent);
        Self(Trace::at(parent.with_span(span)))
    }

    /// Where the task's code runs.
    pub fn trace(&self) -> &Trace {
        &self.0
    }

    /// Whether anybody will see how it ends.
    pub fn is_recorded(&self) -> bool {
        let context = self.0.context();
        context.is_some_and(|context| context.span().is_recording())
    }

    /// Ends the span.
    pub fn end(&self, ending: Ending<'_>) {
        let Some(context) = self.0.context() else {
            return;
        };
        let span = context.span();
        if let Some(state) = ending.state {
            span.set_attribute(KeyValue::new("celery.state", state.to_owned()));
        }
        if let Some(reason) = ending.retried_for {
            span.set_attribute(KeyValue::new("celery.retry.reason", reason));
        }
        if let Some(failure) = ending.failure {
            fail(context, failure, ending.traceback);
        }
        span.end();
    }
}

/// Notes an exception as OpenTelemetry does for every language.
fn fail(context: &Context, failure: &ExceptionInfo, traceback: Option<&str>) {
    let class = match failure.exc_module.as_deref() {
        None | Some("builtins") => failure.exc_type.clone(),
        Some(module) => format!("{module}.{}", failure.exc_type),
    };
    let text = text_of(failure);
    let mut attributes = vec![
        KeyValue::new("exception.type", class),
        KeyValue::new("exception.message", text.clone()),
        KeyValue::new("exception.escaped", "False"),
    ];
    if let Some(traceback) = traceback {
        attributes.push(KeyValue::new("exception.stacktrace", traceback.to_owned()));
    }
    context.span().add_event("exception", attributes);
    context.span().set_status(Status::error(text));
}

/// An exception as Python's `str` writes it.
pub(crate) fn text_of(failure: &ExceptionInfo) -> String {
    match failure.exc_message.as_slice() {
        [] => String::new(),
        [Value::Str(text)] => text.clone(),
        [one] => lovage_protocol::saferepr(one),
        arguments => lovage_protocol::args_repr(arguments),
    }
}

fn attributes(message: &Message, node: &str) -> Vec<KeyValue> {
    let (headers, properties) = (&message.headers, &message.properties);
    let key = &properties.delivery_info.routing_key;
    let mut attributes = vec![
        KeyValue::new("celery.action", "run"),
        KeyValue::new("celery.task_name", headers.task.as_str().to_owned()),
        KeyValue::new("messaging.message.id", headers.id.as_str().to_owned()),
        KeyValue::new("messaging.destination", key.clone()),
        // Python has the sender there once a worker's name has stood under it.
        KeyValue::new(
            "celery.hostname",
            headers.origin.clone().unwrap_or_else(|| node.to_owned()),
        ),
        KeyValue::new("celery.node", node.to_owned()),
    ];
    let mut put = |name: &'static str, value: Option<String>| {
        attributes.extend(value.map(|value| KeyValue::new(name, value)));
    };
    put(
        "messaging.conversation_id",
        properties.correlation_id.clone(),
    );
    put("celery.reply_to", properties.reply_to.clone());
    put("celery.eta", headers.eta.clone());
    put("celery.expires", headers.expires.clone());
    put("celery.compression", headers.compression.clone());
    if headers.retries > 0 {
        attributes.push(KeyValue::new("celery.retries", i64::from(headers.retries)));
    }
    let (hard, soft) = (headers.timelimit.hard, headers.timelimit.soft);
    if hard.is_some() || soft.is_some() {
        let text = |limit: Option<f64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
        let limits = vec![text(hard).into(), text(soft).into()];
        let limits = opentelemetry::Array::String(limits);
        attributes.push(KeyValue::new(
            "celery.timelimit",
            opentelemetry::Value::Array(limits),
        ));
    }
    attributes
}
