//! A row of the outbox as a message.

use lovage_broker::{Destination, Publish};
use lovage_client::{Composer, Moment, Outgoing};
use lovage_database::store::outbox::Waiting;
use lovage_protocol::{Map, QueueName, Value};

use super::chain;

/// Makes the message of a row.
///
/// # Errors
/// Why it cannot be sent as it is, in one line for people.
pub(super) fn compose(composer: &Composer, waiting: &Waiting) -> Result<Publish, String> {
    let row = &waiting.outgoing;
    let queue = row
        .queue
        .as_deref()
        .map(|name| QueueName::parse(name).map_err(|error| format!("column queue: {error}")))
        .transpose()?;
    if let Some(message) = &row.message {
        return ready(composer, waiting, queue, message);
    }
    let mut call = Outgoing::new(row.task.clone());
    call.id = Some(row.task_id.clone());
    call.args = list(&row.args)?;
    call.kwargs = object("kwargs", &row.kwargs)?;
    call.headers = object("headers", &row.headers)?;
    call.queue = queue;
    call.exchange.clone_from(&row.exchange);
    call.routing_key.clone_from(&row.routing_key);
    call.priority = row.priority.map(i64::from);
    call.eta = row.eta.map(Moment::from);
    call.expires = row.expires.map(Moment::from);
    composer
        .compose(call)
        .map(|prepared| prepared.publish)
        .map_err(|error| chain(&error))
}

/// A message that was made already goes as it is.
fn ready(
    composer: &Composer,
    waiting: &Waiting,
    queue: Option<QueueName>,
    message: &[u8],
) -> Result<Publish, String> {
    let row = &waiting.outgoing;
    let destination = match (&row.exchange, &row.routing_key, queue) {
        (Some(exchange), Some(key), _) => composer.router().exchange(exchange.clone(), key.clone()),
        (None, _, Some(queue)) => Destination::Queue(queue),
        _ => {
            return Err(
                "column message is set, so queue must be, or exchange and routing_key".to_owned(),
            );
        }
    };
    Ok(Publish {
        destination,
        priority: row.priority.map_or(0, i64::from),
        payload: message.to_vec().into(),
    })
}

fn read(column: &str, text: &str) -> Result<Value, String> {
    Value::from_json(text.as_bytes()).map_err(|error| format!("column {column}: {error}"))
}

fn list(text: &str) -> Result<Vec<Value>, String> {
    match read("args", text)? {
        Value::List(values) => Ok(values),
        _ => Err("column args: expected a JSON array".to_owned()),
    }
}

fn object(column: &str, text: &str) -> Result<Map, String> {
    match read(column, text)? {
        Value::Map(map) => Ok(map),
        _ => Err(format!("column {column}: expected a JSON object")),
    }
}
