//! The message of a retry (wire 7.4); celery/app/task.py, `signature_from_request`.

use chrono::{DateTime, Utc};
use lovage_protocol::{Body, Map, Message, QueueName, Serializer, Value, args_repr, kwargs_repr};
use lovage_telemetry::Publishing;

use crate::{
    Composer, Error, Moment, Prepared,
    composer::{Address, compress_body, milliseconds_until, seal},
};

/// What a retry changes; the default changes nothing and runs at once.
#[derive(Debug, Clone, Default)]
pub struct RetryOptions {
    /// Not to be run before.
    pub eta: Option<Moment>,
    /// Other positional arguments.
    pub args: Option<Vec<Value>>,
    /// Other keyword arguments.
    pub kwargs: Option<Map>,
    /// Another queue than the one it came from.
    pub queue: Option<QueueName>,
    /// Another priority.
    pub priority: Option<i64>,
    /// Another time after which it is not to be run.
    pub expires: Option<Moment>,
    /// Another hard limit in seconds.
    pub time_limit: Option<f64>,
    /// Another soft limit in seconds.
    pub soft_time_limit: Option<f64>,
}

/// Writes the message that runs a task again: the same id, one retry more, everything else as it was received.
///
/// `body` is the decoded body of `message`; it is written anew only when the arguments change.
///
/// # Errors
/// When a time of the options lies beyond the calendar or is no time.
pub fn prepare(
    composer: &Composer,
    message: &Message,
    body: &Body,
    options: RetryOptions,
) -> Result<Prepared, Error> {
    let now = composer.clock().now();
    let resolve = |moment: Moment| {
        composer
            .resolve(&moment, now)
            .map_err(|problem| Error::invalid(&message.headers.task, problem))
    };
    let eta = options
        .eta
        .filter(|eta| !eta.is_now())
        .map(resolve)
        .transpose()?;
    let expires = options.expires.map(resolve).transpose()?;

    let mut again = message.clone();
    let headers = &mut again.headers;
    if let Some((_, text)) = expires {
        headers.expires = Some(text);
    }
    headers.timelimit.hard = options.time_limit.or(headers.timelimit.hard);
    headers.timelimit.soft = options.soft_time_limit.or(headers.timelimit.soft);
    describe_arguments(&mut again, body);
    again.properties.priority = options.priority.unwrap_or(again.properties.priority);
    if options.args.is_some() || options.kwargs.is_some() {
        replace_arguments(composer, &mut again, body, options.args, options.kwargs)
            .map_err(|problem| Error::invalid(&message.headers.task, problem))?;
    }
    let address = match options.queue {
        Some(queue) => Address::queue(queue),
        None => Address::of(message, composer.router()),
    };
    Ok(next_attempt(
        composer,
        again,
        address,
        eta.map(|(_, text)| text),
        now,
    ))
}

/// The plain case of [`prepare`]: nothing changes but the attempt and its time.
pub(crate) fn prepare_unchanged(
    composer: &Composer,
    message: &Message,
    body: &Body,
    eta: Option<DateTime<Utc>>,
) -> Prepared {
    let mut again = message.clone();
    describe_arguments(&mut again, body);
    let address = Address::of(message, composer.router());
    let eta = eta.map(lovage_protocol::time::format_iso);
    next_attempt(composer, again, address, eta, composer.clock().now())
}

fn next_attempt(
    composer: &Composer,
    mut message: Message,
    address: Address,
    eta: Option<String>,
    now: DateTime<Utc>,
) -> Prepared {
    let headers = &mut message.headers;
    let id = headers.id.clone();
    headers.lang = "rust".to_owned();
    headers.eta = eta;
    headers.retries = headers.retries.saturating_add(1);
    headers.root_id.get_or_insert_with(|| id.clone());
    // The retry is sent from inside the task, which makes a task without a parent its own.
    headers.parent_id.get_or_insert_with(|| id.clone());
    // What the broker wrote about the delivery that ends here is not true of the next one.
    headers.extra.retain(|name, _| {
        !name.starts_with("x-death") && !name.starts_with("lovage_") && name != "redelivered"
    });
    let span = Publishing::again(headers.task.as_str(), id.as_str(), &mut headers.extra);

    let old = message.properties;
    let mut properties = composer.properties(&id, &address, old.priority);
    properties.reply_to = old.reply_to.or(properties.reply_to);
    if let Some(origin) = &headers.origin {
        // Celery has it here too, on retries only.
        properties
            .extra
            .insert("origin".to_owned(), Value::from(origin.as_str()));
    }
    // The text was read when the message came in, so it can be read now.
    let expires = headers.expires.clone().map(Moment::Text);
    if let Some(Ok((at, _))) = expires.map(|expires| composer.resolve(&expires, now)) {
        properties.expiration = Some(milliseconds_until(at, now));
    }
    message.properties = properties;
    span.to_queue(&message.properties.delivery_info.routing_key);
    Prepared {
        span,
        ..seal(&message, address)
    }
}

/// A message made by hand may lack the texts that logs show; a producer always writes them.
fn describe_arguments(message: &mut Message, body: &Body) {
    let headers = &mut message.headers;
    if headers.argsrepr.is_none() {
        headers.argsrepr = Some(args_repr(body.args.as_list().unwrap_or_default()));
    }
    headers
        .kwargsrepr
        .get_or_insert_with(|| kwargs_repr(&body.kwargs));
}

/// The new body is in the serializer of the old one, except for a pickle, which is never written.
fn replace_arguments(
    composer: &Composer,
    message: &mut Message,
    body: &Body,
    args: Option<Vec<Value>>,
    kwargs: Option<Map>,
) -> Result<(), String> {
    let mut next = body.clone();
    if let Some(args) = args {
        message.headers.argsrepr = Some(args_repr(&args));
        next.args = Value::List(args);
    }
    if let Some(kwargs) = kwargs {
        message.headers.kwargsrepr = Some(kwargs_repr(&kwargs));
        next.kwargs = kwargs;
    }
    let serializer = match message.serializer() {
        Some(Serializer::Pickle) | None => composer.serializer(None)?,
        Some(serializer) => serializer,
    };
    let written = next.to_bytes(serializer);
    message.body = written.map_err(|error| error.to_string())?;
    serializer
        .content_type()
        .clone_into(&mut message.content_type);
    serializer
        .content_encoding()
        .clone_into(&mut message.content_encoding);
    if let Some(method) = message.headers.compression.take() {
        // A method that cannot be used here leaves the new body plain, which every reader takes.
        if let Err(problem) = compress_body(message, &method) {
            tracing::debug!(problem, "a retry is sent uncompressed");
        }
    }
    Ok(())
}
