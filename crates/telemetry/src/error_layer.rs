//! Errors that are logged: told to Sentry, with the task that they were logged in.

use std::{collections::BTreeMap, fmt::Debug, sync::Arc};

use sentry::{Client, protocol::Event};
use serde_json::Value as Json;
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::{Layer, layer::Context, registry::LookupSpan};

use crate::{errors, scrub};

/// The span of a task that runs, as the worker names it.
const SPAN: &str = "task";

/// Hears what is logged as an error, when its filter lets nothing else through.
pub(crate) struct ErrorLayer(Arc<Client>);

impl ErrorLayer {
    pub(crate) fn new(client: Arc<Client>) -> Self {
        Self(client)
    }
}

/// The fields of a span or an event.
#[derive(Default)]
struct Fields(BTreeMap<String, Json>);

impl Fields {
    fn put(&mut self, field: &Field, value: impl Into<Json>) {
        let value = match scrub::is_secret(field.name()) {
            true => Json::from(scrub::FILTERED),
            false => value.into(),
        };
        self.0.insert(field.name().to_owned(), value);
    }

    fn take_text(&mut self, name: &str) -> Option<String> {
        match self.0.remove(name)? {
            Json::String(text) => Some(text),
            other => Some(other.to_string()),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        self.put(field, text);
    }
}

/// The task that runs in a span.
struct Running(Fields);

impl<S> Layer<S> for ErrorLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().name() != SPAN {
            return;
        }
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Running(fields));
        }
    }

    fn on_event(&self, logged: &tracing::Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        logged.record(&mut fields);
        let mut event = Event {
            message: fields.take_text("message"),
            logger: Some(logged.metadata().target().to_owned()),
            contexts: errors::contexts(),
            ..Event::default()
        };
        let running = context
            .event_scope(logged)
            .and_then(|mut scope| scope.find(|span| span.name() == SPAN));
        if let Some(running) = running
            && let Some(Running(task)) = running.extensions().get::<Running>()
        {
            let text = |name: &str| task.0.get(name).and_then(Json::as_str).map(str::to_owned);
            event.transaction = text("task.name");
            event
                .tags
                .extend(text("task.id").map(|id| ("task_id".to_owned(), id)));
            event
                .tags
                .extend(text("queue").map(|queue| ("queue".to_owned(), queue)));
        }
        event.extra = fields.0;
        self.0.capture_event(event, None);
    }
}
