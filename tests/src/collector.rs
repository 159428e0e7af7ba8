//! A collector of spans, and the spans that came to it.

use std::collections::BTreeMap;
use std::fmt;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1 as wire;
use prost::Message;

use crate::http_stub::HttpStub;
use crate::wait::PATIENCE;

/// Takes spans by OTLP over HTTP, from Rust and from Python.
#[derive(Debug)]
pub struct Collector {
    stub: HttpStub,
}

/// One span, with ids as hexadecimal text.
#[derive(Debug, Clone)]
pub struct Span {
    /// The service that it is of.
    pub service: String,
    /// Its name.
    pub name: String,
    /// `Producer`, `Consumer`, `Server` or `Internal`.
    pub kind: String,
    /// The trace.
    pub trace: String,
    /// Its own id.
    pub id: String,
    /// The id of its parent; empty: none.
    pub parent: String,
    /// The spans that it is linked to.
    pub links: Vec<String>,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// The description of an error, when it is one.
    pub error: Option<String>,
    /// Its events, with their attributes as text.
    pub events: Vec<(String, BTreeMap<String, String>)>,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            name,
            trace,
            id,
            parent,
            links,
            ..
        } = self;
        write!(f, "{service} {name} {trace}/{id} < {parent} ~ {links:?}")
    }
}

impl Span {
    /// An attribute, or nothing.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

impl Collector {
    /// A collector on a free port.
    pub fn start() -> Self {
        Self {
            stub: HttpStub::start(),
        }
    }

    /// A collector at a port that was known before.
    pub fn at_port(port: u16) -> Self {
        Self {
            stub: HttpStub::at_port(port),
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is to be.
    pub fn url(&self) -> String {
        self.stub.url()
    }

    /// What came, undecoded.
    pub fn stub(&self) -> &HttpStub {
        &self.stub
    }

    /// The spans that came so far.
    ///
    /// # Panics
    /// When something else came.
    pub fn spans(&self) -> Vec<Span> {
        let mut spans = Vec::new();
        for posted in self.stub.posted() {
            assert_eq!(posted.path, "/v1/traces");
            let request = ExportTraceServiceRequest::decode(posted.body.as_slice());
            for resource in request.expect("spans are posted").resource_spans {
                let about = resource.resource.map(|about| texts(&about.attributes));
                let service = about.and_then(|mut about| about.remove("service.name"));
                let service = service.expect("spans are of a service");
                let scopes = resource.scope_spans.into_iter();
                let of_all = scopes.flat_map(|scope| scope.spans);
                spans.extend(of_all.map(|span| read(&service, span)));
            }
        }
        spans
    }

    /// Waits until there are so many spans of a service with a name, and gives them in the order of their ends.
    ///
    /// # Panics
    /// When they do not come; what came instead is printed.
    pub fn wait_for(&self, service: &str, name: &str, count: usize) -> Vec<Span> {
        let found = || -> Vec<Span> {
            let spans = self.spans().into_iter();
            spans
                .filter(|span| span.service == service && span.name == name)
                .collect()
        };
        let started = std::time::Instant::now();
        while found().len() < count && started.elapsed() < PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let found = found();
        if found.len() != count {
            let all: Vec<String> = self.spans().iter().map(ToString::to_string).collect();
            panic!(
                "{count} of {service} {name} are not among\n{}",
                all.join("\n")
            );
        }
        found
    }

    /// Waits for the one span of a service with a name.
    pub fn wait_for_one(&self, service: &str, name: &str) -> Span {
        self.wait_for(service, name, 1).remove(0)
    }
}

fn read(service: &str, span: wire::Span) -> Span {
    let kind = format!("{:?}", span.kind());
    let error = span.status.filter(|status| status.code == 2);
    Span {
        service: service.to_owned(),
        name: span.name,
        kind,
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        attributes: texts(&span.attributes),
        error: error.map(|status| status.message),
        events: span
            .events
            .iter()
            .map(|event| (event.name.clone(), texts(&event.attributes)))
            .collect(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let attributes = attributes.iter();
    attributes
        .map(|one| {
            (
                one.key.clone(),
                one.value.as_ref().map(text).unwrap_or_default(),
            )
        })
        .collect()
}

fn text(value: &AnyValue) -> String {
    match &value.value {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::ArrayValue(list)) => {
            let items: Vec<String> = list.values.iter().map(text).collect();
            format!("[{}]", items.join(", "))
        }
        other => format!("{other:?}"),
    }
}
