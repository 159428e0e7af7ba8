//! The bridge to rusty-celery: its tasks are defined there and sent from here.
//!
//! rusty-celery 0.5.5 has no way to make an app without a broker, and none to read a signature's queue. Both are had from
//! an app that was connected to a listener which nobody serves: the kernel completes the handshake, and its Redis client
//! sends nothing before the first command. The app's broker is then exchanged for ours.

mod outbox;

use std::{
    net::TcpListener,
    sync::{Arc, OnceLock},
};

use celery::{
    Celery, CeleryBuilder,
    protocol::Message,
    task::{Signature, Task},
};
use futures::FutureExt;
use lovage_protocol::{Map, QueueName, TaskId, Value};

use self::outbox::{Capture, Outbox, captured};
use crate::{Client, Error, Moment, Outgoing, composer::as_kwargs};

/// The default queue of our apps. No queue has this name, so it means "the caller named none".
const UNROUTED: &str = "\0default";

/// An app whose `send_task` goes through `client`; what a task sends through it becomes the task's child.
///
/// # Errors
/// When this machine has no loopback interface to make it with.
pub async fn brokerless_app(client: Client) -> Result<Arc<Celery>, Error> {
    let mut app = unserved_app().await?;
    app.broker = Box::new(Outbox(client));
    Ok(Arc::new(app))
}

/// The parts of a call made with rusty-celery's `new`.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The task's name.
    pub task: &'static str,
    /// The parameters by name, in the order declared.
    pub params: Map,
    /// The queue named with `with_queue`.
    pub queue: Option<String>,
    /// The call with the options that the signature and the task's definition give, without arguments.
    pub call: Outgoing,
}

/// Takes a call apart.
///
/// # Errors
/// When its parameters have no JSON form.
pub fn parts<T: Task>(signature: Signature<T>) -> Result<Parts, Error> {
    let failed = |source| Error::Bridge {
        doing: "reading a signature",
        source,
    };
    let app = capture_app()?;
    app.send_task(signature)
        .now_or_never()
        .expect("nothing in it waits: the broker is ours and answers at once")
        .map_err(|error| failed(error.into()))?;
    let (message, queue) = captured().expect("the send above put it there");
    let mut call = from_message(&message)?;
    let params = typed_params::<T>(&message).unwrap_or_else(|| std::mem::take(&mut call.kwargs));
    call.kwargs.clear();
    // The id that rusty-celery made up is nobody's yet.
    call.id = None;
    let queue = (queue != UNROUTED).then_some(queue);
    Ok(Parts {
        task: T::NAME,
        params,
        queue,
        call,
    })
}

/// The call behind a signature. Parameters go as positional arguments in their declared order, so that logs of Python
/// peers read naturally; from the first one that was left out on they go by name.
pub(crate) fn outgoing<T: Task>(signature: Signature<T>) -> Result<Outgoing, Error> {
    let Parts {
        mut params,
        queue,
        mut call,
        ..
    } = parts(signature)?;
    for name in T::ARGS {
        match params.shift_remove(*name) {
            Some(value) => call.args.push(value),
            None => break,
        }
    }
    call.kwargs = params;
    if let Some(queue) = queue {
        call.queue = Some(QueueName::parse(&queue).map_err(|error| {
            Error::invalid(
                &call.task,
                format!("the queue {queue:?} cannot be: {error}"),
            )
        })?);
    }
    Ok(call)
}

/// The call behind a message of rusty-celery: parameters by name, options from the headers.
fn from_message(message: &Message) -> Result<Outgoing, Error> {
    let headers = &message.headers;
    let mut call = Outgoing::new(headers.task.as_str());
    call.id = Some(TaskId::from(headers.id.as_str()));
    call.eta = headers.eta.map(Moment::At);
    call.expires = headers.expires.map(Moment::At);
    let (hard, soft) = headers.timelimit;
    call.time_limit = hard.map(f64::from);
    call.soft_time_limit = soft.map(f64::from);
    call.kwargs = kwargs_of(message, &call)?;
    Ok(call)
}

/// Its body is `[[], {parameters}, {…}]`.
fn kwargs_of(message: &Message, call: &Outgoing) -> Result<Map, Error> {
    let unreadable = |problem: String| Error::invalid(&call.task, problem);
    let body = Value::from_json_plain(&message.raw_body)
        .map_err(|error| unreadable(format!("its parameters are not JSON: {error}")))?;
    match body {
        Value::List(parts) => match parts.into_iter().nth(1) {
            Some(kwargs) => as_kwargs(&call.task, kwargs),
            None => Err(unreadable("its body has no parameters".to_owned())),
        },
        _ => Err(unreadable("its body is no list".to_owned())),
    }
}

/// The parameters once more from their own types. rusty-celery writes plain JSON, in which a date is a text; our own
/// serialiser keeps the types that Celery's JSON knows. `None` when the type does not read what it wrote.
fn typed_params<T: Task>(message: &Message) -> Option<Map> {
    let (params, _) = message.body::<T>().ok()?.parts();
    match Value::from_serialize(&params).ok()? {
        Value::Map(params) => Some(params),
        _ => None,
    }
}

fn capture_app() -> Result<&'static Celery, Error> {
    static APP: OnceLock<Celery> = OnceLock::new();
    if let Some(app) = APP.get() {
        return Ok(app);
    }
    // Made on a thread of its own: the caller may be inside a runtime or have none.
    let made = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::Bridge {
                doing: "starting",
                source: error.into(),
            })?;
        runtime.block_on(async {
            let mut app = unserved_app().await?;
            app.broker = Box::new(Capture);
            Ok::<_, Error>(app)
        })
    })
    .join()
    .unwrap_or_else(|_| {
        let source = "the thread that makes the app panicked".into();
        Err(Error::Bridge {
            doing: "starting",
            source,
        })
    })?;
    Ok(APP.get_or_init(|| made))
}

async fn unserved_app() -> Result<Celery, Error> {
    let failed = |source| Error::Bridge {
        doing: "making an app without a broker",
        source,
    };
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| failed(error.into()))?;
    let address = listener
        .local_addr()
        .map_err(|error| failed(error.into()))?;
    CeleryBuilder::new("lovage", &format!("redis://{address}/"))
        .default_queue(UNROUTED)
        // `broker_connection_retry(false)` would never connect at all.
        .broker_connection_max_retries(1)
        .build()
        .await
        .map_err(|error| failed(error.into()))
}

#[cfg(test)]
mod tests;
