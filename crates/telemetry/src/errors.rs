//! Who is told of errors: a client of Sentry for the whole process, and what an event of a task says.

use std::{
    collections::BTreeMap,
    panic,
    sync::{Arc, OnceLock},
};

use lovage_protocol::{Body, DecodeOptions, ExceptionInfo, Message};
use lovage_settings::SentrySettings;
use sentry::{
    Client, ClientOptions, Level, Transport, TransportFactory, TransportOptions,
    protocol::{Context, Event, Exception, SpanId, TraceContext, TraceId},
    transports::UreqHttpTransportOptions,
    types::Dsn,
};
use serde_json::{Value as Json, json};

use crate::{attempt::text_of, scrub, start::StartError, trace::Trace};

/// Whom this process tells.
struct Told {
    client: Arc<Client>,
    send_arguments: bool,
}

static TOLD: OnceLock<Told> = OnceLock::new();

/// A task that failed for good.
#[derive(Debug)]
pub struct FailedTask<'a> {
    /// Its message.
    pub message: &'a Message,
    /// The queue that it was taken from.
    pub queue: &'a str,
    /// The node name of the worker.
    pub worker: &'a str,
    /// What it failed with.
    pub exception: &'a ExceptionInfo,
    /// The names of its parameters, in their order; those of secrets are not told of.
    pub parameters: &'a [String],
}

/// Posts events by the same client as spans, proxies of the environment included.
struct Posts;

impl TransportFactory for Posts {
    fn create_transport_with_options(&self, options: TransportOptions) -> Arc<dyn Transport> {
        let agent = ureq::Agent::new_with_defaults();
        Arc::new(
            UreqHttpTransportOptions::from(options)
                .with_agent(agent)
                .build(),
        )
    }
}

/// Starts telling of errors, and of panics from now on. The first call of a process counts.
pub(crate) fn start(settings: &SentrySettings, role: &str) -> Result<Arc<Client>, StartError> {
    let dsn: Dsn = settings
        .dsn
        .expose()
        .parse()
        .map_err(|error: sentry::types::ParseDsnError| StartError::Sentry(error.to_string()))?;
    let release = settings.release.clone();
    let release = release.unwrap_or_else(|| format!("lovage@{}", env!("CARGO_PKG_VERSION")));
    let host = hostname::get().ok();
    let mut options = ClientOptions::new()
        .release(release)
        .environment(settings.environment.clone())
        .send_default_pii(settings.send_arguments)
        .default_integrations(false)
        .transport(Posts);
    options.dsn = Some(dsn);
    if let Some(host) = host {
        options = options.server_name(host.to_string_lossy().into_owned());
    }
    let client = Arc::new(Client::with_options(options));
    let told = Told {
        client: Arc::clone(&client),
        send_arguments: settings.send_arguments,
    };
    if TOLD.set(told).is_ok() {
        hear_of_panics(Arc::clone(&client), role.to_owned());
    }
    Ok(client)
}

/// A panic of the process itself. One inside a task is that task's failure: the worker's own hook, which is set later and asked
/// first, passes it over.
fn hear_of_panics(client: Arc<Client>, role: String) {
    let former = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("a value that is no text");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        client.capture_event(
            Event {
                level: Level::Fatal,
                transaction: Some(role.clone()),
                exception: vec![Exception {
                    ty: "panic".to_owned(),
                    value: Some(format!("panicked at {place}: {text}")),
                    ..Exception::default()
                }]
                .into(),
                contexts: contexts(),
                ..Event::default()
            },
            None,
        );
        former(info);
    }));
}

/// The trace that goes on here, so that an event is found from its trace and the other way round.
pub(crate) fn contexts() -> BTreeMap<String, Context> {
    let span = Trace::current().parent();
    let trace = span.and_then(|span| {
        let mut parts = span.split('-').skip(1);
        let trace_id: TraceId = parts.next()?.parse().ok()?;
        let span_id: SpanId = parts.next()?.parse().ok()?;
        Some(TraceContext {
            trace_id,
            span_id,
            ..TraceContext::default()
        })
    });
    trace
        .map(|trace| ("trace".to_owned(), Context::Trace(Box::new(trace))))
        .into_iter()
        .collect()
}

/// Tells of a task that failed for good; nothing when nobody is told.
pub fn tell_failure(task: &FailedTask<'_>) {
    if let Some(told) = TOLD.get() {
        let arguments = told.send_arguments.then(|| arguments(task)).flatten();
        told.client.capture_event(event(task, arguments), None);
    }
}

fn event(task: &FailedTask<'_>, arguments: Option<Json>) -> Event<'static> {
    let headers = &task.message.headers;
    let name = headers.task.as_str().to_owned();
    let exception = task.exception;
    let mut tags = BTreeMap::from([
        ("task_id".to_owned(), headers.id.as_str().to_owned()),
        ("queue".to_owned(), task.queue.to_owned()),
        ("worker".to_owned(), task.worker.to_owned()),
        ("retries".to_owned(), headers.retries.to_string()),
    ]);
    if let Some(root) = &headers.root_id {
        tags.insert("root_id".to_owned(), root.as_str().to_owned());
    }
    Event {
        transaction: Some(name.clone()),
        // Without frames Sentry tells failures apart by what they say; those of two tasks stay two.
        fingerprint: vec!["{{ default }}".into(), name.into()].into(),
        exception: vec![Exception {
            ty: exception.exc_type.clone(),
            value: Some(text_of(exception)),
            module: exception.exc_module.clone(),
            ..Exception::default()
        }]
        .into(),
        tags,
        extra: arguments
            .map(|arguments| ("celery-job".to_owned(), arguments))
            .into_iter()
            .collect(),
        contexts: contexts(),
        ..Event::default()
    }
}

/// The arguments under the name that Python's integration gives them, without secrets.
fn arguments(task: &FailedTask<'_>) -> Option<Json> {
    // What cannot be read was read before the task began; then there is nothing to tell.
    let body = task.message.decode_body(&DecodeOptions::default()).ok()?;
    let Body { args, kwargs, .. } = body;
    let args: Vec<Json> = args
        .as_list()?
        .iter()
        .enumerate()
        .map(|(place, value)| match task.parameters.get(place) {
            Some(name) => scrub::named(name, value),
            None => scrub::scrubbed(value),
        })
        .collect();
    Some(json!({
        "task_name": task.message.headers.task.as_str(),
        "args": args,
        "kwargs": scrub::scrubbed_map(&kwargs),
    }))
}

#[cfg(test)]
mod tests {
    use lovage_protocol::{Body, ExceptionInfo, Headers, Map, Message, Properties, Value};
    use serde_json::json;

    use super::{FailedTask, arguments, event};

    #[test]
    fn an_event_names_the_task_and_keeps_its_arguments_to_itself() {
        let headers = Headers::new("billing.charge".into(), "id-1".into());
        let kwargs = Map::from_iter([
            ("card_token".to_owned(), Value::from("tok_1")),
            ("amount".to_owned(), 5.into()),
        ]);
        let body = Body::new(vec!["ada".into(), "sesame".into()], kwargs);
        let message = Message::new(headers, Properties::new("id-1", "hot"), &body);
        let exception = ExceptionInfo::new("app", "Refused", vec!["no funds".into()]);
        let task = FailedTask {
            message: &message,
            queue: "hot",
            worker: "w@h",
            exception: &exception,
            parameters: &["user".to_owned(), "password".to_owned()],
        };
        let plain = serde_json::to_value(event(&task, None)).unwrap();
        assert_eq!(plain["transaction"], "billing.charge");
        assert_eq!(plain["tags"]["task_id"], "id-1");
        assert_eq!(plain["tags"]["queue"], "hot");
        assert_eq!(plain["tags"]["worker"], "w@h");
        let value = &plain["exception"]["values"][0];
        assert_eq!(value["type"], "Refused");
        assert_eq!(value["value"], "no funds");
        assert!(!plain.to_string().contains("ada"), "{plain}");
        let told = serde_json::to_value(event(&task, arguments(&task))).unwrap();
        let expected = json!({
            "task_name": "billing.charge",
            "args": ["ada", "[Filtered]"],
            "kwargs": {"card_token": "[Filtered]", "amount": 5},
        });
        assert_eq!(told["extra"]["celery-job"], expected);
    }
}
