//! The span of a task that is sent, as Python's instrumentation writes it: `apply_async/NAME`, a producer, whose place goes along
//! in the message's headers.

use lovage_protocol::Map;
use opentelemetry::{
    Context, KeyValue,
    trace::{Link, SpanBuilder, SpanKind, TraceContextExt, Tracer},
};

use crate::{
    carrier,
    trace::{Links, Trace},
    traces,
};

/// The span of a task that is about to be sent. It ends with the last of its clones: once the message is sent, or when what
/// sends it lets go of it.
#[derive(Debug, Clone, Default)]
pub struct Publishing(Trace);

impl Publishing {
    /// Begins the span of a call, where this code runs, and writes it into the message's headers.
    pub fn begin(task: &str, id: &str, headers: &mut Map) -> Self {
        Self::write(task, id, headers, |here| {
            let links = here.get::<Links>();
            links.map(|links| links.0.clone()).unwrap_or_default()
        })
    }

    /// As [`begin`](Self::begin), for the next attempt at the task that runs here: it is linked to this one.
    pub fn again(task: &str, id: &str, headers: &mut Map) -> Self {
        Self::write(task, id, headers, |here| {
            carrier::parent_text(here).into_iter().collect()
        })
    }

    fn write(
        task: &str,
        id: &str,
        headers: &mut Map,
        links: impl FnOnce(&Context) -> Vec<String>,
    ) -> Self {
        let Some(tracer) = traces::tracer() else {
            return Self::default();
        };
        let here = Context::current();
        let links = links(&here);
        let span = SpanBuilder::from_name(format!("apply_async/{task}"))
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("celery.action", "apply_async"),
                KeyValue::new("celery.task_name", task.to_owned()),
                KeyValue::new("messaging.message.id", id.to_owned()),
            ])
            // A Python worker does not read them from the message, so they stand here too.
            .with_links(
                links
                    .iter()
                    .filter_map(|link| carrier::read_parent(link))
                    .map(Link::with_context)
                    .collect(),
            );
        let there = here.with_span(tracer.build_with_context(span, &here));
        carrier::inject(&there, headers);
        carrier::write_links(&links, headers);
        Self(Trace::at(there))
    }

    /// Says where the message goes.
    pub fn to_queue(&self, queue: &str) {
        if let Some(context) = self.0.context() {
            context.span().set_attributes([
                KeyValue::new("messaging.destination", queue.to_owned()),
                KeyValue::new("messaging.destination_kind", "queue"),
            ]);
        }
    }
}
