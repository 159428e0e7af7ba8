//! The trace in a message's headers: `traceparent`, `tracestate` and `baggage` beside Celery's own, where Python's
//! instrumentation writes and reads them; and Lovage's own list of the spans that the message comes from besides.

use lovage_protocol::{Map, Value};
use opentelemetry::{
    Context,
    propagation::{Extractor, Injector, TextMapPropagator},
    trace::{SpanContext, TraceContextExt},
};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};

/// Spans that a task comes from besides its parent, each written as a `traceparent`: the attempt before, the tasks of a chord's
/// header. Python does not read it.
pub(crate) const LINKS: &str = "lovage_tracelinks";
/// The name of the header that says which span comes before.
const PARENT: &str = "traceparent";
/// As many links as a span of OpenTelemetry keeps.
const MOST_LINKS: usize = 128;

struct Reader<'a>(&'a Map);

impl Extractor for Reader<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

struct Writer<'a>(&'a mut Map);

impl Injector for Writer<'_> {
    fn set(&mut self, name: &str, value: String) {
        // An empty one says nothing; Python leaves it out.
        if value.is_empty() {
            self.0.shift_remove(name);
        } else {
            self.0.insert(name.to_owned(), Value::Str(value));
        }
    }
}

/// The trace that the headers of a message name, in a context without anything else.
pub(crate) fn extract(headers: &Map) -> Context {
    let parent =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Reader(headers));
    BaggagePropagator::new().extract_with_context(&parent, &Reader(headers))
}

/// Writes a trace into headers.
pub(crate) fn inject(context: &Context, headers: &mut Map) {
    TraceContextPropagator::new().inject_context(context, &mut Writer(headers));
    BaggagePropagator::new().inject_context(context, &mut Writer(headers));
}

/// A span as the text of a `traceparent`.
pub(crate) fn parent_text(context: &Context) -> Option<String> {
    let mut headers = Map::new();
    TraceContextPropagator::new().inject_context(context, &mut Writer(&mut headers));
    headers.get(PARENT)?.as_str().map(str::to_owned)
}

/// The span behind a `traceparent`.
pub(crate) fn read_parent(text: &str) -> Option<SpanContext> {
    let headers = Map::from_iter([(PARENT.to_owned(), Value::from(text))]);
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Reader(&headers));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Writes the spans that a message comes from besides; none removes those that it had.
pub(crate) fn write_links(links: &[String], headers: &mut Map) {
    if links.is_empty() {
        headers.shift_remove(LINKS);
        return;
    }
    let links = links.iter().take(MOST_LINKS);
    let links = links.map(|link| Value::from(link.as_str())).collect();
    headers.insert(LINKS.to_owned(), Value::List(links));
}

/// The spans that a message comes from besides. What is none is passed over: anybody may have written it.
pub(crate) fn read_links(headers: &Map) -> Vec<SpanContext> {
    let links = headers.get(LINKS).and_then(Value::as_list);
    let links = links.unwrap_or_default().iter().take(MOST_LINKS);
    links
        .filter_map(|link| read_parent(link.as_str()?))
        .collect()
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Map, Value};
    use opentelemetry::{baggage::BaggageExt, trace::TraceContextExt};

    use super::{extract, inject, parent_text, read_links, write_links};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(pairs: &[(&str, &str)]) -> Map {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (*name, Value::from(*value)));
        pairs
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    #[test]
    fn what_was_read_is_written_again() {
        let read = headers(&[
            ("traceparent", PARENT),
            ("tracestate", "vendor=a:b"),
            ("baggage", "tenant=acme"),
        ]);
        let context = extract(&read);
        assert!(context.span().span_context().is_remote());
        let tenant = context.baggage().get("tenant").map(ToString::to_string);
        assert_eq!(tenant.as_deref(), Some("acme"));
        let mut written = Map::new();
        inject(&context, &mut written);
        assert_eq!(written, read);
        assert_eq!(parent_text(&context).as_deref(), Some(PARENT));
    }

    #[test]
    fn what_is_no_trace_begins_none() {
        let check = |value: Value| {
            let headers = Map::from_iter([("traceparent".to_owned(), value)]);
            let context = extract(&headers);
            assert!(!context.span().span_context().is_valid(), "{headers:?}");
            let mut written = Map::new();
            inject(&context, &mut written);
            assert!(written.is_empty(), "{written:?}");
        };
        check("".into());
        check("00-zz".into());
        check(17.into());
        check(
            PARENT
                .replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32))
                .into(),
        );
        check(Value::List(vec![PARENT.into()]));
    }

    #[test]
    fn links_are_a_list_that_anybody_may_have_spoilt() {
        let mut map = Map::new();
        write_links(&[PARENT.to_owned()], &mut map);
        assert_eq!(read_links(&map).len(), 1);
        write_links(&[], &mut map);
        assert!(map.is_empty());
        map.insert(
            super::LINKS.to_owned(),
            Value::List(vec![1.into(), "x".into(), PARENT.into()]),
        );
        assert_eq!(read_links(&map).len(), 1);
        map.insert(super::LINKS.to_owned(), PARENT.into());
        assert!(read_links(&map).is_empty());
        write_links(&vec![PARENT.to_owned(); 1_000], &mut map);
        assert_eq!(read_links(&map).len(), 128);
    }
}
