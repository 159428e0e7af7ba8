//! The span of a request that is served over HTTP, by OpenTelemetry's names for servers.

use opentelemetry::{
    Context, KeyValue,
    trace::{SpanBuilder, SpanKind, Status, TraceContextExt, Tracer},
};

use crate::{carrier, trace::Trace, traces};

/// The span of a request. Dropped without an [`end`](Self::end), it ends all the same.
#[derive(Debug, Default)]
pub struct Served(Trace);

impl Served {
    /// Begins the span of a request, in the trace of its `traceparent` if it has one. `route` is the pattern of its path, so that
    /// no id makes a name of its own.
    pub fn begin(method: &str, route: &str, parent: Option<&str>) -> Self {
        let Some(tracer) = traces::tracer() else {
            return Self::default();
        };
        let parent = match parent.and_then(carrier::read_parent) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let span = SpanBuilder::from_name(format!("{method} {route}"))
            .with_kind(SpanKind::Server)
            .with_attributes([
                KeyValue::new("http.request.method", method.to_owned()),
                KeyValue::new("http.route", route.to_owned()),
            ]);
        let span = tracer.build_with_context(span, &parent);
        Self(Trace::at(parent.with_span(span)))
    }

    /// Where the request is served.
    pub fn trace(&self) -> &Trace {
        &self.0
    }

    /// Ends the span with the status code of the answer.
    pub fn end(&self, status: u16) {
        let Some(context) = self.0.context() else {
            return;
        };
        let span = context.span();
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        if status >= 500 {
            span.set_status(Status::error(""));
        }
        span.end();
    }
}
